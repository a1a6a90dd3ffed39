"""Do our Frechet and kernel distances agree with others' code on the same features?

    pip install torchmetrics==1.9.0 torch-fidelity==0.4.0
    python benchmarks/agreement.py [--packages torchmetrics torch-fidelity]

Run by hand, as the packages want torchvision. Features of 2,000 portraits and of 2,000 samples of
`portraits-11x` go through each package's own arithmetic in float64; every distance becomes one row
of data/agreement.csv, ours beside theirs. A package's kernel distance is a mean over subsets; one
subset of all samples is ours. Chapter 10.
"""

import argparse
import pathlib
import sys
from importlib.metadata import version

import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cagc_lib as cagc
from cagc_lib.metrics import (
    REFERENCE_SEED,
    feature_statistics,
    frechet_distance,
    kernel_distance,
    sample_inputs,
)
from cagc_lib.scoreboard import read_table, write_table

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "agreement.csv"
COLUMNS = ("package", "version", "distance", "samples", "ours", "theirs", "relative_difference")
Features = tuple[torch.Tensor, torch.Tensor]


class Given(nn.Module):
    """A feature network that takes features for images."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return what came."""
        return features


def torchmetrics(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """Both distances by torchmetrics."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    given, found = Given(real.shape[1]), {}
    for name, metric in (
        ("frechet", FrechetInceptionDistance(given)),
        ("kernel", KernelInceptionDistance(given, subsets=1, subset_size=len(real))),
    ):
        metric.set_dtype(torch.float64)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        value = metric.compute()
        found[name] = float(value[0] if isinstance(value, tuple) else value)
    return found


def torch_fidelity(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """Both distances by torch-fidelity."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kernel_mmd

    statistics = [fid_features_to_statistics(features) for features in (real, fake)]
    frechet = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    settings = {
        "kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None,
        "kid_kernel_poly_coef0": 1,
    }
    kernel = kernel_mmd(real.numpy(), fake.numpy(), **settings)
    return {"frechet": frechet, "kernel": float(kernel)}


PACKAGES = {"torchmetrics": torchmetrics, "torch-fidelity": torch_fidelity}


@torch.no_grad()
def features_of(name: str, samples: int) -> Features:
    """Features [N, D] of held-out portraits and of a generator's samples, float64."""
    network, g = cagc.load_features(), cagc.load_generator(name)
    seeds = torch.arange(REFERENCE_SEED, REFERENCE_SEED + samples).split(50)
    real = [network.embed(cagc.render_portraits(some.tolist(), 64).images) for some in seeds]
    fake = [network.embed(g(z, 1.0, noise)) for z, noise in sample_inputs(g, samples, 0, 50)]
    return torch.cat(real).double(), torch.cat(fake).double()


def compare(
    packages: list[str], features: Features, table: pathlib.Path
) -> list[dict[str, object]]:
    """Write a row for each package and distance; rows of other packages stay."""
    real, fake = features
    ours = {
        "frechet": frechet_distance(*feature_statistics(real), *feature_statistics(fake)),
        "kernel": kernel_distance(real, fake),
    }
    rows = {(row["package"], row["distance"]): row for row in read_table(table)}
    for package in packages:
        for distance, theirs in PACKAGES[package](real, fake).items():
            difference = abs(theirs - ours[distance]) / abs(ours[distance])
            rows[package, distance] = {
                "package": package, "version": version(package), "distance": distance,
                "samples": len(real), "ours": f"{ours[distance]:.12g}", "theirs": f"{theirs:.12g}",
                "relative_difference": f"{difference:.1e}",
            }
            print(f"{package}, {distance}: {theirs:.9g}, ours {ours[distance]:.9g}", flush=True)
    write_table(rows.values(), COLUMNS, table)
    return list(rows.values())


def main(arguments: list[str] | None = None) -> None:
    """Compare with the packages asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    parser.add_argument("--name", default="portraits-11x", help="the generator")
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    args = parser.parse_args(arguments)
    compare(args.packages, features_of(args.name, args.samples), args.table)


if __name__ == "__main__":
    main()
