"""What the tests of training share: how to compare states to the bit, and to read a run's log."""

import csv
from pathlib import Path

import torch


def assert_same(a: object, b: object, where: str = "state") -> None:
    """Compare two nests of tensors and plain values to the bit, seconds apart."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key not in ("seconds", "images"):
                assert_same(a[key], b[key], f"{where}[{key}]")
    elif isinstance(a, list | tuple):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, where


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))
