"""What the portraits' features say of images, as numbers in one unit.

    a number                    itself
    a bool                      0 or 1
    a class index               0 for the commonest class, 1 for any other

An attribute's zero and unit are the mean and the standard deviation over a generator's own images.
Take the teacher's for the student too, so that both are asked the same questions. Chapter 11.
"""

from dataclasses import dataclass

import torch

from ..networks import FeatureNetwork, PrunableGenerator, check, evaluating
from .latents import draw_inputs

Predictions = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class AttributeScale:
    """The zero and the unit of every attribute.

    Attributes:
        names: of the attributes, A of them; those with one and the same value in all images have no
            unit and are left out.
        commonest: name -> the commonest class, for the class indices.
        mean, std: [A], float64.
        threshold: [A], above it an attribute counts as present: a number's median, 0.5 for others.
    """

    names: tuple[str, ...]
    commonest: dict[str, int]
    mean: torch.Tensor
    std: torch.Tensor
    threshold: torch.Tensor

    @classmethod
    def of(cls, predicted: Predictions) -> "AttributeScale":
        """Measure the scale of predictions, name -> [N]; a ValueError where nothing varies."""
        commonest = {
            name: int(values.mode().values) for name, values in predicted.items()
            if values.dtype == torch.int64
        }
        columns = {name: _column(predicted, name, commonest) for name in predicted}
        names = tuple(name for name, column in columns.items() if (column != column[0]).any())
        check(len(names) > 0, "attributes", "the same in all images", "one that varies or more")
        table = torch.stack([columns[name] for name in names], dim=1)
        number = torch.tensor([predicted[name].is_floating_point() for name in names])
        threshold = torch.where(number, table.median(0).values, 0.5)
        return cls(names, commonest, table.mean(0), table.std(0), threshold)

    def index(self, name: str) -> int:
        """Return the column of an attribute; a ValueError for another name."""
        check(name in self.names, "attribute", name, f"one of {', '.join(self.names)}")
        return self.names.index(name)

    def standardised(self, predicted: Predictions) -> torch.Tensor:
        """Predictions, name -> [N], in standard deviations from the mean: [N, A], float64."""
        return (self._table(predicted) - self.mean) / self.std

    def present(self, predicted: Predictions) -> torch.Tensor:
        """Whether each attribute is above its threshold: name -> [N] to bool [N, A]."""
        return self._table(predicted) > self.threshold

    def _table(self, predicted: Predictions) -> torch.Tensor:
        columns = [_column(predicted, name, self.commonest) for name in self.names]
        return torch.stack(columns, dim=1)


def _column(predicted: Predictions, name: str, commonest: dict[str, int]) -> torch.Tensor:
    values = predicted[name]
    return (values != commonest[name] if name in commonest else values).double()


def predict_attributes(features: FeatureNetwork, images: torch.Tensor) -> Predictions:
    """Name the attributes of images [N, 3, H, W]: name -> [N], on the CPU, without the rest."""
    check_features(features)
    found = features.predict(images)
    return {name: found[name].cpu() for name in features.attributes}


@torch.no_grad()
def draw_attributes(
    g: PrunableGenerator, features: FeatureNetwork, num_samples: int, seed: int,
    batch_size: int = 50, progress: bool = False,
) -> tuple[torch.Tensor, Predictions]:
    """Draw images and look at them.

    Args:
        g: the generator.
        features: what names attributes, on g's device.
        num_samples: images.
        seed: decides z and the noise maps.
        batch_size: images at once; no result depends on it beyond rounding.
        progress: show a progress bar.

    Returns:
        w [num_samples, w_dim], float64, and the attributes, name -> [num_samples], on the CPU.
    """
    check_features(features)
    found_w, found = [], []
    with evaluating(g):
        for z, noise in draw_inputs(g, num_samples, seed, batch_size, progress):
            w = g.mapping(z)
            found_w.append(w.double().cpu())
            found.append(predict_attributes(features, g.synthesis(w, noise)))
    return torch.cat(found_w), joined(found)


@torch.no_grad()
def attribute_scale(
    g: PrunableGenerator, features: FeatureNetwork, num_samples: int = 2000, seed: int = 0,
    batch_size: int = 50, progress: bool = False,
) -> AttributeScale:
    """Measure every attribute's zero and unit on images of g; arguments as `draw_attributes`.

    Example:
        >>> from cagc_lib.editing import attribute_scale
        >>> teacher, features = cagc.load_generator("portraits"), cagc.load_features()
        >>> scale = attribute_scale(teacher, features, num_samples=20)
        >>> scale.commonest["hat"]
        0
    """
    return AttributeScale.of(
        draw_attributes(g, features, num_samples, seed, batch_size, progress)[1]
    )


def joined(batches: list[Predictions]) -> Predictions:
    """Put what was found batch by batch together, name -> [N]."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def check_features(features: object) -> None:
    """Refuse, in one line, what cannot name attributes."""
    fits = isinstance(features, FeatureNetwork)
    check(fits, "features", type(features).__name__, "a FeatureNetwork, which names attributes")
