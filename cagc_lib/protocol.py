"""What the road asks of a generator, whichever it is: the one place where networks look alike.

A generator is a mapping z -> w and a synthesis w -> images, and says of itself which weights write
and read every width, which axes of its tensors run over which width, and what scales a channel.
Scores, plans, pruning, distillation, training and measures need no more. A width is what is pruned
as one: channels that a residual sum ties share one entry of `config.channels`. Chapter 11.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import nn


class PlainConfig:
    """What all configurations share, each a frozen dataclass: the way to JSON and back.

    Attributes:
        what: names the kind of configuration in errors.
    """

    what: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return dataclasses.asdict(self) | {"channels": list(self.channels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a config from `to_dict`'s values; an unknown or missing key is a ValueError."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted({"resolution", "channels"} - set(values))
        if unknown or missing:
            raise ValueError(
                f"{cls.what}: got unknown keys {unknown} and missing keys {missing}, "
                f"expected {sorted(known)}"
            )
        return cls(**values)


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


class Shapes(Protocol):
    """A generator's configuration, a frozen dataclass."""

    resolution: int
    channels: tuple[int, ...]
    z_dim: int

    @property
    def w_dim(self) -> int:
        """Size of a w."""

    @property
    def num_ws(self) -> int:
        """How many w's one image takes."""

    @property
    def noise_sides(self) -> tuple[int, ...]:
        """The side of every noise map that an image takes, in order."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""


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


def like(g: PrunableGenerator) -> torch.Tensor:
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


def check_positive(name: str, value: object) -> None:
    """Raise a one-line ValueError unless the value is an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: got {value!r}, expected an integer >= 1")


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

    def to(self, device: torch.device) -> "ImageFeatures":
        """Move the network."""
