"""The CPU benchmark at its smallest: each question gets rows like those of its committed table."""

import csv
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib.checkpoints import data_dir
from cagc_lib.networks import (
    Config,
    Generator,
    GeneratorConfig,
    SNGANConfig,
    SNGANDiscriminatorConfig,
)


@pytest.fixture
def tiny(cpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with a network more, and small ones to train on four images a step."""
    monkeypatch.setitem(cpu.NETWORKS, "tiny", (4, 4, 3, 2))
    monkeypatch.setattr(cpu, "STEPS", 1)
    small = GeneratorConfig(32, (4,) * 8, 16, 16, 1), SNGANConfig(32, (4,) * 7, z_dim=8)
    for name, config in zip(cpu.SHAPES, small, strict=True):
        monkeypatch.setitem(cpu.SHAPES, name, (config, config))
    every, matching = cpu.recipes, cpu.matching_discriminator

    def recipes(network: str) -> Iterator[tuple]:
        for who, kind, values in every(network):
            yield who, kind, values | {"batch_size": 4, "pool": 4}

    def discriminator(config: Config) -> Config:
        if isinstance(config, SNGANConfig):
            return SNGANDiscriminatorConfig(32, (4, 4))
        return matching(config)

    monkeypatch.setattr(cpu, "recipes", recipes)
    monkeypatch.setattr(cpu, "matching_discriminator", discriminator)
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

    def wrong(g: Generator) -> dict:
        return every(g) | {"eager": lambda w: torch.full_like(g.synthesis(w), torch.nan)}

    monkeypatch.setattr(tiny, "forms", wrong)
    (row,) = tiny.compare("tiny", 1, ["eager"], 1)
    assert (row["mode"], row["speedup"]) == ("textbook", 1)
    assert "tiny batch 1 eager: NOT TIMED, differs by nan" in capsys.readouterr().out
