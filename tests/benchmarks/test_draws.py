"""The same networks measured on several draws of latents."""

import csv
from pathlib import Path
from types import ModuleType

import pytest


def test_draws_differ_and_can_be_made_again(
    draws: ModuleType, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [tmp_path / f"{i}.csv" for i in range(2)]
    for table in tables:
        options = ["--seeds", "0", "3", "--samples", "6", "--table", str(table)]
        draws.main(["--names", str(teacher), *options])
    assert tables[0].read_bytes() == tables[1].read_bytes()
    with tables[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "3"]
    assert len({row["frechet"] for row in rows}) == 2
    assert f"{teacher}, draw 3: Frechet" in capsys.readouterr().out
