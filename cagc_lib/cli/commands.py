"""What each command of the command line does, given its parsed arguments.

Every function checks what it can before the long part starts, calls the library, writes its result
whole and prints a few lines. `__main__.py` reads the arguments and turns errors into one line.
Chapter 1 uses `compress`; chapters 5, 8, 9 and 12 the others.
"""

import argparse
import csv
import dataclasses
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checkpoints import (
    Checkpoint,
    atomic_write,
    check_target,
    data_dir,
    file_sha256,
    load_checkpoint,
    load_generator,
    save_checkpoint,
    write_manifest_entry,
)
from ..content import ContentSource
from ..datasets import ClassFolders, image_source, save_sheet
from ..distillation import DistillationConfig
from ..export import convert
from ..importance import score_channels
from ..metrics import evaluate
from ..networks import (
    KINDS,
    ImageFeatures,
    PrunableGenerator,
    classifier,
    features,
    first_parameter,
    kind_of,
)
from ..pruning import plan_pruning, prune
from ..training import (
    SNGAN_RECIPE,
    TrainConfig,
    TrainState,
    check_lessons,
    train_parser,
    train_student,
    train_teacher,
)
from . import choices
from .cards import card, comparison
from .choices import find_content, find_device, read_content, settle

# what `train teacher` makes where it is told nothing else, and how a kind of network is trained
SHAPES: dict[str, dict[str, Any]] = {
    "stylegan2": {
        "resolution": 64, "channels": (160,) * 6 + (80,) * 2 + (40,) * 2, "z_dim": 128,
        "w_dim": 128, "mapping_layers": 4,
    },
    "sngan": {"resolution": 32, "channels": (256,) * 7, "z_dim": 128},
}
RECIPES = {"stylegan2": {"batch_size": 16}, "sngan": SNGAN_RECIPE}
# what a network of one's own is measured by, and what to ask for where nothing is said
EVALUATED = {
    "content": "--content SOURCE, or none",
    "reference": "--reference FOLDER of real pictures",
    "features": "--features standard, or a classifier",
}


def run_train_teacher(parsed: argparse.Namespace) -> None:
    """`train teacher`: a full-size generator from new weights, in a run folder."""
    config = _train_config(parsed, parsed.network, warm_start=parsed.warm_start)
    names = SHAPES["stylegan2"]
    given = {n: getattr(parsed, n) for n in names if getattr(parsed, n) is not None}
    generator = KINDS[parsed.network].generator_config.from_dict(SHAPES[parsed.network] | given)
    device = find_device(parsed.device)
    network = None
    if config.looks_at_features:
        network = features.load_features(device, "portraits-perceptual")
    target = _registered(parsed.register)
    state = train_teacher(
        config, generator, parsed.out, features=network, resume=parsed.resume, device=device
    )
    print(f"{parsed.out / 'checkpoint.safetensors'}: {state.images:,} images seen")
    _register(target, state.average, state.discriminator, parsed)


def run_train_network(parsed: argparse.Namespace) -> None:
    """`train parser` and `train features`: the small networks that read portraits."""
    path = _registered(parsed.register) or parsed.out
    if path is None:
        raise ValueError("out: got nothing, expected --out FILE or --register NAME")
    _check_output(path, (".safetensors",))
    fit = train_parser if parsed.what == "parser" else features.train_features
    fit(steps=parsed.steps, batch_size=parsed.batch_size, seed=parsed.seed, out=path)
    if parsed.register:
        write_manifest_entry(path, parsed.command_line)
    print(f"{path}: {path.stat().st_size:,} bytes")


def run_train_classifier(parsed: argparse.Namespace) -> None:
    """`train classifier`: features and class activation for a folder of labelled images."""
    path = _registered(parsed.register) or parsed.out
    if path is None:
        raise ValueError("out: got nothing, expected --out FILE or --register NAME")
    _check_output(path, (".safetensors",))
    held_out = parsed.test and ClassFolders(parsed.test, parsed.resolution)
    if held_out:
        # what is wrong with the test images is told before hours go into training
        classes = ClassFolders(parsed.data, parsed.resolution).classes
        if held_out.classes != classes:
            got, expected = ", ".join(held_out.classes), ", ".join(classes)
            raise ValueError(f"test: got classes {got[:200]}, expected {expected[:200]}")
        for number in range(len(held_out)):
            held_out.images([number])
    network = classifier.train_classifier(
        parsed.data, parsed.resolution, parsed.steps, parsed.batch_size, seed=parsed.seed,
        out=path, device=find_device(parsed.device),
    )
    measured = {"accuracy": classifier.accuracy(network, held_out)} if held_out else {}
    for name, value in measured.items():
        print(f"{name} {value:.4f} on {len(held_out):,} images of {parsed.test}")
    if parsed.register:
        write_manifest_entry(path, parsed.command_line, **measured)
    print(f"{path}: {path.stat().st_size:,} bytes")


def run_train_student(parsed: argparse.Namespace) -> None:
    """`train student`: distillation of a network that was pruned before."""
    teacher = _load_teacher(parsed, trains=True)
    student = load_generator(parsed.student, parsed.trust)
    _check_lineage(student, teacher)
    target = _registered(parsed.register)
    network = _prepare(parsed, teacher)
    source = find_content(parsed.content, teacher.generator)
    state = _distil(parsed, parsed.out, parsed.images, student, teacher, source, network)
    print(f"{parsed.out / 'checkpoint.safetensors'}: {state.images:,} images seen")
    _register(target, state.average, None, parsed)


def run_compress(parsed: argparse.Namespace) -> None:
    """`compress`: score, prune and, if asked, distil; one file out and a table on the screen."""
    target = _registered(parsed.register)
    _check_output(parsed.out, (".safetensors", ".pt"))
    if not 0 <= parsed.ratio < 1:
        raise ValueError(f"ratio: got {parsed.ratio}, expected a number in [0, 1)")
    trains = bool(parsed.distil_images or parsed.sparse_images)
    teacher = _load_teacher(parsed, trains)
    check_target(parsed.out, config=teacher.generator.config)
    run = parsed.run or parsed.out.with_suffix(".run")
    kept = run / "pruned.safetensors"
    if parsed.sparse_images and parsed.method != "slimming":
        raise ValueError(f"sparse-images: got method {parsed.method}, expected slimming")
    begun = any((run / f).exists() for f in ("state.pt", "sparse/state.pt"))
    if begun and not parsed.resume and trains:
        raise ValueError(f"run: {run} holds a run already; --resume it or choose another --run")
    network = _prepare(parsed, teacher) if trains else None
    source = find_content(parsed.content, teacher.generator)
    settings = _settings(parsed, teacher.sha256)
    if parsed.resume and kept.exists():
        _check_settings(run / "compress.json", settings)
        student = load_generator(kept)
    else:
        student = _score_and_prune(parsed, teacher, source, network, run)
        if parsed.distil_images:
            run.mkdir(parents=True, exist_ok=True)
            text = json.dumps(settings, indent=2) + "\n"
            atomic_write(run / "compress.json", text.encode())
            save_checkpoint(student, None, kept)
    if parsed.distil_images:
        state = _distil(parsed, run, parsed.distil_images, student, teacher, source, network)
        student = state.average.cpu()
    save_checkpoint(student, None, parsed.out)
    print(comparison(teacher.generator, student))
    print(f"{parsed.out}: {parsed.out.stat().st_size:,} bytes")
    if not parsed.distil_images:
        print("pruned, not trained: its pictures are spoilt until it is, see --distil-images")
    _register(target, student, None, parsed)


def run_evaluate(parsed: argparse.Namespace) -> None:
    """`evaluate`: the measures of a generator, on the screen and in files."""
    for path, suffix in ((parsed.json, ".json"), (parsed.csv, ".csv")):
        if path is not None:
            _check_output(path, (suffix,))
    if parsed.content not in (None, "none") and read_content(parsed.content)[0] == "attention":
        raise ValueError("content: got attention, expected a source for any image")
    generator = load_checkpoint(parsed.file, parsed.trust)
    teacher = None if parsed.teacher is None else load_checkpoint(parsed.teacher, parsed.trust)
    known = any(choices.draws_portraits(c) for c in (generator, teacher) if c is not None)
    wanted = {
        name: settle(name, getattr(parsed, name), known, expected)
        for name, expected in EVALUATED.items()
    }
    report = evaluate(
        generator.generator, parsed.num_samples, parsed.seed,
        None if wanted["content"] == "none" else find_content(wanted["content"]),
        None if teacher is None else teacher.generator,
        truncation_psi=parsed.psi, device=find_device(parsed.device), progress=True,
        reference=wanted["reference"], features=choices.measuring_network(wanted["features"]),
    )
    values = {key: value for key, value in report.to_dict().items() if value is not None}
    width = max(map(len, values))
    for key, value in values.items():
        print(f"{key:<{width}}  {value if isinstance(value, int | str) else format(value, '.4f')}")
    if parsed.json is not None:
        atomic_write(parsed.json, (report.to_json() + "\n").encode())
    if parsed.csv is not None:
        _append_row(parsed.csv, {"file": str(parsed.file), **report.to_dict()})


def run_generate(parsed: argparse.Namespace) -> None:
    """`generate`: a sheet of images, one a seed."""
    _check_output(parsed.out, (".png",))
    generator = load_generator(parsed.file, parsed.trust).to(find_device(parsed.device))
    z = [
        torch.randn(generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
        for seed in parsed.seeds
    ]
    batches = torch.stack(z).to(first_parameter(generator)).split(16)
    with torch.inference_mode():
        images = torch.cat([generator(batch, parsed.psi, parsed.noise).cpu() for batch in batches])
    save_sheet(images, parsed.out, min(parsed.columns, len(images)))
    print(f"{parsed.out}: {len(images)} images of {images.shape[-1]} px")


def run_convert(parsed: argparse.Namespace) -> None:
    """`convert`: write a network in another format, and prove that its images are the same."""
    check_target(parsed.out, parsed.half)
    _check_output(parsed.out, (".safetensors", ".pt"))
    if parsed.out.exists() and Path(parsed.file).exists() and parsed.out.samefile(parsed.file):
        raise ValueError(f"out: {parsed.out} is the file to be converted, expected another one")
    source = load_checkpoint(parsed.file, parsed.trust)
    if parsed.generator_only:
        source = dataclasses.replace(source, discriminator=None)
    result = convert(source, parsed.out, parsed.half, True, parsed.drop_clamp)
    print(result.summary())
    print(f"{parsed.out}: {parsed.out.stat().st_size:,} bytes, SHA-256 {result.sha256}")


def run_inspect(parsed: argparse.Namespace) -> None:
    """`inspect`: what a file holds and what it lacks."""
    print(card(load_checkpoint(parsed.file, parsed.trust), str(parsed.file)))


def _load_teacher(parsed: argparse.Namespace, trains: bool) -> Checkpoint:
    """Load the teacher and settle what the command line left open: content, real images."""
    if parsed.content is not None:
        # a mistyped name is told before a model is downloaded
        read_content(parsed.content)
    teacher = load_checkpoint(parsed.teacher, parsed.trust)
    known = choices.draws_portraits(teacher)
    expected = "--content SOURCE, such as everything"
    parsed.content = settle("content", parsed.content, known, expected)
    if trains:
        parsed.data = settle("data", parsed.data, known, "--data FOLDER of real pictures")
    return teacher


def _check_lineage(student: PrunableGenerator, teacher: Checkpoint) -> None:
    """Say it if a student names another teacher; no error, as a converted one has another hash."""
    source = student.lineage and student.lineage.source_sha256
    if source and source != teacher.sha256:
        told = f"teacher: got SHA-256 {teacher.sha256[:16]}..., but the student was pruned from"
        print(f"{told} {source[:16]}...", file=sys.stderr)


def _prepare(parsed: argparse.Namespace, teacher: Checkpoint) -> ImageFeatures | None:
    """Look at what training needs before hours go into the scores; return the feature network."""
    config, lessons = teacher.generator.config, _distillation_config(parsed)
    counts = [getattr(parsed, name, 0) for name in ("distil_images", "sparse_images")]
    for count in [n for n in counts if n] or [parsed.images]:
        fit = _train_config(parsed, kind_of(config), images=count)
        check_lessons(fit, lessons, config)
    image_source(fit.data, config.resolution)
    if not lessons.perceptual:
        return None
    return choices.perceptual_network(
        parsed.perceptual_network, kind_of(config), fit.data, find_device(parsed.device)
    )


def _score_and_prune(
    parsed: argparse.Namespace, teacher: Checkpoint, source: ContentSource,
    network: ImageFeatures | None, run: Path,
) -> PrunableGenerator:
    g = teacher.generator
    if parsed.sparse_images:
        # slimming's own first half: gains become zero where the images can do without
        sparse = run / "sparse"
        sparse.mkdir(parents=True, exist_ok=True)
        state = _distil(
            parsed, sparse, parsed.sparse_images, g, teacher, source, network,
            sparsity=parsed.sparsity,
        )
        if state.sparse_gains:
            gains = torch.cat(state.sparse_gains)
            print(f"gains: {(gains == 0).sum():,} of {len(gains):,} are zero")
        g = state.average
    scores = score_channels(
        g.to(find_device(parsed.device)), source, parsed.method, parsed.num_samples,
        parsed.score_batch, parsed.noise_prob, parsed.seed, parsed.per_sample, progress=True,
    )
    plan = plan_pruning(scores, parsed.ratio, parsed.round_to)
    return prune(g.cpu(), plan, parsed.rgb_gain, teacher.sha256)


def _distil(
    parsed: argparse.Namespace, run: Path, images: int, student: PrunableGenerator,
    teacher: Checkpoint, source: ContentSource, network: ImageFeatures | None, **values: float,
) -> TrainState:
    if teacher.discriminator is None:
        print("the teacher's file holds no discriminator: a new one is trained")
    kind = kind_of(teacher.generator.config)
    return train_student(
        _train_config(parsed, kind, images=images, **values), _distillation_config(parsed),
        student, teacher.generator, run, teacher.discriminator, source, network, parsed.resume,
        find_device(parsed.device),
    )


def _distillation_config(parsed: argparse.Namespace) -> DistillationConfig:
    return DistillationConfig(
        l1=parsed.l1, perceptual=parsed.perceptual, rgb=parsed.rgb,
        adversarial=parsed.adversarial, mask_content=not parsed.no_mask,
        noise=parsed.teacher_noise, init=parsed.init,
    )


def _train_config(parsed: argparse.Namespace, kind: str, **values: object) -> TrainConfig:
    for name in ("images", "batch_size", "data", "autocast", "seed"):
        if getattr(parsed, name, None) is not None:
            values.setdefault(name, getattr(parsed, name))
    return TrainConfig.from_dict(RECIPES[kind] | values | dict(parsed.set))


def _settings(parsed: argparse.Namespace, sha256: str) -> dict[str, Any]:
    names = (
        "ratio", "content", "method", "num_samples", "score_batch", "noise_prob", "per_sample",
        "rgb_gain", "round_to", "seed",
    )
    if parsed.sparse_images:
        names += ("sparse_images", "sparsity")
    return {"teacher_sha256": sha256} | {name: getattr(parsed, name) for name in names}


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    try:
        started = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"resume: {path} cannot be read ({error})") from error
    for name in started | settings:
        if (now := settings.get(name)) != (then := started.get(name)):
            raise ValueError(f"resume: {name} is {now!r}, but the run was started with {then!r}")


def _append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file, or start one; another header is a ValueError."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if not old:
        writer.writeheader()
    elif old.splitlines()[0] != ",".join(row):
        raise ValueError(f"csv: {path} has other columns, expected {','.join(row)}")
    writer.writerow(row)
    atomic_write(path, (old + text.getvalue()).encode())


def _check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a target that could not be written, before hours went into making it."""
    if path.suffix not in suffixes:
        expected = " or ".join(suffixes)
        raise ValueError(f"out: got {str(path)!r}, expected a file ending in {expected}")
    if not path.parent.is_dir():
        raise ValueError(f"out: no folder {path.parent}, expected an existing one")
    if path.is_dir():
        raise ValueError(f"out: {path} is a folder, expected a file")
    probe = path.with_name(f".{path.name}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"out: cannot write to {path.parent} ({error.strerror})") from None


def _registered(name: str | None) -> Path | None:
    """Return where an artefact of this name lives."""
    if name is None:
        return None
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"register: got {name!r}, expected small letters, digits and hyphens")
    path = data_dir() / f"{name}.safetensors"
    _check_output(path, (".safetensors",))
    return path


def _register(
    path: Path | None, g: PrunableGenerator, d: nn.Module | None, parsed: argparse.Namespace
) -> None:
    """Write an artefact in half precision, with the command that made it."""
    if path is None:
        return
    save_checkpoint(g.cpu(), None if d is None else d.cpu(), path, half=True)
    write_manifest_entry(path, parsed.command_line)
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {file_sha256(path)[:16]}...")
