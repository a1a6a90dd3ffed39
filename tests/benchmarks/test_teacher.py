"""The judge of teachers, on a network that was never trained."""

from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib.checkpoints import load_generator
from cagc_lib.networks import GeneratorConfig
from cagc_lib.training import TrainConfig, train_teacher

SMALL = GeneratorConfig(32, (4,) * 8, z_dim=128, w_dim=8, mapping_layers=1)


def rows_of(teachers: ModuleType, table: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["kind"], row["setting"]): row for row in teachers.read_table(table)}


def test_the_curve_has_one_row_a_checkpoint(teachers: ModuleType, tmp_path: Path) -> None:
    table, run = tmp_path / "teacher.csv", tmp_path / "run"
    asked = ["--table", str(table), "--samples", "20", "curve", str(run), "--every", "1"]
    for images in (8, 16):
        config = TrainConfig(
            images=images, batch_size=8, warm_start=1, warm_start_perceptual=0, pool=8,
        )
        train_teacher(config, SMALL, run, resume=True, progress=False)
        for _ in range(2):
            teachers.main(asked)
    rows = rows_of(teachers, table)
    assert list(rows) == [("curve", "8"), ("curve", "16")]
    for row in rows.values():
        assert float(row["frechet"]) > 0 and row["samples"] == "20" and row["content_recall"]


def test_the_judge_measures_every_side(
    teachers: ModuleType, teacher: Path, tmp_path: Path
) -> None:
    table = tmp_path / "teacher.csv"
    teachers.main([
        "--table", str(table), "--samples", "24",
        "judge", "--teacher", str(teacher), "--projected", "3", "--steps", "4",
    ])
    rows = rows_of(teachers, table)
    assert [kind for kind, _ in rows] == [
        *["truncation"] * 5, "mixing", "real", "projection", "projection", "projection",
    ]
    best = rows["real", "portraits"]
    # nothing comes nearer to portraits than portraits
    assert all(float(best["frechet"]) < float(r["frechet"]) for r in rows.values() if r["frechet"]
               and r is not best)
    assert float(best["precision"]) > 0.5 and float(best["recall"]) > 0.5
    assert all(float(rows["projection", f"projected into {s}"]["perceptual"]) > 0
               for s in ("W", "W+"))


def test_mixing_takes_the_fine_styles_from_the_next(teachers: ModuleType, teacher: Path) -> None:
    g = load_generator(teacher)
    mixing = teachers.Mixing(g.config)
    mixing.load_state_dict(g.state_dict())
    z = torch.randn(3, g.config.z_dim)
    w = g.mapping(z)
    ws = torch.stack([w[2], *[w[0]] * (g.config.num_ws - 1)])
    # the third image crosses over at the third layer
    ws[:3] = w[2]
    torch.testing.assert_close(mixing(z)[2:], g.synthesis(ws[None]))


def test_a_run_still_warming_gives_no_row(
    teachers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(
        images=0, batch_size=8, warm_start=2, warm_start_perceptual=0, checkpoint_every=1
    )
    state = train_teacher(config, SMALL, tmp_path / "run", progress=False)
    state.step = 1
    monkeypatch.setattr(teachers, "load_training_state", lambda path: state.state_dict())
    table = tmp_path / "teacher.csv"
    teachers.main(["--table", str(table), "--samples", "20", "curve", str(tmp_path / "run")])
    assert not table.exists()
