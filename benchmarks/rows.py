"""What every benchmark shares: quantiles, and rows that say what they were measured on."""

import argparse
import csv
import datetime
import io
import pathlib
import platform
from collections.abc import Iterable, Sequence

import torch

from cagc_lib.checkpoints import atomic_write

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "data" / "benchmarks"


def common_options(parser: argparse.ArgumentParser, table: str, threads: int = 2) -> None:
    """Give a parser --threads, with its default, and --csv, in data/benchmarks by default."""
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--csv", type=pathlib.Path, default=RESULTS / f"{table}.csv")


def quantiles(values: list[float]) -> tuple[float, float, float]:
    """Return the 20th, 50th and 80th percentile."""
    p20, p50, p80 = torch.tensor(values).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
    return p20, p50, p80


def device_name() -> str:
    """Return the processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def read_table(path: pathlib.Path) -> list[dict]:
    """Return a CSV's rows, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(rows: Iterable[dict], columns: Sequence[str], path: pathlib.Path) -> None:
    """Replace a CSV, whole or not at all; a value that a row lacks is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, text.getvalue().encode())


def append(rows: list[dict], path: pathlib.Path) -> None:
    """Add rows to a CSV behind what they were measured on; write the header once."""
    where = {
        "date": datetime.date.today().isoformat(), "device": device_name(),
        "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[*where, *rows[0]])
        if new:
            writer.writeheader()
        writer.writerows(where | row for row in rows)
