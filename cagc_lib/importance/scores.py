"""The value that scoring hands on: one score per channel of every width, and how it was made."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..checkpoints import atomic_write, reason_of
from ..networks import check, check_positive

# the methods that draw salt and pepper, those that look at the content, and all
PROBING = ("content-aware", "taylor", "content-diversity")
LOOKING = (*PROBING, "ablation")
METHODS = (*LOOKING, "diversity", "l1-out", "l1-in", "activation", "slimming", "random")


@dataclass(frozen=True, eq=False)
class ChannelScores:
    """One score per channel, and how it was made.

    Attributes:
        scores: one float32 [C_k] per width k; larger means more important.
        method and the others: the arguments of `score_channels`.

    Example:
        >>> scores = cagc.score_channels(cagc.load_generator("portraits-11x"), None, "random")
        >>> scores.save("scores.safetensors")
        >>> cagc.ChannelScores.load("scores.safetensors").channels
        (48, 48, 48, 48, 48, 48, 24, 24, 12, 12)
    """

    scores: tuple[Tensor, ...]
    method: str
    num_samples: int
    batch_size: int
    noise_prob: float
    seed: int
    per_sample: bool = False
    noise: str = "random"

    def __post_init__(self) -> None:
        check_scores(self.scores)
        check(self.method in METHODS, "method", self.method, f"one of {', '.join(METHODS)}")
        check_positive("num_samples", self.num_samples)
        check_positive("batch_size", self.batch_size)
        check(type(self.seed) is int, "seed", self.seed, "an integer")
        prob, per_sample = self.noise_prob, self.per_sample
        number = isinstance(prob, int | float) and not isinstance(prob, bool)
        check(number and 0 < prob <= 1, "noise_prob", prob, "a number in (0, 1]")
        check(self.noise in ("random", "const"), "noise", self.noise, "random or const")
        check(type(per_sample) is bool, "per_sample", per_sample, "True or False")
        possible = self.method in PROBING or not per_sample
        expected = f"one of {', '.join(PROBING)}, as per_sample is True"
        check(possible, "method", self.method, expected)

    @property
    def channels(self) -> tuple[int, ...]:
        """The widths of the network that was scored."""
        return tuple(len(vector) for vector in self.scores)

    def save(self, path: str | Path) -> None:
        """Write the scores as safetensors with the settings as metadata, atomically."""
        tensors = {f"scores.{k}": vector.cpu() for k, vector in enumerate(self.scores)}
        settings = {k: str(v) for k, v in asdict(self).items() if k != "scores"}
        atomic_write(path, safetensors.torch.save(tensors, settings))

    @classmethod
    def load(cls, path: str | Path) -> "ChannelScores":
        """Read scores that `save` wrote; a file of another kind is a one-line ValueError."""
        kinds = {field.name: field.type for field in fields(cls) if field.name != "scores"}
        try:
            with safe_open(path, framework="pt") as file:
                settings = file.metadata() or {}
                vectors = [file.get_tensor(f"scores.{k}") for k in range(len(file.keys()))]
            if wrong := sorted(settings.keys() ^ kinds.keys()):
                raise ValueError(f"missing or unknown settings: {', '.join(wrong)[:100]}")
            typed = {k: kinds[k](settings[k]) for k in kinds if k != "per_sample"}
            return cls(tuple(vectors), per_sample=settings["per_sample"] == "True", **typed)
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: not channel scores ({reason_of(error)})") from None


def check_scores(scores: Sequence[Tensor]) -> None:
    """Raise a one-line ValueError unless every element is a finite, non-empty tensor [C_k]."""
    for k, vector in enumerate(scores):
        if not isinstance(vector, Tensor) or vector.ndim != 1 or len(vector) == 0:
            got = list(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise ValueError(f"scores[{k}]: got {got}, expected a tensor of shape [C]")
        if not bool(vector.isfinite().all()):
            raise ValueError(f"scores[{k}]: got NaN or infinity, expected finite numbers")
