"""Every measure of the scoreboard, each one line with its whole protocol.

Measures of one group are made together, by the function that `GROUPS` names. "whole" measures look
at the picture, content_ ones inside the content (outside it all is mid-grey), background_ ones
outside it. Two eyes look: the portraits' features, and for what begins with autoencoder_ a network
of another architecture that learned another task (networks/autoencoder.py). Chapter 10.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial

import torch

from ..checkpoints import load_features
from ..content import ContentSource, check_mask
from ..datasets import render_portraits
from ..editing import (
    AttributeScale, Directions, attribute_scale, edit_effect, project, regression_directions,
    separability, transfer_directions, transfer_error,
)
from ..metrics import (
    EPSILON, PUBLIC_PATH, REFERENCE_SEED, evaluate, evaluate_intervals, half_width, mask_images,
    noise_distances, path_lengths, peak_memory, psnr, trimmed_mean, variety,
)
from ..networks import PrunableGenerator, perceptual_distance

# how columns begin, and the network that looks
EYES = {"": "portraits", "autoencoder_": "autoencoder"}
PAIRS = 600
# attributes that W tells well and a viewer too; how far an edit goes; on how many images
EDITED, STRENGTH, EDITS = ("yaw", "mouth_open", "skin_tone", "hair_length", "glasses"), 1.5, 100
# samples that attributes are learned from and told apart in; held-out portraits that are projected
SAMPLES, PROJECTED = 2000, 64


@dataclass(frozen=True)
class Subject:
    """What is measured, and beside what.

    Attributes:
        generator: the network, on the device that computes.
        teacher: for the distances to it; None for a network without one.
        content: what is measured inside of.
        samples: images of quality, generated and real.
        device: where to compute.
    """

    generator: PrunableGenerator
    teacher: PrunableGenerator | None
    content: ContentSource
    samples: int = 2000
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Measure:
    """What one column of the scoreboard is.

    Attributes:
        group: what it is measured together with.
        better: "less", "more", or "" where neither is.
        protocol: how it is measured.
    """

    group: str
    better: str
    protocol: str


def _evaluated(
    subject: Subject, prefix: str = "", features: str = "portraits"
) -> dict[str, float]:
    """What of a report is registered; what depends on no eye is registered once."""
    report = evaluate(
        subject.generator, subject.samples, content=subject.content, teacher=subject.teacher,
        device=subject.device, features=features,
    )
    values = {f"{prefix}{name}": value for name, value in vars(report).items()}
    return {name: v for name, v in values.items() if name in MEASURES and v is not None}


def _intervals(subject: Subject) -> dict[str, float]:
    found = {}
    for prefix, features in EYES.items():
        halves = evaluate_intervals(
            subject.generator, subject.samples, content=subject.content, device=subject.device,
            features=features,
        )
        found |= {f"{prefix}{name}": half for name, half in halves.items()}
    return found


def _paths(subject: Subject) -> dict[str, float]:
    g, features = subject.generator, load_features(subject.device)
    lengths = path_lengths(g, features, PAIRS)
    arcs = path_lengths(g, features, PAIRS, space="z")
    public = path_lengths(g, features, PAIRS, **PUBLIC_PATH) * EPSILON**2
    unlike, noise = variety(g, features, PAIRS), noise_distances(g, features, PAIRS)
    path, various = trimmed_mean(lengths), unlike.mean().item()
    return {
        "path_w": path, "path_w_interval": half_width(lengths, trimmed_mean),
        "path_z": trimmed_mean(arcs), "path_z_interval": half_width(arcs, trimmed_mean),
        "path_public": trimmed_mean(public), "noise": noise.mean().item(),
        "variety": various, "variety_interval": half_width(unlike), "path_w_share": path / various,
    }


def _memory(subject: Subject) -> dict[str, float]:
    return {f"peak_{n}_mb": peak_memory(subject.generator, n) / 1e6 for n in (1, 16)}


@cache
def _teachings(
    teacher: PrunableGenerator, device: torch.device
) -> tuple[AttributeScale, Directions]:
    """What both networks are asked: the attributes' units, and the edits, found on the teacher."""
    features = load_features(device)
    scale = attribute_scale(teacher, features, SAMPLES)
    return scale, regression_directions(teacher, features, EDITED, SAMPLES, scale=scale)


def _separability(subject: Subject) -> dict[str, float]:
    scale = _teachings(subject.teacher or subject.generator, subject.device)[0]
    features = load_features(subject.device)
    found = separability(subject.generator, features, SAMPLES, scale=scale)
    return {"separability": found.explained, "separability_karras": found.score}


def _edits(subject: Subject) -> dict[str, float]:
    g, teacher = subject.generator, subject.teacher
    scale, theirs = _teachings(teacher or g, subject.device)
    ours = theirs if teacher is None else transfer_directions(theirs, teacher, g)
    features = load_features(subject.device)
    effects = [
        edit_effect(g, ours, i, STRENGTH, features, subject.content, EDITS, scale=scale, steps=1)
        for i in range(len(EDITED))
    ]
    found = {
        "edit_moved": _mean([e.moved for e in effects]),
        "edit_leakage": sum(e.leakage for e in effects) / len(effects),
        "edit_landmarks": _mean([e.landmarks for e in effects]),
        "edit_cosine": _mean([e.cosine for e in effects]),
    }
    if teacher is not None:
        errors = [
            transfer_error(teacher, g, theirs, ours, i, STRENGTH, subject.content, EDITS)
            for i in range(len(EDITED))
        ]
        for place in ("inside", "outside"):
            error, change = (
                _mean([getattr(e, f"{who}{place}") for e in errors]) for who in ("", "teacher_")
            )
            found[f"teacher_edit_{place}"] = error / change
    return found


def _mean(values: list[torch.Tensor]) -> float:
    return torch.cat(values).nanmean().item()


def _projection(subject: Subject) -> dict[str, float]:
    seeds = range(REFERENCE_SEED + 10**6, REFERENCE_SEED + 10**6 + PROJECTED)
    side = subject.generator.config.resolution
    images = render_portraits(seeds, side, subject.device).images
    mask = check_mask(subject.content(images), images)
    features, found = load_features(subject.device), {}
    for space, name in (("w", "w"), ("w+", "w_plus")):
        # fitted by one network, judged by the other
        eye = load_features(subject.device, "portraits-perceptual")
        drawn = project(subject.generator, images, eye, space).images.clamp(-1, 1)
        distance = perceptual_distance(features, drawn, images)
        inside = [mask_images(x, mask) for x in (drawn, images)]
        found |= {
            f"projection_{name}_psnr": psnr(drawn, images).mean().item(),
            f"projection_{name}_perceptual": distance.mean().item(),
            f"projection_{name}_content_psnr": psnr(drawn, images, mask).nanmean().item(),
            f"projection_{name}_content_perceptual":
                perceptual_distance(features, *inside).mean().item(),
        }
    return found


GROUPS: dict[str, Callable[[Subject], dict[str, float]]] = {
    "quality": _evaluated,
    "autoencoder": partial(_evaluated, prefix="autoencoder_", features="autoencoder"),
    "intervals": _intervals, "paths": _paths, "memory": _memory,
    "separability": _separability, "edits": _edits, "projection": _projection,
}

_OF_SAMPLES = "bootstrap over samples, the real portraits fixed"
_OF_REAL = "bootstrap over real portraits, the samples fixed"
_TEXTS = {
    "frechet": (
        "less", "Frechet distance of Gaussians fitted to the features (FID's formula)", _OF_SAMPLES,
    ),
    "kernel": (
        "less", "unbiased squared maximum mean discrepancy, cubic kernel (KID's formula)",
        _OF_SAMPLES,
    ),
    "precision": (
        "more", "share of samples in the balls of the real ones' 3rd neighbours", _OF_SAMPLES,
    ),
    "recall": (
        "more", "share of real ones in the balls of the samples' 3rd neighbours", _OF_REAL,
    ),
    "density": (
        "more", "in how many real ones' balls of 5 neighbours a sample lies, over 5", _OF_SAMPLES,
    ),
    "coverage": (
        "more", "share of real ones in whose ball of 5 neighbours a sample lies", _OF_REAL,
    ),
}
_PLACES = {
    "": "whole pictures", "content_": "each picture inside its own content mask",
    "background_": "each picture outside its own content mask",
}
_SAMPLED = "truncation 1, random noise, seed 0, held-out portraits"
_SAME = "mean over samples of the same z and noise as the teacher's"
_EDITS = (
    f"edits of {', '.join(EDITED)} found on the teacher, {STRENGTH} standard deviations of w, "
    f"{EDITS} images each"
)
_PROJECTED = f"{PROJECTED} held-out portraits, 300 steps of Adam, stored noise"
_SPACES = {"w": "one w for all layers", "w_plus": "a w for each layer"}
_PATHS = f"{PAIRS} pairs, truncation 1, distance of the portraits' features"

# column -> what it is
MEASURES: dict[str, Measure] = {
    "parameters": Measure("quality", "less", "learned numbers, from the widths"),
    "macs": Measure("quality", "less", "multiply-accumulates of an image, the paper's convention"),
    "latency_1_ms": Measure("", "less", "batch 1, median of 20 in turns with other widths"),
    "latency_16_ms": Measure("", "less", "batch 16, likewise"),
    "content_area": Measure("quality", "", f"mean share of content; {_SAMPLED}"),
    **{
        f"{eye}{place}{name}{interval}": of
        for eye in EYES
        for place, where in _PLACES.items()
        for name, (better, text, over) in _TEXTS.items()
        for interval, of in (
            ("", Measure(eye.strip("_") or "quality", better, f"{text}; {where}")),
            ("_interval", Measure("intervals", "", f"half of its 95% interval, {over}")),
        )
    },
    "teacher_l1": Measure("quality", "less", f"mean |difference| in [-1, 1]; {_SAME}"),
    "teacher_psnr": Measure("quality", "more", f"dB, in floating point; {_SAME}"),
    "teacher_perceptual": Measure("quality", "less", f"distance of the features; {_SAME}"),
    "teacher_content_l1": Measure("quality", "less", f"in the teacher's content; {_SAME}"),
    "teacher_content_psnr": Measure("quality", "more", f"dB over the teacher's content; {_SAME}"),
    "teacher_content_psnr_frame": Measure(
        "quality", "more", f"dB over the frame, outside the content 0, as public code; {_SAME}"
    ),
    "teacher_content_perceptual": Measure(
        "quality", "less", f"distance of the features in the teacher's content; {_SAME}"
    ),
    "teacher_content_frechet": Measure(
        "quality", "less", "Frechet distance, samples cut by the teacher's masks"
    ),
    "autoencoder_teacher_perceptual": Measure(
        "autoencoder", "less", f"distance of the maps; {_SAME}"
    ),
    "autoencoder_teacher_content_perceptual": Measure(
        "autoencoder", "less", f"distance of the maps in the teacher's content; {_SAME}"
    ),
    "path_w": Measure("paths", "less", f"path length in W, eps 1e-4, 1-99%, same noise; {_PATHS}"),
    "path_w_interval": Measure("paths", "", "half of its 95% interval, bootstrap over pairs"),
    "path_z": Measure("paths", "less", f"path length in Z on arcs, likewise; {_PATHS}"),
    "path_z_interval": Measure("paths", "", "half of its 95% interval, bootstrap over pairs"),
    "path_public": Measure(
        "paths", "", f"what the public code calls PPL: new noise at each end, no eps^2; {_PATHS}"
    ),
    "noise": Measure("paths", "", f"distance of two images of one w, other noise; {_PATHS}"),
    "variety": Measure("paths", "more", f"distance of two samples; {_PATHS}"),
    "variety_interval": Measure("paths", "", "half of its 95% interval, bootstrap over pairs"),
    "path_w_share": Measure("paths", "less", "path_w over variety"),
    "peak_1_mb": Measure("memory", "less", "most memory alive at once, batch 1, beside weights"),
    "peak_16_mb": Measure("memory", "less", "batch 16, likewise"),
    "separability": Measure(
        "separability", "more", "share of the attributes' entropy that a linear classifier of w "
        f"explains, half of {SAMPLES} samples held out"
    ),
    "separability_karras": Measure("separability", "less", "exp of the sum of H(Y|X), likewise"),
    "edit_moved": Measure("edits", "more", f"change in the teacher's deviations; {_EDITS}"),
    "edit_leakage": Measure("edits", "less", f"mean |change| of all others over it; {_EDITS}"),
    "edit_landmarks": Measure("edits", "", f"how far landmarks move, in pixels; {_EDITS}"),
    "edit_cosine": Measure("edits", "more", f"of the content's features, before, after; {_EDITS}"),
    "teacher_edit_inside": Measure(
        "edits", "less", f"|student's change - teacher's| over the teacher's, in content; {_EDITS}"
    ),
    "teacher_edit_outside": Measure("edits", "less", f"outside the content, likewise; {_EDITS}"),
    **{
        f"projection_{space}_{name}": Measure("projection", better, f"{text}, {of}; {_PROJECTED}")
        for space, of in _SPACES.items()
        for name, better, text in (
            ("psnr", "more", "dB"), ("perceptual", "less", "distance of the features"),
            ("content_psnr", "more", "dB over the portrait's content"),
            ("content_perceptual", "less", "distance of the features in its content"),
        )
    },
}


def columns_of(groups: tuple[str, ...], beside_teacher: bool = True) -> list[str]:
    """The columns that these groups fill, in the scoreboard's order."""
    return [
        name for name, measure in MEASURES.items()
        if measure.group in groups and (beside_teacher or "teacher_" not in name)
    ]


def measure(subject: Subject, groups: tuple[str, ...]) -> dict[str, float]:
    """Make all measures of some groups: column -> number."""
    found: dict[str, float] = {}
    for group in groups:
        found |= GROUPS[group](subject)
    return found
