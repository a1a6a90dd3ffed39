"""The table of the students that ship, on networks that were never trained."""

import hashlib
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from cagc_lib.checkpoints import load_generator, manifest, save_generator
from cagc_lib.content import content_source
from cagc_lib.importance import score_channels
from cagc_lib.pruning import plan_pruning, prune


def rows_of(shipped: ModuleType, table: Path) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in shipped.read_table(table)}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def students(
    shipped: ModuleType, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict]:
    """A manifest in which two students of the teacher ship, and one of another."""
    g = load_generator(teacher)
    scores = score_channels(g, content_source("everything"), "l1-out")
    entries = {str(teacher): {"how": "python -m cagc_lib train teacher", "sha256": sha256(teacher)}}
    for ratio, of in ((0.75, teacher), (0.5, teacher), (0.25, "another")):
        path = tmp_path / f"{ratio}.safetensors"
        save_generator(prune(g, plan_pruning(scores, ratio)), path)
        how = f"python -m cagc_lib compress {shlex.quote(str(of))} --ratio {ratio}"
        how += f" --distil-images {int(80 * ratio)} --out {path}"
        entries[str(path)] = {"how": how, "sha256": sha256(path)}
    everything = manifest() | entries
    monkeypatch.setattr(shipped, "manifest", lambda: everything)
    return entries


def test_every_student_of_the_teacher_is_measured_once(
    shipped: ModuleType, students: dict[str, dict], teacher: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "shipped.csv"
    asked = ["--teacher", str(teacher), "--samples", "6", "--table", str(table)]
    shipped.main(asked)
    rows = rows_of(shipped, table)
    half, quarter = (str(tmp_path / f"{ratio}.safetensors") for ratio in (0.5, 0.75))
    # from the lowest ratio to the highest, each with the budget in its own command
    assert list(rows) == [half, quarter]
    said = [(row["ratio"], row["images"]) for row in rows.values()]
    assert said == [("0.5", "40"), ("0.75", "60")]
    for row in rows.values():
        assert row["num_samples"] == "6" and row["device"]
        assert "" not in row.values()
        assert float(row["teacher_content_l1"]) > 0
    assert int(rows[quarter]["macs"]) < int(rows[half]["macs"])
    assert int(rows[quarter]["parameters"]) < int(rows[half]["parameters"])

    before = table.read_bytes()
    capsys.readouterr()
    shipped.main(asked)
    assert capsys.readouterr().out == "" and table.read_bytes() == before
    # another file under the same name is measured again, and it alone
    students[quarter]["sha256"] = "0" * 64
    shipped.main(asked)
    assert capsys.readouterr().out.count("Frechet") == 1
    again = rows_of(shipped, table)
    assert again[half] == rows[half]
    assert again[quarter]["sha256"] != rows[quarter]["sha256"]


def test_the_table_is_of_the_students_that_ship(shipped: ModuleType) -> None:
    rows = rows_of(shipped, shipped.TABLE)
    args = shipped.options().parse_args([])
    assert list(rows) == [row["name"] for row in shipped.shipped(args.teacher)]
    for name, row in rows.items():
        assert row["sha256"] == shipped.hashed(name, args)
