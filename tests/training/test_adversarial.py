"""Adversarial losses, path length, latents, the moving average and lazy Adam, by hand."""

import math

import pytest
import torch

from cagc_lib.networks import GeneratorConfig, SNGANConfig
from cagc_lib.training import discriminator_loss, generator_loss, path_lengths
from cagc_lib.training.adversarial import (
    LOSSES,
    average_decay,
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


def test_latents_mix_at_one_layer() -> None:
    mapping = torch.nn.Linear(4, 3)
    latents = draw_latents(5, 4, 8, 1.0, rng(1))
    ws = latents.ws(mapping, 8)
    assert ws.shape == (5, 8, 3)
    assert 1 <= latents.crossover < 8
    first, second = mapping(latents.z[0]), mapping(latents.z[1])
    for layer in range(8):
        expected = first if layer < latents.crossover else second
        assert torch.allclose(ws[:, layer], expected)


def test_latents_without_mixing_are_one_w() -> None:
    latents = draw_latents(5, 4, 8, 0.0, rng(1))
    ws = latents.ws(torch.nn.Linear(4, 3), 8)
    assert latents.crossover == 8
    assert torch.equal(ws, ws[:, :1].expand_as(ws))


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


def test_average_moves_by_its_decay() -> None:
    average, source = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    before = [p.clone() for p in average.parameters()]
    update_average(average, source, 0.75)
    for old, new, target in zip(before, average.parameters(), source.parameters(), strict=True):
        assert torch.allclose(new, 0.75 * old + 0.25 * target)


def test_average_decay_is_the_public_codes() -> None:
    assert average_decay(32, 10_000) == 0.5 ** (32 / 10_000)
    assert round(average_decay(32, 10_000), 5) == 0.99778
    # a half-life of nothing follows the source at once
    assert average_decay(16, 0) == 0


def test_lazy_adam_corrects_rate_and_decay() -> None:
    parameters = list(torch.nn.Linear(2, 2).parameters())
    group = lazy_adam(parameters, 0.002, 4).param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 4 / 5)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (4 / 5)))
    group = lazy_adam(parameters, 0.002, 0).param_groups[0]
    assert (group["lr"], group["betas"]) == (0.002, (0.0, 0.99))


def test_hinge_losses_by_hand() -> None:
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [-3.0]])
    for_generator, for_discriminator = LOSSES["hinge"]
    # real: 0 and 2; fake: 1.5 and 0
    assert for_discriminator(real, fake).item() == 1 + 0.75
    assert for_generator(fake).item() == 1.25
    assert LOSSES["logistic"] == (generator_loss, discriminator_loss)


def test_one_w_an_image_is_never_mixed() -> None:
    latents = draw_latents(5, 4, 1, 1.0, rng(1))
    assert latents.crossover == 1
    assert torch.equal(latents.ws(torch.nn.Identity(), 1), latents.z[0][:, None])


def test_adams_second_moments_decay_as_told() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    assert lazy_adam([weight], 1e-3, 0, 0.9).defaults["betas"] == (0.0, 0.9)
