"""MACs and parameters to the unit, counted equal to predicted, and the shape of a latency."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cagc_lib.checkpoints import load_generator
from cagc_lib.metrics import (
    count_macs,
    latency,
    layer_table,
    macs,
    parameters,
    peak_memory,
)
from cagc_lib.networks import Generator, GeneratorConfig

GOLDEN = Path(__file__).parents[1] / "golden"
FULL_256 = GeneratorConfig(256, (512,) * 10 + (256,) * 2 + (128,) * 2)
PRUNED_256 = GeneratorConfig(256, (154,) * 10 + (77,) * 2 + (39,) * 2)
FULL_1024 = GeneratorConfig(1024, (512,) * 10 + (256,) * 2 + (128,) * 2 + (64,) * 2 + (32,) * 2)


def small() -> Generator:
    config = GeneratorConfig(16, (5, 6, 7, 8, 9, 10), z_dim=11, w_dim=12, mapping_layers=3)
    return Generator(config)


def test_the_published_costs_to_the_unit() -> None:
    assert macs(FULL_256) == 45_124_673_536
    assert parameters(FULL_256) == 30_034_338
    assert macs(FULL_1024) == 74_266_894_336
    assert parameters(FULL_1024) == 30_370_060
    assert parameters(PRUNED_256) == 5_573_364
    assert round(macs(FULL_256) / macs(PRUNED_256), 2) == 10.94


def test_the_other_convention_counts_up_convolutions_on_their_output_grid() -> None:
    assert round(macs(FULL_1024, "output-resolution") / 1e9, 1) == 141.9
    config = small().config
    more = 3 * 9 * (6 * 7 * 4**2 + 8 * 9 * 8**2)
    assert macs(config, "output-resolution") - macs(config) == more


def test_the_golden_network() -> None:
    golden = np.load(GOLDEN / "rosinality.npz")
    g = load_generator(GOLDEN / "rosinality.pt")
    assert macs(g) == count_macs(g) == golden["flops"]
    pruned = load_generator(GOLDEN / "rosinality_pruned70.pt")
    assert macs(pruned) == count_macs(pruned) == golden["p70_flops"] == 416_320


def test_rows_are_named_and_sized_as_their_layers() -> None:
    rows = layer_table(small().config)
    assert [row.name for row in rows][:6] == [
        "mapping.fc0", "mapping.fc1", "mapping.fc2",
        "synthesis.const", "synthesis.convs.0", "synthesis.torgbs.0",
    ]
    assert rows[3].parameters == 5 * 4 * 4
    assert [row.resolution for row in rows if "convs" in row.name] == [4, 8, 8, 16, 16]
    assert [(r.inputs, r.outputs) for r in rows if "torgbs" in r.name] == [(6, 3), (8, 3), (10, 3)]


def test_counting_leaves_no_hooks() -> None:
    g = small()
    count_macs(g)
    assert not any(m._forward_pre_hooks for m in g.modules())


def test_latency_has_ordered_percentiles() -> None:
    measured = latency(small(), batch_size=2, repeats=5, warmup=1)
    assert 0 < measured.p20 <= measured.p50 <= measured.p80 < 10
    assert (measured.batch_size, measured.repeats, measured.compiled) == (2, 5, False)
    assert measured.device == "cpu"
    assert measured.threads == torch.get_num_threads()
    once = latency(small(), repeats=1, warmup=0)
    assert once.p20 == once.p50 == once.p80


@pytest.mark.parametrize(
    ("values", "name"),
    [({"batch_size": 0}, "batch_size"), ({"repeats": 0}, "repeats"), ({"warmup": -1}, "warmup"),
     ({"warmup": 0, "compiled": True}, "warmup"), ({"repeats": 2.0}, "repeats")],
)
def test_latency_rejects_bad_numbers(values: dict, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got .*, expected an integer >= \d$"):
        latency(small(), **values)


def test_an_unknown_convention_is_named() -> None:
    with pytest.raises(ValueError, match=r"^convention: got 'flops', expected paper or output-res"):
        macs(FULL_256, "flops")


def test_peak_memory_is_what_is_alive_at_once() -> None:
    class Chain(torch.nn.Module):
        """Two large results that live together, then a small one."""

        config = type("Config", (), {"z_dim": 100})()

        def __init__(self) -> None:
            super().__init__()
            self.synthesis = torch.nn.Linear(1, 1)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            x = z.repeat(10, 1)
            y = x + 1
            del x
            return (y * 1).sum()

    # 1,000 floats of y beside 1,000 of its product; z is given, x is gone
    assert 2 * 4000 <= peak_memory(Chain()) <= 2 * 4000 + 64
    assert peak_memory(Chain(), 3) >= 3 * 8000


def test_peak_memory_of_a_generator_grows_with_the_batch_and_is_repeatable() -> None:
    g = load_generator("portraits-11x")
    one, four = peak_memory(g), peak_memory(g, 4)
    assert one == peak_memory(g)
    assert 2 * one < four < 5 * one
    with pytest.raises(ValueError, match="batch_size: got 0, expected an integer >= 1"):
        peak_memory(g, 0)
