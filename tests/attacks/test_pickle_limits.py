"""The pickle reader's promises in numbers: attacks and mutants, none of which runs; time."""

import pickle
import random
from pathlib import Path

import pytest
from hostile import (
    ATTACKS,
    mutate,
    refused_at_once,
    running_nothing,
    small_generator,
    watch,
)

from book._tools.snapshots import dump, generator_module, snapshot
from cagc_lib.checkpoints import load_checkpoint
from cagc_lib.checkpoints.formats.pickle_reader import read_nvidia_pickle

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "nvidia_ada.pkl"
MUTANTS = {"whole": 2000, "small": 8000, "golden": 40}

nothing_runs = pytest.fixture(autouse=True)(watch)


def seed_file(name: str) -> bytes:
    if name == "whole":
        return snapshot(small_generator(), augment=True)
    if name == "golden":
        return GOLDEN.read_bytes()
    # one layer, with every kind of value that a snapshot holds
    synthesis = generator_module(small_generator()).meta["state"]["_modules"]["synthesis"]
    torgb = synthesis.meta["state"]["_modules"]["b4"].meta["state"]["_modules"]["torgb"]
    return dump({"G_ema": torgb}, protocol=3)


def test_there_are_enough_attacks_and_mutants() -> None:
    assert len(ATTACKS) >= 60
    assert len({bytes(data) for data in ATTACKS.values()}) == len(ATTACKS)
    assert sum(MUTANTS.values()) >= 10_000


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


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_run_nothing(attack: str) -> None:
    Path("good.pkl").write_bytes(snapshot(small_generator()))
    load_checkpoint("good.pkl")
    Path("x.pkl").write_bytes(ATTACKS[attack])
    with pytest.raises(ValueError), running_nothing():
        load_checkpoint("x.pkl")


def test_the_watch_sees_what_it_should() -> None:
    for act, event in (
        (lambda: pickle.loads(b"ccollections\nOrderedDict\n."), "pickle.find_class"),
        (lambda: exec("1"), "exec"), (lambda: compile("1", "x", "exec"), "compile"),
        (lambda: Path("x").open("w").close(), "open"),
    ):
        with pytest.raises(AssertionError, match=event), running_nothing():
            act()


def test_small_files_are_refused_at_once_by_the_loader_too() -> None:
    refused_at_once(ATTACKS, load_checkpoint)
