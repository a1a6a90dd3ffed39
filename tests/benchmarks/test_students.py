"""The runner of the students' table, on a budget of one step."""

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from cagc_lib.checkpoints import load_generator, save_checkpoint
from cagc_lib.distillation import DistillationConfig
from cagc_lib.networks import Discriminator, matching_discriminator
from cagc_lib.training import TrainConfig

# the properties below do not depend on sizes
TINY = [
    "--images", "4", "--pool", "4", "--score-samples", "10", "--samples", "6", "--repeats", "1",
]
WANTED = ["--rows", "teacher", "both masks", "no teacher", "ratio 0.5", "--seeds", "0", "1"]


@pytest.fixture(scope="module")
def students(students: ModuleType) -> ModuleType:
    """The script with four images a step."""
    students.TrainConfig = partial(TrainConfig, batch_size=4)
    return students


@pytest.fixture(scope="module")
def filled(
    students: ModuleType, teacher: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A table with the wanted rows, and the options that made it."""
    folder = tmp_path_factory.mktemp("students")
    table = folder / "students.csv"
    where = ["--teacher", str(teacher), "--table", str(table), "--runs", str(folder / "runs")]
    students.main([*TINY, *where, *WANTED])
    return table, [*TINY, *where, *WANTED]


def rows_of(students: ModuleType, table: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["row"], row["seed"]): row for row in students.read_table(table)}


def test_runs_fill_the_table_and_are_not_repeated(
    students: ModuleType, filled: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    table, options = filled
    rows = rows_of(students, table)
    measured = [key for key, row in rows.items() if row["status"] == "measured"]
    assert measured == [
        ("teacher", ""), ("both masks", "0"), ("both masks", "1"), ("no teacher", "0"),
        ("no teacher", "1"), ("ratio 0.5", "0"),
    ]
    # everything planned is there, in the table's order, and says that it was not run
    assert list(rows) == [(r["row"], r["seed"]) for r in students.planned([0, 1])]
    assert {row["frechet"] for row in rows.values() if row["status"] == "not run"} == {""}
    both = rows["both masks", "0"]
    assert int(both["images"]) == 4 and float(both["frechet"]) > 0
    assert float(both["teacher_content_l1"]) > 0
    networks = (("both masks", "0"), ("ratio 0.5", "0"), ("teacher", ""))
    macs = [int(rows[key]["macs"]) for key in networks]
    assert macs == sorted(macs)
    hashes = [rows[key]["config_sha256"] for key in measured[1:]]
    assert len(set(hashes)) == len(hashes)

    before = table.read_bytes()
    capsys.readouterr()
    students.main(options)
    assert capsys.readouterr().out == "" and table.read_bytes() == before


def test_another_teacher_or_budget_makes_a_row_again(
    students: ModuleType, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, other = tmp_path / "students.csv", tmp_path / "other.safetensors"
    g = load_generator(teacher)
    with torch.no_grad():
        g.synthesis.const.mul_(1.5)
    save_checkpoint(g, Discriminator(matching_discriminator(g.config)), other)
    where = ["--table", str(table), "--runs", str(tmp_path / "runs"), "--seeds", "0"]
    wanted = ["--rows", "teacher", "statistics and ToRGBs refitted", *where]
    longer = [word if word != "4" else "8" for word in TINY]
    seen = []
    for path, budget in ((teacher, TINY), (other, TINY), (other, TINY), (other, longer)):
        students.main([*budget, "--teacher", str(path), *wanted])
        rows = rows_of(students, table)
        seen.append({key[0]: rows[key]["config_sha256"] for key in list(rows) if rows[key]["seed"]
                     in ("", "0") and rows[key]["status"] == "measured"})
    lines = [len(line) for line in capsys.readouterr().out.splitlines()]
    # two rows, two rows, none, and the student alone: a budget is nothing to a teacher
    assert len(lines) == 5
    assert seen[0]["teacher"] != seen[1]["teacher"] == seen[2]["teacher"] == seen[3]["teacher"]
    starts = [row["statistics and ToRGBs refitted"] for row in seen]
    assert starts[1] == starts[2] and len(set(starts)) == 3


def test_a_longer_budget_goes_on_from_a_shorter_run(
    students: ModuleType, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, train_student = [], students.train_student

    def noted(*given: Any, **options: Any) -> Any:
        began.append((given[4] / "state.pt").exists())
        return train_student(*given, **options)

    monkeypatch.setattr(students, "train_student", noted)
    names, found = ["no teacher", "no teacher, 40,000"], []
    for i, rows in enumerate((names, names[1:])):
        table, runs = tmp_path / f"{i}.csv", tmp_path / f"{i}"
        where = ["--teacher", str(teacher), "--runs", str(runs), "--table", str(table)]
        students.main([*TINY, *where, "--seeds", "0", "--rows", *rows])
        found.append(rows_of(students, table)[names[1], "0"])
    # the same row, whether the run began anew or at the end of the shorter one
    assert began == [False, True, False]
    different = {name for name in found[0] if found[0][name] != found[1][name]}
    assert found[0]["images"] == "16" and different <= {"seconds"}


def test_latency_is_measured_once_a_ratio_and_changes_nothing_else(
    students: ModuleType, filled: tuple[Path, list[str]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "students.csv"
    shutil.copy(filled[0], table)
    before = rows_of(students, table)
    assert {row["latency_1_ms"] for row in before.values()} == {""}
    capsys.readouterr()
    students.main([*filled[1], "--table", str(table), "--latencies"])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "ratio 0.0", "ratio 0.5", "ratio 0.7"
    ]
    after = rows_of(students, table)
    assert after["both masks", "0"]["latency_16_ms"] == after["both masks", "1"]["latency_16_ms"]
    for key, row in after.items():
        times = [row.pop(f"latency_{n}_ms") for n in (1, 16)]
        assert row == {k: v for k, v in before[key].items() if not k.startswith("latency")}
        if row["status"] == "measured":
            assert 0 < float(times[0]) <= 1e3 and float(times[1]) > 0
        else:
            assert times == ["", ""]


def test_younger_fields_count_only_where_they_say_something(students: ModuleType) -> None:
    for config, younger in (
        (TrainConfig(seed=3), {"sparsity": 0.5}), (DistillationConfig(l1=3.5), {"relation": 30.0})
    ):
        first = students.hashed(config)
        assert first.keys() == config.to_dict().keys() - set(students.YOUNGER)
        assert first.items() <= config.to_dict().items()
        assert students.hashed(dataclasses.replace(config, **younger)) == first | younger
    fields = TrainConfig().to_dict().keys() | DistillationConfig().to_dict().keys()
    assert {*students.YOUNGER} <= fields


def test_recipes_differ_from_both_masks_in_one_thing(students: ModuleType) -> None:
    recipes = students.RECIPES
    # what another mask or method must have changed with it: its losses' strength, its pictures
    several = {
        "no masks": {"scoring", "distillation"}, "ablation": {"method", "score_samples"},
        "no teacher": {"method", "teacher", "distillation"},
    }
    for name, recipe in recipes.items():
        kind, *budget = name.rsplit(", ", 1) if name.endswith("000") else [name]
        matched = kind.endswith(", matched") and kind != "both masks, matched"
        base = recipes[kind if budget else "both masks, matched" if matched else "both masks"]
        changed = {k for k, v in vars(recipe).items() if v != vars(base)[k]} - {"seeds"}
        if budget:
            assert changed == {"longer"}, name
            assert f"{recipe.longer * 10_000:,}" == budget[0]
        elif matched:
            assert changed == {"compared", "distillation"}, name
        else:
            assert changed == several.get(name, changed), name
            assert len(changed) == (name != "both masks") or name in several, name
