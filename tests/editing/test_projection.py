"""Projection: it comes back to where an image was made, image by image, and refuses nonsense."""

import pytest
import torch

from cagc_lib.editing import mean_w, project
from cagc_lib.networks import FeatureNetwork, Generator, GeneratorConfig, perceptual_distance


@pytest.fixture(scope="module")
def g() -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(32, (16,) * 8, z_dim=8, w_dim=8, mapping_layers=2)).double()


@pytest.fixture(scope="module")
def features() -> FeatureNetwork:
    torch.manual_seed(1)
    network = FeatureNetwork({"a": [0.0, 1.0]}, (4, 4, 6, 6, 6)).eval()
    return network.requires_grad_(False).double()


@torch.no_grad()
def made(g: Generator, n: int) -> torch.Tensor:
    z = torch.randn(n, g.config.z_dim, generator=torch.Generator().manual_seed(3))
    return g(z.double())


@pytest.mark.parametrize("space", ["w", "w+"])
def test_projection_finds_an_image(g: Generator, features: FeatureNetwork, space: str) -> None:
    images = made(g, 3)
    p = project(g, images, features, space, steps=60)
    assert p.ws.shape == (3, g.config.num_ws, g.config.w_dim)
    assert p.losses.shape == (60, 3) and p.images.shape == images.shape
    assert (p.losses[-1] < 0.5 * p.losses[0]).all()
    assert torch.equal(p.images, g.synthesis(p.ws, "const"))
    shared = all(torch.equal(p.ws[:, 0], p.ws[:, i]) for i in range(g.config.num_ws))
    assert shared == (space == "w")
    # the first loss is that of the mean w
    start = g.synthesis(mean_w(g).expand(3, -1), "const")
    expected = (start - images).square().mean((1, 2, 3))
    expected = expected + perceptual_distance(features, start, images)
    torch.testing.assert_close(p.losses[0], expected.detach())


def test_each_image_is_projected_on_its_own(g: Generator, features: FeatureNetwork) -> None:
    images = made(g, 2)
    both = project(g, images, features, steps=5)
    alone = project(g, images[1:], features, steps=5)
    torch.testing.assert_close(both.ws[1:], alone.ws, rtol=1e-7, atol=1e-7)


def test_nothing_of_the_generator_changes(g: Generator, features: FeatureNetwork) -> None:
    before = {name: value.clone() for name, value in g.state_dict().items()}
    with torch.no_grad():
        project(g, made(g, 1), features, steps=2)
    assert all(torch.equal(value, before[name]) for name, value in g.state_dict().items())
    assert all(p.grad is None for p in g.parameters())


def test_a_bar_is_shown_on_request(
    g: Generator, features: FeatureNetwork, capsys: pytest.CaptureFixture
) -> None:
    project(g, made(g, 1), features, steps=2)
    assert capsys.readouterr().err == ""
    project(g, made(g, 1), features, steps=2, progress=True)
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "z"}, "space: got 'z', expected one of w, w\\+"),
        ({"steps": 0}, "steps: got 0, expected an integer >= 1"),
        ({"steps": True}, "steps: got True, expected an integer >= 1"),
        ({"lr": 0.0}, "lr: got 0.0, expected a number > 0"),
        ({"images": torch.zeros(1, 3, 8, 8)}, r"images: got \[1, 3, 8, 8\], expected \[N, 3, 32, "),
    ],
)
def test_what_does_not_fit_is_refused(
    g: Generator, features: FeatureNetwork, change: dict, message: str
) -> None:
    arguments = {"images": made(g, 1), "features": features} | change
    with pytest.raises(ValueError, match=message):
        project(g, **arguments)
