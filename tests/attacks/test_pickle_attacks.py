"""Hostile pickles: each is refused in one line, at once, and nothing it names runs."""

import io
import pickle
import tracemalloc
from pathlib import Path

import pytest
import torch
from hostile import ATTACKS, EXECUTION, refuse, refused_at_once, watch

from book._tools.snapshots import Persistent, dump, generator_module, snapshot
from cagc_lib.checkpoints import load_checkpoint
from cagc_lib.checkpoints.formats.pickle_reader import read_nvidia_pickle
from cagc_lib.networks import Generator, GeneratorConfig

nothing_runs = pytest.fixture(autouse=True)(watch)


@pytest.mark.parametrize("attack", ATTACKS)
def test_pickle_is_refused(attack: str) -> None:
    data = ATTACKS[attack]
    message = refuse(data, load=read_nvidia_pickle)
    assert "refused at byte" in message
    message = refuse(data)
    if data[:1] == b"\x80":
        assert "refused at byte" in message


def test_the_attacks_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes given to pickle do reach os.system, and a persistent object reaches exec."""
    called = []
    monkeypatch.setattr("posix.system", called.append, raising=True)
    unpickler = pickle.Unpickler(io.BytesIO(EXECUTION["STACK_GLOBAL posix.system"]))
    unpickler.load()
    assert called == ["touch canary"]


def test_small_files_are_refused_at_once() -> None:
    refused_at_once(ATTACKS, read_nvidia_pickle)


def test_refusal_takes_little_memory() -> None:
    # tracing makes the floods slow; what they leave on the stack is bounded by their length
    small = {key: data for key, data in ATTACKS.items() if len(data) < 50_000}
    for key, data in small.items():
        Path("x.pkl").write_bytes(data)
        tracemalloc.start()
        with pytest.raises(ValueError):
            read_nvidia_pickle("x.pkl")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(data) + 2**20, f"{key}: {peak} bytes"


def test_a_module_graph_that_doubles_is_refused() -> None:
    node = Persistent("M", {"_parameters": {}, "_buffers": {}, "_modules": {}})
    for _ in range(18):
        node = Persistent(
            "M", {"_parameters": {}, "_buffers": {}, "_modules": {"a": node, "b": node}}
        )
    assert "repeated or not a module" in refuse(dump({"G_ema": node}))


def small_generator() -> Generator:
    return Generator(GeneratorConfig(8, (3, 3, 2, 2), 4, 4, mapping_layers=2))


def test_hostile_source_text_changes_nothing() -> None:
    g = small_generator()
    Path("x.pkl").write_bytes(snapshot(g))
    plain = load_checkpoint("x.pkl").generator
    network = generator_module(g)
    network.meta["module_src"] = "open('canary', 'w').close()\nimport os; os.system('touch canary')"
    Path("y.pkl").write_bytes(dump({"G_ema": network}))
    hostile = load_checkpoint("y.pkl").generator
    for key, value in plain.state_dict().items():
        assert torch.equal(value, hostile.state_dict()[key])
