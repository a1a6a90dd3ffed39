"""A sweep fills its table once, goes on where it stopped, and refuses in one line what misfits."""

import csv
import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cagc_lib.checkpoints import save_generator
from cagc_lib.cli import main
from cagc_lib.networks import SNGANConfig, SNGANGenerator
from cagc_lib.scoreboard import (
    COLUMNS,
    Place,
    columns_of,
    fill_latencies,
    read_sweep,
    read_table,
    run_sweep,
    sweep,
)

ROOT = Path(__file__).resolve().parents[2]
TOML = """
teacher = "{teacher}"
samples = 8
seeds = [0, 1]
measures = ["quality"]

[training]
batch_size = 4
pool = 4
checkpoint_every = 1

[rows]
teacher = {{network = "{teacher}"}}
cheap = {{method = "l1-out", images = 8, score_samples = 4}}
wide = {{method = "l1-out", images = 8, score_samples = 4, ratio = 0.5, seeds = [1]}}
longer = {{method = "l1-out", images = 16, score_samples = 4, seeds = [1]}}
"""


@pytest.fixture
def toml(small_teacher: Path, tmp_path: Path) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(TOML.format(teacher=small_teacher))
    return path


def place(folder: Path) -> Place:
    return Place(folder / "table.csv", folder / "runs")


def measured(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    rows = {(row["row"], row["seed"]): row for row in read_table(path)}
    return {key: row for key, row in rows.items() if row["status"] == "measured"}


def test_every_run_is_made_once(
    toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = place(tmp_path)
    run_sweep(toml, where, seeds=[1])
    rows = measured(where.table)
    assert list(rows) == [("teacher", ""), ("cheap", "1"), ("wide", "1"), ("longer", "1")]
    planned = [(row["row"], row["seed"], row["status"]) for row in read_table(where.table)]
    assert planned[1:3] == [("cheap", "0", "not run"), ("cheap", "1", "measured")]
    first = rows["cheap", "1"]
    assert first["images"] == "8" and float(first["frechet"]) > 0 and first["teacher_l1"]
    assert rows["teacher", ""]["teacher_l1"] == "" and rows["teacher", ""]["images"] == "0"
    macs = [int(rows[key]["macs"]) for key in (("cheap", "1"), ("wide", "1"), ("teacher", ""))]
    assert macs == sorted(macs)
    assert len({row["config_sha256"] for row in rows.values()}) == 4
    # what is not asked for is not measured
    assert first["path_w"] == ""

    before = where.table.read_bytes()
    capsys.readouterr()
    run_sweep(toml, where, seeds=[1])
    assert capsys.readouterr().out == "" and where.table.read_bytes() == before
    # another budget is another run; the others stay
    toml.write_text(toml.read_text().replace("ratio = 0.5, seeds", "ratio = 0.6, seeds"))
    run_sweep(toml, where, seeds=[1])
    again = measured(where.table)
    changed = {key for key in again if again[key] != rows[key]}
    assert changed == {("wide", "1")}


def test_a_longer_run_goes_on_from_a_shorter_one(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, train_student, found = [], sweep.train_student, []

    def noted(config, lessons, student, teacher, folder, *given, **options):
        began.append((folder / "state.pt").exists())
        return train_student(config, lessons, student, teacher, folder, *given, **options)

    monkeypatch.setattr(sweep, "train_student", noted)
    for i, rows in enumerate((["cheap", "longer"], ["longer"])):
        where = place(tmp_path / str(i))
        where.runs.mkdir(parents=True)
        run_sweep(toml, where, rows, [1])
        found.append(measured(where.table)["longer", "1"])
    assert began == [False, True, False]
    different = {name for name in found[0] if found[0][name] != found[1][name]}
    assert different <= {"seconds"}


def test_a_missing_measure_is_made_from_the_finished_run(toml: Path, tmp_path: Path) -> None:
    where = place(tmp_path)
    run_sweep(toml, where, ["cheap"], [0])
    before = measured(where.table)["cheap", "0"]
    toml.write_text(toml.read_text().replace('["quality"]', '["quality", "memory"]'))
    run_sweep(toml, where, ["cheap"], [0])
    after = measured(where.table)["cheap", "0"]
    assert after["peak_1_mb"] and not before["peak_1_mb"]
    # the training was not repeated: its clock stands
    assert after["seconds"] == before["seconds"]
    assert {k for k in after if after[k] != before[k]} == {"peak_1_mb", "peak_16_mb"}


def test_measures_of_another_network_do_not_stay(toml: Path, tmp_path: Path) -> None:
    where = place(tmp_path)
    run_sweep(toml, where, ["cheap"], [0])
    true = measured(where.table)["cheap", "0"]["frechet"]
    text = where.table.read_text()
    # as if another machine had trained and measured this run
    foreign = text.replace(true, "12345.0")
    assert foreign != text
    toml.write_text(toml.read_text().replace('["quality"]', '["quality", "memory"]'))
    folder = next((tmp_path / "runs").glob("cheap-0-*[0-9a-f]"))
    for change, expected in (
        (lambda: None, "12345.0"), ((folder / "measured").unlink, true),
        (lambda: shutil.rmtree(folder), true),
    ):
        change()
        where.table.write_text(foreign)
        run_sweep(toml, where, ["cheap"], [0])
        row = measured(where.table)["cheap", "0"]
        assert row["frechet"] == expected and row["peak_1_mb"]


def test_several_processes_share_a_table(toml: Path, tmp_path: Path) -> None:
    alone, shared = place(tmp_path / "a"), place(tmp_path / "b")
    for where in (alone, shared):
        where.runs.mkdir(parents=True)
    run_sweep(toml, alone, ["cheap", "wide"])
    run_sweep(toml, shared, ["cheap", "wide"], processes=2)
    one, two = measured(alone.table), measured(shared.table)
    assert list(one) == list(two) and len(one) == 3
    for key in one:
        assert float(one[key]["frechet"]) == pytest.approx(float(two[key]["frechet"]), rel=0.01)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_sweep_ends_cleanly_and_goes_on(
    toml: Path, tmp_path: Path, processes: int
) -> None:
    toml.write_text(toml.read_text().replace("images = 16", "images = 40_000"))
    command = [
        sys.executable, "-m", "cagc_lib", "sweep", str(toml), "--rows", "longer", "wide",
        "--table", str(tmp_path / "table.csv"), "--runs", str(tmp_path / "runs"), "--processes",
        str(processes), "--device", "cpu",
    ]
    sweeping = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("longer-1-*/state.pt")):
        assert sweeping.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(sweeping.pid, signal.SIGINT)
    said = sweeping.communicate(timeout=60)[1]
    assert sweeping.returncode == 130
    assert "Traceback" not in said and "cagc_lib: stopped" in said
    rows = read_table(tmp_path / "table.csv")
    assert {row["status"] for row in rows if row["row"] == "longer"} == {"not run"}
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("samples = 8", "samples = 2", "samples: got 2, expected an integer >= 6"),
        ("samples = 8", "sample = 8", "got 'sample', expected only teacher, content"),
        ("ratio = 0.5", "ratio = 1.5", "rows.wide: ratio: got 1.5, expected a number in"),
        ("ratio = 0.5", "rato = 0.5", "rows.wide: row: got 'rato', expected only network"),
        ('method = "l1-out"', 'method = "l2"', "rows.cheap: method: got 'l2', expected one of"),
        ("score_samples = 4", 'scoring = "cats"', "rows.cheap: content: got 'cats'"),
        ("score_samples = 4", "distillation = {l3 = 1}", "rows.cheap: distillation config: "),
        ("pool = 4", "pol = 4", "sweep.toml: train"),
        ('["quality"]', '["beauty"]', "measures: got 'beauty', expected out of quality"),
        ("seeds = [1]", 'seeds = ["a"]', "rows.wide: seeds: got 'a', expected integers"),
        ("seeds = [0, 1]", "seeds = [", "no TOML"),
        ("seeds = [0, 1]", "seeds = 3", "seeds: got 3, expected a list"),
        ("pool = 4", "images = 4", "training: got 'images', expected the row's own images"),
        ("ratio = 0.5", 'calibrated = "yes"', "rows.wide: calibrated: got 'yes', expected true"),
        ("ratio = 0.5", "scoring = 3", "rows.wide: scoring: got 3, expected a text"),
        ("ratio = 0.5", "distillation = 3", "rows.wide: distillation: got 3, expected a table"),
        ("images = 8", "images = 0", "rows.cheap: images: got 0, expected an integer >= 1"),
        ("teacher =", "teacher_ =", "got 'teacher_', expected only"),
        ("samples = 8", "content = 3", "content: got 3, expected a text"),
        ('["quality"]', "[[1]]", "sweep.toml: "),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(
    toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str,
    message: str,
) -> None:
    text = toml.read_text()
    assert old in text
    toml.write_text(text.replace(old, new, 1))
    status = main(["sweep", str(toml), "--runs", str(tmp_path / "runs"), "--device", "cpu"])
    said = capsys.readouterr().err
    assert status == 2 and len(said.splitlines()) == 1 and message in said
    assert not (tmp_path / "sweep.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "cheep"], "rows: got 'cheep', expected out of teacher, cheap, wide, longer"),
        (["--seeds", "7"], "seeds: got 7, expected out of [0, 1]"),
        (["--processes", "0"], "processes: got 0, expected an integer >= 1"),
        (["--table", "t.txt"], "expected a file ending in .csv"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    toml: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["sweep", str(toml), "--device", "cpu", *options]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and message in said


def test_latency_is_measured_once_a_size_and_changes_nothing_else(
    toml: Path, tmp_path: Path
) -> None:
    where = place(tmp_path)
    run_sweep(toml, where, seeds=[1])
    before = measured(where.table)
    fill_latencies(toml, where, turns=2)
    after = measured(where.table)
    times = {key: [row.pop(f"latency_{n}_ms") for n in (1, 16)] for key, row in after.items()}
    assert times["cheap", "1"] == times["longer", "1"] != times["wide", "1"]
    assert all(float(ms) > 0 for row in times.values() for ms in row)
    for key, row in after.items():
        assert row == {k: v for k, v in before[key].items() if not k.startswith("latency")}


# the table is written before and after a run
@pytest.mark.parametrize(("file", "writes"), [("table.csv", 0), ("table.csv", 2), ("state.pt", 0)])
def test_a_full_disk_is_one_line_and_loses_no_row(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], file: str, writes: int,
) -> None:
    where, left, replace = place(tmp_path), [writes], Path.replace
    run_sweep(toml, where, ["cheap"], [0])
    before = measured(where.table)

    def full(self: Path, target: Path) -> Path:
        if target.name == file:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    command = ["sweep", str(toml), "--rows", "cheap", "--seeds", "1", "--device", "cpu", "--table",
               str(where.table), "--runs", str(where.runs)]
    capsys.readouterr()
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("cagc_lib: ") and f"{file}: cannot be written (No space left" in said
    assert measured(where.table) == before and not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    run_sweep(toml, where, ["cheap"], [1])
    rows = measured(where.table)
    assert len(rows) == 2 and rows["cheap", "0"] == before["cheap", "0"]


def test_a_measure_that_does_not_fit_the_network_is_one_line_and_loses_no_row(
    toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = place(tmp_path)
    run_sweep(toml, where, ["teacher"])
    before = measured(where.table)
    text = toml.read_text()
    sn = tmp_path / "sn.safetensors"
    save_generator(SNGANGenerator(SNGANConfig(32, (4,) * 7, z_dim=16)), sn)
    for network, group, message in (
        ("portraits-11x", "quality", "teacher: got resolution 32"),
        (str(sn), "quality", "teacher: got kind StyleGAN2, expected SN-GAN"),
        (str(sn), "edits", "cagc_lib: other: g: got 'SNGANGenerator', expected a StyleGAN2"),
        (str(tmp_path / "absent.pt"), "quality", "absent.pt: no such file"),
    ):
        toml.write_text(f'{text}\nother = {{network = "{network}", measures = ["{group}"]}}\n')
        if group == "edits":
            toml.write_text(toml.read_text().replace('measures = ["quality"]', "measures = []", 1))
        status = main(["sweep", str(toml), "--rows", "other", "--device", "cpu", "--table",
                       str(where.table), "--runs", str(where.runs)])
        said = capsys.readouterr().err.splitlines()
        assert status == 2 and len(said) == 1 and message in said[0], said
        assert measured(where.table) == before


def test_a_copy_of_the_teacher_is_infinitely_like_it(toml: Path, tmp_path: Path) -> None:
    where, text = place(tmp_path), toml.read_text()
    teacher = Path(text.split('"')[1])
    copy = shutil.copy(teacher, tmp_path / "copy.safetensors")
    toml.write_text(f'{text}\ncopy = {{network = "{copy}"}}\n')
    run_sweep(toml, where, ["copy"])
    assert measured(where.table)["copy", ""]["teacher_psnr"] == "inf"


def test_intervals_are_asked_for_and_leave_the_rest_alone(toml: Path, tmp_path: Path) -> None:
    where = place(tmp_path)
    run_sweep(toml, where, ["teacher"])
    before = measured(where.table)["teacher", ""]
    # a column that is not asked for is not missing
    run_sweep(toml, where, ["teacher"])
    assert measured(where.table)["teacher", ""] == before and before["frechet_interval"] == ""
    toml.write_text(toml.read_text().replace('["quality"]', '["quality", "intervals"]'))
    run_sweep(toml, where, ["teacher"])
    after = measured(where.table)["teacher", ""]
    assert {k for k in after if after[k] != before[k]} == {*columns_of(("intervals",))}


def test_real_portraits_are_read_once_for_all_rows(
    toml: Path, small_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the package's name is the function's
    module = importlib.import_module("cagc_lib.metrics.evaluate")
    drawn, render = [], module.render_portraits

    def noted(seeds, *given):
        drawn.append(len(seeds))
        return render(seeds, *given)

    monkeypatch.setattr(module, "render_portraits", noted)
    text = toml.read_text().replace("samples = 8", "samples = 9")
    toml.write_text(text + f'again = {{network = "{small_teacher}"}}\n')
    run_sweep(toml, place(tmp_path), ["teacher", "again"])
    assert len(measured(place(tmp_path).table)) == 2 and sum(drawn) == 9


def test_another_table_is_refused(toml: Path, tmp_path: Path) -> None:
    where = place(tmp_path)
    where.table.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected a CSV with the columns row, seed, status"):
        run_sweep(toml, where)
    assert where.table.read_text() == "a,b\n1,2\n"


def test_a_hash_depends_on_what_decides_the_result_only(toml: Path) -> None:
    def hashes() -> dict[tuple[str, str], str]:
        return {run.key: run.sha256 for run in read_sweep(toml).runs}

    text, first = toml.read_text(), hashes()
    for old, new, same in (
        ('["quality"]', '["quality", "memory"]', True), ("seeds = [0, 1]", "seeds = [0]", True),
        ("checkpoint_every = 1", "checkpoint_every = 1\nd_steps = 1", True),
        ("pool = 4", "pool = 5", False), ("samples = 8", "samples = 9", False),
        ("score_samples = 4", "score_samples = 4, compared = 'everything'", False),
    ):
        toml.write_text(text.replace(old, new, 1))
        assert (hashes()["cheap", "0"] == first["cheap", "0"]) == same, new


def test_the_shipped_table_is_the_shipped_sweeps() -> None:
    runs = {run.key: run for run in read_sweep(ROOT / "data" / "scoreboard.toml").runs}
    with (ROOT / "data" / "scoreboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["row"], row["seed"]) for row in rows] == list(runs)
    for row in rows:
        assert row["status"] in ("measured", "not run")
        if row["status"] == "measured":
            assert row["config_sha256"] == runs[row["row"], row["seed"]].sha256
            assert float(row["frechet"]) > 0
