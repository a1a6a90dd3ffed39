"""What each command of the command line does, given its parsed arguments.

Every function checks what it can before the long part starts, calls the library, writes its result
whole and prints a few lines. Chapter 1 uses `compress`; chapters 5, 8, 9 and 12 the others.
"""

import argparse
import csv
import dataclasses
import io
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checkpoints import (
    Checkpoint,
    atomic_write,
    check_target,
    file_sha256,
    load_checkpoint,
    load_features,
    load_generator,
    new_artefact_path,
    save_checkpoint,
    write_manifest_entry,
)
from ..compression import CompressionConfig, compress, perceptual_network
from ..content import find_content, read_content
from ..datasets import ClassFolders, save_sheet
from ..distillation import DistillationConfig
from ..export import convert
from ..metrics import evaluate
from ..networks import KINDS, PrunableGenerator, first_parameter, kind_of
from ..training import (
    SNGAN_RECIPE,
    TrainConfig,
    accuracy,
    train_network,
    train_student,
    train_teacher,
)
from .cards import card, comparison
from .choices import (
    draws_portraits,
    find_device,
    measuring_network,
    or_portraits,
)

# what `train teacher` makes where nothing else is asked for, and how a kind of network is trained
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
    config = _train_config(
        parsed, parsed.network, images=parsed.images, warm_start=parsed.warm_start
    )
    names = SHAPES["stylegan2"]
    given = {n: getattr(parsed, n) for n in names if getattr(parsed, n) is not None}
    generator = KINDS[parsed.network].generator_config.from_dict(SHAPES[parsed.network] | given)
    device = find_device(parsed.device)
    network = load_features(device, "portraits-perceptual") if config.looks_at_features else None
    target = _registered(parsed)
    state = train_teacher(
        config, generator, parsed.out, features=network, resume=parsed.resume, device=device
    )
    print(f"{parsed.out / 'checkpoint.safetensors'}: {state.images:,} images seen")
    _register(target, state.average, state.discriminator, parsed.how)


def run_train_network(parsed: argparse.Namespace) -> None:
    """`train parser` and `train features`: the small networks that read portraits."""
    path = _network_path(parsed)
    train_network(
        parsed.command.removeprefix("train "), steps=parsed.steps, batch_size=parsed.batch_size,
        seed=parsed.seed, out=path,
    )
    _finish_network(path, parsed)


def run_train_classifier(parsed: argparse.Namespace) -> None:
    """`train classifier`: features and class activation for a folder of labelled images."""
    path = _network_path(parsed)
    held_out = parsed.test and ClassFolders(parsed.test, parsed.resolution)
    if held_out:
        # what is wrong with the test images is said before hours go into training
        classes = ClassFolders(parsed.data, parsed.resolution).classes
        if held_out.classes != classes:
            got, expected = ", ".join(held_out.classes), ", ".join(classes)
            raise ValueError(f"test: got classes {got[:200]}, expected {expected[:200]}")
        for number in range(len(held_out)):
            held_out.images([number])
    network = train_network(
        "classifier", data=parsed.data, resolution=parsed.resolution, steps=parsed.steps,
        batch_size=parsed.batch_size, seed=parsed.seed, out=path, device=find_device(parsed.device),
    )
    measured = {"accuracy": accuracy(network, held_out)} if held_out else {}
    for name, value in measured.items():
        print(f"{name} {value:.4f} on {len(held_out):,} images of {parsed.test}")
    _finish_network(path, parsed, **measured)


def run_train_student(parsed: argparse.Namespace) -> None:
    """`train student`: distillation of a network that was pruned before."""
    teacher, content, data = _load_teacher(parsed, trains=True)
    student = load_generator(parsed.student, parsed.trust)
    source = student.lineage and student.lineage.source_sha256
    if source and source != teacher.sha256:
        # no error, as a converted teacher has another hash
        print(
            f"teacher: got SHA-256 {teacher.sha256[:16]}..., but the student was pruned from "
            f"{source[:16]}...", file=sys.stderr,
        )
    target = _registered(parsed)
    kind = kind_of(teacher.generator.config)
    config = _train_config(parsed, kind, images=parsed.images, data=data)
    lessons, device = _distillation_config(parsed), find_device(parsed.device)
    features = None
    if lessons.perceptual:
        features = perceptual_network(parsed.perceptual_network, kind, data, device)
    state = train_student(
        config, lessons, student, teacher.generator, parsed.out, teacher.discriminator,
        find_content(content, teacher.generator), features, parsed.resume, device,
    )
    print(f"{parsed.out / 'checkpoint.safetensors'}: {state.images:,} images seen")
    _register(target, state.average, None, parsed.how)


def run_compress(parsed: argparse.Namespace) -> None:
    """`compress`: score, prune and, if asked, distil; one file out and a table on the screen."""
    target = _registered(parsed)
    _check_output(parsed.out, (".safetensors", ".pt"))
    trains = parsed.distil_images != 0 or parsed.sparse_images != 0
    teacher, content, data = _load_teacher(parsed, trains)
    check_target(parsed.out, config=teacher.generator.config)
    kind = kind_of(teacher.generator.config)
    training = sparse = None
    if parsed.distil_images:
        training = _train_config(parsed, kind, images=parsed.distil_images, data=data)
    if parsed.sparse_images:
        sparse = _train_config(
            parsed, kind, images=parsed.sparse_images, data=data, sparsity=parsed.sparsity
        )
    names = [field.name for field in dataclasses.fields(CompressionConfig)]
    student = compress(
        teacher, content=content, training=training, distillation=_distillation_config(parsed),
        sparse_training=sparse, features=parsed.perceptual_network,
        run=parsed.run or parsed.out.with_suffix(".run"), resume=parsed.resume,
        device=find_device(parsed.device), progress=True,
        **{name: getattr(parsed, name) for name in names},
    )
    save_checkpoint(student, None, parsed.out)
    print(comparison(teacher.generator, student))
    print(f"{parsed.out}: {parsed.out.stat().st_size:,} bytes")
    if training is None:
        print("pruned, not trained: its pictures are spoilt until it is, see --distil-images")
    _register(target, student, None, parsed.how)


def run_evaluate(parsed: argparse.Namespace) -> None:
    """`evaluate`: the measures of a generator, on the screen and in files."""
    for path, suffix in ((parsed.json, ".json"), (parsed.csv, ".csv")):
        if path is not None:
            _check_output(path, (suffix,))
    if parsed.content not in (None, "none") and read_content(parsed.content)[0] == "attention":
        raise ValueError("content: got attention, expected a source for any image")
    generator = load_checkpoint(parsed.file, parsed.trust)
    teacher = None if parsed.teacher is None else load_checkpoint(parsed.teacher, parsed.trust)
    known = any(draws_portraits(c) for c in (generator, teacher) if c is not None)
    wanted = {
        name: or_portraits(name, getattr(parsed, name), known, expected)
        for name, expected in EVALUATED.items()
    }
    report = evaluate(
        generator.generator, parsed.num_samples, parsed.seed,
        None if wanted["content"] == "none" else find_content(wanted["content"]),
        None if teacher is None else teacher.generator,
        truncation_psi=parsed.psi, device=find_device(parsed.device), progress=True,
        reference=wanted["reference"], features=measuring_network(wanted["features"]),
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


def _load_teacher(
    parsed: argparse.Namespace, trains: bool
) -> tuple[Checkpoint, str, str | None]:
    """Load the teacher and find what the command line left open: content, real images."""
    if parsed.content is not None:
        # a mistyped name is reported before a model is downloaded
        read_content(parsed.content)
    teacher = load_checkpoint(parsed.teacher, parsed.trust)
    known, data = draws_portraits(teacher), parsed.data
    content = or_portraits(
        "content", parsed.content, known, "--content SOURCE, such as everything"
    )
    if trains:
        data = or_portraits("data", data, known, "--data FOLDER of real pictures")
        if teacher.discriminator is None:
            print("the teacher's file holds no discriminator: a new one is trained")
    return teacher, content, data


def _distillation_config(parsed: argparse.Namespace) -> DistillationConfig:
    return DistillationConfig(
        l1=parsed.l1, perceptual=parsed.perceptual, rgb=parsed.rgb, adversarial=parsed.adversarial,
        mask_content=not parsed.no_mask, noise=parsed.teacher_noise, init=parsed.init,
    )


def _train_config(parsed: argparse.Namespace, kind: str, **values: object) -> TrainConfig:
    for name in ("batch_size", "data", "autocast", "seed"):
        if getattr(parsed, name) is not None:
            values.setdefault(name, getattr(parsed, name))
    return TrainConfig.from_dict(RECIPES[kind] | values | dict(parsed.set))


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


def _registered(parsed: argparse.Namespace) -> Path | None:
    """Return where the artefact that --register names will live."""
    if parsed.register is None:
        return None
    path = new_artefact_path(parsed.register)
    _check_output(path, (".safetensors",))
    return path


def _register(path: Path | None, g: PrunableGenerator, d: nn.Module | None, how: str) -> None:
    """Write an artefact in half precision, with the command that made it."""
    if path is None:
        return
    save_checkpoint(g.cpu(), None if d is None else d.cpu(), path, half=True)
    write_manifest_entry(path, how)
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {file_sha256(path)[:16]}...")


def _network_path(parsed: argparse.Namespace) -> Path:
    """Return where a small network will be written."""
    path = _registered(parsed) or parsed.out
    if path is None:
        raise ValueError("out: got nothing, expected --out FILE or --register NAME")
    _check_output(path, (".safetensors",))
    return path


def _finish_network(path: Path, parsed: argparse.Namespace, **measured: float) -> None:
    if parsed.register:
        write_manifest_entry(path, parsed.how, **measured)
    print(f"{path}: {path.stat().st_size:,} bytes")
