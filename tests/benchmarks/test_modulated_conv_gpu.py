"""The GPU benchmark on a CPU and a tiny network: it runs, records, and refuses wrong results."""

import csv
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib import ops

TINY = ["--device", "cpu", "--seconds", "0", "--networks", "tiny", "--batches", "1"]


@pytest.fixture
def tiny(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(gpu.NETWORKS, "tiny", (4, 4, 3, 2))
    return gpu


def test_every_part_becomes_rows(tiny: ModuleType, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    tiny.main([
        *TINY, "--csv", str(table), "--types", "float32", "--forms", "triton", "reference",
        "textbook", "polyphase",
    ])
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts = [row["part"] for row in rows if row["form"] == "triton"]
    assert parts == [
        "conv0 4px up1", "torgb 4px", "conv1 8px up2", "conv2 8px up1", "torgb 8px", "inference",
        "training",
    ]
    assert [row["part"] for row in rows if row["per_second"]] == ["copy"] + 4 * ["product"]
    assert [row["part"] for row in rows if row["form"] == "polyphase"] == ["conv1 8px up2"]
    rows = [row for row in rows if row["form"] not in ("", "polyphase")]
    assert len(rows) == 3 * len(parts)
    assert all(float(row["p50_us"]) > 0 and row["device"] and row["triton"] for row in rows)
    assert all(row["share_of_copy"] for row in rows if row["part"].startswith("conv"))


def test_a_wrong_result_is_not_timed(
    tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = ops.dispatch.triton_function
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for op in ops.dispatch._operators:
        # a kernel is tried once in a process: the wrong ones would fail that, and for all tests
        assert ops.dispatch._trial(op, device) is None

    def wrong(op: str) -> object:
        return lambda *rest: 1.001 * right(op)(*rest)

    table = tmp_path / "rows.csv"
    for module in ("dispatch", "to_rgb"):
        monkeypatch.setattr(sys.modules[f"cagc_lib.ops.{module}"], "triton_function", wrong)
    tiny.main([
        *TINY, "--csv", str(table), "--types", "float32", "--forms", "triton", "reference",
        "--parts", "inference",
    ])
    assert "triton float32: NOT TIMED, differs by" in capsys.readouterr().out
    with table.open(newline="") as file:
        assert {row["form"] for row in csv.DictReader(file)} == {"", "reference"}


def test_without_a_gpu_it_says_so(tiny: ModuleType) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        tiny.main(["--networks", "tiny"])
