"""The generator: shapes, latents, noise, precision, compilation, and its errors."""

import shutil

import pytest
import torch

from cagc_lib.networks import Generator, GeneratorConfig

SMALL = {
    "resolution": 16, "channels": (5, 4, 3, 7, 6, 3), "z_dim": 6, "w_dim": 8, "mapping_layers": 2,
}


def small(**changes: object) -> Generator:
    """A small network of odd widths with every parameter away from its initial value."""
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(**(SMALL | changes)))
    with torch.no_grad():
        for p in g.parameters():
            p += 0.3 * torch.randn_like(p)
        g.w_avg.normal_()
    return g


@pytest.fixture(scope="module")
def g() -> Generator:
    return small()


@pytest.fixture(scope="module")
def w(g: Generator) -> torch.Tensor:
    return g.mapping(torch.randn(2, 6)).detach()


@pytest.mark.parametrize("log2", range(3, 11))
def test_every_resolution_renders(log2: int) -> None:
    widths = 2 * log2 - 2
    g = Generator(GeneratorConfig(2**log2, (2,) * widths, z_dim=4, w_dim=4, mapping_layers=1))
    assert g.config.num_ws == widths
    assert len(g.synthesis.convs) == g.config.num_convs == widths - 1
    with torch.no_grad():
        rgbs = g.synthesis(torch.randn(1, 4), return_rgbs=True)
    assert [rgb.shape for rgb in rgbs] == [(1, 3, 2**k, 2**k) for k in range(2, log2 + 1)]


def test_mapping_reads_the_direction_of_z_only(g: Generator) -> None:
    z = torch.randn(3, 6)
    assert g.mapping(z).shape == (3, 8)
    torch.testing.assert_close(g.mapping(5 * z), g.mapping(z))


def test_one_w_for_all_layers_or_one_for_each(g: Generator, w: torch.Tensor) -> None:
    """ToRGB j shares its w with the convolution after it: rgb j reads ws 0 to 2j + 1."""
    ws, before = w[:, None].repeat(1, 6, 1), g.synthesis(w, return_rgbs=True)
    assert torch.equal(g.synthesis(ws), before[-1])
    for layer in range(6):
        changed = ws.clone()
        changed[:, layer] += 1
        after = g.synthesis(changed, return_rgbs=True)
        read = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
        assert read == [layer <= 2 * j + 1 for j in range(3)], layer


def test_noise_modes(g: Generator, w: torch.Tensor) -> None:
    const, none = g.synthesis(w), g.synthesis(w, noise="none")
    assert torch.equal(g.synthesis(w, noise="const"), const)
    assert not torch.equal(const, none)
    torch.manual_seed(3)
    first = g.synthesis(w, noise="random")
    assert not torch.equal(g.synthesis(w, noise="random"), first)
    torch.manual_seed(3)
    assert torch.equal(g.synthesis(w, noise="random"), first)


def test_noise_lists(g: Generator, w: torch.Tensor) -> None:
    stored = [conv.noise_const[None, None] for conv in g.synthesis.convs]
    assert torch.equal(g.synthesis(w, noise=stored), g.synthesis(w))
    own = [m.expand(2, -1, -1, -1).clone() for m in stored]
    torch.testing.assert_close(g.synthesis(w, noise=own), g.synthesis(w))
    own[-1][1] += 1
    image, changed = g.synthesis(w), g.synthesis(w, noise=own)
    # every image is on its own
    torch.testing.assert_close(changed[0], image[0])
    assert not torch.allclose(changed[1], image[1])
    zeros = [torch.zeros_like(m) for m in stored]
    torch.testing.assert_close(g.synthesis(w, noise=zeros), g.synthesis(w, noise="none"))


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ("constant", "noise: got 'constant', expected one of const, random, none"),
        ([torch.zeros(1, 1, 4, 4)] * 5, r"noise\[1\]: got \(1, 1, 4, 4\), expected \(2 or 1, 1, 8"),
        ([torch.zeros(1, 1, 4, 4)], "noise: got 1 maps, expected 5"),
        ([torch.zeros(1, 1, 4, 4)] * 6, "noise: got 6 maps, expected 5"),
    ],
)
def test_noise_errors_are_one_line(
    g: Generator, w: torch.Tensor, noise: str | list, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        g.synthesis(w, noise=noise)
    assert "\n" not in str(error.value)


def test_wrong_latents(g: Generator) -> None:
    for shape in ((2, 7), (2, 5, 8), (8,), (2, 6, 8, 1)):
        with pytest.raises(ValueError, match=r"w: got shape .*, expected \[N, 8\] or \[N, 6, 8\]"):
            g.synthesis(torch.zeros(shape))
    for shape in ((2, 7), (6,), (2, 6, 1)):
        with pytest.raises(ValueError, match=r"z: got shape .*, expected \[N, 6\]"):
            g(torch.zeros(shape))


def test_clamp_bounds_every_layer(w: torch.Tensor) -> None:
    free = small()
    tight, loose = small(conv_clamp=0.1), small(conv_clamp=1e6)
    assert torch.equal(loose.synthesis(w), free.synthesis(w))
    rgbs = tight.synthesis(w, return_rgbs=True)
    assert float(rgbs[0].detach().abs().max()) == pytest.approx(0.1)
    # every resolution adds at most 0.1 to the sum
    assert all(float(rgb.detach().abs().max()) < 0.1001 * (j + 1) for j, rgb in enumerate(rgbs))


def test_gradients_are_those_of_a_float64_difference_quotient(g: Generator) -> None:
    double = small().double()
    w = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(double.synthesis(w).square().sum(), w, create_graph=True)
    # differentiate once more, as the path-length regulariser does
    weight = double.synthesis.convs[1].weight
    (second,) = torch.autograd.grad(gradient.square().sum(), weight)
    direction, step, ends = torch.randn_like(weight), 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step * direction
        (moved,) = torch.autograd.grad(double.synthesis(w).square().sum(), w)
        ends.append(moved.square().sum())
        with torch.no_grad():
            weight -= sign * step * direction
    expected = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close((second * direction).sum(), expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_autocast_is_close_and_images_are_float32(g: Generator, w: torch.Tensor) -> None:
    with torch.no_grad():
        expected = g.synthesis(w)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            image = g.synthesis(w)
    assert image.dtype == torch.float32
    assert float((image - expected).abs().max()) <= 3e-2 * float(expected.abs().max())


def test_a_bfloat16_network_renders_bfloat16(w: torch.Tensor) -> None:
    assert small().bfloat16().synthesis(w.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_no_graph_breaks(noise: str) -> None:
    g, z = small(resolution=8, channels=(3, 4, 5, 2)), torch.randn(2, 6)
    compiled = torch.compile(g, backend="eager", fullgraph=True, dynamic=False)
    torch.manual_seed(3)
    expected = g(z, truncation_psi=0.7, noise=noise)
    torch.manual_seed(3)
    image = compiled(z, truncation_psi=0.7, noise=noise)
    torch.testing.assert_close(image, expected)


# importing inductor warns about torch's own use of torch.jit
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled_by_inductor() -> None:
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("no C++ compiler on this machine: inductor cannot build its kernels")
    g, w = small(resolution=8, channels=(3, 4, 5, 2)), torch.randn(2, 8)
    compiled = torch.compile(g.synthesis, fullgraph=True, dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(w), g.synthesis(w), rtol=1e-5, atol=1e-5)


def test_synthesis_stops_at_a_resolution() -> None:
    g = Generator(GeneratorConfig(32, (4,) * 8, z_dim=8, w_dim=8, mapping_layers=1))
    w = torch.randn(2, 8)
    rgbs = g.synthesis(w, return_rgbs=True)
    assert torch.equal(g.synthesis(w), rgbs[-1])
    for rgb in rgbs:
        assert torch.equal(g.synthesis(w, resolution=rgb.shape[2]), rgb)
    for wrong in (2, 12, 64):
        with pytest.raises(ValueError, match=f"resolution: got {wrong}, expected .* 4 to 32"):
            g.synthesis(w, resolution=wrong)
