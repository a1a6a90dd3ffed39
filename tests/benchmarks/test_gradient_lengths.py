"""The lengths of the losses' gradients, on a small teacher."""

import csv
from pathlib import Path
from types import ModuleType

import pytest


def test_a_loss_on_fewer_pixels_is_weaker(
    gradients: ModuleType, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "lengths.csv"
    options = ["--seeds", "3", "--batches", "3", "--batch-size", "2", "--score-samples", "4"]
    gradients.main(["--teacher", str(teacher), "--table", str(table), *options])
    with table.open(newline="") as file:
        rows = {(r["compared"], r["loss"]): r for r in csv.DictReader(file)}
    assert len(rows) == 11
    of_l1 = {name: rows[name, "l1"] for name in gradients.COMPARED}
    # a share of the pixels is where the gradient comes from
    assert float(of_l1["everything"]["area"]) == 1
    areas = [float(of_l1[name]["area"]) for name in ("portraits", "dilated", "everything")]
    assert areas == sorted(areas)
    assert all(float(row["length"]) > 0 for row in rows.values() if float(row["area"]) > 0)
    longest = float(of_l1["everything"]["length"])
    assert all(float(row["length"]) <= longest * 1.001 for row in of_l1.values())
    assert "everything, adversarial:" in capsys.readouterr().out
