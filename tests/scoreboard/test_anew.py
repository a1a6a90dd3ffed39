"""Two rows of the shipped table, made anew from the shipped TOML file at a tiny budget."""

from pathlib import Path

import pytest

from cagc_lib.scoreboard import MEASURES, Place, measures, read_sweep, read_table, run_sweep
from cagc_lib.scoreboard.sweep import RUN

DATA = Path(__file__).resolve().parents[2] / "data"
# scores by the loss's gradient beside none at all, on the shipped teacher
BETTER, WORSE, SEED = "taylor", "random", "0"
TINY = (
    ("samples = 2000", "samples = 16"), ("pool = 6000", "pool = 8\nbatch_size = 4"),
    (f"[rows.{BETTER}]", f"[rows.{BETTER}]\nimages = 8\nscore_samples = 10"),
    (f"[rows.{WORSE}]", f"[rows.{WORSE}]\nimages = 8"),
)


def test_two_rows_made_anew_have_the_recorded_shape_and_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DATA / "scoreboard.toml").read_text()
    for old, new in TINY:
        assert text.count(f"{old}\n") == 1, old
        text = text.replace(f"{old}\n", f"{new}\n")
    (tmp_path / "tiny.toml").write_text(text)
    monkeypatch.setattr(measures, "PAIRS", 3)
    where = Place(tmp_path / "table.csv", tmp_path / "runs")
    run_sweep(tmp_path / "tiny.toml", where, [BETTER, WORSE], [int(SEED)])
    anew = {row["row"]: row for row in read_table(where.table) if row["status"] == "measured"}
    assert sorted(anew) == sorted([BETTER, WORSE])

    recorded = {
        (row["row"], row["seed"]): row for row in read_table(DATA / "scoreboard.csv")
        if row["status"] == "measured"
    }
    # not every row has been measured again since a measure was added; latencies are made apart
    runs = {run.key: run.measures for run in read_sweep(DATA / "scoreboard.toml").runs}
    alike = [row for key, row in recorded.items() if runs[key] == runs[WORSE, SEED]]
    of_runs = [name for name in (*RUN, *MEASURES) if not name.startswith("latency")]
    filled = [name for name in of_runs if any(row[name] for row in alike)]
    before = {name: recorded[name, SEED] for name in anew}
    for name, row in anew.items():
        assert [column for column in of_runs if row[column]] == filled, name
        assert list(row) == list(before[name])

    # the measures that decide: data/scoreboard.toml names them
    for measure in ("frechet", "content_frechet", "teacher_content_perceptual"):
        made, then = (
            float(rows[WORSE][measure]) - float(rows[BETTER][measure]) for rows in (anew, before)
        )
        assert made * then > 0, measure
