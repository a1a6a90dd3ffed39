"""How sure a measure is: the bootstrap over samples (Efron 1979).

A mean is taken again of samples drawn with replacement. A distance cannot be: drawn twice, a sample
is its own nearest neighbour, and a Frechet distance, which is too large for few samples, becomes
larger still. Its bootstrap is therefore one of influence values (Hampel 1974; Jaeckel's
infinitesimal jackknife): how much the distance changes with the weight of each sample, which is a
number a sample, whose mean is sure or not as the distance is.

    Frechet   2 (m2 - m1) . (x - m2) + (x - m2)' (I - T) (x - m2),
              T = S1^(1/2) (S1^(1/2) S2 S1^(1/2))^(-1/2) S1^(1/2)
    kernel    2 (mean kernel with the other samples - mean kernel with the real ones)

Chapter 10.
"""

from collections.abc import Callable

import torch

from ..networks import check, check_positive
from .distances import (
    density_coverage_values, feature_statistics, kernel_means, precision_recall_values,
    root_and_product,
)


def _mean(values: torch.Tensor) -> float:
    return values.double().mean().item()


def half_width(
    values: torch.Tensor, statistic: Callable[[torch.Tensor], float] = _mean,
    resamples: int = 1000, level: float = 0.95, seed: int = 0,
) -> float:
    """Half of the width of a percentile bootstrap interval.

    For means, also trimmed ones, of independent samples; for others see `feature_half_widths`.

    Args:
        values: [N >= 2], one number a sample.
        statistic: what is made of them.
        resamples: how often N of them are drawn anew, with replacement.
        level: share of the resamples inside the interval, in (0, 1).
        seed: decides the draws.

    Raises:
        ValueError: values of another shape, or a number out of range.

    Example:
        >>> from cagc_lib.metrics import half_width
        >>> round(half_width(torch.arange(1000.0)), 1)
        17.7
    """
    fits = values.ndim == 1 and len(values) >= 2
    check(fits, "values", list(values.shape), "[N >= 2]")
    check(0 < level < 1, "level", level, "a number in (0, 1)")
    check_positive("resamples", resamples)
    draw = torch.Generator().manual_seed(seed)
    values = values.cpu()
    n = len(values)
    drawn = (values[torch.randint(n, (n,), generator=draw)] for _ in range(resamples))
    found = torch.tensor([statistic(some) for some in drawn], dtype=torch.float64)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = found.quantile(ends).tolist()
    return (high - low) / 2


def frechet_influence(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """How a Frechet distance changes with the weight of each fake, up to a constant.

    Args:
        real, fake: [N >= 2, D] and [M >= 2, D], features of real and of generated images.

    Returns:
        [M], float64, in the distance's unit.

    Raises:
        ValueError: features of another shape.
    """
    (mean1, cov1), (mean2, cov2) = feature_statistics(real), feature_statistics(fake)
    root, product = root_and_product(cov1, cov2)
    values, vectors = torch.linalg.eigh(product)
    # of directions that no sample has, none is asked
    known = values > 1e-10 * values[-1]
    half = root @ vectors[:, known] * values[known] ** -0.25
    x = fake.double() - mean2
    return 2 * x @ (mean2 - mean1) + x.square().sum(1) - (x @ half).square().sum(1)


def kernel_influence(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """How a kernel distance changes with the weight of each fake; as `frechet_influence`."""
    real, fake = real.double(), fake.double()
    return 2 * (kernel_means(fake, fake) - kernel_means(fake, real))


def feature_half_widths(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """Half widths of the 95% intervals of all measures that compare features.

    Of Frechet and kernel distance, precision and density: over generated samples, the real ones
    held fixed. Recall and coverage are means over real ones: over these, with the samples' balls
    held fixed, so the luck of the samples is not in them.

    Args:
        real, fake: [N > 5, D] and [M > 5, D], features of real and of generated images.

    Returns:
        "frechet", "kernel", "precision", "recall", "density" and "coverage".

    Raises:
        ValueError: features of another shape, or too few.

    Example:
        >>> from cagc_lib.metrics import feature_half_widths
        >>> real, fake = torch.randn(2, 500, 4, generator=torch.Generator().manual_seed(0))
        >>> round(feature_half_widths(real, fake)["precision"], 2)
        0.01
    """
    precision, recall = precision_recall_values(real, fake)
    density, coverage = density_coverage_values(real, fake)
    values = {
        "frechet": frechet_influence(real, fake), "kernel": kernel_influence(real, fake),
        "precision": precision, "recall": recall, "density": density, "coverage": coverage,
    }
    return {name: half_width(value) for name, value in values.items()}
