"""The tuner on a CPU and a tiny network: it keeps what agrees and what is faster."""

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib.ops.kernels.tiles import Tiles, by_rule


def test_every_product_gets_tiles(
    tune: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tune.NETWORKS, "tiny", (4, 4, 3, 2))
    monkeypatch.setattr(tune, "candidates", lambda *rest: [Tiles(16, 16, 16)])
    table = tmp_path / "tiles.json"
    table.write_text('{"another GPU": {"convolve float32 1x1x1": [16, 16, 16, 4, 2]}}')
    tune.main([
        "--device", "cpu", "--seconds", "0", "--networks", "tiny", "--batches", "1", "--types",
        "float32", "--table", str(table),
    ])
    saved = json.loads(table.read_text())
    assert "another GPU" in saved
    assert {name.split()[0] for name in saved["cpu"]} == {
        "convolve", "convolve_up", "weight_gradient",
    }
    assert all(len(values) == 5 for values in saved["cpu"].values())


def test_only_right_and_faster_tiles_win(
    tune: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cagc_lib.ops.kernels.tiles import tiles

    rule, wrong, broken, good = (Tiles(size, 16, 16) for size in (16, 32, 64, 128))
    monkeypatch.setattr(tune, "candidates", lambda *rest: [wrong, broken, good])
    taken = {rule: 1.0, wrong: 0.1, broken: 0.1, good: 0.5}
    x = torch.ones(2)

    def now() -> Tiles:
        return tiles("convolve", x, 1, 1, 1)

    def work() -> torch.Tensor:
        if now() == broken:
            raise RuntimeError("out of resource: shared memory")
        return 2 * x if now() == wrong else x

    monkeypatch.setattr(tune, "timed", lambda *rest: [taken[now()]])
    assert tune.fastest("convolve", rule, work, "float32", torch.device("cpu"), 0) == good


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("filters", "expected"), [(512, 0), (154, 38), (77, 19), (39, 9)])
def test_the_rule_wastes_little(dtype: torch.dtype, filters: int, expected: int) -> None:
    rule = by_rule("convolve", dtype, 4096, filters, filters)
    assert -filters % rule.filters <= expected


def test_the_candidates_hold_the_rule(tune: ModuleType) -> None:
    for kernel in ("convolve", "convolve_up", "weight_gradient"):
        rule = by_rule(kernel, torch.bfloat16, 4096, 154, 154)
        assert rule in set(tune.candidates(kernel, rule))
