"""Chapter 1: the whole road in one call: score, prune and, if asked, distil.

    teacher -> score_channels -> plan_pruning -> prune -> train_student -> student

Each step is a function of its own room; here they stand in a row, with what can be checked checked
before the long part starts. A run folder keeps the pruned network and the settings that made it, so
that an interrupted distillation is taken up where it stopped. `python -m cagc_lib compress` is this
function on the command line.
"""

import copy
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .checkpoints import (
    Checkpoint, atomic_write, load_checkpoint, load_classifier, load_features, load_generator,
    load_standard_features, manifest, save_generator,
)
from .content import ContentSource, check_source, find_content
from .datasets import image_source
from .distillation import DistillationConfig
from .importance import score_channels
from .networks import Config, ImageFeatures, PrunableGenerator, check, check_positive, kind_of
from .pruning import plan_pruning, prune
from .training import TrainConfig, check_lessons, check_resumed, fingerprint, held, train_student


@dataclass(frozen=True)
class CompressionConfig(Config):
    """What decides which channels stay, and as what.

    Args:
        ratio, round_to: see `plan_pruning`.
        method, num_samples, noise_prob, per_sample, seed: see `score_channels`.
        score_batch: its batch_size.
        rgb_gain: see `prune`.
    """

    what = "compression config"
    ratio: float = 0.7
    method: str = "content-aware"
    num_samples: int = 400
    score_batch: int = 10
    noise_prob: float = 0.05
    per_sample: bool = False
    rgb_gain: str = "recomputed"
    round_to: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check(0 <= self.ratio < 1, "ratio", self.ratio, "a number in [0, 1)")
        for name in ("num_samples", "score_batch"):
            check_positive(name, getattr(self, name))


def compress(
    teacher: str | Path | Checkpoint | PrunableGenerator, ratio: float = 0.7,
    content: str | ContentSource | None = None, *, training: TrainConfig | None = None,
    distillation: DistillationConfig | None = None, sparse_training: TrainConfig | None = None,
    features: ImageFeatures | str | None = None, run: str | Path | None = None,
    resume: bool = False, device: torch.device | str = "cpu", progress: bool = False,
    allow: Collection[str] = (), **settings: Any,
) -> PrunableGenerator:
    """Compress a generator where the content of its images depends on it least.

    Args:
        teacher: a file, a name, what `load_checkpoint` returned, or a generator by itself.
        ratio: share of every width's channels to remove, in [0, 1).
        content: a source, or text as `find_content` reads it, such as "everything" or "hair,hat";
            None is "portraits" for the shipped networks that draw them, and an error for others.
        training: how to distil afterwards; None prunes only, which spoils the images.
        distillation: the losses that tie the student to its teacher; None is the defaults.
        sparse_training: for method "slimming": how to drive all gains toward zero beforehand.
        features: the network that losses look through, or which one: see `perceptual_network`.
        run: folder of the trainings, which need one.
        resume: continue the run in that folder.
        device, progress: where to compute, and whether to show it.
        allow: what may be another than the resumed run's, see `train_student`.
        settings: further fields of `CompressionConfig`.

    Returns:
        The student, on the CPU.

    Raises:
        ValueError: settings that do not fit, or a run folder that holds another run or is in use.
        FileNotFoundError: neither a file nor a name.
        OSError: a file cannot be written.

    Example:
        >>> student = cagc.compress("portraits-11x", 0.5, "hair,hat", num_samples=4)
        >>> student.config.channels
        (24, 24, 24, 24, 24, 24, 12, 12, 6, 6)
    """
    config = CompressionConfig.from_dict({"ratio": ratio, **settings})
    teacher = _opened(teacher)
    trainings = [t for t in (sparse_training, training) if t is not None]
    lessons = distillation or DistillationConfig()
    _check(config, teacher, trainings, lessons, run, resume)
    if trainings and lessons.looks_at_features and (features is None or isinstance(features, str)):
        kind = kind_of(teacher.generator.config)
        features = perceptual_network(features, kind, trainings[0].data, device)
    if content is None:
        content = or_portraits("content", None, draws_portraits(teacher), '"everything", say')
    source = find_content(content, teacher.generator) if isinstance(content, str) else content
    check_source(source)
    learn = partial(
        train_student, distillation=lessons, teacher=teacher.generator,
        discriminator=teacher.discriminator, content=source, features=features, resume=resume,
        device=device, progress=progress, allow=allow,
    )

    def pruned() -> PrunableGenerator:
        g = teacher.generator
        if sparse_training is not None:
            # slimming's own first half: gains become zero where the images can do without
            state = learn(sparse_training, student=g, out=Path(run) / "sparse")
            if state.sparse_gains:
                gains = torch.cat(state.sparse_gains)
                print(f"gains: {(gains == 0).sum():,} of {len(gains):,} are zero")
            g = state.average
        scores = score_channels(
            g.to(device), source, config.method, config.num_samples, config.score_batch,
            config.noise_prob, config.seed, config.per_sample, progress=progress,
        )
        plan = plan_pruning(scores, config.ratio, config.round_to)
        return prune(g.cpu(), plan, config.rgb_gain, teacher.sha256)

    if training is None:
        return pruned()
    noted = {"teacher_sha256": teacher.sha256, "content_sha256": fingerprint(source)}
    noted |= {"content": content if isinstance(content, str) else None} | config.to_dict()
    if sparse_training is not None:
        noted |= {"sparse_images": sparse_training.images, "sparsity": sparse_training.sparsity}
    record, file = Path(run) / "compress.json", Path(run) / "pruned.safetensors"
    if resume and file.exists():
        check_resumed(record, noted, allow)
    else:
        with held(Path(run)):
            student = pruned()
            atomic_write(record, (json.dumps(noted, indent=2) + "\n").encode())
            save_generator(student, file)
    return learn(training, student=load_generator(file), out=run).average.cpu()


def _opened(teacher: Any) -> Checkpoint:
    if isinstance(teacher, str | Path | Checkpoint):
        return teacher if isinstance(teacher, Checkpoint) else load_checkpoint(teacher)
    check(hasattr(teacher, "readers"), "teacher", type(teacher), "a file, name or generator")
    return Checkpoint(copy.deepcopy(teacher).cpu().eval(), None, "", "")


def draws_portraits(checkpoint: Checkpoint) -> bool:
    """Whether a network is one of the shipped generators, or was pruned from one."""
    shipped = {e["sha256"] for name, e in manifest().items() if name.startswith("portraits")}
    lineage = checkpoint.generator.lineage
    return checkpoint.sha256 in shipped or bool(lineage and lineage.source_sha256 in shipped)


def or_portraits(option: str, given: str | None, portraits: bool, expected: str) -> str:
    """Return what an option was given, or "portraits" for a network that draws portraits.

    To take a stranger's network for one would score, train and measure it by the wrong pictures,
    without a word: for another, a ValueError names the option and asks for what is expected.
    """
    if given is None and not portraits:
        why = "portraits are for the shipped teacher"
        raise ValueError(f"{option}: got nothing, expected {expected} ({why})")
    return "portraits" if given is None else given


def perceptual_network(
    name: str | None, kind: str, data: str, device: torch.device | str
) -> ImageFeatures:
    """Find the network whose features a student's loss compares.

    Args:
        name: "standard", "ours", or None for ours where it knows the pictures.
        kind: of the networks, a key of `networks.KINDS`.
        data: the real images, "portraits", a folder or a zip archive.
        device: where to put it.

    Raises:
        ValueError: nothing was said, and ours does not know the pictures; a package is missing.
        OSError: weights cannot be fetched.
    """
    if name == "standard":
        return load_standard_features(device)
    if kind == "sngan":
        return load_classifier("cifar10-perceptual", device)
    if name is None and data != "portraits":
        known = "standard, which knows photographs, or --perceptual 0 (ours knows portraits only)"
        raise ValueError(f"perceptual-network: got nothing, expected --perceptual-network {known}")
    return load_features(device, "portraits-perceptual")


def _check(
    config: CompressionConfig, teacher: Checkpoint, trainings: list[TrainConfig],
    lessons: DistillationConfig, run: str | Path | None, resume: bool,
) -> None:
    """Refuse what would be refused only after the scores, or after hours."""
    g = teacher.generator.config
    for training in trainings:
        if training.sparsity and config.method != "slimming":
            raise ValueError(f"sparse-images: got method {config.method}, expected slimming")
        check_lessons(training, lessons, g)
        image_source(training.data, g.resolution)
    if trainings and run is None:
        raise ValueError("run: got nothing, expected a folder for the training")
    begun = trainings and [f for f in ("state.pt", "sparse/state.pt") if (Path(run) / f).exists()]
    if begun and not resume:
        raise ValueError(f"run: {run} holds a run already; --resume it or choose another --run")
