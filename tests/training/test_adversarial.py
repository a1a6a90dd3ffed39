"""Adversarial losses, path length, latents, the moving average and lazy Adam, by hand."""

import math

import pytest
import torch

from cagc_lib.networks import GeneratorConfig, SNGANConfig
from cagc_lib.training import discriminator_loss, generator_loss, path_lengths
from cagc_lib.training.adversarial import (
    LOSSES,
    draw_latents,
    draw_noise,
    lazy_adam,
    update_average,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_logistic_losses_by_hand() -> None:
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [3.0]])
    softplus = [math.log1p(math.exp(x)) for x in (-2.0, 1.0, 0.5, 3.0, -0.5, -3.0)]
    expected = (softplus[0] + softplus[1]) / 2 + (softplus[2] + softplus[3]) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected, rel=1e-6)
    expected = (softplus[4] + softplus[5]) / 2
    assert generator_loss(fake).item() == pytest.approx(expected, rel=1e-6)


def test_path_length_of_a_linear_generator() -> None:
    # every layer's w goes through the same matrix, so every layer's gradient is A y
    a = torch.randn(5, 3 * 4 * 4, generator=rng(1), dtype=torch.float64)
    ws = torch.randn(2, 6, 5, generator=rng(2), dtype=torch.float64).requires_grad_()
    images = (ws.sum(1) @ a).reshape(2, 3, 4, 4)
    lengths = path_lengths(images, ws, rng(3))
    y = torch.randn(2, 3, 4, 4, generator=rng(3)) / 4
    expected = (y.flatten(1).double() @ a.t()).norm(dim=1)
    assert torch.allclose(lengths.double(), expected, rtol=1e-5)


def test_path_length_can_be_differentiated() -> None:
    weight = torch.randn(5, 48, generator=rng(1)).requires_grad_()
    ws = torch.randn(2, 6, 5, generator=rng(2)).requires_grad_()
    images = (ws.sum(1).tanh() @ weight).reshape(2, 3, 4, 4)
    path_lengths(images, ws, rng(3)).sum().backward()
    assert weight.grad.abs().sum() > 0


# without mixing, or with one w an image, the first latent makes every layer
@pytest.mark.parametrize(("num_ws", "mixing"), [(8, 1.0), (8, 0.0), (1, 1.0)])
def test_latents_mix_at_one_layer(num_ws: int, mixing: float) -> None:
    mapping = torch.nn.Linear(4, 3)
    latents = draw_latents(5, 4, num_ws, mixing, rng(1))
    ws = latents.ws(mapping, num_ws)
    assert ws.shape == (5, num_ws, 3)
    mixed = mixing > 0 and num_ws > 1
    assert 1 <= latents.crossover < num_ws if mixed else latents.crossover == num_ws
    first, second = mapping(latents.z[0]), mapping(latents.z[1])
    for layer in range(num_ws):
        expected = first if layer < latents.crossover else second
        assert torch.allclose(ws[:, layer], expected)


def test_latents_mix_as_often_as_asked() -> None:
    draw = rng(4)
    mixed = [draw_latents(1, 2, 10, 0.9, draw).crossover < 10 for _ in range(400)]
    # 0.9 +- 4 standard deviations
    assert 0.84 < sum(mixed) / 400 < 0.96


def test_noise_maps_have_the_convolutions_sizes() -> None:
    sides = GeneratorConfig(16, (8,) * 6).noise_sides
    maps = draw_noise(3, sides, rng(5))
    shapes = [tuple(n.shape) for n in maps]
    assert shapes == [(3, 1, 4, 4), *[(3, 1, 8, 8)] * 2, *[(3, 1, 16, 16)] * 2]
    # one draw after the other, in the order of the layers
    draw = rng(5)
    assert all(torch.equal(n, torch.randn(n.shape, generator=draw)) for n in maps)
    assert draw_noise(3, SNGANConfig().noise_sides, rng()) == []


# the public code's decay; a half-life of nothing follows the source at once
@pytest.mark.parametrize(("images", "half_life", "decay"), [(32, 1e4, 0.997784387), (16, 0, 0)])
def test_average_moves_by_its_decay(images: int, half_life: float, decay: float) -> None:
    average, source = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    before = [p.clone() for p in average.parameters()]
    update_average(average, source, images, half_life)
    for old, new, target in zip(before, average.parameters(), source.parameters(), strict=True):
        assert torch.allclose(new, decay * old + (1 - decay) * target)


def test_lazy_adam_corrects_rate_and_decay() -> None:
    parameters = list(torch.nn.Linear(2, 2).parameters())
    group = lazy_adam(parameters, 0.002, 4).param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 4 / 5)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (4 / 5)))
    group = lazy_adam(parameters, 0.002, 0, 0.9).param_groups[0]
    assert (group["lr"], group["betas"]) == (0.002, (0.0, 0.9))


def test_hinge_losses_by_hand() -> None:
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [-3.0]])
    for_generator, for_discriminator = LOSSES["hinge"]
    # real: 0 and 2; fake: 1.5 and 0
    assert for_discriminator(real, fake).item() == 1 + 0.75
    assert for_generator(fake).item() == 1.25
    assert LOSSES["logistic"] == (generator_loss, discriminator_loss)
