"""The runner of the students' table, on a budget of one step."""

import csv
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# the properties below do not depend on sizes
TINY = [
    "--images", "16", "--pool", "16", "--score-samples", "10", "--samples", "20", "--repeats", "1",
]


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="") as file:
        return {(row["row"], row["seed"]): row for row in csv.DictReader(file)}


def test_runs_fill_the_table_and_are_not_repeated(
    students: ModuleType, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "students.csv"
    where = ["--teacher", str(teacher), "--table", str(table), "--runs", str(tmp_path / "runs")]
    wanted = ["--rows", "teacher", "paper", "no teacher", "ratio 0.5", "--seeds", "0", "1"]
    students.main([*TINY, *where, *wanted])
    rows = rows_of(table)
    measured = [key for key, row in rows.items() if row["status"] == "measured"]
    assert measured == [
        ("teacher", ""), ("paper", "0"), ("paper", "1"), ("no teacher", "0"), ("no teacher", "1"),
        ("ratio 0.5", "0"),
    ]
    # everything planned is there, in the table's order, and says that it was not run
    assert list(rows) == [(r["row"], r["seed"]) for r in students.planned([0, 1])]
    assert {row["frechet"] for row in rows.values() if row["status"] == "not run"} == {""}
    paper = rows["paper", "0"]
    assert int(paper["images"]) == 16 and float(paper["frechet"]) > 0
    assert float(paper["teacher_content_l1"]) > 0
    macs = [int(rows[key]["macs"]) for key in (("paper", "0"), ("ratio 0.5", "0"), ("teacher", ""))]
    assert macs == sorted(macs)
    hashes = [rows[key]["config_sha256"] for key in measured[1:]]
    assert len(set(hashes)) == len(hashes)

    before = table.read_bytes()
    capsys.readouterr()
    students.main([*TINY, *where, *wanted])
    assert capsys.readouterr().out == "" and table.read_bytes() == before


def test_recipes_differ_from_the_papers_in_one_thing(students: ModuleType) -> None:
    paper = vars(students.RECIPES["paper"])
    several = {"no masks", "no teacher"}
    for name, recipe in students.RECIPES.items():
        changed = {key for key in paper if vars(recipe)[key] != paper[key]} - {"seeds"}
        assert len(changed) == (0 if name == "paper" else 1) or name in several, name
