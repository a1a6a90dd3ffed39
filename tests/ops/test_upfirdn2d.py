"""The FIR operator against zero insertion and a full convolution, and its gradients."""

import pytest
import torch
import torch.nn.functional as F

from cagc_lib.ops import downsample2d, setup_filter, upfirdn2d, upsample2d
from cagc_lib.ops.upfirdn2d import _shift_and_add

# up, down, padding, taps: what the networks use, then odd cases and every combination of rates
GEOMETRIES = [
    (1, 1, (1, 1), 4), (1, 1, (2, 2), 4), (2, 1, (2, 1), 4), (1, 2, (1, 1), 4),
    (1, 1, (0, 0), 3), (2, 2, (3, 0), 4), (3, 2, (0, 4), 5), (2, 3, (1, 3), 2), (1, 2, (0, 3), 1),
]
by_geometry = pytest.mark.parametrize(("up", "down", "padding", "taps"), GEOMETRIES)


def definition(
    x: torch.Tensor, f: torch.Tensor, up: int, down: int, padding: tuple[int, int], gain: float
) -> torch.Tensor:
    """Insert zeros, pad, convolve pixel by pixel, keep every down-th."""
    n, c, h, w = x.shape
    grid = x.new_zeros(n, c, h * up, w * up)
    grid[:, :, ::up, ::up] = x
    grid = F.pad(grid, (*padding, *padding))
    f = torch.outer(f, f) if f.ndim == 1 else f
    k = len(f)
    out = x.new_zeros(n, c, grid.shape[2] - k + 1, grid.shape[3] - k + 1)
    for i in range(k):
        for j in range(k):
            shifted = grid[:, :, k - 1 - i :, k - 1 - j :]
            out += f[i, j] * shifted[:, :, : out.shape[2], : out.shape[3]]
    return gain * out[:, :, ::down, ::down]


@by_geometry
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("separable", [True, False])
def test_definition(
    up: int, down: int, padding: tuple[int, int], taps: int, separable: bool,
    layout: torch.memory_format,
) -> None:
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64).contiguous(memory_format=layout)
    f = torch.randn([taps] if separable else [taps, taps], dtype=torch.float64)
    y = upfirdn2d(x, f, up, down, padding, gain=1.7)
    assert y.shape[2] == (5 * up + sum(padding) - taps) // down + 1
    torch.testing.assert_close(y, definition(x, f, up, down, padding, 1.7))


@by_geometry
def test_the_form_for_compilers_is_the_same_filter(
    up: int, down: int, padding: tuple[int, int], taps: int
) -> None:
    x, f = torch.randn(2, 3, 5, 6).double(), torch.randn(taps).double()
    y = _shift_and_add(x, f, up, down, padding)
    torch.testing.assert_close(y, upfirdn2d(x, f, up, down, padding))


@pytest.mark.parametrize("separable", [True, False])
def test_no_graph_breaks(separable: bool) -> None:
    x, f = torch.randn(2, 3, 5, 6), torch.randn([4] if separable else [4, 4])

    def function(x: torch.Tensor) -> torch.Tensor:
        return upfirdn2d(upfirdn2d(x, f, up=2, padding=(2, 1)), f, down=2, padding=(1, 1))

    compiled = torch.compile(function, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), function(x))


@by_geometry
@pytest.mark.parametrize("separable", [True, False])
def test_gradients(
    up: int, down: int, padding: tuple[int, int], taps: int, separable: bool
) -> None:
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    f = torch.randn([taps] if separable else [taps, taps], dtype=torch.float64)

    def function(x: torch.Tensor) -> torch.Tensor:
        return upfirdn2d(x, f, up, down, padding)

    assert torch.autograd.gradcheck(function, x)
    # the operator is linear; squaring gives the second derivative something to be wrong about
    assert torch.autograd.gradgradcheck(lambda x: function(x) ** 2, x)


def test_up_and_down_sampling_keep_the_mean_of_a_flat_image() -> None:
    f = setup_filter()
    assert float(f.sum()) == pytest.approx(1)
    up = upsample2d(torch.ones(1, 2, 6, 8), f)
    assert up.shape == (1, 2, 12, 16)
    torch.testing.assert_close(up[:, :, 2:-2, 2:-2], torch.ones(1, 2, 8, 12))
    down = downsample2d(torch.ones(1, 2, 6, 8), f)
    assert down.shape == (1, 2, 3, 4)
    torch.testing.assert_close(down[:, :, 1:-1, 1:-1], torch.ones(1, 2, 1, 2))


def test_upsampling_is_bilinear_inside() -> None:
    x = torch.randn(1, 3, 6, 7)
    bilinear = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(upsample2d(x, setup_filter())[inside], bilinear[inside])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_change_the_type(dtype: torch.dtype) -> None:
    x = torch.randn(1, 3, 6, 6).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert upsample2d(x, setup_filter()).dtype == dtype
