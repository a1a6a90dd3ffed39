"""What every benchmark shares: quantiles, and rows that say what they were measured on."""

import argparse
import csv
import datetime
import pathlib
import platform

import torch

from cagc_lib.scoreboard import device_name

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "data" / "benchmarks"


def common_options(parser: argparse.ArgumentParser, table: str, threads: int = 2) -> None:
    """Give a parser --threads, with its default, and --csv, in data/benchmarks by default."""
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--csv", type=pathlib.Path, default=RESULTS / f"{table}.csv")


def quantiles(values: list[float]) -> tuple[float, float, float]:
    """Return the 20th, 50th and 80th percentile."""
    p20, p50, p80 = torch.tensor(values).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
    return p20, p50, p80


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
