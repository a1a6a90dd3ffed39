"""Reads and writes networks: our safetensors, rosinality/CAGC `.pt`, NVIDIA `.pkl`.

    load_checkpoint(file) -> Checkpoint(generator, discriminator or None, format, sha256, meta)

The format is told from the content, never from the file's name. A tensor too many or too few is an
error that names it; what a file lacks and had to be made up (stored noise, the average w) is said
in `meta`. Everything is written atomically, as float32 unless asked for float16. Chapter 13.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..networks import PrunableGenerator, Shapes, check_pair
from .artefacts import artefact_path, manifest, model_path, named_models
from .files import atomic_write, file_kind, file_sha256, one_line
from .formats import native, rosinality
from .formats.containers import read_pair
from .formats.layouts import Pair
from .formats.pickle_reader import read_nvidia_pickle
from .formats.torch_reader import torch_content


@dataclass(frozen=True)
class Checkpoint:
    """What a file held.

    Args:
        generator: in eval mode, float32, on the CPU.
        discriminator: the same, or None where the file has none.
        format: "safetensors", "rosinality", "nvidia", or "nvidia-torch" where torch wrote it.
        sha256: hash of the file.
        meta: what the loader made up ("noises", "w_avg", "conv_clamp"), the parts of the file that
            it did not read ("not_read"), the generator's key where that does not say that it is a
            moving average ("network"), the hash of the source text ("source_code_sha256").

    Example:
        >>> checkpoint = cagc.load_checkpoint("portraits")
        >>> checkpoint.format, type(checkpoint.discriminator).__name__
        ('safetensors', 'Discriminator')
    """

    generator: PrunableGenerator
    discriminator: nn.Module | None
    format: str
    sha256: str
    meta: dict[str, Any] = field(default_factory=dict)


def load_generator(
    path_or_name: str | Path, trust: bool = False, *, key: str | None = None,
    generator_only: bool = False,
) -> PrunableGenerator:
    """Load a generator from a file of any known format, or one with a name.

    Args:
        path_or_name: a file; a shipped generator such as "portraits"; or a model of others such as
            "ffhq-256", which is downloaded when it is first asked for.
        trust: load a downloaded model whose hash is not known.
        key: which network of another project's file, such as "g"; None for the moving average, or
            the only one.
        generator_only: leave the discriminator out, which is then not checked either.

    Returns:
        The generator, in eval mode, float32, on the CPU.

    Raises:
        FileNotFoundError: neither a file nor a name; lists the names.
        ValueError: not a generator's file, damaged, hostile, or without a known hash; the message
            is one line.
        OSError: a model that could not be downloaded.

    Example:
        >>> g = cagc.load_generator("portraits-11x")
        >>> g(torch.randn(2, g.config.z_dim)).shape
        torch.Size([2, 3, 64, 64])
    """
    return load_checkpoint(path_or_name, trust, key=key, generator_only=generator_only).generator


def load_checkpoint(
    path_or_name: str | Path, trust: bool = False, *, key: str | None = None,
    generator_only: bool = False,
) -> Checkpoint:
    """Load everything a file holds: see `load_generator` for arguments and errors.

    Example:
        >>> checkpoint = cagc.load_checkpoint("portraits-11x")
        >>> checkpoint.generator.config.resolution, checkpoint.discriminator
        (64, None)
    """
    path = _find(path_or_name, trust)
    with torch.random.fork_rng(devices=[]):
        try:
            name, (generator, discriminator, meta) = _read(path, key, generator_only)
        except (ValueError, RecursionError) as error:
            raise ValueError(one_line(path, error)) from None
    return Checkpoint(generator, discriminator, name, file_sha256(path), meta)


def _read(path: Path, key: str | None, generator_only: bool) -> tuple[str, Pair]:
    kind = file_kind(path)
    if kind == "torch":
        with torch_content(path) as content:
            layout, pair = read_pair(content, key, generator_only)
        return layout.replace("nvidia", "nvidia-torch"), pair
    if kind == "pickle":
        return read_pair(read_nvidia_pickle(path), key, generator_only)
    if key is not None:
        raise ValueError(f"key: got {key!r}, expected none: a file of this project has one network")
    return "safetensors", native.read_networks(path, generator_only)


def save_generator(generator: PrunableGenerator, path: str | Path) -> None:
    """Save a generator: see `save_checkpoint`.

    Example:
        >>> g = cagc.load_generator("portraits-11x")
        >>> cagc.save_generator(g, "student.safetensors")
        >>> cagc.load_generator("student.safetensors").config == g.config
        True
    """
    save_checkpoint(generator, None, path)


def save_checkpoint(
    generator: PrunableGenerator, discriminator: nn.Module | None, path: str | Path,
    half: bool = False,
) -> None:
    """Save a generator and, if given, its discriminator.

    Args:
        generator: any generator; its lineage (kept indices, source hash) goes into safetensors.
        discriminator: one of the same kind for the same resolution, or None.
        path: ending in .safetensors, or in .pt for the layout that the rosinality and CAGC code
            loads (which has no place for lineage or conv_clamp).
        half: store float16, half the size, loaded as float32; safetensors only.

    Raises:
        ValueError: another extension, or a network the format cannot express.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> old = cagc.load_checkpoint("portraits")
        >>> cagc.save_checkpoint(old.generator, old.discriminator, "half.safetensors", half=True)
        >>> cagc.load_checkpoint("half.safetensors").generator.config == old.generator.config
        True
    """
    path = Path(path)
    check_target(path, half, generator.config)
    if discriminator is not None:
        check_pair(discriminator.config, generator.config, "discriminator", "resolution")
    if path.suffix == ".safetensors":
        native.write_file(path, *native.pack(generator, discriminator), half=half)
    else:
        content = rosinality.pack(generator, discriminator)
        atomic_write(path, lambda file: torch.save(content, file))


def check_target(path: str | Path, half: bool = False, config: Shapes | None = None) -> None:
    """Raise a ValueError unless `save_checkpoint` knows a format for this file's name.

    Args:
        path, half: as for `save_checkpoint`.
        config: of the generator to be saved; None asks for the name alone.
    """
    suffix = Path(path).suffix
    if suffix not in (".safetensors", ".pt"):
        raise ValueError(f"{path}: got extension {suffix!r}, expected .safetensors or .pt")
    if half and suffix == ".pt":
        raise ValueError(f"{path}: float16 is for .safetensors, a .pt file stores float32")
    if config is not None and suffix == ".pt":
        try:
            rosinality.check_config(config)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _find(path_or_name: str | Path, trust: bool) -> Path:
    path = Path(path_or_name)
    # a name is a bare word: "./portraits" is a file even where an artefact has that name
    bare = isinstance(path_or_name, str) and re.fullmatch(r"[\w-]+", path_or_name)
    if bare and path_or_name in manifest():
        return artefact_path(path_or_name)
    if bare and path_or_name in _named_generators():
        return model_path(path_or_name, trust)
    if not path.exists():
        known = ", ".join(generator_names()) or "none"
        raise FileNotFoundError(f"{path}: no such file, nor a generator's name (known: {known})")
    return path


def generator_names() -> list[str]:
    """The names that `load_generator` knows: shipped generators, then those to be downloaded."""
    small = re.compile(r"\btrain (parser|features|classifier)\b")
    shipped = [name for name, entry in manifest().items() if not small.search(entry["how"])]
    return [*sorted(shipped), *sorted(_named_generators())]


def _named_generators() -> set[str]:
    return {name for name, entry in named_models().items() if "kind" not in entry}
