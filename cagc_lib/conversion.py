"""Writes a network in another format and proves it; describes what a file holds.

    convert:    checkpoint -> file, read back: the same images from the same z, before and after
    card:       checkpoint -> lines of text: format, sizes, costs, hashes, what is missing
    comparison: teacher, student -> a table: widths, parameters, MACs, latency

A conversion renames numbers and copies them, so the images must agree to float32's last digits; a
file whose images do not is not left behind. float16 is a loss by choice, and is told as one. A
clamp may be left out where no image shows it. Chapter 12.
"""

import dataclasses
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from .checkpoints import Checkpoint, check_target, load_checkpoint, save_checkpoint
from .costs import latency, macs, parameters
from .generator import GeneratorConfig
from .networks import KINDS, build, kind_of
from .protocol import PrunableGenerator, Shapes

NUM_IMAGES = 8
# not 1: an image then depends on w_avg too
TRUNCATION_PSI = 0.7
LIMIT = 1e-5
TURNS = 9
_FORMATS = {
    "safetensors": "safetensors of this project",
    "rosinality": "rosinality/CAGC .pt",
    "nvidia": "NVIDIA .pkl",
}
_DRAWN = {"noises": "noise maps", "w_avg": "average w"}


class Difference(NamedTuple):
    """The largest magnitude of before minus after, and the largest of before."""

    of_values: float
    up_to: float

    @property
    def small(self) -> bool:
        """Whether it is no more than float32's rounding; False where numbers are not finite."""
        return self.of_values <= LIMIT * self.up_to

    def __str__(self) -> str:
        return f"largest difference {self.of_values:.3g}, of values up to {self.up_to:.3g}"


@dataclass(frozen=True)
class Conversion:
    """What a conversion showed.

    Args:
        sha256: hash of the file written.
        images: how the images before and after differ.
        logits: how the discriminator's outputs on the images before differ, or None where there is
            no discriminator.
        made_up: what the source lacked and the loader drew, which the file now holds.
        left_out: what the source had and the file has not.
    """

    sha256: str
    images: Difference
    logits: Difference | None
    made_up: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say it in one to five lines."""
        lines = [f"{NUM_IMAGES} images before and after: {self.images}"]
        if self.logits is not None:
            lines.append(f"the discriminator's outputs on them: {self.logits}")
        lines += [f"not in the source, and written as drawn: {what}" for what in self.made_up]
        lines += [f"left out, as none of them shows it: {what}" for what in self.left_out]
        return "\n".join(lines)


def convert(
    source: Checkpoint, path: str | Path, half: bool = False, progress: bool = False,
    drop_clamp: bool = False,
) -> Conversion:
    """Save a checkpoint, load it back, and compare images.

    Args:
        source: what to save; without its discriminator where that is None.
        path: as for `save_checkpoint`.
        half: store float16; any difference is then reported, not refused.
        progress: draw a bar.
        drop_clamp: leave conv_clamp out, as a .pt file has no place for it; refused where the
            images show it.

    Returns:
        The differences.

    Raises:
        ValueError: a network that the format cannot express, or images that differ; nothing is
            written.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: no folder {path.parent}, expected an existing one")
    left_out = ()
    if drop_clamp and (clamps := _clamps(source)):
        clamped, left_out = source, tuple(f"conv_clamp {clamp:g}" for clamp in clamps)
        source = _unclamped(clamped)
        _check_same(path, _compare(clamped, source, progress), "none at all: the clamp acts")
    check_target(path, half, source.generator.config)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        trial = Path(folder) / path.name
        save_checkpoint(source.generator, source.discriminator, trial, half)
        result = _compare(source, load_checkpoint(trial), progress)
        if not half:
            _check_same(path, result, "none at all")
        trial.replace(path)
    return dataclasses.replace(result, left_out=left_out)


def _check_same(path: Path, result: Conversion, expected: str) -> None:
    for what, difference in (("images", result.images), ("logits", result.logits)):
        if difference is not None and not difference.small:
            raise ValueError(f"{path}: {what}: got {difference}, expected {expected}")


def _clamps(source: Checkpoint) -> list[float]:
    """The different conv_clamps of both networks; an SN-GAN has none."""
    configs = [n.config for n in (source.generator, source.discriminator) if n is not None]
    found = {getattr(config, "conv_clamp", None) for config in configs}
    return sorted(clamp for clamp in found if clamp is not None)


def _unclamped(source: Checkpoint) -> Checkpoint:
    """The same networks without conv_clamp."""

    def rebuilt(network: Any) -> Any:
        other = build(dataclasses.replace(network.config, conv_clamp=None))
        other.load_state_dict(network.state_dict())
        return other.eval()

    generator = rebuilt(source.generator)
    generator.lineage = source.generator.lineage
    discriminator = source.discriminator and rebuilt(source.discriminator)
    return dataclasses.replace(source, generator=generator, discriminator=discriminator)


@torch.inference_mode()
def _compare(before: Checkpoint, after: Checkpoint, progress: bool) -> Conversion:
    random = torch.Generator().manual_seed(0)
    z = torch.randn(NUM_IMAGES, before.generator.config.z_dim, generator=random)
    d, other_d = before.discriminator, after.discriminator
    images: list[list[Tensor]] = []
    logits: list[list[Tensor]] = []
    # one at a time: a 1024 px network takes gigabytes for eight
    for one in tqdm(z.split(1), disable=not progress, unit="image"):
        image = before.generator(one, TRUNCATION_PSI)
        images.append(_pair(image, after.generator(one, TRUNCATION_PSI)))
        if d is not None and other_d is not None:
            logits.append(_pair(d(image), other_d(image)))
    made_up = tuple(
        f"{what} ({before.meta[key]})" for key, what in _DRAWN.items() if key in before.meta
    )
    return Conversion(
        after.sha256, _largest(images), _largest(logits) if logits else None, made_up
    )


def _pair(before: Tensor, after: Tensor) -> list[Tensor]:
    return [(before - after).abs().max(), before.abs().max()]


def _largest(pairs: list[list[Tensor]]) -> Difference:
    # torch's maximum of a NaN is NaN, Python's may hide it
    return Difference(*(torch.stack(column).max().item() for column in zip(*pairs, strict=True)))


def card(checkpoint: Checkpoint, name: str) -> str:
    """Describe a checkpoint.

    Args:
        checkpoint: what was loaded.
        name: what to call it.

    Returns:
        One line a fact: what, then the fact.
    """
    g, d, meta = checkpoint.generator, checkpoint.discriminator, checkpoint.meta
    config, lineage = g.config, g.lineage
    rows = [
        ("file", name),
        ("format", _FORMATS[checkpoint.format]),
        ("SHA-256", checkpoint.sha256),
        ("network", KINDS[kind_of(config)].title),
        ("resolution", f"{config.resolution} px"),
        ("widths", short_widths(config.channels)),
        *_own_rows(config),
        ("parameters", f"{parameters(g):,}"),
        ("MACs", f"{macs(g):,}"),
    ]
    if d is not None:
        count = sum(p.numel() for p in d.parameters())
        widths = short_widths(d.config.channels)
        rows.append(("discriminator", f"widths {widths}, {count:,} parameters"))
    if lineage is not None:
        rows += [
            ("pruned from", f"widths {short_widths(lineage.source_channels)}"),
            ("teacher", f"SHA-256 {lineage.source_sha256 or 'unknown'}"),
            ("kept", f"indices of all {len(lineage.keep)} layers; RGB gain {lineage.rgb_gain}"),
        ]
    if "source_code_sha256" in meta:
        rows.append(("source text", f"SHA-256 {meta['source_code_sha256']}, not run"))
    rows += [("missing", fact) for fact in _missing(checkpoint)] or [("missing", "nothing")]
    if "not_read" in meta:
        rows.append(("not read", ", ".join(_printable(key) for key in meta["not_read"])))
    wide = max(len(what) for what, _ in rows)
    return "\n".join(f"{what:<{wide}}  {fact}" for what, fact in rows)


def _own_rows(config: Shapes) -> list[tuple[str, str]]:
    """What only one kind of network has."""
    if not isinstance(config, GeneratorConfig):
        return [("latents", f"z {config.z_dim}, used as it is")]
    clamp = "no clamp" if config.conv_clamp is None else f"clamp {config.conv_clamp:g}"
    sizes = f"z {config.z_dim}, w {config.w_dim}, {config.mapping_layers} mapping layers"
    return [("latents", sizes), ("activations", clamp)]


def _missing(checkpoint: Checkpoint) -> list[str]:
    meta = checkpoint.meta
    facts = [f"{what}: {meta[key]}" for key, what in _DRAWN.items() if key in meta]
    if checkpoint.discriminator is None:
        facts.append("discriminator")
    if checkpoint.generator.lineage is None:
        facts.append("kept indices and teacher's hash (if it was pruned, none are stored)")
    return facts


def comparison(teacher: PrunableGenerator, student: PrunableGenerator) -> str:
    """Describe a teacher and its student in a table; latencies are measured here and now.

    Args:
        teacher, student: generators of one kind; they are moved to the CPU.

    Returns:
        One line a fact, with the ratio of the two.
    """
    pair = (teacher.cpu(), student.cpu())
    work = [macs(g) for g in pair]
    sizes = [parameters(g) for g in pair]
    # in turns, so that whatever else the machine does meets both alike
    turns = [[latency(g, repeats=1, warmup=1).p50 for g in pair] for _ in range(TURNS)]
    times = [statistics.median(column) for column in zip(*turns, strict=True)]
    rows = [
        ("", "teacher", "student", ""),
        ("widths", *(short_widths(g.config.channels) for g in pair), ""),
        ("parameters", *(f"{n:,}" for n in sizes), f"{sizes[0] / sizes[1]:.2f}x fewer"),
        ("MACs", *(f"{n:,}" for n in work), f"{work[0] / work[1]:.2f}x fewer"),
        ("latency", *(f"{1e3 * t:.1f} ms" for t in times), f"{times[0] / times[1]:.2f}x the speed"),
    ]
    wide = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join([row[0].ljust(wide[0]), *(row[i].rjust(wide[i]) for i in (1, 2, 3))]).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def short_widths(channels: tuple[int, ...]) -> str:
    """Write widths 160, 160, 160, 80 as 160x3,80."""
    runs: list[list[int]] = []
    for width in channels:
        if runs and runs[-1][0] == width:
            runs[-1][1] += 1
        else:
            runs.append([width, 1])
    return ",".join(f"{width}x{count}" if count > 1 else str(width) for width, count in runs)
