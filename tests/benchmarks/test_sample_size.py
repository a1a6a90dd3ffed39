"""Distances by the number of samples: the script on few, and what the recorded table must show."""

import csv
from pathlib import Path
from types import ModuleType

RECORD = Path(__file__).resolve().parents[2] / "data" / "sample_size.csv"


def test_every_size_becomes_a_row(sample_size: ModuleType, tmp_path: Path) -> None:
    table = tmp_path / "sizes.csv"
    options = ["--names", "portraits-11x", "--sizes", "50", "100", "--table", str(table)]
    sample_size.main(options)
    with table.open(newline="") as file:
        small, large = csv.DictReader(file)
    assert (small["samples"], small["parts"], large["parts"]) == ("50", "2", "1")
    assert float(small["frechet"]) > float(large["frechet"]) > 0
    assert float(small["frechet_std"]) > 0 and large["frechet_std"] == ""


def test_fewer_samples_make_a_larger_frechet_distance_and_no_other_kernel_distance() -> None:
    with RECORD.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in {row["name"] for row in rows}:
        own = sorted((r for r in rows if r["name"] == name), key=lambda r: int(r["samples"]))
        distances = [float(row["frechet"]) for row in own]
        assert distances == sorted(distances, reverse=True)
        last = float(own[-1]["kernel"])
        for row in own:
            if row["kernel_std"]:
                error = 4 * float(row["kernel_std"]) / int(row["parts"]) ** 0.5
                assert abs(float(row["kernel"]) - last) < error
