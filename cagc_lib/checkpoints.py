"""Reads and writes networks: our safetensors, rosinality/CAGC `.pt`, NVIDIA `.pkl`.

    load_checkpoint(file) -> Checkpoint(generator, discriminator or None, format, sha256, meta)

The format is told from the content, never from the file's name. Widths, resolution and mapping
depth are read off the tensors; a tensor too many or too few is an error that names it; what a file
lacks and had to be made up (stored noise, the average w) is said in `meta`. This is the one file
that calls `torch.load`, always with `weights_only=True`; pickles go through `pickle_reader`, which
executes nothing. Everything is written atomically, as float32 unless asked for float16. Chapter 12.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .artefacts import (
    artefact_path,
    atomic_write,
    data_dir,
    file_sha256,
    manifest,
    named_models,
)
from .discriminator import Discriminator, DiscriminatorConfig
from .downloads import model_path
from .formats import native, nvidia, rosinality
from .formats.archives import check_zip
from .formats.layouts import State, assemble, expected_shapes
from .formats.native import load_network, rebuild_network, save_network
from .generator import Generator, GeneratorConfig
from .networks import kind_of
from .pickle_reader import PersistentObject, module_tensors, read_nvidia_pickle, submodules
from .protocol import PrunableGenerator, Shapes

W_AVG_SAMPLES = 10_000
_LEGACY_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
__all__ = [
    "Checkpoint", "check_target", "file_sha256", "generator_names", "load_checkpoint",
    "load_generator", "load_network", "load_tensors", "load_training_state", "rebuild_network",
    "save_checkpoint", "save_generator", "save_network", "save_training_state",
]  # fmt: skip
_EXPECTED = "a safetensors file of this project, a rosinality/CAGC .pt or an NVIDIA .pkl"


@dataclass(frozen=True)
class Checkpoint:
    """What a file held.

    Args:
        generator: in eval mode, float32, on the CPU.
        discriminator: the same, or None where the file has none.
        format: "safetensors", "rosinality" or "nvidia".
        sha256: hash of the file.
        meta: what the loader made up ("noises", "w_avg"), the parts of the file that it did not
            read ("not_read"), the hash of the Python source in a pickle ("source_code_sha256").
    """

    generator: PrunableGenerator
    discriminator: nn.Module | None
    format: str
    sha256: str
    meta: dict[str, Any] = field(default_factory=dict)


def load_generator(path_or_name: str | Path, trust: bool = False) -> PrunableGenerator:
    """Load a generator from a file of any known format, or one with a name.

    Args:
        path_or_name: a file; a shipped generator such as "portraits"; or a model of others such as
            "ffhq-256", which is downloaded when it is first asked for.
        trust: load a downloaded model whose hash is not known.

    Returns:
        The generator, in eval mode, float32, on the CPU.

    Raises:
        FileNotFoundError: neither a file nor a name; lists the names.
        ValueError: not a generator's file, damaged, hostile, or without a known hash; the message
            is one line.
        OSError: a model that could not be downloaded.
    """
    return load_checkpoint(path_or_name, trust).generator


def load_checkpoint(path_or_name: str | Path, trust: bool = False) -> Checkpoint:
    """Load everything a file holds: see `load_generator` for arguments and errors."""
    path = _find(path_or_name, trust)
    kind = _kind_of(path)
    with torch.random.fork_rng(devices=[]):
        try:
            if kind == "safetensors":
                (generator, discriminator), meta = native.read_networks(path), {}
            elif kind == "torch":
                generator, discriminator, meta = _read_rosinality(path)
            else:
                generator, discriminator, meta = _read_nvidia(path)
        except (ValueError, RecursionError) as error:
            raise ValueError(_one_line(path, error)) from None
    name = {"torch": "rosinality", "pickle": "nvidia"}.get(kind, kind)
    return Checkpoint(generator, discriminator, name, file_sha256(path), meta)


def save_generator(generator: PrunableGenerator, path: str | Path) -> None:
    """Save a generator: see `save_checkpoint`."""
    save_checkpoint(generator, None, path)


def save_checkpoint(
    generator: PrunableGenerator,
    discriminator: nn.Module | None,
    path: str | Path,
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
    """
    path = Path(path)
    check_target(path, half, generator.config)
    if discriminator is not None:
        for what, of in (("resolution", lambda config: config.resolution), ("kind", kind_of)):
            got, expected = of(discriminator.config), of(generator.config)
            if got != expected:
                raise ValueError(f"discriminator: got {what} {got}, expected {expected}")
    if path.suffix == ".safetensors":
        native.write_file(path, *native.pack(generator, discriminator), half=half)
    else:
        weights = rosinality.write_generator(generator)
        # as the official pruning writes it, g and g_ema are the same tensors, stored once
        content: dict[str, Any] = {"g": weights, "g_ema": weights}
        if discriminator is not None:
            content["d"] = rosinality.write_discriminator(discriminator)
        content["latent_avg"] = generator.w_avg.detach().cpu().clone()
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


def save_training_state(state: dict[str, Any], path: str | Path) -> None:
    """Save a nest of dicts, lists, tensors, numbers, strings and None, for exact resume.

    Raises:
        ValueError: a value of another type, which `load_training_state` would refuse; names it.
    """
    _check_plain(state, "state")
    atomic_write(path, lambda file: torch.save(state, file))


def load_training_state(path: str | Path) -> dict[str, Any]:
    """Load what `save_training_state` wrote, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file or one of another kind.
    """
    path = Path(path)
    if _kind_of(path) != "torch":
        raise ValueError(f"{path}: got a file of another format, expected a training state")
    return _torch_load(path)


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Load a file that holds one network's tensors and nothing else, on the CPU.

    Args:
        path: a .safetensors file, or torch's with a state dict, as the networks of others come.

    Returns:
        The tensors by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file or one that holds something else.
    """
    path = Path(path)
    kind = _kind_of(path)
    if kind == "safetensors":
        return native.read_tensors(path)[0]
    content = _torch_load(path) if kind == "torch" else None
    if not isinstance(content, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise ValueError(f"{path}: got a file of something else, expected a network's tensors")
    return dict(content)


def _one_line(path: Path, error: object) -> str:
    """Prefix the path; names out of a file may hold line ends or control characters."""
    text = str(error)
    text = text if text.startswith(f"{path}:") else f"{path}: {text}"
    return "".join(c if c.isprintable() else " " for c in text)[: len(str(path)) + 400]


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
    files = {name: data_dir() / entry["file"] for name, entry in manifest().items()}
    shipped = [name for name, file in files.items() if native.holds_networks(file)]
    return [*sorted(shipped), *sorted(_named_generators())]


def _named_generators() -> set[str]:
    return {name for name, entry in named_models().items() if "kind" not in entry}


def _kind_of(path: Path) -> str:
    """Tell "safetensors", "torch" or "pickle" from a file's first bytes."""
    if path.is_dir():
        raise ValueError(f"{path}: got a folder, expected {_EXPECTED}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise ValueError(f"{path}: got a pipe or a device, expected {_EXPECTED}")
    with path.open("rb") as file:
        head = file.read(16)
    # first: the length of safetensors' header may begin with any other format's first byte
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= path.stat().st_size - 8:
        return "safetensors"
    if head[:4] == b"PK\x03\x04" or head[: len(_LEGACY_TORCH)] == _LEGACY_TORCH:
        return "torch"
    if head[:1] == b"\x80":
        return "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    got = f"a file that starts with {head[:8]!r}" if head else "an empty file"
    raise ValueError(f"{path}: got {got}, expected {_EXPECTED}")


def _complete(config: GeneratorConfig, state: State) -> tuple[Generator, dict[str, Any]]:
    """Add what a foreign file may lack, drawn with seed 0 and noted: stored noise, the mean w."""
    meta = {}
    random = torch.Generator().manual_seed(0)
    shapes = expected_shapes(config)
    maps = [name for name in shapes if name.endswith("noise_const") and name not in state]
    if maps:
        state = state | {name: torch.randn(shapes[name], generator=random) for name in maps}
        meta["noises"] = "absent, drawn with seed 0"
    if "w_avg" in state:
        return assemble(config, state, "generator"), meta
    generator = assemble(config, state | {"w_avg": torch.zeros(config.w_dim)}, "generator")
    z = torch.randn(W_AVG_SAMPLES, config.z_dim, generator=random)
    with torch.no_grad():
        generator.w_avg.copy_(generator.mapping(z).mean(dim=0))
    return generator, meta | {"w_avg": f"absent, mean of {W_AVG_SAMPLES} mapped z with seed 0"}


def _torch_load(path: Path) -> Any:
    """`torch.load` with weights only, of a file whose archive holds nothing but what it weighs."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        if zipped:
            check_zip(path)
        # given a path, torch would go by its extension
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises many types for damaged files, with advice to load them unsafely
        refused = re.search(r"GLOBAL (\S+)", str(error))
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        if refused:
            reason = f"got the name {refused[1][:80]}, expected tensors and plain values only"
        if not reason.startswith("got "):
            reason = f"not a readable torch file: {reason}"
        raise ValueError(_one_line(path, reason)) from None


def _read_rosinality(path: Path) -> tuple[Generator, Discriminator | None, dict[str, Any]]:
    content = _torch_load(path)
    if isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values()):
        content = {"g_ema": content}  # a generator's state dict by itself
    if not isinstance(content, Mapping) or "g_ema" not in content:
        keys = [k for k in content if isinstance(k, str)] if isinstance(content, Mapping) else []
        raise ValueError(f"got a torch file with keys {keys[:8]}, expected a dict with g_ema")
    limit = path.stat().st_size
    state = _foreign_state(content["g_ema"], "g_ema", limit)
    config, ours = rosinality.read_generator(state)
    if "latent_avg" in content:
        average = {"latent_avg": content["latent_avg"]}
        ours["w_avg"] = _foreign_state(average, "checkpoint", limit)["latent_avg"]
    generator, meta = _complete(config, ours)
    meta |= _not_read(content, ("g_ema", "d", "latent_avg"))
    if content.get("d") is None:
        return generator, None, meta
    d_state = _foreign_state(content["d"], "d", limit)
    d_config, d_ours = rosinality.read_discriminator(d_state)
    _check_pair(config, d_config)
    return generator, assemble(d_config, d_ours, "discriminator"), meta


def _not_read(content: Mapping[Any, Any], read: tuple[str, ...]) -> dict[str, Any]:
    names = [str(key)[:40] for key, v in content.items() if key not in read and v is not None]
    return {"not_read": names} if names else {}


def _foreign_state(value: Any, what: str, limit: int) -> State:
    """Check that a value is a state dict no bigger than its file; strip DataParallel's prefix."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{what}: got {type(value).__name__}, expected a dict of tensors")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{what}: got a {type(tensor).__name__}, expected names and tensors")
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{what}.{name}: got a sparse or meta tensor, expected stored numbers")
        if not tensor.is_floating_point():
            raise ValueError(f"{what}.{name}: got {tensor.dtype}, expected floating point")
    # a view can repeat one stored number any number of times
    if sum(t.numel() * t.element_size() for t in value.values()) > limit:
        raise ValueError(f"{what}: got tensors larger than the file, expected stored numbers")
    prefixed = all(name.startswith("module.") for name in value)
    return {name.removeprefix("module.") if prefixed else name: t for name, t in value.items()}


def _check_pair(config: GeneratorConfig, d_config: DiscriminatorConfig) -> None:
    if d_config.resolution != config.resolution:
        raise ValueError(
            f"discriminator: got resolution {d_config.resolution}, expected {config.resolution}"
        )


def _read_nvidia(path: Path) -> tuple[Generator, Discriminator | None, dict[str, Any]]:
    root = read_nvidia_pickle(path)
    source = root.get("G_ema")
    if type(source) is not PersistentObject:
        raise ValueError(f"got a pickle with {list(root)[:8]}, expected a network G_ema")
    config, ours = nvidia.read_generator(module_tensors(source), _attributes(source))
    generator, meta = _complete(config, ours)
    meta["source_code_sha256"] = source.source_sha256
    meta |= _not_read(root, ("G_ema", "D"))
    if root.get("D") is None:
        return generator, None, meta
    d_config, d_ours = nvidia.read_discriminator(module_tensors(root["D"]), _attributes(root["D"]))
    _check_pair(config, d_config)
    return generator, assemble(d_config, d_ours, "discriminator"), meta


def _attributes(module: PersistentObject) -> dict[str, dict[str, Any]]:
    return {path: part.state for path, part in submodules(module).items()}


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise ValueError(f"{where}: got key {key!r}, expected a string or an integer")
            _check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in (str, int, float, bool, type(None)) and not isinstance(value, Tensor):
        raise ValueError(f"{where}: got {type(value).__name__}, expected tensors and plain values")
