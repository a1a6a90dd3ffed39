"""How good is a generator: evaluate() -> Report.

Against portraits never trained on, or other real images: Frechet and kernel distance, precision,
recall, density and coverage (distances.py) in the space of the portraits' feature network, of a
second eye (networks/autoencoder.py) or of a classifier, so numbers compare generators of this book
with one another and never with published FIDs. Against a teacher, on the same z: L1, PSNR and
perceptual distance. Each overall and inside the content mask: everything outside it is set to 0,
mid-grey, as the paper's masking does; against real images also outside it. The protocol is the
paper's in small: truncation 1, random noise maps, 2,000 samples instead of 50,000. Chapter 10.
"""

import copy
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import torch
from tqdm import tqdm

from ..checkpoints import (
    load_autoencoder, load_classifier, load_features, load_standard_features,
)
from ..content import (
    ContentSource, check_mask, check_source, find_content, read_content, watches_a_generator,
)
from ..datasets import ImageSource, image_source, render_portraits
from ..networks import (
    Config, ImageFeatures, PrunableGenerator, check, check_pair, check_positive, first_parameter,
    perceptual_distance,
)
from . import costs
from .distances import (
    compare_features, density_coverage, feature_statistics, frechet_distance, kernel_distance,
    mask_images, psnr,
)
from .intervals import feature_half_widths

# Reference portraits: disjoint from every seed the trainers draw (HELD_OUT_SEED of training).
REFERENCE_SEED = 1_500_000_000
# of density and coverage; fewer samples have neither
NEIGHBOURS = 5


@dataclass(frozen=True)
class Report(Config):
    """What evaluate() measured; content_* inside the content mask, background_* outside it.

    What begins with teacher_ is a distance to a teacher's images. The others are Frechet or kernel
    distances in the space of the features used, *_psnr in dB, *_l1 the mean
    absolute difference on [-1, 1]. teacher_content_psnr averages over the region,
    teacher_content_psnr_frame over the whole masked frame (see distances.psnr). Fields that were
    not asked for are None, and so are content distances when no image has any content, background
    ones when all is content, density and coverage of five samples.
    content_frechet cuts every image out by its own mask, teacher_content_frechet the generated ones
    by their teachers': the first sees what is painted beyond the teacher's content, the second not.

    Example:
        >>> report = cagc.evaluate(cagc.load_generator("portraits-11x"), num_samples=5)
        >>> report.parameters, report.macs, report.teacher_psnr
        (490860, 25185536, None)
        >>> cagc.Report.from_json(report.to_json()) == report
        True
    """

    what = "report"
    needed = ("resolution", "num_samples", "seed", "truncation_psi", "parameters", "macs",
              "frechet", "precision", "recall")

    resolution: int
    num_samples: int
    seed: int
    truncation_psi: float
    parameters: int
    macs: int
    frechet: float
    precision: float
    recall: float
    kernel: float | None = None
    density: float | None = None
    coverage: float | None = None
    content_area: float | None = None
    content_frechet: float | None = None
    content_precision: float | None = None
    content_recall: float | None = None
    content_kernel: float | None = None
    content_density: float | None = None
    content_coverage: float | None = None
    background_frechet: float | None = None
    background_precision: float | None = None
    background_recall: float | None = None
    background_kernel: float | None = None
    background_density: float | None = None
    background_coverage: float | None = None
    teacher_l1: float | None = None
    teacher_psnr: float | None = None
    teacher_perceptual: float | None = None
    teacher_content_l1: float | None = None
    teacher_content_psnr: float | None = None
    teacher_content_psnr_frame: float | None = None
    teacher_content_perceptual: float | None = None
    teacher_content_frechet: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; an infinite PSNR becomes the string "inf"."""
        return {k: "inf" if v == math.inf else v for k, v in super().to_dict().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a report from to_dict(); ValueError on unknown or missing keys."""
        return super().from_dict({k: math.inf if v == "inf" else v for k, v in values.items()})

    def to_json(self) -> str:
        """Return to_dict() as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a report from to_json()."""
        return cls.from_dict(json.loads(text))


def _features(
    network: ImageFeatures, content: ContentSource | None, images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Features [N, D] of images [N, 3, R, R] whole, in and outside the content, and its share."""
    found = {"whole": network.embed(images)}
    if content is not None:
        mask = check_mask(content(images), images)
        found["inside"] = network.embed(mask_images(images, mask))
        found["outside"] = network.embed(mask_images(images, ~mask))
        found["area"] = mask.float().mean((1, 2, 3))
    return found


def teacher_distances(
    network: ImageFeatures, content: ContentSource | None, student: torch.Tensor,
    teacher: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Distances [N] of images [N, 3, R, R] to the teacher's of the same z, as Report names them.

    The content is that of the teacher's images; "cut" are the student's features [N, D] inside it.
    """
    found = {
        "teacher_l1": (student - teacher).abs().mean((1, 2, 3)),
        "teacher_psnr": psnr(student, teacher),
        "teacher_perceptual": perceptual_distance(network, student, teacher),
    }
    if content is not None:
        mask = check_mask(content(teacher), teacher)
        s, t = mask_images(student, mask), mask_images(teacher, mask)
        pixels = mask.sum((1, 2, 3)) * student.shape[1]
        found["teacher_content_l1"] = (s - t).abs().sum((1, 2, 3)) / pixels
        found["teacher_content_psnr"] = psnr(student, teacher, mask)
        found["teacher_content_psnr_frame"] = psnr(student, teacher, mask, frame=True)
        found["teacher_content_perceptual"] = perceptual_distance(network, s, t)
        found["cut"] = network.embed(s)
    return found


def _gathered(batches: Iterable[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What was found in batches of images, in one tensor a name, on the CPU."""
    moved = [{name: values.cpu() for name, values in batch.items()} for batch in batches]
    return {name: torch.cat([batch[name] for batch in moved]) for name in moved[0]}


def _batches(num_samples: int, batch_size: int) -> list[range]:
    numbers = range(num_samples)
    return [numbers[start : start + batch_size] for start in numbers[::batch_size]]


@lru_cache(maxsize=8)
def _real_portraits(
    network: ImageFeatures, content: ContentSource | None, num_samples: int, batch_size: int,
    resolution: int, device: torch.device,
) -> dict[str, torch.Tensor]:
    """Features of the reference portraits, kept in memory: they are the same for every network."""
    seeds = ([REFERENCE_SEED + i for i in part] for part in _batches(num_samples, batch_size))
    images = (render_portraits(part, resolution, device).images for part in seeds)
    return _gathered(_features(network, content, some) for some in images)


def sample_inputs(
    g: PrunableGenerator, num_samples: int, seed: int, batch_size: int
) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Latents and noise maps for measuring, drawn on the CPU: the same on every device.

    Sample i has the same z and noise whatever the batch size; the last batch may be smaller.

    Yields:
        z [n, z_dim] and the noise maps [n, 1, s, s] of an image, on the generator's device.
    """
    generator = torch.Generator().manual_seed(seed)
    sides = g.config.noise_sides
    sizes = [g.config.z_dim, *(side**2 for side in sides)]
    for part in _batches(num_samples, batch_size):
        rows = [torch.randn(sum(sizes), generator=generator) for _ in part]
        z, *maps = torch.stack(rows).to(first_parameter(g).device).split(sizes, dim=1)
        yield z, [m.reshape(-1, 1, s, s) for m, s in zip(maps, sides, strict=True)]


@torch.no_grad()
def evaluate(
    g: PrunableGenerator, num_samples: int = 2000, seed: int = 0,
    content: str | ContentSource | None = None, teacher: PrunableGenerator | None = None,
    batch_size: int = 50, truncation_psi: float = 1.0, device: torch.device | str | None = None,
    progress: bool = False, reference: str | ImageSource = "portraits",
    features: ImageFeatures | str | None = None,
) -> Report:
    """Measure a generator against real images and, if given, against its teacher.

    The paper's protocol in small: truncation 1, random noise maps, the same z (and here the same
    noise, so that only the networks differ) for both. Content masks come from the images compared:
    generated and reference for Frechet and precision/recall, the teacher's for distances to it.

    Args:
        g: the generator, moved to device and back.
        num_samples: generated images, and as many reference images.
        seed: decides z and noise. The reference images are always the same.
        content: a source, or text as `find_content` reads it, not "attention" (one generator's
            only); None: overall only.
        teacher: a generator of the same resolution and z_dim, or None.
        batch_size: images at once; no result depends on it beyond rounding.
        truncation_psi: pulls w toward w_avg; the protocol says 1.
        device: where to compute; None is where g is.
        progress: show a progress bar.
        reference: "portraits", a folder or a zip of images, or a source, from its position 0.
        features: the network whose features are compared, "autoencoder" (the second eye),
            "standard", or a classifier's file or name; None and "portraits" are the portraits'.

    Raises:
        ValueError: num_samples below 5, fewer images in the reference, a teacher of another
            resolution or z_dim, or content that is no source or watches a generator.

    Example:
        >>> teacher, student = map(cagc.load_generator, ("portraits", "portraits-11x"))
        >>> report = cagc.evaluate(student, num_samples=5, teacher=teacher)
        >>> report.resolution, round(report.teacher_psnr)
        (64, 18)
    """
    real, fake = _seen(
        g, num_samples, seed, content, teacher, batch_size, truncation_psi, device, progress,
        reference, features,
    )
    return Report(
        resolution=g.config.resolution, num_samples=num_samples, seed=seed,
        truncation_psi=truncation_psi, parameters=costs.parameters(g), macs=costs.macs(g),
        **_values(real, fake),
    )


@torch.no_grad()
def evaluate_intervals(
    g: PrunableGenerator, num_samples: int = 2000, seed: int = 0,
    content: str | ContentSource | None = None, batch_size: int = 50,
    device: torch.device | str | None = None, features: ImageFeatures | str | None = None,
) -> dict[str, float]:
    """How sure `evaluate` is of what it says beside real portraits; see `feature_half_widths`.

    Args:
        g, num_samples, seed, content, batch_size, device, features: as for `evaluate`.

    Returns:
        Half widths of 95% intervals: frechet_interval, content_recall_interval and so on.

    Raises:
        ValueError: num_samples below 6, or content that does not fit.

    Example:
        >>> from cagc_lib.metrics import evaluate_intervals
        >>> found = evaluate_intervals(cagc.load_generator("portraits-11x"), num_samples=6)
        >>> [name for name, half in found.items() if half > 100]
        ['frechet_interval']
    """
    check(num_samples > NEIGHBOURS, "num_samples", num_samples, f"at least {NEIGHBOURS + 1}")
    seen = _seen(
        g, num_samples, seed, content, None, batch_size, 1.0, device, False, "portraits", features
    )
    found = _everywhere(feature_half_widths, *seen)
    return {f"{name}_interval": half for name, half in found.items()}


def _seen(
    g: PrunableGenerator, num_samples: int, seed: int, content: str | ContentSource | None,
    teacher: PrunableGenerator | None, batch_size: int, truncation_psi: float,
    device: torch.device | str | None, progress: bool, reference: str | ImageSource,
    features: ImageFeatures | str | None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Features of real images and of samples, and these' distances to the teacher's."""
    _check_request(g, num_samples, batch_size, teacher, content)
    side = g.config.resolution
    source = None if reference == "portraits" else reference
    if isinstance(source, str):
        source = image_source(source, side, what="reference")
        # one shown twice would be its own nearest neighbour
        if len(source) < num_samples:
            found = f"{len(source)} images in {reference}"
            raise ValueError(f"reference: got {found}, expected at least {num_samples}")
    if isinstance(content, str):
        content = find_content(content)
    device = first_parameter(g).device if device is None else torch.device(device)
    network = _network(features, device)
    g = copy.deepcopy(g).to(device).eval()
    teacher = None if teacher is None else copy.deepcopy(teacher).to(device).eval()
    batches = _batches(num_samples, batch_size)

    def measured() -> Iterator[dict[str, torch.Tensor]]:
        inputs = sample_inputs(g, num_samples, seed, batch_size)
        for z, noise in tqdm(inputs, total=len(batches), disable=not progress, unit="batch"):
            images = g(z, truncation_psi, noise)
            found = _features(network, content, images)
            if teacher is not None:
                same = teacher(z, truncation_psi, noise)
                found |= teacher_distances(network, content, images, same)
            yield found

    fake = _gathered(measured())
    if source is None:
        real = _real_portraits(network, content, num_samples, batch_size, side, device)
    else:
        shown = (source(part.start, len(part)).to(device) for part in batches)
        real = _gathered(_features(network, content, images) for images in shown)
    return real, fake


def _network(features: ImageFeatures | str | None, device: torch.device) -> ImageFeatures:
    if features is None or features == "portraits":
        return load_features(device)
    if features == "autoencoder":
        return load_autoencoder(device)
    if features == "standard":
        return load_standard_features(device)
    return load_classifier(features, device) if isinstance(features, str) else features.to(device)


def _check_request(
    g: PrunableGenerator, num_samples: int, batch_size: int, teacher: PrunableGenerator | None,
    content: str | ContentSource | None,
) -> None:
    check(num_samples >= 5, "num_samples", num_samples, "at least 5")
    check_positive("batch_size", batch_size)
    if teacher is not None:
        check_pair(teacher.config, g.config, "teacher", "resolution", "z_dim")
    attention = isinstance(content, str) and read_content(content)[0] == "attention"
    if not (content is None or isinstance(content, str)):
        check_source(content)
    if attention or watches_a_generator(content):
        known = "a source that knows one generator's last images only"
        raise ValueError(f"content: got {known}, expected one for any images")


def _compared(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    found = compare_features(real, fake) | {"kernel": kernel_distance(real, fake)}
    if len(real) > NEIGHBOURS:
        names = ("density", "coverage")
        found |= zip(names, density_coverage(real, fake, NEIGHBOURS), strict=True)
    return found


# how fields begin, and of what part of an image
_PLACES = (("", "whole"), ("content_", "inside"), ("background_", "outside"))


def _everywhere(
    compare: Callable[[torch.Tensor, torch.Tensor], dict[str, float]],
    real: dict[str, torch.Tensor], fake: dict[str, torch.Tensor],
) -> dict[str, float]:
    """Compare features of whole images, and in and outside the content, where there is any."""
    values = {}
    for prefix, place in _PLACES:
        nowhere = place == "outside" and "area" in fake and bool((fake["area"] == 1).all())
        if place in fake and not nowhere:
            found = compare(real[place], fake[place])
            values |= {f"{prefix}{name}": value for name, value in found.items()}
    return values


def _values(
    real: dict[str, torch.Tensor], fake: dict[str, torch.Tensor]
) -> dict[str, float | None]:
    values: dict[str, float | None] = {**_everywhere(_compared, real, fake)}
    if "cut" in fake:
        statistics = [*feature_statistics(real["inside"]), *feature_statistics(fake["cut"])]
        values["teacher_content_frechet"] = frechet_distance(*statistics)
    if "area" in fake:
        values["content_area"] = fake["area"].mean().item()
    for name in fake:
        if name.startswith("teacher_"):
            # images without content count only overall
            mean = fake[name].double().nanmean().item()
            values[name] = None if math.isnan(mean) else mean
    return values
