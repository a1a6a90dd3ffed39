"""What the road asks of a generator, whichever it is: the one place where networks look alike.

A generator is a mapping z -> w and a synthesis w -> images, and says of itself which weights write
and read every width, which axes of its tensors run over which width, and what scales a channel.
Scores, plans, pruning, distillation, training and measures need no more. A width is what is pruned
as one: channels that a residual sum ties share one entry of `config.channels`. Chapter 12.
"""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import nn


class Config:
    """What all configurations share, each a frozen dataclass: its checks, the way to JSON and back.

    Attributes:
        what: names the kind of configuration in errors.
        needed: the fields that `from_dict` wants.
    """

    what: ClassVar[str]
    needed: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a config from `to_dict`'s values; an unknown or missing key is a ValueError."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted(set(cls.needed) - set(values))
        for wrong, keys in (("unknown", unknown), ("missing", missing)):
            if keys:
                expected = ", ".join(sorted(known))
                raise ValueError(f"{cls.what}: {wrong} {', '.join(keys)}; expected {expected}")
        return cls(**values)

    def check_values(
        self, choices: Mapping[str, Collection[str]], positive: Collection[str] = ()
    ) -> None:
        """Refuse, in one line, a field of another type than its own, or a number out of range.

        `choices` has the words of every text field of a few words; the numbers begin at 0, those
        named in `positive` at 1.
        """
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in choices:
                fits, expected = value in choices[name], " or ".join(choices[name])
            elif field.type in (bool, str):
                fits = type(value) is field.type
                expected = "True or False" if field.type is bool else "a text"
            else:
                low = 1 if name in positive else 0
                fits = type(value) in (int, field.type) and low <= value < math.inf
                expected = f"{'an integer' if field.type is int else 'a number'} >= {low}"
            check(fits, name, value, expected)


class NetworkConfig(Config):
    """What fixes a network's shapes: a resolution, widths, and numbers of its kind's own."""

    needed = ("resolution", "channels")
    resolution: int
    channels: tuple[int, ...]

    def check_shapes(self, widths: int, or_more: bool = False) -> None:
        """Make the channels a tuple; refuse, in one line, a number that no network has.

        There must be as many channels as `widths` says, or more where more will do; they and every
        other integer must be >= 1, a `conv_clamp` None or > 0.
        """
        object.__setattr__(self, "channels", tuple(self.channels))
        got = len(self.channels)
        if got != widths and not (or_more and got > widths):
            expected = f"{'at least ' * or_more}{widths} for resolution {self.resolution}"
            raise ValueError(f"channels: got {got} widths, expected {expected}")
        for k, width in enumerate(self.channels):
            check_positive(f"channels[{k}]", width)
        for field in dataclasses.fields(self):
            if field.type is int:
                check_positive(field.name, getattr(self, field.name))
        clamp = getattr(self, "conv_clamp", None)
        check(clamp is None or clamp > 0, "conv_clamp", clamp, "None or a number > 0")

    @property
    def levels(self) -> int:
        """How often 2 divides the resolution, a power of two from 8 to 1024, or a ValueError."""
        known = type(self.resolution) is int and self.resolution in [2**k for k in range(3, 11)]
        check(known, "resolution", self.resolution, "a power of two from 8 to 1024")
        return self.resolution.bit_length() - 1


@dataclass(frozen=True)
class Lineage:
    """Where a pruned generator's channels come from.

    Args:
        keep: per width, the sorted indices of the teacher's channels that were kept.
        source_channels: the teacher's widths.
        source_sha256: hash of the teacher's file, or "" when it never was one.
        rgb_gain: "recomputed" or "preserved" (see `pruning.prune`).
    """

    keep: tuple[torch.Tensor, ...]
    source_channels: tuple[int, ...]
    source_sha256: str = ""
    rgb_gain: str = "recomputed"


class Shapes(NetworkConfig):
    """What fixes a generator's shapes.

    Attributes:
        z_dim, w_dim: sizes of the two latents.
        num_ws: how many w's one image takes.
        noise_sides: the side of every noise map that an image takes, in order.
    """

    z_dim: int
    w_dim: int
    num_ws: int
    noise_sides: tuple[int, ...]


class PrunableGenerator(Protocol):
    """A generator that the road can score, prune, train and measure; an nn.Module besides.

    Attributes:
        config: the shapes.
        lineage: None, or for a pruned network which of the teacher's channels it holds.
        mapping: z [N, z_dim] -> w [N, w_dim].
        synthesis: (w, noise, return_rgbs) -> images [N, 3, R, R], or the list of RGB sums whose
            last one is the image.
        mean_samples: how many latents `update_means` wants.
    """

    mean_samples: ClassVar[int]
    config: Shapes
    lineage: Lineage | None
    mapping: nn.Module
    synthesis: nn.Module

    def __call__(
        self, z: torch.Tensor, truncation_psi: float = 1.0,
        noise: str | Sequence[torch.Tensor] = "const",
    ) -> torch.Tensor:
        """Map z [N, z_dim] to images [N, 3, R, R]."""

    @property
    def readers(self) -> tuple[tuple[str, ...], ...]:
        """Per width, the names in `synthesis` of the scored weights [O, C_k, k, k] that read it.

        The input of the first one's layer is the width's activation.
        """

    @property
    def writers(self) -> tuple[tuple[str, ...], ...]:
        """Per width, the names in `synthesis` of the weights [C_k, ...] that write it."""

    @staticmethod
    def sliced_axes(name: str) -> tuple[tuple[int, int], ...]:
        """Say which axes of a state tensor run over channels, as pairs (axis, width)."""

    def effective_factor(self, name: str, w: torch.Tensor) -> torch.Tensor:
        """What a weight of `readers` or `writers` is multiplied with, summed over w [N, w_dim]."""

    def gains(self, w: torch.Tensor) -> list[torch.Tensor]:
        """Per width, the learned factor [C_k] before a channel is read, a mean over w."""

    @property
    def gain_weights(self) -> list[nn.Parameter]:
        """The gains, where they are weights of their own; none where they are computed from w."""

    def update_means(self, z: torch.Tensor) -> None:
        """Set what is a mean over latents z [N, z_dim]: w_avg, or batch norms' statistics."""


def first_parameter(g: PrunableGenerator) -> torch.Tensor:
    """Return a tensor on the generator's device, of its dtype."""
    return next(g.synthesis.parameters()).detach()


@contextmanager
def evaluating(g: PrunableGenerator) -> Iterator[None]:
    """Put every layer into eval mode and back: batch norm then neither sees nor moves its batch."""
    modes = [(module, module.training) for module in g.modules()]
    g.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def check(fits: bool, name: str, got: object, expected: str) -> None:
    """Raise a one-line ValueError, "name: got ..., expected ...", unless the value fits."""
    if not fits:
        raise ValueError(f"{name}: got {got!r}, expected {expected}")


def check_positive(name: str, value: object) -> None:
    """Raise a one-line ValueError unless the value is an integer >= 1."""
    check(type(value) is int and value >= 1, name, value, "an integer >= 1")


class ImageFeatures(Protocol):
    """A network that losses and measures look at images through; an nn.Module besides.

    Attributes:
        channel_weights: per map [C_s, 1, 1] what its channels' squared differences are multiplied
            with in `features.perceptual_distance`; None for 1.
    """

    channel_weights: Sequence[torch.Tensor] | None

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images [N, 3, H, W] to a size that the network knows."""

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images [N, 3, H, W] in [-1, 1] to feature maps, finest first."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, H, W] in [-1, 1] to one vector each, [N, D]."""


def check_images(images: torch.Tensor, side: int | None = None) -> torch.Tensor:
    """Return images unchanged; a ValueError unless they are floating point [N, 3, H, W].

    H and W must be `side`, where one is given.
    """
    if not isinstance(images, torch.Tensor):
        raise ValueError(f"images must be a tensor, got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        got = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"images must be floating point [N, 3, H, W], got {got}")
    if side is not None and images.shape[2:] != (side, side):
        raise ValueError(f"images: got {list(images.shape)}, expected [N, 3, {side}, {side}]")
    return images
