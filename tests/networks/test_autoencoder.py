"""The second eye: it draws portraits again, tells them apart, and sees what the first one sees."""

import pytest
import torch

import cagc_lib as cagc
from cagc_lib.checkpoints import load_autoencoder
from cagc_lib.metrics import feature_statistics, frechet_distance
from cagc_lib.networks import Autoencoder, perceptual_distance
from cagc_lib.training import HELD_OUT_SEED, gaussian_blur

SEEDS = range(HELD_OUT_SEED + 5000, HELD_OUT_SEED + 5400)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return cagc.render_portraits(SEEDS, 64).images


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return load_autoencoder()


def test_a_portrait_is_drawn_again_from_its_code(images: torch.Tensor, network) -> None:
    codes = network.embed(images)
    assert codes.shape == (400, 128)
    drawn = network.draw(codes)
    assert drawn.shape == images.shape
    # far nearer to the portrait than the mean portrait is, and than the neighbour's drawing
    error = (drawn - images).square().mean()
    assert error < 0.15 * (images.mean(0) - images).square().mean()
    assert error < 0.15 * (drawn.roll(1, 0) - images).square().mean()


def test_a_distance_grows_with_what_is_done_to_a_picture(images: torch.Tensor, network) -> None:
    real = feature_statistics(network.embed(images))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    def distance(others: torch.Tensor) -> float:
        return frechet_distance(*real, *feature_statistics(network.embed(others)))

    blurs = [distance(gaussian_blur(images, torch.full([400], s))) for s in (0.05, 1.0, 2.0)]
    noises = [distance((images + s * noise).clamp(-1, 1)) for s in (0.0, 0.1, 0.3)]
    shifts = [distance(images.roll(s, 3)) for s in (0, 3, 8)]
    for found in (blurs, noises, shifts):
        assert found == sorted(found)
        assert found[0] < 1e-3 < found[1] < found[2] / 2
    # what a code has no room for, it hardly sees
    assert noises[1] < 0.1 * blurs[1]


def test_it_is_a_feature_network_like_others(images: torch.Tensor, network) -> None:
    maps = network(images[:2])
    shapes = [[32, 32, 32], [64, 16, 16], [96, 8, 8], [128, 4, 4]]
    assert [list(m.shape[1:]) for m in maps] == shapes
    assert perceptual_distance(network, images[:4], images[:4]).eq(0).all()
    assert (perceptual_distance(network, images[:4], images[4:8]) > 0.01).all()
    report = cagc.evaluate(cagc.load_generator("portraits-11x"), 20, features="autoencoder")
    assert report.frechet > 0


@pytest.mark.parametrize("side", [32, 64, 100, 256])
def test_sizes_are_brought_to_the_trained_one(side: int, network) -> None:
    assert network.prepare(torch.zeros(1, 3, side, side)).shape == (1, 3, 64, 64)


def test_images_that_are_too_small_are_refused(network) -> None:
    with pytest.raises(ValueError, match=r"images: got \[16, 16\], expected at least 32 x 32"):
        network.embed(torch.zeros(1, 3, 16, 16))
