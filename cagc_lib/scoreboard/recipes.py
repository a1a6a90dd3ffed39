"""What a sweep is to do: a TOML file, read and checked as a whole before anything runs.

    teacher = "portraits"              a file or a name
    content = "portraits"              inside of what is measured
    samples = 2000                     of every measure of quality
    seeds = [0, 1, 2]
    measures = ["quality", "paths"]    groups of measures.GROUPS

    [training]                         fields of TrainConfig, for all rows
    r1_gamma = 1

    [rows."both masks"]                fields of Recipe; what is not said is the default
    distillation = {l1 = 7.0}
    seeds = [0, 1, 2, 3, 4]

A run is one row with one seed; its hash tells whether a table holds it already. What measures and
what the losses look through knows rendered portraits, so the teacher is one that draws them.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..checkpoints import Checkpoint, load_checkpoint, manifest
from ..content import find_content
from ..distillation import DistillationConfig
from ..importance import METHODS
from ..networks import check
from ..training import TrainConfig
from .measures import GROUPS

# what masks, losses and measures look through
NETWORKS = ("parser", "perceptual", "features", "autoencoder")


@dataclass(frozen=True)
class Recipe:
    """One row of the table, whatever its seed.

    Attributes:
        network: measure this file or name as it is; what follows is unused then, but for measures,
            and for ratio and images, which say of it what is known and are 0 if nothing is.
        method, score_samples, per_sample: how channels are scored, see `score_channels`.
        scoring: the content that scoring looks at, as `find_content` reads it.
        compared: the content that distillation looks at, likewise.
        ratio: share of the channels to remove.
        sparse_images, sparsity: of method "slimming", on how many images it drives gains to zero
            first, and the weight of their L1 norm there.
        calibrated: correct the pruned network's statistics before training.
        discriminator: "teacher", a copy of the teacher's, or "fresh", new weights.
        images: real images that the student sees.
        distillation: fields of DistillationConfig.
        training: fields of TrainConfig.
        seeds: which runs there are; none for the sweep's.
        measures: groups measured beyond the sweep's.
    """

    network: str = ""
    method: str = "content-aware"
    score_samples: int = 400
    per_sample: bool = False
    scoring: str = "portraits"
    compared: str = "portraits"
    ratio: float = 0.7
    sparse_images: int = 0
    sparsity: float = 1e-3
    calibrated: bool = False
    discriminator: str = "teacher"
    images: int = 10_000
    distillation: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    measures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kinds = {bool: "true or false", str: "a text", dict[str, Any]: "a table"}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type in kinds:
                fits = isinstance(value, dict if f.type not in (bool, str) else f.type)
                check(fits, f.name, value, kinds[f.type])
        own = sorted({"images", "seed"} & self.training.keys())
        check(not own, "training", ", ".join(own), "the row's own images and seeds")
        for name in ("seeds", "measures"):
            value = getattr(self, name)
            check(isinstance(value, list | tuple), name, value, "a list")
            object.__setattr__(self, name, tuple(value))
        for name in ("score_samples", "images", "sparse_images"):
            value = getattr(self, name)
            least = int(name == "score_samples" or (name == "images" and not self.network))
            fits = type(value) is int and value >= least
            check(fits, name, value, f"an integer >= {least}")
        number = type(self.ratio) in (int, float) and 0 <= self.ratio < 1
        check(number, "ratio", self.ratio, "a number in [0, 1)")
        check(self.method in METHODS, "method", self.method, f"one of {', '.join(METHODS)}")
        known = ("teacher", "fresh")
        check(self.discriminator in known, "discriminator", self.discriminator, "teacher or fresh")
        for seed in self.seeds:
            check(type(seed) is int, "seeds", seed, "integers")
        for group in self.measures:
            check(group in GROUPS, "measures", group, f"out of {', '.join(GROUPS)}")
        # what does not fit is said here and not after hours
        self.lessons()
        TrainConfig.from_dict(self.training)
        for text in () if self.network else (self.scoring, self.compared):
            find_content(text)

    def lessons(self) -> DistillationConfig:
        """The distillation's config."""
        return DistillationConfig.from_dict(self.distillation)


@dataclass(frozen=True)
class Run:
    """One row with one seed: everything that decides its result.

    Attributes:
        name, recipe, seed: which one; no seed for a network that is measured as it is.
        training: how the student is trained.
        measures: the groups of measures.
        samples, content: of the measures.
        beside_teacher: whether there are distances to the teacher; not for the teacher itself.
        sha256: 16 digits of a hash of all that, of the teacher and the networks that look.
    """

    name: str
    recipe: Recipe
    seed: int | None
    training: TrainConfig
    measures: tuple[str, ...]
    samples: int
    content: str
    beside_teacher: bool
    sha256: str

    @property
    def key(self) -> tuple[str, str]:
        """Its row's name and seed, as the table has them."""
        return self.name, "" if self.seed is None else str(self.seed)

    @property
    def title(self) -> str:
        """What a line to the user calls it."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.name.replace(' ', '-')}-{self.seed}-{self.sha256}".replace("/", "-")


@dataclass(frozen=True)
class Sweep:
    """A whole TOML file.

    Attributes:
        teacher: the checkpoint.
        runs: every run, in the table's order.
    """

    teacher: Checkpoint
    runs: tuple[Run, ...]

    def shorter(self, run: Run) -> list[Run]:
        """The runs with the same settings and seed that see fewer images, longest first."""
        alike = [
            other for other in self.runs
            if other.seed == run.seed and other.recipe.images < run.recipe.images
            and replace(other.recipe, images=run.recipe.images, seeds=(), measures=())
            == replace(run.recipe, seeds=(), measures=())
        ]
        return sorted(alike, key=lambda other: other.recipe.images, reverse=True)


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep's TOML file and load its teacher.

    Raises:
        ValueError: no TOML, an unknown key, or a value that does not fit; says which row's.
        OSError: the file, or the teacher's, cannot be read.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no TOML ({error})") from None
    known = ("teacher", "content", "samples", "seeds", "measures", "training", "rows")
    _known(values, known, str(path))
    missing = [name for name in ("teacher", "rows") if name not in values]
    check(not missing, str(path), sorted(values), f"also {', '.join(missing)}")
    training, samples = values.get("training", {}), values.get("samples", 2000)
    content = values.get("content", "portraits")
    for name, text in (("teacher", values["teacher"]), ("content", content)):
        check(isinstance(text, str), name, text, "a text")
    check(isinstance(values["rows"], Mapping), "rows", values["rows"], "a table")
    try:
        common = Recipe(
            seeds=values.get("seeds", ()), measures=values.get("measures", ()), training=training
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    # density and coverage look at five neighbours
    check(type(samples) is int and samples > 5, "samples", samples, "an integer >= 6")
    find_content(content)
    teacher = load_checkpoint(values["teacher"])
    runs = []
    for name, settings in values["rows"].items():
        try:
            _known(settings, [f.name for f in fields(Recipe)], "row")
            # a row that names its seeds has no others
            unsaid = {"ratio": 0.0, "images": 0} if settings.get("network") else {}
            recipe = Recipe(**{"seeds": common.seeds, **unsaid, **settings})
            measures = tuple(dict.fromkeys((*common.measures, *recipe.measures)))
            for seed in [None] if recipe.network else recipe.seeds:
                fixed = {"images": recipe.images or 1, "seed": seed or 0}
                config = TrainConfig.from_dict(training | recipe.training | fixed)
                sha256 = _hash(teacher, recipe, config, samples, content)
                beside = recipe.network != values["teacher"]
                runs.append(
                    Run(name, recipe, seed, config, measures, samples, content, beside, sha256)
                )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: rows.{name}: {error}") from None
    return Sweep(teacher, tuple(runs))


def _known(values: Mapping[str, Any], known: Any, where: str) -> None:
    check(isinstance(values, Mapping), where, values, "a table")
    unknown = sorted(set(values) - set(known))
    check(not unknown, where, ", ".join(unknown), f"only {', '.join(known)}")


def _hash(
    teacher: Checkpoint, recipe: Recipe, training: TrainConfig, samples: int, content: str
) -> str:
    """Of what is not at its default: so a field that comes later changes no hash by being there."""

    def changed(value: Any, usual: Any) -> dict[str, Any]:
        return {k: v for k, v in vars(value).items() if v != getattr(usual, k)}

    plain = replace(recipe, seeds=(), measures=(), distillation={}, training={})
    text = json.dumps({
        "teacher": teacher.sha256, "recipe": changed(plain, Recipe()),
        "samples": samples, "content": content,
        "training": changed(training, TrainConfig()),
        "distillation": changed(recipe.lessons(), DistillationConfig()),
        "networks": [manifest()[f"portraits-{name}"]["sha256"] for name in NETWORKS],
    }, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
