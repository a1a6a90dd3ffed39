"""This project's own files: safetensors with one JSON header.

    network: "generator.*", "discriminator.*", "lineage.keep.{k}" tensors and both configurations;
             "kind" where it is not StyleGAN2's
    other:   any state dict with a `meta` that names its kind (the parser, the feature network)

safetensors holds numbers and nothing that could run. The header, `{"format", "version", ...}`, sits
in the file's metadata under "cagc". Floating point is stored as float32, or as float16 for files
that are shipped, and read back as float32. Chapter 13.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ...networks import KINDS, Lineage, PrunableGenerator, Shapes, kind_of
from ..files import atomic_write, reason_of
from .layouts import COUNTER, State, assemble, check_names

VERSION = 1
_HEADER = ("format", "version", "kind", "generator", "discriminator", "lineage")
_LINEAGE = ("source_channels", "source_sha256", "rgb_gain")
# safetensors reads no longer header
_MAX_HEADER_BYTES = 100_000_000
_END = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d{1,18}\s*,\s*(\d{1,18})\s*\]')


def _cut_off(path: Path) -> str | None:
    """Say it if a safetensors file is shorter than its header wants; None if it is not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            return None
        header = file.read(length)
    # looked for rather than parsed: the header of a damaged file may be any text
    ends = (int(end[1]) for end in _END.finditer(header))
    expected = 8 + length + max(ends, default=0)
    if size >= expected:
        return None
    more = "" if len(header) == length else " or more"
    return f"cut off: got {size} bytes, expected {expected}{more}"


def write_file(path: Path, tensors: State, header: dict[str, Any], half: bool) -> None:
    """Write tensors and header; a ValueError, and no file, where a number cannot be stored."""
    stored = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        if value.is_floating_point():
            value = value.half() if half else value.float()
        if value.is_floating_point() and not value.isfinite().all():
            kind = "float16" if half else "a finite number"
            raise ValueError(f"{name}: got values beyond {kind}, nothing written")
        stored[name] = value.contiguous()
    # one key: safetensors does not keep the order of several, and equal content is equal bytes
    metadata = {"cagc": json.dumps(header, allow_nan=False)}
    atomic_write(path, safetensors.torch.save(stored, metadata))


def read_tensors(path: Path) -> tuple[State, Any]:
    """Read any safetensors file: its tensors, and our header if it has one."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, _header(file)
    except (safetensors.SafetensorError, ValueError, RuntimeError, OSError) as error:
        reason = _cut_off(path) or f"not a readable safetensors file: {reason_of(error)}"
        raise ValueError(f"{path}: {reason}") from None


def _header(file: Any) -> Any:
    return json.loads((file.metadata() or {}).get("cagc", "null"))


def read_file(path: Path, expected: str) -> tuple[State, dict[str, Any]]:
    """Read tensors and header of a file whose header gives `expected` as its format."""
    tensors, header = read_tensors(path)
    got = header.get("format") if isinstance(header, dict) else None
    if got != expected:
        got = got if isinstance(got, str) else type(got).__name__
        raise ValueError(f"{path}: got safetensors of format {got!r}, expected {expected!r}")
    if type(header.get("version")) is not int or header["version"] != VERSION:
        raise ValueError(f"{path}: got another version of the format, expected {VERSION}")
    return tensors, header


def pack(
    generator: PrunableGenerator, discriminator: nn.Module | None
) -> tuple[State, dict[str, Any]]:
    """The tensors and the header of a file that holds these networks."""
    tensors = {
        f"generator.{name}": tensor for name, tensor in generator.state_dict().items()
        if not name.endswith(COUNTER)
    }
    header: dict[str, Any] = {
        "format": "cagc-checkpoint", "version": VERSION,
        "generator": generator.config.to_dict(), "discriminator": None, "lineage": None,
    }
    if kind_of(generator.config) != "stylegan2":
        header["kind"] = kind_of(generator.config)
    if discriminator is not None:
        tensors |= {f"discriminator.{name}": t for name, t in discriminator.state_dict().items()}
        header["discriminator"] = discriminator.config.to_dict()
    lineage = generator.lineage
    if lineage is not None:
        tensors |= {f"lineage.keep.{k}": keep.long() for k, keep in enumerate(lineage.keep)}
        header["lineage"] = {name: getattr(lineage, name) for name in _LINEAGE}
    return tensors, header


def _check_keys(header: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    if unknown := sorted(set(header) - set(known)):
        raise ValueError(f"{what}: got unknown key {unknown[0]!r}, expected {', '.join(known)}")


def read_networks(
    path: Path, generator_only: bool = False
) -> tuple[PrunableGenerator, nn.Module | None, dict[str, Any]]:
    """Read what `pack` and `write_file` wrote, with meta of `Checkpoint`: nothing is made up."""
    tensors, header = read_file(path, "cagc-checkpoint")
    _check_keys(header, _HEADER, "header")
    parts: dict[str, State] = {"generator": {}, "discriminator": {}, "lineage": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{name}: got an unexpected tensor, expected one of {list(parts)}")
        parts[part][rest] = tensor
    name = header.get("kind", "stylegan2")
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"kind: got {str(name)[:40]!r}, expected one of {', '.join(KINDS)}")
    try:
        config = KINDS[name].generator_config.from_dict(header["generator"])
        d_values = header["discriminator"]
        d_config = d_values and KINDS[name].discriminator_config.from_dict(d_values)
        lineage = _read_lineage(config, header["lineage"], parts["lineage"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"malformed header: {type(error).__name__} {error}") from None
    generator = assemble(config, parts["generator"], "generator")
    generator.lineage = lineage
    if generator_only:
        return generator, None, {"not_read": ["discriminator"]} if d_config else {}
    if not d_config:
        check_names(parts["discriminator"], [], "discriminator")
        return generator, None, {}
    return generator, assemble(d_config, parts["discriminator"], "discriminator"), {}


def _read_lineage(config: Shapes, header: dict | None, tensors: State) -> Lineage | None:
    names = [] if header is None else [f"keep.{k}" for k in range(len(config.channels))]
    check_names(tensors, names, "lineage")
    if header is None:
        return None
    _check_keys(header, _LINEAGE, "lineage")
    keep = tuple(tensors[name] for name in names)
    source, *texts = tuple(header["source_channels"]), header["source_sha256"], header["rgb_gain"]
    if [type(value) for value in (*source, *texts)] != [int] * len(keep) + [str, str]:
        got = [*source, *texts]
        raise ValueError(f"lineage: got {got!r}, expected {len(keep)} widths and two strings")
    for k, (indices, width, total) in enumerate(zip(keep, config.channels, source, strict=True)):
        ok = indices.dtype == torch.int64 and tuple(indices.shape) == (width,)
        if not ok or indices[0] < 0 or indices[-1] >= total or (indices.diff() <= 0).any():
            raise ValueError(f"keep.{k}: expected {width} ascending int64 indices below {total}")
    return Lineage(keep, source, *texts)


def save_network(
    net_state: Mapping[str, Tensor], meta: Mapping[str, Any], path: str | Path, half: bool = True
) -> None:
    """Save a small network that is neither generator nor discriminator.

    Args:
        net_state: its state dict.
        meta: JSON values; `meta["kind"]` names the kind of network for `load_network`.
        path: ends in .safetensors.
        half: store float16; loaded as float32.

    Raises:
        ValueError: no kind, another extension, or a number float16 cannot hold.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: got extension {path.suffix!r}, expected .safetensors")
    if not isinstance(meta.get("kind"), str):
        raise ValueError(f"meta: got kind {meta.get('kind')!r}, expected the network's kind")
    header = {"format": "cagc-network", "version": VERSION, "meta": dict(meta)}
    write_file(path, dict(net_state), header, half)


def load_network(path: str | Path, kind: str) -> tuple[State, dict[str, Any]]:
    """Load what `save_network` wrote: the state dict in float32, and meta.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another format, another kind, or damaged.
    """
    path = Path(path)
    tensors, header = read_file(path, "cagc-network")
    meta = header.get("meta")
    got = meta.get("kind") if isinstance(meta, dict) else None
    if got != kind:
        raise ValueError(f"{path}: got a network of kind {got!r}, expected {kind!r}")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}, meta
