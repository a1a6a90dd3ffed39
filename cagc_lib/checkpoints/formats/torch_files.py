"""torch's own files of ours: the states of our trainings; and others' that hold one network.

Ours are read by torch, as weights only; everybody else's by `torch_reader`. Chapter 13.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import atomic_write, file_kind, one_line
from . import native
from .containers import read_state
from .torch_reader import damage_named, open_archive, torch_content


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
    try:
        with path.open("rb") as file, damage_named():
            if file.read(2) == b"PK":
                open_archive(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except ValueError as error:
        raise ValueError(one_line(path, error)) from None


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Load the tensors, by name, of a file that holds one network's and nothing else, on the CPU.

    It is a .safetensors file, or torch's with a state dict, as the networks of others come.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file or one that holds something else.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "safetensors":
        return native.read_tensors(path)[0]
    if kind == "pickle":
        raise ValueError(f"{path}: got a file of something else, expected a network's tensors")
    with torch_content(path) as content:
        return read_state(content, "", "file")[0]


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
