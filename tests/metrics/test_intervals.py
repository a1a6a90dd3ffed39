"""Intervals against closed forms, against leaving samples out, and against fresh draws."""

import math

import pytest
import torch

from cagc_lib.metrics import (
    density_coverage,
    feature_half_widths,
    feature_statistics,
    frechet_distance,
    frechet_influence,
    half_width,
    kernel_distance,
    kernel_influence,
    precision_recall,
)


def test_a_bootstrap_interval_is_as_wide_as_theory_says() -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    expected = 1.96 * values.std().item() / math.sqrt(2000)
    assert half_width(values) == pytest.approx(expected, rel=0.08)
    assert half_width(values, level=0.5) == pytest.approx(0.6745 / 1.96 * expected, rel=0.08)
    assert half_width(values) == half_width(values)
    assert half_width(torch.ones(5)) == 0


def clouds(n: int, d: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    real, fake = torch.randn(2, n, d, generator=torch.Generator().manual_seed(0)).double()
    return real, 1.3 * fake + 0.4


@pytest.mark.parametrize(
    ("influence", "distance"),
    [
        (frechet_influence, lambda r, f: frechet_distance(
            *feature_statistics(r), *feature_statistics(f))),
        (kernel_influence, kernel_distance),
    ],
)
def test_influence_is_what_leaving_a_sample_out_changes(influence, distance) -> None:
    real, fake = clouds(1500)
    whole, found = distance(real, fake), influence(real, fake)
    kept = [torch.cat([fake[:i], fake[i + 1 :]]) for i in range(12)]
    # the jackknife's pseudo-values, up to a constant
    left_out = torch.tensor([(len(fake) - 1) * (whole - distance(real, some)) for some in kept])
    centred, expected = (x - x.mean() for x in (found[:12], left_out.double()))
    torch.testing.assert_close(centred, expected, rtol=0.03, atol=0.03 * found.std().item())


def test_intervals_are_as_wide_as_fresh_draws_are_apart() -> None:
    draw, (real, _) = torch.Generator().manual_seed(1), clouds(400)
    fakes = [1.3 * torch.randn(400, 6, generator=draw).double() + 0.4 for _ in range(80)]
    found = []
    for fake in fakes:
        precision, density = precision_recall(real, fake)[0], density_coverage(real, fake)[0]
        frechet = frechet_distance(*feature_statistics(real), *feature_statistics(fake))
        found.append([frechet, kernel_distance(real, fake), precision, density])
    apart = 1.96 * torch.tensor(found).std(0)
    halves = [feature_half_widths(real, fake) for fake in fakes[:5]]
    names = ("frechet", "kernel", "precision", "density")
    widths = torch.tensor([[half[name] for name in names] for half in halves]).mean(0)
    torch.testing.assert_close(widths, apart, rtol=0.3, atol=0)


def test_intervals_of_fewer_samples_than_features() -> None:
    real, fake = clouds(12, 40)
    halves = feature_half_widths(real, fake)
    assert halves["frechet"] > 0 and all(math.isfinite(half) for half in halves.values())


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.ones(1), {}, r"values: got \[1\], expected \[N >= 2\]"),
        (torch.ones(3), {"level": 1}, "level: got 1, expected a number in"),
        (torch.ones(3), {"resamples": 0}, "resamples: got 0"),
    ],
)
def test_wrong_input_is_one_line(values: torch.Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        half_width(values, **options)
