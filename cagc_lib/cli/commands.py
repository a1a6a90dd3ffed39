"""What each command of the command line does, given its parsed arguments; its docstring is help.

Every function checks what it can before the long part starts, calls the library, writes its result
whole and prints a few lines. Chapter 1 uses `compress`; chapters 5, 8, 10 and 13 the others.
"""

import argparse
import csv
import dataclasses
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checkpoints import (
    Checkpoint, atomic_write, check_target, load_checkpoint, load_features, new_artefact_path,
    reason_of, save_checkpoint, write_manifest_entry,
)
from ..compression import (
    CompressionConfig, compress, draws_portraits, or_portraits, perceptual_network,
)
from ..content import find_content, read_content
from ..datasets import ClassFolders, save_sheet
from ..distillation import DistillationConfig
from ..export import convert
from ..metrics import evaluate
from ..networks import KINDS, PrunableGenerator, first_parameter, kind_of
from ..scoreboard import Place, fill_latencies, run_sweep
from ..training import (
    SNGAN_RECIPE, TrainConfig, accuracy, train_network, train_student, train_teacher,
)
from .arguments import find_device
from .cards import card, comparison

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
    """Train a full-size generator and its discriminator from new weights, in a run folder."""
    kind, names = parsed.network, SHAPES["stylegan2"]
    config = _train_config(parsed, kind, images=parsed.images, warm_start=parsed.warm_start)
    given = {n: getattr(parsed, n) for n in names if getattr(parsed, n) is not None}
    generator = KINDS[kind].generator_config.from_dict(SHAPES[kind] | given)
    device = find_device(parsed.device)
    network = load_features(device, "portraits-perceptual") if config.looks_at_features else None
    target = _registered(parsed)
    state = train_teacher(
        config, generator, parsed.out, features=network, resume=parsed.resume, device=device,
        allow=parsed.allow,
    )
    print(f"{parsed.out / 'checkpoint.safetensors'}: {state.images:,} images seen")
    _register(target, state.average, state.discriminator, parsed.how)


def run_train_student(parsed: argparse.Namespace) -> None:
    """Distil a network that was pruned before, in a run folder."""
    teacher, content, data = _load_teacher(parsed, trains=True)
    student = _load(parsed, parsed.student).generator
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
    if lessons.looks_at_features:
        features = perceptual_network(parsed.perceptual_network, kind, data, device)
    state = train_student(
        config, lessons, student, teacher.generator, parsed.out, teacher.discriminator,
        find_content(content, teacher.generator), features, parsed.resume, device,
        allow=parsed.allow,
    )
    print(f"{parsed.out / 'checkpoint.safetensors'}: {state.images:,} images seen")
    _register(target, state.average, None, parsed.how)


def run_train_network(parsed: argparse.Namespace) -> None:
    """Train a small network that reads images, of portraits or of labelled photographs."""
    path = _registered(parsed) or parsed.out
    if path is None:
        raise ValueError("out: got nothing, expected --out FILE or --register NAME")
    _check_output(path, ".safetensors")
    names = ("steps", "batch_size", "seed", "data", "resolution")
    settings = {name: getattr(parsed, name) for name in names if name in parsed}
    if "device" in parsed:
        settings["device"] = find_device(parsed.device)
    held_out = _held_out(parsed) if "test" in parsed and parsed.test else None
    network = train_network(parsed.command.removeprefix("train "), out=path, **settings)
    measured = {}
    if held_out:
        measured["accuracy"] = accuracy(network, held_out)
        shown = f"{len(held_out):,} images of {parsed.test}"
        print(f"accuracy {measured['accuracy']:.4f} on {shown}")
    if parsed.register:
        write_manifest_entry(path, parsed.how, **measured)
    print(f"{path}: {path.stat().st_size:,} bytes")


def run_compress(parsed: argparse.Namespace) -> None:
    """Remove the channels that the content of the images depends on least.

    examples:
      prune only, a minute:
        %(prog)s portraits --ratio 0.7 --out student.safetensors
      a network of your own, without a parser, distilled with pictures of your own; --resume goes
      on where it stopped; without --perceptual, --data and --distil-images it is pruned only:
        %(prog)s mine.pkl --ratio 0.7 --content everything --rgb-gain preserved \\
            --perceptual 0 --data photos/ --distil-images 20000 --out student.safetensors
      the paper's recipe, hours; stop it when you like and continue with --resume:
        %(prog)s portraits --ratio 0.7 --rgb-gain preserved --round-to 8 \\
            --distil-images 200000 --run runs/student --out student.safetensors
    """
    target = _registered(parsed)
    _check_output(parsed.out, ".safetensors", ".pt")
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
        device=find_device(parsed.device), progress=True, allow=parsed.allow,
        **{name: getattr(parsed, name) for name in names},
    )
    save_checkpoint(student, None, parsed.out)
    print(comparison(teacher.generator, student))
    print(f"{parsed.out}: {parsed.out.stat().st_size:,} bytes")
    if training is None:
        print("pruned, not trained: its pictures are spoilt until it is, see --distil-images")
    _register(target, student, None, parsed.how)


def run_evaluate(parsed: argparse.Namespace) -> None:
    """Measure a generator against held-out rendered portraits, a folder or a zip archive.
    In the portraits' features, other images' distances mean little.

    One line a measure: Frechet distance (smaller is better), precision and recall (1 is best);
    content_... the same inside the content only; with --teacher, distances to the teacher's image
    of the same z. The class Report in cagc_lib.metrics explains units.

    examples:
      %(prog)s portraits-11x --teacher portraits
      %(prog)s student.safetensors --num-samples 500 --json report.json
      %(prog)s student.safetensors --teacher mine.pkl --content everything \\
          --reference photos/ --features standard
    """
    for path, suffix in ((parsed.json, ".json"), (parsed.csv, ".csv")):
        if path is not None:
            _check_output(path, suffix)
    if parsed.content not in (None, "none"):
        # a mistyped name is reported before a model is downloaded
        read_content(parsed.content)
    generator = _load(parsed, parsed.file, parsed.key)
    teacher = None if parsed.teacher is None else _load(parsed, parsed.teacher)
    known = any(draws_portraits(c) for c in (generator, teacher) if c is not None)
    content, reference, features = (
        or_portraits(name, getattr(parsed, name), known, expected)
        for name, expected in EVALUATED.items()
    )
    report = evaluate(
        generator.generator, parsed.num_samples, parsed.seed,
        None if content == "none" else content, teacher and teacher.generator,
        truncation_psi=parsed.psi, device=find_device(parsed.device), progress=True,
        reference=reference, features=features,
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
    """Draw a sheet of images, one a seed.

    examples:
      %(prog)s portraits --out sheet.png
      %(prog)s student.safetensors --seeds 0-3,20 --psi 1 --out sheet.png
    """
    _check_output(parsed.out, ".png")
    generator = _load(parsed, parsed.file, parsed.key).generator.to(find_device(parsed.device))
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
    """Write a network as .safetensors, or as a .pt that the rosinality and CAGC code loads.

    The numbers stay as they are: 8 images are drawn before and after, and their largest difference
    is printed. Nothing is written if they differ.

    examples:
      %(prog)s network-snapshot-025000.pkl mine.safetensors
      %(prog)s student.safetensors student.pt
      %(prog)s network-snapshot-025000.pkl mine.pt --drop-clamp
      %(prog)s 256px_full_size.pt small.safetensors --generator-only --half
    """
    check_target(parsed.out, parsed.half)
    _check_output(parsed.out, ".safetensors", ".pt")
    if parsed.out.exists() and Path(parsed.file).exists() and parsed.out.samefile(parsed.file):
        raise ValueError(f"out: {parsed.out} is the file to be converted, expected another one")
    source = _load(parsed, parsed.file, parsed.key)
    result = convert(source, parsed.out, parsed.half, True, parsed.drop_clamp)
    print(result.summary())
    print(f"{parsed.out}: {parsed.out.stat().st_size:,} bytes, SHA-256 {result.sha256}")


def run_sweep_file(parsed: argparse.Namespace) -> None:
    """Train and measure every network that a table lacks, each once; Ctrl-C stops cleanly.

    FILE.toml names the rows, their settings and what is measured; cagc_lib/scoreboard/recipes.py
    says how. Called again, it goes on where it stopped; several may work on one table.

    examples:
      %(prog)s data/scoreboard.toml --rows "both masks" random --seeds 0 --processes 2
      %(prog)s data/scoreboard.toml --latencies
    """
    table = parsed.table or parsed.sweep.with_suffix(".csv")
    _check_output(table, ".csv")
    place = Place(table, parsed.runs, find_device(parsed.device), progress=parsed.processes == 1)
    if parsed.latencies:
        fill_latencies(parsed.sweep, place)
    else:
        run_sweep(parsed.sweep, place, parsed.rows, parsed.seeds, parsed.processes)


def run_inspect(parsed: argparse.Namespace) -> None:
    """Print a card: format, sizes, costs, hashes, what is missing.

    examples:
      %(prog)s portraits-11x
      %(prog)s network-snapshot-025000.pkl
    """
    print(card(_load(parsed, parsed.file, parsed.key), str(parsed.file)))


def _load(parsed: argparse.Namespace, file: str, key: str | None = None) -> Checkpoint:
    """Load a file with the options that all commands share; say it where it is no average."""
    only = parsed.generator_only
    checkpoint = load_checkpoint(file, parsed.trust, key=key, generator_only=only)
    if "network" in checkpoint.meta:
        print(f"{file}: read {checkpoint.meta['network']}", file=sys.stderr)
    return checkpoint


def _held_out(parsed: argparse.Namespace) -> ClassFolders:
    """Open a classifier's test images; what is wrong with them is said before hours of training."""
    held_out = ClassFolders(parsed.test, parsed.resolution, what="test")
    classes = ClassFolders(parsed.data, parsed.resolution).classes
    if held_out.classes != classes:
        got, expected = ", ".join(held_out.classes), ", ".join(classes)
        raise ValueError(f"test: got classes {got[:200]}, expected {expected[:200]}")
    for number in range(len(held_out)):
        held_out.images([number])
    return held_out


def _load_teacher(parsed: argparse.Namespace, trains: bool) -> tuple[Checkpoint, str, str | None]:
    """Load the teacher and find what the command line left open: content, real images."""
    if parsed.content is not None:
        # a mistyped name is reported before a model is downloaded
        read_content(parsed.content)
    teacher = _load(parsed, parsed.teacher, parsed.key)
    known, data = draws_portraits(teacher), parsed.data
    content = or_portraits("content", parsed.content, known, "--content SOURCE, such as everything")
    if trains:
        data = or_portraits("data", data, known, "--data FOLDER of real pictures")
        if teacher.discriminator is None:
            print("the teacher comes without a discriminator: a new one is trained")
    return teacher, content, data


def _distillation_config(parsed: argparse.Namespace) -> DistillationConfig:
    return DistillationConfig(
        l1=parsed.l1, perceptual=parsed.perceptual, rgb=parsed.rgb, relation=parsed.relation,
        adversarial=parsed.adversarial, mask_content=not parsed.no_mask, noise=parsed.teacher_noise,
        init=parsed.init,
    )


def _train_config(parsed: argparse.Namespace, kind: str, **values: object) -> TrainConfig:
    names = ("batch_size", "data", "autocast", "seed")
    given = {n: getattr(parsed, n) for n in names if getattr(parsed, n) is not None}
    return TrainConfig.from_dict(RECIPES[kind] | given | values | dict(parsed.set))


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


def _check_output(path: Path, *suffixes: str) -> None:
    """Refuse a target that could not be written, before hours went into making it."""
    if path.suffix not in suffixes:
        expected = " or ".join(suffixes)
        raise ValueError(f"out: got {str(path)!r}, expected a file ending in {expected}")
    if path.is_dir():
        raise ValueError(f"out: {path} is a folder, expected a file")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(f"out: cannot write to {path.parent} ({reason_of(error)})") from None


def _registered(parsed: argparse.Namespace) -> Path | None:
    """Return where the artefact that --register names will live, if it is given."""
    if parsed.register is None:
        return None
    path = new_artefact_path(parsed.register)
    _check_output(path, ".safetensors")
    return path


def _register(path: Path | None, g: PrunableGenerator, d: nn.Module | None, how: str) -> None:
    """Write an artefact, if one is asked for, in half precision, with the command that made it."""
    if path is None:
        return
    save_checkpoint(g.cpu(), None if d is None else d.cpu(), path, half=True)
    entry = write_manifest_entry(path, how)
    print(f"{path}: {entry['bytes']:,} bytes, SHA-256 {entry['sha256'][:16]}...")
