"""ToRGB and its Triton twin against the definition; the type of the result."""

import pytest
import torch

from cagc_lib.ops import setup_filter, to_rgb, upsample2d


def operands(n: int, channels: int, height: int, width: int) -> list[torch.Tensor]:
    """x, weight, styles, bias, rgb."""
    shapes = (
        (n, channels, height, width), (3, channels, 1, 1), (n, channels), (3,),
        (n, 3, height // 2, width // 2),
    )
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 4.0, 8.0), (1.0, 2.0)])
def test_definition(impl: str, clamp: float | None, taps: tuple[float, ...]) -> None:
    x, weight, styles, bias, rgb = operands(2, 5, 4, 6)
    f = setup_filter(taps).double()
    own = torch.einsum("oi,ni,nihw->nohw", weight[:, :, 0, 0], styles, x) + bias[:, None, None]
    if clamp:
        own = own.clamp(-clamp, clamp)
    first = to_rgb(x, weight, styles, bias, clamp=clamp, impl=impl)
    torch.testing.assert_close(first, own)
    y = to_rgb(x, weight, styles, bias, rgb, f, clamp, impl)
    torch.testing.assert_close(y, upsample2d(rgb, f) + own)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_the_sum_keeps_the_parameters_type(impl: str) -> None:
    tensors = [t.detach().float() for t in operands(1, 5, 4, 4)]
    half = [tensors[0].half(), *tensors[1:]]
    y = to_rgb(*half, impl=impl)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, to_rgb(*tensors), rtol=0, atol=0.02)
