"""How do distances depend on the number of samples? Why 2,000 samples are not 50,000.

    python benchmarks/sample_size.py

50,000 portraits never trained on and as many samples of the teacher and of `portraits-11x` go
through the portraits' features once. Frechet and kernel distance, recall and coverage are then
taken of disjoint parts of 500 to 50,000 of both, up to eight parts a size; every size becomes one
row of data/sample_size.csv, with the mean and the standard deviation over parts. A Frechet distance
of N samples is too large by about a constant over N (Chong & Forsyth 2020, arXiv 1911.07023); a
kernel distance is not. Chapter 10.
"""

import argparse
import pathlib
import statistics
import sys

import torch
from tqdm import tqdm

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cagc_lib as cagc
from cagc_lib.metrics import (
    REFERENCE_SEED,
    density_coverage,
    feature_statistics,
    frechet_distance,
    kernel_distance,
    precision_recall,
    sample_inputs,
)
from cagc_lib.scoreboard import device_name, write_table

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "sample_size.csv"
MEASURES = ("frechet", "kernel", "recall", "coverage")
COLUMNS = (
    "name", "samples", "parts", *MEASURES, *(f"{name}_std" for name in MEASURES), "device",
)
SIZES = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
MOST_PARTS, BATCH = 8, 50
# balls of so many neighbours take the square of the number of samples in time
MOST_NEIGHBOURS = 10_000


@torch.no_grad()
def real_features(samples: int) -> torch.Tensor:
    """Features [N, D] of portraits beyond those that any table compares with."""
    network, first = cagc.load_features(), REFERENCE_SEED + 2_000_000
    parts = torch.arange(first, first + samples).split(BATCH)
    return torch.cat([
        network.embed(cagc.render_portraits(part.tolist(), 64).images) for part in tqdm(parts)
    ])


@torch.no_grad()
def fake_features(name: str, samples: int) -> torch.Tensor:
    """Features [N, D] of a generator's samples."""
    network, g = cagc.load_features(), cagc.load_generator(name)
    inputs = tqdm(sample_inputs(g, samples, 0, BATCH), total=samples // BATCH)
    return torch.cat([network.embed(g(z, 1.0, noise)) for z, noise in inputs])


def compare(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """The measures of equally many features; those of neighbours only where they are few."""
    found = {
        "frechet": frechet_distance(*feature_statistics(real), *feature_statistics(fake)),
        "kernel": kernel_distance(real, fake),
    }
    if len(real) <= MOST_NEIGHBOURS:
        found["recall"] = precision_recall(real, fake)[1]
        found["coverage"] = density_coverage(real, fake)[1]
    return found


def row(name: str, size: int, real: torch.Tensor, fake: torch.Tensor) -> dict[str, object]:
    """Means and deviations over disjoint parts of one size."""
    parts = min(MOST_PARTS, len(real) // size)
    pairs = zip(real.split(size)[:parts], fake.split(size)[:parts], strict=True)
    found = [compare(a, b) for a, b in pairs]
    values: dict[str, object] = {"name": name, "samples": size, "parts": parts}
    for measure in found[0]:
        of_parts = [one[measure] for one in found]
        values[measure] = f"{statistics.mean(of_parts):.6g}"
        if parts > 1:
            values[f"{measure}_std"] = f"{statistics.stdev(of_parts):.3g}"
    return values | {"device": device_name()}


def main(arguments: list[str] | None = None) -> None:
    """Write the table once all is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", default=["portraits", "portraits-11x"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    args = parser.parse_args(arguments)
    rows, real = [], real_features(max(args.sizes))
    for name in args.names:
        fake = fake_features(name, max(args.sizes))
        rows += [row(name, size, real, fake) for size in args.sizes]
    write_table(rows, COLUMNS, args.table)
    for each in rows:
        print(f"{each['name']}, {each['samples']:,}: Frechet {each['frechet']}")


if __name__ == "__main__":
    main()
