"""Path lengths against closed forms, and what the public code's number really measures."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import cagc_lib as cagc
from cagc_lib.metrics import (
    EPSILON,
    PUBLIC_PATH,
    noise_distances,
    on_arc,
    path_lengths,
    sample_inputs,
    trimmed_mean,
    variety,
)
from cagc_lib.networks import SNGANConfig, SNGANGenerator


class Plain(nn.Module):
    """Features whose distance is the mean squared difference of the pixels."""

    channel_weights = None

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        # unit vectors (cos x, sin x) differ by as much as x does, where that is little
        return [torch.stack([images.cos(), images.sin()], 1).flatten(2)[..., None]]


class Linear(nn.Module):
    """An image is a linear function of w."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(0.1 * torch.randn(3 * 64, 4, generator=draw))

    def forward(self, w: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        return (w @ self.weight.T).reshape(-1, 3, 8, 8)


class Flat(nn.Module):
    """The least that measures ask of a generator."""

    config = SimpleNamespace(noise_sides=(8,), z_dim=4)

    def __init__(self) -> None:
        super().__init__()
        self.mapping, self.synthesis = nn.Identity(), Linear()


def test_the_path_of_a_linear_generator_is_the_squared_distance_of_its_ends() -> None:
    g = Flat()
    lengths = path_lengths(g, Plain(), 40, eps=1e-2, batch_size=7)
    zs = torch.cat([z for z, _ in sample_inputs(g, 80, 0, 80)])
    expected = g.synthesis(zs[::2] - zs[1::2], []).square().mean((1, 2, 3))
    # its speed is the same everywhere; an angle's chord is shorter than the angle, but hardly here
    torch.testing.assert_close(lengths, expected.detach(), rtol=1e-2, atol=0)


def test_what_the_public_code_reports_is_the_noise() -> None:
    g, features = cagc.load_generator("portraits-11x"), cagc.load_features()
    public = path_lengths(g, features, 20, **PUBLIC_PATH) * EPSILON**2
    noise = noise_distances(g, features, 20)
    assert public.mean().item() == pytest.approx(noise.mean().item(), rel=0.3)
    # the true length, times eps^2, is nowhere near
    true = path_lengths(g, features, 20) * EPSILON**2
    assert true.mean() < public.mean() / 1e3


def test_lengths_hardly_depend_on_the_step_and_not_on_the_batch() -> None:
    g, features = cagc.load_generator("portraits-11x"), cagc.load_features()
    lengths = path_lengths(g, features, 12)
    assert (lengths > 0).all()
    torch.testing.assert_close(path_lengths(g, features, 12, batch_size=5), lengths, rtol=0.02,
                               atol=0.0)
    larger = path_lengths(g, features, 12, eps=1e-3)
    assert trimmed_mean(larger) == pytest.approx(trimmed_mean(lengths), rel=0.1)
    assert not torch.equal(path_lengths(g, features, 12, seed=1), lengths)
    ends = path_lengths(g, features, 12, ends="end")
    assert not torch.equal(ends, lengths)


def test_a_generator_that_paints_everybody_alike_is_smooth_and_poor() -> None:
    g, features = cagc.load_generator("portraits-11x"), cagc.load_features()
    dull = cagc.load_generator("portraits-11x")
    with torch.no_grad():
        for name, p in dull.mapping.named_parameters():
            if name.endswith("weight") and name.startswith("fc3"):
                p.mul_(0.3)
    path, plain = (trimmed_mean(path_lengths(x, features, 12)) for x in (dull, g))
    various, usual = (variety(x, features, 12).mean().item() for x in (dull, g))
    assert path < 0.5 * plain and various < usual


def test_networks_without_noise_maps_have_no_noise() -> None:
    torch.manual_seed(0)
    g = SNGANGenerator(SNGANConfig(32, (8,) * 7, 16))
    assert noise_distances(g, cagc.load_features(), 3).eq(0).all()
    assert (path_lengths(g, cagc.load_features(), 3, space="z") > 0).all()


@given(st.integers(0, 99), st.floats(0, 1))
def test_an_arc_keeps_its_ends_and_its_length(seed: int, t: float) -> None:
    a, b = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(seed)).double()
    torch.testing.assert_close(on_arc(a, b, 0.0), a)
    torch.testing.assert_close(on_arc(a, b, 1.0), b)
    place = on_arc(a, b, t)
    torch.testing.assert_close(place.norm(dim=1), a.norm(dim=1).lerp(b.norm(dim=1), t))
    # the same way back
    torch.testing.assert_close(on_arc(b, a, 1 - t), place)


def test_a_trimmed_mean_leaves_the_ends_out() -> None:
    values = torch.arange(1000.0)
    assert trimmed_mean(values) == trimmed_mean(values.flip(0)) == 499.5
    spoilt = values.clone()
    spoilt[-5:] = 1e9
    assert trimmed_mean(spoilt) == pytest.approx(499.5, rel=0.03)
    assert trimmed_mean(values, share=0) == values.mean().item()
    assert trimmed_mean(torch.tensor([2.0])) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "x"}, "space: got 'x', expected w or z"),
        ({"ends": "x"}, "ends: got 'x', expected full or end"),
        ({"eps": 0}, r"eps: got 0, expected a number in \(0, 0.5\]"),
        ({"num_pairs": 0}, "num_pairs: got 0, expected an integer >= 1"),
        ({"batch_size": 0}, "batch_size: got 0, expected an integer >= 1"),
    ],
)
def test_paths_that_cannot_be_measured(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        path_lengths(Flat(), Plain(), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trimmed_mean(torch.ones(3), 0.5), "share: got 0.5"),
        (lambda: trimmed_mean(torch.tensor([])), r"values: got \[0\], expected \[N >= 1\] finite"),
        (lambda: trimmed_mean(torch.tensor([math.nan])), r"values: got \[1\]"),
    ],
)
def test_means_and_intervals_that_cannot_be(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
