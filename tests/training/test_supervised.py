import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cagc_lib.datasets import render_portraits
from cagc_lib.networks.parser import ResidualBlock
from cagc_lib.training import HELD_OUT_SEED, augment, gaussian_blur
from cagc_lib.training.supervised import batch_stream, fit


def loss(network, portraits, generator):
    images = portraits.images
    noisy = images + 0.1 * torch.randn(images.shape, generator=generator)
    return {"colour": F.mse_loss(network(noisy).float(), images)}


def fitted(steps, loss=loss, seed=0, **options):
    torch.manual_seed(0)
    network, draw = nn.Conv2d(3, 3, 1), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), 0.05)
    batches = batch_stream(2, (16,), 10, draw)
    fit(network, loss, batches, optimiser, draw, steps=steps, progress=False, **options)
    return network


def test_fit_lowers_the_loss():
    network = fitted(steps=110)
    assert not network.training
    # a first step of no length leaves the weights that it starts from
    losses = [
        loss(net, render_portraits([0, 1], 16), torch.Generator().manual_seed(0))["colour"]
        for net in (network, fitted(steps=1, warmup=10**9))
    ]
    assert losses[0] < 0.5 * losses[1]


def test_fit_is_deterministic_per_seed():
    a, b, c = fitted(5), fitted(5), fitted(5, seed=1)
    assert torch.equal(a.weight, b.weight)
    assert not torch.equal(a.weight, c.weight)


def test_fit_draws_from_its_own_generator_only():
    torch.manual_seed(0)
    nn.Conv2d(3, 3, 1)
    expected = torch.rand(1)
    fitted(2)
    assert torch.equal(torch.rand(1), expected)


def test_fit_rejects_a_diverging_loss():
    def broken(network, portraits, generator):
        return {"loss": loss(network, portraits, generator)["colour"] * float("nan")}

    with pytest.raises(ValueError, match="not finite at step 0"):
        fitted(1, broken)


def test_batches_come_from_training_seeds_and_are_replayed():
    generator = torch.Generator().manual_seed(0)
    stream = batch_stream(8, (16, 32), 2, generator)
    batches = [next(stream) for _ in range(6)]
    assert [b.images.shape[-1] for b in batches[::2]] == [16, 32, 16]
    assert [len(b.images) for b in batches[::2]] == [8, 2, 8]
    assert batches[1] is batches[0]
    seeds = torch.randint(HELD_OUT_SEED, (8,), generator=torch.Generator().manual_seed(0))
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
