"""The CPU benchmark at its smallest: every question gets its rows, as the committed tables have them."""

import csv
from pathlib import Path
from types import ModuleType

import pytest
import torch

import cagc_lib as cagc
from cagc_lib.checkpoints import data_dir


@pytest.fixture
def tiny(cpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(cpu.NETWORKS, "tiny", (4, 4, 3, 2))
    monkeypatch.setattr(cpu, "STEPS", 1)
    small = cagc.GeneratorConfig(32, (4,) * 8, 16, 16, 1), cagc.SNGANConfig(32, (4,) * 7, z_dim=8)
    monkeypatch.setattr(cpu, "SHAPES", {
        name: (config, config) for name, config in zip(cpu.SHAPES, small, strict=True)
    })
    return cpu


@pytest.mark.parametrize(("question", "options", "column", "expected"), [
    ("generator", ["--networks", "tiny", "--batches", "1", "2", "--modes", "eager", "--rounds",
                   "3"], "mode", 2 * ["textbook", "eager"]),
    ("training", ["--rounds", "1"], "setting",
     [f"{who}, {kind}" for kind in ("float32", "bfloat16") for who in ("teacher", "student")]),
    ("training", ["--rounds", "1", "--network", "sngan"], "setting",
     ["SN-GAN teacher, bfloat16", "SN-GAN student, bfloat16"]),
    ("scoring", ["--samples", "2", "--repeats", "1"], "variant", ["batch-summed", "per sample"]),
    ("portraits", ["--batch", "1", "--repeats", "2"], "resolution", ["64", "128"]),
])
def test_every_question_gets_its_rows(
    tiny: ModuleType, tmp_path: Path, question: str, options: list[str], column: str,
    expected: list[str],
) -> None:
    table = tmp_path / "rows.csv"
    tiny.main([question, *options, "--threads", "1", "--csv", str(table)])
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (data_dir() / "benchmarks" / f"{question}_cpu.csv").open(newline="") as file:
        committed = list(csv.DictReader(file))
    assert list(rows[0]) == list(committed[0])
    assert [row[column] for row in rows] == expected
    assert set(expected) <= {row[column] for row in committed}
    for row in rows:
        low, middle, high = (float(row[key]) for key in row if key[:3] in ("p20", "p50", "p80"))
        assert 0 <= low <= middle <= high and row["threads"] == "1"


def test_a_form_that_differs_is_not_timed(
    tiny: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = tiny.forms

    def wrong(g: cagc.Generator) -> dict:
        return every(g) | {"eager": lambda w: torch.full_like(g.synthesis(w), torch.nan)}

    monkeypatch.setattr(tiny, "forms", wrong)
    (row,) = tiny.compare("tiny", 1, ["eager"], 1)
    assert (row["mode"], row["speedup"]) == ("textbook", 1)
    assert "tiny batch 1 eager: NOT TIMED, differs by nan" in capsys.readouterr().out
