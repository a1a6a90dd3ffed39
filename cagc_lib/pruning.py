"""From channel scores to a plan, from a plan to a smaller, ordinary generator.

    removed_k = int(C_k * ratio)        as the public code rounds: a float64 product, truncated
    keep_k    = the C_k - removed_k channels with the largest scores, in ascending order

scores: one [C_k] per width k (k = 0 the 4x4 constant, then every convolution's output). A channel
is removed from what writes it and from the layers that read it. In StyleGAN2 these are the next
convolution (with the rows of its affine layer) and, on every second width, a ToRGB: it has no
residual sums, so nothing else is tied. In an SN-GAN the two branches of a block write one sum, and
batch norms go with their channels. The generator says so itself (`sliced_axes`). Liu et al. 2021
(arXiv 2104.02244); the public code's Util/pruning_util.py, Util/mask_util.py. Chapters 7, 12.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .checkpoints import atomic_write, reason_of
from .importance import ChannelScores, check_scores
from .networks import Lineage, PrunableGenerator, check, first_parameter

RGB_GAINS = ("recomputed", "preserved")


@dataclass(frozen=True, eq=False)
class PruningPlan:
    """Which channels of every width stay.

    Attributes:
        keep: one ascending int64 tensor of kept channel numbers per width.
        source_channels: widths of the network that the plan is for.
        ratio: share of channels removed, one for all widths or one per width, in [0, 1).
        round_to: kept widths were rounded up to a multiple of this, or None.
        method, seed, num_samples: where the scores came from; None where unknown.

    Example:
        >>> plan = cagc.PruningPlan((torch.tensor([0, 3]),), source_channels=(4,), ratio=0.5)
        >>> plan.save("plan.json")
        >>> cagc.PruningPlan.load("plan.json").channels
        (2,)
    """

    keep: tuple[torch.Tensor, ...]
    source_channels: tuple[int, ...]
    ratio: float | tuple[float, ...]
    round_to: int | None = None
    method: str | None = None
    seed: int | None = None
    num_samples: int | None = None

    def __post_init__(self) -> None:
        _ratio_per_width(self.ratio, len(self.source_channels))
        got, expected = len(self.keep), len(self.source_channels)
        check(got == expected, "keep", got, f"{expected} vectors, one a width")
        for k, (keep, width) in enumerate(zip(self.keep, self.source_channels, strict=True)):
            if keep.dtype != torch.int64 or keep.ndim != 1 or len(keep) == 0:
                got = f"{keep.dtype} {list(keep.shape)}"
                raise ValueError(f"keep[{k}]: got {got}, expected a non-empty int64 vector")
            if keep[0] < 0 or keep[-1] >= width or not bool((keep.diff() > 0).all()):
                raise ValueError(
                    f"keep[{k}]: expected ascending, distinct channel numbers in [0, {width})"
                )

    @property
    def channels(self) -> tuple[int, ...]:
        """The widths after pruning."""
        return tuple(len(keep) for keep in self.keep)

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, atomically."""
        values = vars(self) | {"keep": [keep.tolist() for keep in self.keep]}
        atomic_write(path, (json.dumps(values) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> "PruningPlan":
        """Read a plan that `save` wrote; a file of another kind is a one-line ValueError."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            if any(type(number) is not int for keep in values["keep"] for number in keep):
                raise ValueError("keep holds something other than integers")
            values["keep"] = tuple(torch.tensor(keep, dtype=torch.int64) for keep in values["keep"])
            values["source_channels"] = tuple(values["source_channels"])
            if isinstance(values["ratio"], list):
                values["ratio"] = tuple(values["ratio"])
            return cls(**values)
        except (TypeError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: not a pruning plan ({reason_of(error)})") from None


def plan_pruning(
    scores: ChannelScores | Sequence[torch.Tensor], ratio: float | Sequence[float],
    round_to: int | None = None,
) -> PruningPlan:
    """Decide which channels stay: every width loses the same share of its lowest scores.

    The number removed is `int(C * ratio)` in float64, as the public code computes it
    (Util/pruning_util.py): a product that falls short by rounding loses one channel less, for
    example int(100 * 0.29) is 28. Equal scores lose the lower channel number first. At least one
    channel stays.

    Args:
        scores: from `score_channels` or `gradient_scores`: one [C_k] per width, finite.
        ratio: share removed, in [0, 1); or one per width.
        round_to: round every kept width up to a multiple of this, never above C_k; None keeps the
            public code's number.

    Raises:
        ValueError: a ratio outside [0, 1), a wrong number of them, scores that are not finite.

    Example:
        >>> plan = cagc.plan_pruning([torch.tensor([0.3, 0.1, 0.2, 0.4])], ratio=0.5)
        >>> plan.keep, plan.channels
        ((tensor([0, 3]),), (2,))
    """
    vectors = scores.scores if isinstance(scores, ChannelScores) else tuple(scores)
    check_scores(vectors)
    ratios = _ratio_per_width(ratio, len(vectors))
    rounds = round_to is None or (type(round_to) is int and round_to >= 1)
    check(rounds, "round_to", round_to, "an integer >= 1 or None")
    keep = []
    for vector, share in zip(vectors, ratios, strict=True):
        kept = kept_channels(len(vector), share, round_to)
        order = torch.argsort(vector.detach().cpu(), stable=True)
        keep.append(order[len(vector) - kept :].sort().values)
    origin = {name: getattr(scores, name, None) for name in ("method", "seed", "num_samples")}
    return PruningPlan(
        tuple(keep), source_channels=tuple(len(vector) for vector in vectors),
        ratio=float(ratio) if isinstance(ratio, int | float) else tuple(ratios), round_to=round_to,
        **origin,
    )


def kept_channels(channels: int, ratio: float, round_to: int | None = None) -> int:
    """Return how many of `channels` a ratio leaves: C - int(C * ratio), rounded up, at least 1."""
    kept = max(1, channels - int(channels * ratio))
    if round_to is not None:
        kept = min(channels, -(-kept // round_to) * round_to)
    return kept


def prune(
    g: PrunableGenerator, plan: PruningPlan, rgb_gain: str = "recomputed", source_sha256: str = "",
) -> PrunableGenerator:
    """Build the smaller generator that a plan describes.

    Args:
        g: the source; not changed. May itself be the result of pruning.
        plan: made for a network with g's widths.
        rgb_gain: a ToRGB scales its weights by 1/sqrt(C) and is not demodulated, so fewer channels
            mean more contrast: by sqrt(512/154) = 1.82 at ratio 0.7. "recomputed" leaves that to
            re-training, as the public code does; "preserved" multiplies the ToRGB weights by
            sqrt(C_new / C_old), so that every kept channel paints as strongly as before. An SN-GAN
            has no such gain: both give the same network.
        source_sha256: hash of g's file for the lineage; ignored if g has been pruned before.

    Returns:
        An ordinary generator on g's device with g's dtype and mode; its parameters require
        gradients. `lineage` holds the kept channels as numbers of the first, unpruned source, and
        the `rgb_gain` of this call.

    Raises:
        ValueError: a plan for other widths, an unknown `rgb_gain`.

    Example:
        >>> g = cagc.load_generator("portraits-11x")
        >>> plan = cagc.plan_pruning([torch.rand(width) for width in g.config.channels], 0.5)
        >>> cagc.prune(g, plan).config.channels
        (24, 24, 24, 24, 24, 24, 12, 12, 6, 6)
    """
    check(rgb_gain in RGB_GAINS, "rgb_gain", rgb_gain, f"one of {', '.join(RGB_GAINS)}")
    if plan.source_channels != tuple(g.config.channels):
        made, own = list(plan.source_channels), list(g.config.channels)
        raise ValueError(f"plan: made for widths {made}, expected this network's {own}")
    config = replace(g.config, channels=plan.channels)
    state = {}
    for name, tensor in g.state_dict().items():
        for axis, width in g.sliced_axes(name):
            tensor = tensor.index_select(axis, plan.keep[width].to(tensor.device))
        if rgb_gain == "preserved" and re.fullmatch(r"synthesis\.torgbs\.\d+\.weight", name):
            (_, width), = g.sliced_axes(name)
            tensor = tensor * math.sqrt(plan.channels[width] / plan.source_channels[width])
        state[name] = tensor
    # before its first pruning a network holds every channel of itself
    everything = tuple(torch.arange(c) for c in plan.source_channels)
    first = g.lineage or Lineage(everything, plan.source_channels, source_sha256)
    keep = tuple(old.cpu()[new.cpu()] for old, new in zip(first.keep, plan.keep, strict=True))
    # the weights drawn here are overwritten: the caller's random numbers stay as they were
    with torch.random.fork_rng(devices=[]):
        student = type(g)(config, lineage=replace(first, keep=keep, rgb_gain=rgb_gain))
    student.to(first_parameter(g)).load_state_dict(state)
    return student.train(g.training)


def _ratio_per_width(ratio: float | Sequence[float], widths: int) -> list[float]:
    several = isinstance(ratio, Sequence) and not isinstance(ratio, str)
    ratios = list(ratio) if several else [ratio] * widths
    if len(ratios) != widths:
        raise ValueError(f"ratio: got {len(ratios)} numbers, expected one per width ({widths})")
    for value in ratios:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        check(number and 0 <= value < 1, "ratio", value, "a number in [0, 1)")
    return [float(value) for value in ratios]
