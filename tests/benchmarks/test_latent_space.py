"""Latent spaces side by side: the script on few samples, and the recorded table."""

import csv
from pathlib import Path
from types import ModuleType

import torch

RECORD = Path(__file__).resolve().parents[2] / "data" / "latent_space.csv"


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="") as file:
        return {(row["network"], row["measure"]): row for row in csv.DictReader(file)}


def test_a_network_beside_itself_has_the_ratio_one(
    latent_space: ModuleType, tmp_path: Path
) -> None:
    table = tmp_path / "spaces.csv"
    few = ["--pairs", "4", "--samples", "40", "--edits", "4", "--draws", "10"]
    names = ["--teacher", "portraits-89x", "--names", "portraits-24x"]
    latent_space.main([*names, *few, "--table", str(table)])
    rows = rows_of(table)
    assert len(rows) == 16
    for (network, measure), row in rows.items():
        value, low, high = (float(row[f"ratio{end}"]) for end in ("", "_low", "_high"))
        # an edit learned from forty people may move nobody
        if network == "portraits-89x" and measure != "edit_leakage":
            assert value == low == high == 1, measure
        elif measure != "edit_leakage":
            assert value > 0 and low < high


def test_a_bootstrap_draws_all_networks_alike(latent_space: ModuleType) -> None:
    values = torch.arange(50.0)
    one = latent_space.drawn(50, lambda i: values[i].mean().item(), 30)
    twice = latent_space.drawn(50, lambda i: 2 * values[i].mean().item(), 30)
    assert len(one) == 31 and one[0] == values.mean() and one[1:].std() > 0
    assert torch.equal(twice / one, torch.full_like(one, 2))


def test_the_record_has_the_teacher_and_intervals_around_its_ratios() -> None:
    rows = rows_of(RECORD)
    assert ("portraits", "path_w") in rows and ("portraits-11x", "path_w") in rows
    for row in rows.values():
        assert float(row["ratio_low"]) <= float(row["ratio"]) <= float(row["ratio_high"])
