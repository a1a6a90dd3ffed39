"""How sure a mean over samples is: the bootstrap (Efron 1979). Chapter 10."""

from collections.abc import Callable

import torch

from ..networks import check, check_positive


def _mean(values: torch.Tensor) -> float:
    return values.double().mean().item()


def half_width(
    values: torch.Tensor, statistic: Callable[[torch.Tensor], float] = _mean,
    resamples: int = 1000, level: float = 0.95, seed: int = 0,
) -> float:
    """Half of the width of a percentile bootstrap interval.

    For means, also trimmed ones, of independent samples. Not for a Frechet distance: one of samples
    drawn with replacement is too large on average.

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
