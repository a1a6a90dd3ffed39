"""Our distances beside other packages' own, as recorded, and the script that compares them."""

import csv
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib.metrics import feature_statistics, frechet_distance, kernel_distance

RECORD = Path(__file__).resolve().parents[2] / "data" / "agreement.csv"


def test_other_packages_agreed_to_a_millionth() -> None:
    with RECORD.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["package"], row["distance"]) for row in rows} == {
        (package, distance) for package in ("torchmetrics", "torch-fidelity")
        for distance in ("frechet", "kernel")
    }
    for row in rows:
        ours, theirs = float(row["ours"]), float(row["theirs"])
        assert row["samples"] == "2000" and ours == pytest.approx(theirs, rel=1e-6)


def test_a_package_becomes_a_row_for_each_distance(
    agreement: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halved(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
        frechet = frechet_distance(*feature_statistics(real), *feature_statistics(fake))
        return {"frechet": frechet, "kernel": kernel_distance(real, fake) / 2}

    monkeypatch.setattr(agreement, "PACKAGES", {"torch": halved})
    table = tmp_path / "agreement.csv"
    features = agreement.features_of("portraits-11x", 12)
    assert [list(f.shape) for f in features] == [[12, 128]] * 2
    for _ in range(2):
        rows = agreement.compare(["torch"], features, table)
        assert [row["distance"] for row in rows] == ["frechet", "kernel"]
        assert [float(row["relative_difference"]) for row in rows] == [0, 0.5]


def test_the_distance_of_a_set_to_itself_is_nothing(agreement: ModuleType) -> None:
    real, _ = agreement.features_of("portraits-11x", 200)
    statistics = feature_statistics(real)
    assert frechet_distance(*statistics, *statistics) < 1e-6
