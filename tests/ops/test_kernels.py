"""The Triton twins against float64 references: results, gradients, gradients of gradients.

Where there is no GPU they run in Triton's interpreter, whose cost is the number of operations, not
their size, so the shapes are small and tiles hold whole images; one ragged case a kernel has many.
"""

import itertools

import pytest
import torch

from cagc_lib import networks, ops
from cagc_lib.ops import bias_act, implementation, modulated_conv2d
from cagc_lib.ops.kernels import launch
from cagc_lib.ops.kernels import modulated_conv2d as twin
from cagc_lib.ops.kernels.bias_act import tail
from cagc_lib.ops.kernels.tiles import Tiles, using

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# the interpreter neither multiplies nor rounds bfloat16
HALVES = [torch.float16, torch.bfloat16] if DEVICE == "cuda" else [torch.float16]


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative root mean square error."""
    b = b.double()
    return ((a.double() - b).square().mean() / b.square().mean()).sqrt().item()


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64).to(DEVICE, dtype)


def operands(
    n: int, channels: int, filters: int, side: int, size: tuple[int, int], up: int
) -> list[torch.Tensor]:
    """x, weight, styles, bias, noise."""
    height, width = size
    shapes = (
        (n, channels, height, width), (filters, channels, side, side), (n, channels), (filters,),
        (n, 1, up * height, up * width),
    )
    return [randn(*shape).requires_grad_() for shape in shapes]


def run(impl: str, tensors: list[torch.Tensor], up: int = 1, demodulate: bool = True, **tail):
    x, weight, styles, bias, noise = tensors
    return modulated_conv2d(
        x, weight, styles, demodulate, up, impl, bias=bias, noise=noise,
        **{"act": "lrelu", "gain": 1.3, "clamp": 2.0} | tail,
    )


def differentiated(impl: str, tensors: list, up: int, g: torch.Tensor | None = None) -> list:
    """The result and its gradients, those of its sum without g."""
    y = run(impl, tensors, up)
    return [y, *torch.autograd.grad(y, tensors, torch.ones_like(y) if g is None else g)]


every_form = pytest.mark.parametrize(
    ("side", "up", "demodulate"), list(itertools.product((1, 3), (1, 2), (True, False)))
)


@every_form
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_modulated_conv2d_and_its_gradients(
    side: int, up: int, demodulate: bool, order: torch.memory_format
) -> None:
    tensors = operands(2, 5, 3, side, (4, 3), up)
    tensors[0] = tensors[0].detach().contiguous(memory_format=order).requires_grad_()
    results = []
    for impl in ("triton", "reference"):
        y = run(impl, tensors, up, demodulate)
        torch.manual_seed(3)
        first = torch.autograd.grad(y, tensors, randn(*y.shape), create_graph=True)
        # what R1 and the path length do: a squared gradient, differentiated
        total = sum((g.square() + g * randn(*g.shape)).sum() for g in first)
        results.append([y, *first, *torch.autograd.grad(total, tensors[:3])])
    assert all(error(a, b) < 1e-12 for a, b in zip(*results, strict=True))


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
    # demodulation makes the only channel's style a mere sign, with a gradient of nothing but noise
    demodulate = channels > 1
    expected = run("reference", tensors, up, demodulate)
    y = run("triton", single, up, demodulate)
    assert y.dtype == torch.float32 and error(y, expected) < 1e-6
    g = randn(*y.shape)
    wide = torch.autograd.grad(expected, tensors, g)
    narrow = torch.autograd.grad(y, single, g.float())
    assert all(error(a, b) < 1e-6 for a, b in zip(narrow, wide, strict=True))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("up", [1, 2])
def test_half_precision_is_no_worse_than_twice_torchs(dtype: torch.dtype, up: int) -> None:
    tensors = operands(2, 16, 8, 3, (6, 5), up)
    half = [t.detach().to(dtype).requires_grad_() for t in tensors]
    exact = [t.detach().double().requires_grad_() for t in half]
    g = randn(2, 8, 6 * up, 5 * up, dtype=dtype)
    wanted, errors = differentiated("reference", exact, up, g.double()), []
    for impl in ("triton", "reference"):
        got = differentiated(impl, half, up, g)
        assert got[0].dtype == dtype
        errors.append([error(a, b) for a, b in zip(got, wanted, strict=True)])
    assert all(ours <= 2 * theirs for ours, theirs in zip(*errors, strict=True))


def test_many_ragged_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "SPLITS", 3)
    for up in (1, 2):
        tensors = operands(2, 17, 19, 3, (5, 4), up)
        with using(Tiles(16, 16, 16)):
            results = [differentiated(impl, tensors, up) for impl in ("triton", "reference")]
        assert all(error(a, b) < 1e-12 for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_inference_demodulates_inside_and_pads_its_channels(
    up: int, order: torch.memory_format
) -> None:
    """Two layers in a row, so that the second reads what the first one padded."""
    tensors = operands(2, 17, 19, 3, (4, 5), up)
    second = randn(18, 19, 3, 3)
    tensors[0] = tensors[0].detach().contiguous(memory_format=order)
    results = []
    with torch.no_grad():
        for impl in ("triton", "reference"):
            y = run(impl, tensors, up)
            results.append([y, modulated_conv2d(y, second, tensors[2].new_ones(2, 19), impl=impl)])
    assert all(error(a, b) < 1e-12 for a, b in zip(*results, strict=True))
    if order == torch.channels_last:
        # 16 bytes at a time, in every type
        assert all(y.stride()[1] == 1 and y.stride()[3] == 32 for y in results[0])


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


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_nothing_is_read_outside(order: torch.memory_format) -> None:
    """Views into memory full of NaN; results are allocated by torch as NaN, see conftest."""
    for up in (1, 2):
        tensors = operands(2, 3, 5, 3, (4, 3), up)
        poisoned = []
        for t in tensors:
            # wide enough for channels to be read up to a multiple of 16
            room = t.new_full([size + 16 for size in t.shape], torch.nan)
            if t.ndim == 4:
                room = room.contiguous(memory_format=order)
            view = room[tuple(slice(1, 1 + size) for size in t.shape)]
            poisoned.append(view.copy_(t.detach()).requires_grad_())
        ours = differentiated("triton", poisoned, up)
        theirs = differentiated("reference", tensors, up)
        assert all(error(a, b) < 1e-12 for a, b in zip(ours, theirs, strict=True))


def test_noise_shared_by_the_batch_and_tails_left_out() -> None:
    for up, (noise, bias) in itertools.product((1, 2), itertools.product((True, False), repeat=2)):
        x, weight, styles, b, n = operands(2, 3, 4, 3, (4, 4), up)
        tensors = [x, weight, styles, b if bias else None, n[:1] if noise else None]
        plain = {"act": "linear", "gain": None, "clamp": None}
        ys = [run(impl, tensors, up, **plain) for impl in ("triton", "reference")]
        given = [t for t in (x, weight, b if bias else None, n if noise else None) if t is not None]
        grads = [torch.autograd.grad(y, given, torch.ones_like(y)) for y in ys]
        assert error(*ys) < 1e-12
        assert all(error(p, q) < 1e-12 for p, q in zip(*grads, strict=True) if q.any())


def test_demodulation_and_its_gradients() -> None:
    weight, styles = randn(2, 3, 3, 3).requires_grad_(), randn(2, 3).requires_grad_()
    expected = ops.demodulation_coefficients(weight, styles)
    assert error(twin.demodulate(weight, styles), expected) < 1e-12
    assert torch.autograd.gradcheck(twin.demodulate, (weight, styles), fast_mode=True)
    assert torch.autograd.gradgradcheck(twin.demodulate, (weight, styles), fast_mode=True)


@pytest.mark.parametrize("place", ["x", "weight", "s", "d", "g"])
@pytest.mark.parametrize("up", [1, 2])
def test_each_derivative_of_the_form_has_right_gradients(place: str, up: int) -> None:
    values = {
        "x": randn(1, 2, 3, 2), "weight": randn(2, 2, 3, 3), "s": randn(1, 2), "d": randn(1, 2),
        "g": randn(1, 2, 3 * up, 2 * up),
    }
    names = [name for name in twin.PLACES if name != place]

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return twin.derivative(place, dict(zip(names, tensors, strict=True)), 3, up)

    tensors = tuple(values[name].requires_grad_() for name in names)
    assert torch.autograd.gradcheck(function, tensors, fast_mode=True)


def test_compilers_accept_the_operators() -> None:
    x, weight, styles, bias, noise = (
        t.detach().float().requires_grad_() for t in operands(1, 3, 4, 3, (4, 4), 1)
    )
    d = twin.demodulate(weight, styles).detach().requires_grad_()
    torch.library.opcheck(twin.layer, (x, weight, styles, d, bias, noise, 1, 0.2, 1.4, None))
    torch.library.opcheck(twin.demodulate, (weight, styles))
    torch.library.opcheck(twin.convolve, (x, weight, styles, d, 3, 2))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_bias_act_and_its_gradients(order: torch.memory_format) -> None:
    x = randn(2, 37, 5, 3).contiguous(memory_format=order).requires_grad_()
    bias, noise = randn(37).requires_grad_(), randn(1, 1, 5, 3).requires_grad_()
    tensors, results = (x, bias, noise), []
    for impl in ("triton", "reference"):
        y = bias_act(x, bias, "lrelu", 1.3, 2.0, noise, impl)
        torch.manual_seed(3)
        first = torch.autograd.grad(y, tensors, randn(*y.shape).requires_grad_(), create_graph=True)
        results.append([y, *first])
    assert all(error(a, b) < 1e-12 for a, b in zip(*results, strict=True))
    flat = randn(3, 5)
    assert error(bias_act(flat, impl="triton"), bias_act(flat)) < 1e-12
    wide = randn(2, 37, 5, 3)
    other = bias_act(x, bias, noise=wide, impl="triton")
    assert error(other, bias_act(x, bias, noise=wide)) < 1e-12


def test_bias_acts_gradient_has_right_gradients() -> None:
    tensors = tuple(randn(*s).requires_grad_() for s in ((2, 3, 2, 2), (3,), (1, 1, 2, 2)))
    assert torch.autograd.gradgradcheck(lambda *t: tail(*t, 0.2, 1.3, 0.9), tensors, fast_mode=True)


@pytest.mark.parametrize(
    ("up", "down", "padding"), [(1, 1, (1, 1)), (2, 1, (2, 1)), (1, 2, (1, 1)), (2, 2, (3, 0))]
)
def test_upfirdn2d_and_its_gradients(up: int, down: int, padding: tuple[int, int]) -> None:
    f = ops.setup_filter().to(DEVICE, torch.float64)
    for kernel in (f, randn(3, 3)):
        x = randn(2, 17, 6, 5).requires_grad_()
        results = []
        for impl in ("triton", "reference"):
            y = ops.upfirdn2d(x, kernel, up, down, padding, 1.7, impl)
            torch.manual_seed(3)
            g = randn(*y.shape).requires_grad_()
            (first,) = torch.autograd.grad(y, x, g, create_graph=True)
            (second,) = torch.autograd.grad(first, g, randn(*x.shape))
            results.append([y, first, second])
        assert all(error(a, b) < 1e-12 for a, b in zip(*results, strict=True))


def test_kernels_larger_than_3x3_do_not_up_sample() -> None:
    tensors = operands(1, 2, 2, 5, (4, 4), 2)
    with pytest.raises(ValueError, match="weight: got a 5x5 kernel, expected 3x3 or 1x1"):
        run("triton", tensors, 2)


def test_a_generators_losses_and_gradients() -> None:
    """What training asks of a network: its image, path lengths, and the gradients of both."""
    torch.manual_seed(1)
    config = networks.GeneratorConfig(8, (5, 4, 3, 2), z_dim=4, w_dim=4, mapping_layers=1)
    g = networks.Generator(config).double().to(DEVICE)
    for conv in g.synthesis.convs:
        conv.noise_strength.data.fill_(0.1)
    w, results = randn(2, g.config.num_ws, 4).requires_grad_(), []
    for impl in ("triton", "reference"):
        with implementation(impl):
            assert ops.explain("to_rgb", w, "auto")[0] == impl
            image = g.synthesis(w)
            torch.manual_seed(2)
            direction = randn(*image.shape)
            (slope,) = torch.autograd.grad((image * direction).sum(), w, create_graph=True)
            loss = image.square().mean() + slope.square().sum((1, 2)).sqrt().mean()
            parameters = [p for n, p in g.named_parameters() if n.startswith("synthesis")]
            grads = torch.autograd.grad(loss, parameters)
        results.append([image, slope, loss, *grads])
    assert all(error(a, b) < 1e-10 for a, b in zip(*results, strict=True))


def test_a_discriminators_r1_and_its_gradients() -> None:
    """What the other half of training asks: filters, tails and their second derivatives."""
    torch.manual_seed(1)
    d = networks.Discriminator(networks.DiscriminatorConfig(8, (4, 6))).double().to(DEVICE)
    images, results = randn(2, 3, 8, 8).requires_grad_(), []
    for impl in ("triton", "reference"):
        with implementation(impl):
            logits = d(images)
            penalty = networks.r1_penalty(logits, images).mean()
            loss = torch.nn.functional.softplus(-logits).mean() + penalty
            results.append([logits, penalty, *torch.autograd.grad(loss, list(d.parameters()))])
    pairs = [(a, b) for a, b in zip(*results, strict=True) if b.any()]
    assert len(pairs) > 10 and all(error(a, b) < 1e-10 for a, b in pairs)


def test_a_compiled_graph_holds_the_kernels() -> None:
    x, weight, styles, bias, noise = (t.detach() for t in operands(1, 3, 4, 3, (4, 4), 1))

    def layer(x: torch.Tensor) -> torch.Tensor:
        y = twin.modulated_conv2d_triton(
            x, weight, styles, True, 1, bias, noise, "lrelu", 1.3, None
        )
        return y + 1

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert error(compiled(x), layer(x)) < 1e-12


def test_samples_beyond_32_bits_are_refused() -> None:
    x = torch.empty(1, 2, 2**15, 2**16, device="meta")
    with pytest.raises(ValueError, match=r"x: got samples of \[2, 32768, 65536\] that reach over"):
        launch.convolved(x, randn(2, 2, 3, 3), randn(1, 2), None, False, 1, 1)
