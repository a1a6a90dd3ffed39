"""The Triton twins against float64 references: results, gradients, gradients of gradients.

Where there is no GPU they run in Triton's interpreter, whose cost is the number of operations, not
their size, so the shapes are small and tiles hold whole images; one ragged case a kernel has many.
"""

from functools import partial

import pytest
import torch
from twins import agree, derivatives, drawn_like, error

from cagc_lib import networks, ops
from cagc_lib.ops import bias_act, modulated_conv2d
from cagc_lib.ops.kernels import launch
from cagc_lib.ops.kernels import modulated_conv2d as twin
from cagc_lib.ops.kernels.tiles import Tiles, using

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# the interpreter neither multiplies nor rounds bfloat16
HALVES = [torch.float16, torch.bfloat16] if DEVICE == "cuda" else [torch.float16]


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64).to(DEVICE, dtype)


def operands(
    n: int, channels: int, filters: int, side: int, size: tuple[int, int], up: int,
    order: torch.memory_format = torch.contiguous_format,
) -> list[torch.Tensor]:
    """x, weight, styles, bias, noise."""
    height, width = size
    shapes = (
        (filters, channels, side, side), (n, channels), (filters,), (n, 1, up * height, up * width)
    )
    x = randn(n, channels, height, width).contiguous(memory_format=order)
    return [t.requires_grad_() for t in (x, *(randn(*shape) for shape in shapes))]


def layer(tensors: list[torch.Tensor], up: int = 1, demodulate: bool = True, **tail):
    x, weight, styles, bias, noise = tensors
    tail = {"act": "lrelu", "gain": 1.3, "clamp": 2.0} | tail
    return modulated_conv2d(x, weight, styles, demodulate, up, bias=bias, noise=noise, **tail)


def differentiated(
    tensors: list, up: int, g: torch.Tensor | None = None, demodulate: bool = True, **tail
) -> list:
    """The result and its gradients, those of its sum without g."""
    y, given = layer(tensors, up, demodulate, **tail), [t for t in tensors if t is not None]
    return [y, *torch.autograd.grad(y, given, torch.ones_like(y) if g is None else g)]


every_order = pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])


@every_order
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_conv2d_and_its_gradients(
    side: int, up: int, demodulate: bool, order: torch.memory_format
) -> None:
    tensors = operands(2, 5, 3, side, (4, 3), up, order)
    agree(lambda: derivatives(layer(tensors, up, demodulate), tensors, tensors[:3]))


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize(
    ("n", "channels", "filters", "size"),
    [(1, 39, 37, (4, 4)), (1, 1, 1, (8, 5)), (3, 16, 131, (4, 7)), (1, 154, 77, (4, 4))],
)
def test_float32_at_odd_widths(
    n: int, channels: int, filters: int, size: tuple[int, int], up: int
) -> None:
    tensors = operands(n, channels, filters, 3, size, up)
    single = [t.detach().float().requires_grad_() for t in tensors]
    g = randn(n, filters, *(up * side for side in size))
    # demodulation makes the only channel's style a mere sign, with a gradient of nothing but noise
    demodulate = channels > 1
    wide = differentiated(tensors, up, g, demodulate, impl="reference")
    narrow = differentiated(single, up, g.float(), demodulate, impl="triton")
    assert narrow[0].dtype == torch.float32
    assert all(error(a, b) < 1e-6 for a, b in zip(narrow, wide, strict=True))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("up", [1, 2])
def test_half_precision_is_no_worse_than_twice_torchs(dtype: torch.dtype, up: int) -> None:
    tensors = operands(2, 16, 8, 3, (6, 5), up)
    half = [t.detach().to(dtype).requires_grad_() for t in tensors]
    exact = [t.detach().double().requires_grad_() for t in half]
    g = randn(2, 8, 6 * up, 5 * up, dtype=dtype)
    wanted, errors = differentiated(exact, up, g.double(), impl="reference"), []
    for impl in ("triton", "reference"):
        got = differentiated(half, up, g, impl=impl)
        assert got[0].dtype == dtype
        errors.append([error(a, b) for a, b in zip(got, wanted, strict=True)])
    assert all(ours <= 2 * theirs for ours, theirs in zip(*errors, strict=True))


def test_many_ragged_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "SPLITS", 3)
    for up in (1, 2):
        tensors = operands(2, 17, 19, 3, (5, 4), up)
        with using(Tiles(16, 16, 16)):
            agree(partial(differentiated, tensors, up))


@pytest.mark.parametrize("up", [1, 2])
@every_order
def test_inference_demodulates_inside_and_pads_its_channels(
    up: int, order: torch.memory_format
) -> None:
    """Two layers in a row, so that the second reads what the first one padded."""
    tensors = operands(2, 17, 19, 3, (4, 5), up, order)
    second, styles = randn(18, 19, 3, 3), randn(2, 19)

    def two() -> list[torch.Tensor]:
        y = layer(tensors, up)
        return [y, modulated_conv2d(y, second, styles)]

    with torch.no_grad():
        ys = agree(two)
    if order == torch.channels_last:
        # 16 bytes at a time, in every type
        assert all(y.stride()[1] == 1 and y.stride()[3] == 32 for y in ys)


def test_frozen_weights_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, styles, _, _ = (t.detach() for t in operands(2, 5, 3, 3, (4, 3), 1))
    parameter = torch.nn.Parameter(weight)
    squares, square = [], torch.Tensor.square
    monkeypatch.setattr(torch.Tensor, "square", lambda t: squares.append(t.shape) or square(t))
    for impl in ("triton", "reference"):
        squares.clear()
        with torch.no_grad(), ops.frozen_weights():
            first = modulated_conv2d(x, parameter, styles, impl=impl)
            again = modulated_conv2d(x, parameter, styles, impl=impl)
            assert squares.count(weight.shape) == 1 and torch.equal(first, again)
            parameter.mul_(2)
            doubled = modulated_conv2d(x, parameter, styles, impl=impl)
            assert squares.count(weight.shape) == 2
            assert error(doubled, first) < 1e-6
            parameter.div_(2)
        assert error(modulated_conv2d(x, parameter, styles, impl=impl), first) < 1e-12
    # nothing is kept where gradients are wanted
    with ops.frozen_weights():
        y = modulated_conv2d(x, parameter, styles, impl="reference")
        assert torch.autograd.grad(y.sum(), parameter)[0].any()


@every_order
def test_nothing_is_read_outside(order: torch.memory_format) -> None:
    """Views into memory full of NaN; results are allocated by torch as NaN, see conftest."""
    for up in (1, 2):
        tensors = operands(2, 3, 5, 3, (4, 3), up)
        poisoned = []
        for t in tensors:
            # wide enough for channels to be read up to a multiple of 16
            padded = t.new_full([size + 16 for size in t.shape], torch.nan)
            if t.ndim == 4:
                padded = padded.contiguous(memory_format=order)
            view = padded[tuple(slice(1, 1 + size) for size in t.shape)]
            poisoned.append(view.copy_(t.detach()).requires_grad_())
        ours = differentiated(poisoned, up, impl="triton")
        theirs = differentiated(tensors, up, impl="reference")
        assert all(error(a, b) < 1e-12 for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_noise_shared_by_the_batch_and_tails_left_out(up: int, noise: bool, bias: bool) -> None:
    x, weight, styles, b, n = operands(2, 3, 4, 3, (4, 4), up)
    shared = n[:1].detach().requires_grad_()
    tensors = [x, weight, styles, b if bias else None, shared if noise else None]
    agree(partial(differentiated, tensors, up, act="linear", gain=None, clamp=None))


@pytest.mark.parametrize("place", ["x", "weight", "s", "d", "g"])
@pytest.mark.parametrize("up", [1, 2])
def test_each_derivative_of_the_form_has_right_gradients(place: str, up: int) -> None:
    values = {
        "x": randn(1, 2, 3, 2), "weight": randn(2, 2, 3, 3), "s": randn(1, 2), "d": randn(1, 2),
        "g": randn(1, 2, 3 * up, 2 * up),
    }
    names = [name for name in values if name != place]

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        given = {place: None} | dict(zip(names, tensors, strict=True))
        return twin.derivative(**given, side=3, up=up)

    tensors = tuple(values[name].requires_grad_() for name in names)
    assert torch.autograd.gradcheck(function, tensors, fast_mode=True)


def test_compilers_accept_the_operators() -> None:
    x, weight, styles, bias, noise = (
        t.detach().float().requires_grad_() for t in operands(1, 3, 4, 3, (4, 4), 1)
    )
    d = twin.demodulate(weight, styles).detach().requires_grad_()
    torch.library.opcheck(twin.layer, (x, weight, styles, d, bias, noise, 1, 0.2, 1.4, None))
    torch.library.opcheck(twin.demodulate, (weight, styles))
    torch.library.opcheck(twin.derivative, (x, weight, styles, d, None, 3, 2))


@every_order
def test_bias_act_and_its_gradients(order: torch.memory_format) -> None:
    x = randn(2, 37, 5, 3).contiguous(memory_format=order).requires_grad_()
    bias, noise = randn(37).requires_grad_(), randn(1, 1, 5, 3).requires_grad_()
    tensors, flat, full = (x, bias, noise), randn(3, 5), randn(2, 37, 5, 3)
    agree(lambda: derivatives(bias_act(x, bias, "lrelu", 1.3, 2.0, noise), tensors))
    agree(lambda: [bias_act(flat), bias_act(x, bias, noise=full)])


@pytest.mark.parametrize(
    ("up", "down", "padding"), [(1, 1, (1, 1)), (2, 1, (2, 1)), (1, 2, (1, 1)), (2, 2, (3, 0))]
)
def test_upfirdn2d_and_its_gradients(up: int, down: int, padding: tuple[int, int]) -> None:
    x = randn(2, 17, 6, 5).requires_grad_()
    for f in (ops.setup_filter().to(DEVICE, torch.float64), randn(3, 3)):
        agree(lambda f=f: derivatives(ops.upfirdn2d(x, f, up, down, padding, 1.7), [x]))


@every_order
def test_to_rgb_and_its_gradients(order: torch.memory_format) -> None:
    shapes = (3, 37, 1, 1), (2, 37), (3,), (2, 3, 2, 1)
    x = randn(2, 37, 4, 2).contiguous(memory_format=order)
    tensors = [t.requires_grad_() for t in (x, *(randn(*shape) for shape in shapes))]
    agree(lambda: derivatives(ops.to_rgb(*tensors), tensors, tensors[:3]))


def test_a_generators_losses_and_gradients() -> None:
    """What training asks of a network: its image, path lengths, and the gradients of both."""
    torch.manual_seed(1)
    config = networks.GeneratorConfig(8, (5, 4, 3, 2), z_dim=4, w_dim=4, mapping_layers=1)
    g = networks.Generator(config).double().to(DEVICE)
    for conv in g.synthesis.convs:
        conv.noise_strength.data.fill_(0.1)
    w = randn(2, g.config.num_ws, 4).requires_grad_()

    def losses() -> list[torch.Tensor]:
        image = g.synthesis(w)
        product = (image * drawn_like(image)).sum()
        (slope,) = torch.autograd.grad(product, w, create_graph=True)
        loss = image.square().mean() + slope.square().sum((1, 2)).sqrt().mean()
        parameters = [p for n, p in g.named_parameters() if n.startswith("synthesis")]
        return [image, slope, loss, *torch.autograd.grad(loss, parameters)]

    agree(losses, 1e-10)


def test_a_discriminators_r1_and_its_gradients() -> None:
    """What the other half of training asks: filters, tails and their second derivatives."""
    torch.manual_seed(1)
    d = networks.Discriminator(networks.DiscriminatorConfig(8, (4, 6))).double().to(DEVICE)
    images = randn(2, 3, 8, 8).requires_grad_()

    def losses() -> list[torch.Tensor]:
        logits = d(images)
        penalty = networks.r1_penalty(logits, images).mean()
        loss = torch.nn.functional.softplus(-logits).mean() + penalty
        return [logits, penalty, *torch.autograd.grad(loss, list(d.parameters()))]

    assert len(agree(losses, 1e-10)) > 10


def test_a_compiled_graph_holds_the_kernels() -> None:
    x, weight, styles, bias, noise = (t.detach() for t in operands(1, 3, 4, 3, (4, 4), 1))

    def function(x: torch.Tensor) -> torch.Tensor:
        given = weight, styles, True, 1, bias, noise, "lrelu", 1.3, None
        return twin.modulated_conv2d_triton(x, *given) + 1

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert error(compiled(x), function(x)) < 1e-12


def test_samples_beyond_32_bits_are_refused() -> None:
    x = torch.empty(1, 2, 2**15, 2**16, device="meta")
    with pytest.raises(ValueError, match=r"x: got samples of \[2, 32768, 65536\] that reach over"):
        launch.convolved(x, randn(2, 2, 3, 3), randn(1, 2), None, False, 1, 1)
