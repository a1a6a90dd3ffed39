"""Hostile pickles: each is refused in one line, at once, and nothing it names runs; mutants too."""

import io
import pickle
import random
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from hostile import (
    ATTACKS,
    EXECUTION,
    TORCH,
    legacy,
    mutate,
    refuse,
    refused_at_once,
    running_nothing,
    small_generator,
    watch,
    zipped,
)

from book._tools.snapshots import Persistent, dump, generator_module, snapshot
from cagc_lib.checkpoints import load_checkpoint
from cagc_lib.checkpoints.formats import rosinality
from cagc_lib.checkpoints.formats.pickle_reader import read_nvidia_pickle

GOLDEN = Path(__file__).parents[1] / "golden" / "nvidia_ada.pkl"
MUTANTS = {"whole": 2000, "small": 8000, "golden": 40}

nothing_runs = pytest.fixture(autouse=True)(watch)


def test_there_are_enough_attacks_and_mutants() -> None:
    assert len(ATTACKS) >= 60
    assert len({bytes(data) for data in ATTACKS.values()}) == len(ATTACKS)
    assert sum(MUTANTS.values()) >= 10_000


@pytest.mark.parametrize("attack", ATTACKS)
def test_pickle_is_refused_and_runs_nothing(attack: str) -> None:
    data = ATTACKS[attack]
    assert "refused at byte" in refuse(data, load=read_nvidia_pickle)
    message = refuse(data)
    if data[:1] == b"\x80":
        assert "refused at byte" in message
    # whatever torch imports late
    Path("good.pkl").write_bytes(snapshot(small_generator()))
    load_checkpoint("good.pkl")
    with pytest.raises(ValueError), running_nothing():
        load_checkpoint("x.pkl")


def test_the_attacks_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes given to pickle do reach os.system, and a persistent object reaches exec."""
    called = []
    monkeypatch.setattr("posix.system", called.append, raising=True)
    unpickler = pickle.Unpickler(io.BytesIO(EXECUTION["STACK_GLOBAL posix.system"]))
    unpickler.load()
    assert called == ["touch canary"]


def test_the_watch_sees_what_it_should() -> None:
    for act, event in (
        (lambda: pickle.loads(b"ccollections\nOrderedDict\n."), "pickle.find_class"),
        (lambda: exec("1"), "exec"), (lambda: compile("1", "x", "exec"), "compile"),
        (lambda: Path("x").open("w").close(), "open"),
    ):
        with pytest.raises(AssertionError, match=event), running_nothing():
            act()


@pytest.mark.parametrize("load", [read_nvidia_pickle, load_checkpoint])
def test_small_files_are_refused_at_once(load) -> None:
    refused_at_once(ATTACKS, load)


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
    shared = {f"{i}": None for i in range(10_000)}
    layers = {
        f"{i}": Persistent("M", {"_parameters": shared, "_buffers": {}, "_modules": {}})
        for i in range(3_000)
    }
    layers = {"synthesis": Persistent("M", {"_parameters": {}, "_buffers": {}, "_modules": layers})}
    node = Persistent("M", {"_parameters": {}, "_buffers": {}, "_modules": layers})
    assert "expected dicts _parameters" in refuse(dump({"G_ema": node}))
    # a long name over many
    node = Persistent("M", {"_parameters": {}, "_buffers": {}, "_modules": layers | {"x" * 300: 1}})
    assert "got a name of 300 letters, expected at most 256" in refuse(dump({"G_ema": node}))


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


def seed_file(name: str) -> bytes:
    if name == "whole":
        return snapshot(small_generator(), augment=True)
    if name == "golden":
        return GOLDEN.read_bytes()
    # one layer, with every kind of value that a snapshot holds
    synthesis = generator_module(small_generator()).meta["state"]["_modules"]["synthesis"]
    torgb = synthesis.meta["state"]["_modules"]["b4"].meta["state"]["_modules"]["torgb"]
    return dump({"G_ema": torgb}, protocol=3)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_refused_or_read_and_run_nothing(name: str) -> None:
    data, rng, refused = seed_file(name), random.Random(11), 0
    path = Path("mutant.pkl")
    path.write_bytes(data)
    read_nvidia_pickle(path)  # whatever torch imports late
    with path.open("wb", buffering=0) as file:  # opening one anew takes longer than reading it
        for _ in range(MUTANTS[name]):
            file.seek(0)
            file.truncate(file.write(mutate(data, rng)))
            try:
                with running_nothing():
                    root = read_nvidia_pickle(path)
            except ValueError as error:
                refused += 1
                assert str(error).startswith("mutant.pkl: ")
                assert "\n" not in str(error)
            else:
                assert type(root) is dict
    assert MUTANTS[name] // 4 < refused < MUTANTS[name]


@pytest.mark.parametrize("attack", ATTACKS | TORCH)
def test_torch_files_run_nothing_either(attack: str) -> None:
    content = (ATTACKS | TORCH)[attack]
    torch.save(rosinality.pack(small_generator(), None), "good.pt")
    load_checkpoint("good.pt")
    for data in (zipped(content, version=b"3", **{"data/0": bytes(16)}), legacy(content)):
        refuse(data)
        times = []
        for _ in range(3):  # as above
            start = time.process_time()
            with pytest.raises(ValueError), running_nothing():
                load_checkpoint("x.pkl")
            times.append(time.process_time() - start)
        assert min(times) < (0.05 if len(content) < 1000 else 1.5), min(times)
