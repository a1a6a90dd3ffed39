"""The table on disk: a CSV that several processes fill, replaced whole or not at all."""

import csv
import io
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from filelock import FileLock

from ..checkpoints import atomic_write
from ..networks import check

Row = dict[str, str]


def device_name(device: torch.device | str = "cpu") -> str:
    """Return the name of the GPU or, for "cpu", of the processor."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def read_table(path: Path) -> list[Row]:
    """Return a CSV's rows, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(rows: Iterable[Mapping], columns: Sequence[str], path: Path) -> None:
    """Replace a CSV, whole or not at all; a value that a row lacks is left empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, text.getvalue().encode())


def record(
    path: Path, columns: Sequence[str], planned: Iterable[Row], done: Iterable[Mapping] = ()
) -> dict[tuple[str, str], Row]:
    """Bring a table up to date, under a lock; return its rows by name and seed, in order.

    Args:
        path: the CSV.
        columns: its header.
        planned: the rows that there should be, in the table's order, without measures; measured
            ones that are no longer planned follow at the end.
        done: rows to put in their places.
    """
    with FileLock(path.with_suffix(".lock")):
        rows = {(row["row"], row["seed"]): dict(row) for row in planned}
        for old in read_table(path):
            fits = {"row", "seed", "status"} <= old.keys()
            check(fits, "table", str(path), "a CSV with the columns row, seed, status")
            if old["status"] == "measured":
                known = {name: value for name, value in old.items() if name in columns}
                rows[old["row"], old["seed"]] = rows.get((old["row"], old["seed"]), {}) | known
        for row in done:
            rows[row["row"], row["seed"]] = {name: str(value) for name, value in row.items()}
        write_table(rows.values(), columns, path)
    return rows
