"""torch's own files, read as weights only: checkpoints of others, and the states of our trainings.

    .pt:          a zip archive: an end record, stored entries, among them data.pkl and version
    .safetensors: the length of the header, and in the header where every tensor ends

So a download that was cut off is named as one, and an archive that would unfold to more than its
file is refused. Nothing is unpacked here. Chapter 12.
"""

import argparse
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import atomic_write, file_kind, one_line, reason_of
from . import native


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
    if file_kind(path) != "torch":
        raise ValueError(f"{path}: got a file of another format, expected a training state")
    return torch_load(path)


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
    kind = file_kind(path)
    if kind == "safetensors":
        return native.read_tensors(path)[0]
    content = torch_load(path) if kind == "torch" else None
    if not isinstance(content, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise ValueError(f"{path}: got a file of something else, expected a network's tensors")
    return dict(content)


def torch_load(path: Path) -> Any:
    """`torch.load` with weights only, of a file whose archive holds nothing but what it weighs."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        if zipped:
            _check_zip(path)
        # given a path, torch would go by its extension
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises many types for damaged files, with advice to load them unsafely
        refused = re.search(r"GLOBAL (\S+)", str(error))
        reason = reason_of(error)
        if refused:
            reason = f"got the name {refused[1][:80]}, expected tensors and plain values only"
        if not reason.startswith("got "):
            reason = f"not a readable torch file: {reason}"
        raise ValueError(one_line(path, reason)) from None


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


def _check_zip(path: Path) -> None:
    """Refuse an archive that is cut off, of another program, compressed or of shared entries."""
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"got {size} bytes that begin a zip archive but lack its end, expected a whole file "
            "(cut off?)"
        )
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    # a compressed entry could unfold to any size; torch.save never compresses
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("got a compressed archive, expected one of torch.save")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("got an archive of overlapping entries, expected separate ones")
    names = {entry.filename for entry in entries}
    folder = entries[0].filename.partition("/")[0] if entries else ""
    if not {f"{folder}/data.pkl", f"{folder}/version"} <= names:
        raise ValueError("got a zip archive that torch.save did not write, expected one of its")
