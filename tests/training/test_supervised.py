import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cagc_lib.datasets import render_portraits
from cagc_lib.networks.residual import ResidualBlock
from cagc_lib.training import HELD_OUT_SEED, augment, gaussian_blur
from cagc_lib.training.supervised import TRAINING_SEEDS, adamw, batch_stream, fit


class MeanColour(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return self.linear(images)


def loss(network, portraits, generator):
    images = portraits.images
    noisy = images + 0.1 * torch.randn(images.shape, generator=generator)
    return {"colour": F.mse_loss(network(noisy).float(), images)}


def fit_portraits(network, loss, steps, seed=0, batch_size=1, replay=4):
    draw = torch.Generator().manual_seed(seed)
    batches = batch_stream(batch_size, (16,), replay, draw)
    optimisation = adamw(network, steps, 0.05)
    return fit(network, loss, batches, optimisation, draw, steps=steps, progress=False)


def fitted(seed=0, steps=60, **options):
    torch.manual_seed(0)
    network = MeanColour()
    return network, fit_portraits(network, loss, steps, seed, 2, **options)


def test_fit_lowers_the_loss_and_reports_it():
    network, history = fitted(steps=110, replay=10)
    assert [row["step"] for row in history] == [50, 100, 110]
    assert history[-1]["colour"] < 0.5 * history[0]["colour"]
    assert not network.training


def test_fit_is_deterministic_per_seed():
    (a, _), (b, _), (c, _) = fitted(steps=5), fitted(steps=5), fitted(seed=1, steps=5)
    assert torch.equal(a.linear.weight, b.linear.weight)
    assert not torch.equal(a.linear.weight, c.linear.weight)


def test_fit_draws_from_its_own_generator_only():
    torch.manual_seed(7)
    expected = torch.rand(1)
    network = MeanColour()
    torch.manual_seed(7)
    fit_portraits(network, loss, steps=2)
    assert torch.equal(torch.rand(1), expected)


def test_fit_rejects_a_diverging_loss():
    def broken(network, portraits, generator):
        return {"loss": loss(network, portraits, generator)["colour"] * float("nan")}

    with pytest.raises(ValueError, match="not finite at step 0"):
        fit_portraits(MeanColour(), broken, steps=1)


def test_batches_come_from_training_seeds_and_are_replayed():
    assert TRAINING_SEEDS <= HELD_OUT_SEED
    generator = torch.Generator().manual_seed(0)
    stream = batch_stream(8, (16, 32), 2, generator)
    batches = [next(stream) for _ in range(6)]
    assert [b.images.shape[-1] for b in batches[::2]] == [16, 32, 16]
    assert [len(b.images) for b in batches[::2]] == [8, 2, 8]
    assert batches[1] is batches[0]
    seeds = torch.randint(TRAINING_SEEDS, (8,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(batches[0].images, render_portraits(seeds, 16).images)


def test_augmentation_reports_what_it_did():
    images = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    result = augment(images, torch.Generator().manual_seed(1))
    again = augment(images, torch.Generator().manual_seed(1))
    assert torch.equal(result.images, again.images)
    assert result.images.abs().max() <= 1
    # About half of the images are left sharp, about half free of noise.
    assert 0.3 < (result.blur == 0).float().mean() < 0.7
    assert 0.3 < (result.noise == 0).float().mean() < 0.7
    assert result.blur.shape == result.noise.shape == (64,)


def test_gaussian_blur_keeps_constants_and_spreads_a_point():
    sigma = torch.tensor([0.0, 1.0])
    constant = torch.full((2, 3, 9, 9), 0.3)
    torch.testing.assert_close(gaussian_blur(constant, sigma), constant)
    point = torch.zeros(2, 1, 15, 15)
    point[:, :, 7, 7] = 1
    blurred = gaussian_blur(point, sigma)
    torch.testing.assert_close(blurred[0], point[0])
    torch.testing.assert_close(blurred[1].sum(), torch.tensor(1.0))
    distance = (torch.arange(15) - 7.0).square()
    assert (blurred[1, 0].sum(0) * distance).sum().item() == pytest.approx(1, abs=0.1)


def test_a_new_residual_block_is_the_identity():
    x = torch.randn(2, 4, 8, 8)
    block = ResidualBlock(4)
    torch.testing.assert_close(block(x), x + block.conv1.bias[:, None, None])
