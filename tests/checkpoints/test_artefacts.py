"""The manifest, looking artefacts up, and writing files whole."""

import csv
import hashlib
import shlex
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cagc_lib.checkpoints import (
    artefact_path,
    artefacts,
    atomic_write,
    data_dir,
    file_sha256,
    manifest,
    write_manifest_entry,
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(artefacts, "data_dir", lambda: tmp_path)
    return tmp_path


def test_data_dir_is_the_clone_s() -> None:
    assert data_dir() == Path(__file__).resolve().parents[2] / "data"


def test_shipped_artefacts_are_those_of_the_manifest() -> None:
    for name, entry in manifest().items():
        path = artefact_path(name)
        assert path.stat().st_size == entry["bytes"]
        assert entry["how"] and entry["licence"]


def test_make_networks_runs_the_commands_of_the_manifest() -> None:
    present = ("--assume-old=.venv/.ready", "--assume-old=cifar10")
    recipe = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *present, "BIN=.", "networks"],
        cwd=data_dir().parent, capture_output=True, check=True, text=True,
    ).stdout
    lines = recipe.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.removeprefix("./")) for line in lines]
    made = {command[command.index("--register") + 1]: command for command in commands}
    for name, entry in manifest().items():
        # a run that goes on gives what an uninterrupted one gives
        assert [word for word in made.pop(name) if word != "--resume"] == shlex.split(entry["how"])
    assert not made


def test_the_blind_test_was_of_the_student_that_ships() -> None:
    with (data_dir() / "blind_test.csv").open(newline="") as file:
        judged = {row["sha256"] for row in csv.DictReader(file)}
    assert judged == {manifest()["portraits-11x"]["sha256"]}


def test_the_table_of_cifar10_is_of_the_networks_that_ship() -> None:
    with (data_dir() / "cifar10.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "measured"]
    shipped = manifest()
    judges = {(row["classifier_sha256"], row["content_sha256"]) for row in rows}
    names = ("cifar10-classifier", "cifar10-perceptual")
    assert judges == {tuple(shipped[name]["sha256"] for name in names)}
    measured = {row["name"]: row["sha256"] for row in rows if row["seed"] in ("", "0")}
    assert measured.pop("training images") == ""
    networks = {name for name in shipped if name.startswith("cifar10-")} - set(names)
    # two students tell what slimming's longer training gives, and do not ship
    beside = {f"cifar10-slimming-70-{what}" for what in ("short", "choice")}
    assert set(measured) == networks | beside
    assert all(measured[name] == shipped[name]["sha256"] for name in networks)


def test_entry_round_trip(data: Path) -> None:
    file = data / "thing.safetensors"
    file.write_bytes(b"abc")
    entry = write_manifest_entry(file, how="made by hand", quality=0.5)
    assert entry["sha256"] == hashlib.sha256(b"abc").hexdigest() == file_sha256(file)
    assert manifest() == {"thing": entry}
    assert (entry["bytes"], entry["licence"], entry["quality"]) == (3, "CC-BY-4.0", 0.5)
    assert artefact_path("thing") == file
    # a second record of the same file replaces the first
    write_manifest_entry(file, how="again")
    assert [e["how"] for e in manifest().values()] == ["again"]


def test_entries_written_at_once_all_stay_and_are_sorted(data: Path) -> None:
    names = [f"file{i}" for i in range(9)]
    for name in names:
        (data / f"{name}.json").write_text("{}")
    *others, last = names
    write_manifest_entry(data / f"{last}.json", how="x")
    together = threading.Barrier(len(others))

    def write(name: str) -> None:
        together.wait()
        write_manifest_entry(data / f"{name}.json", how="x")

    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(write, others))
    assert list(manifest()) == names


def test_unknown_name_lists_the_known(data: Path) -> None:
    (data / "one.json").write_bytes(b"{}")
    write_manifest_entry(data / "one.json", how="x")
    with pytest.raises(ValueError, match="got 'two', expected one of: one"):
        artefact_path("two")


def test_changed_file_is_refused(data: Path) -> None:
    file = data / "one.json"
    file.write_bytes(b"{}")
    write_manifest_entry(file, how="x")
    file.write_bytes(b"[]")
    with pytest.raises(ValueError, match="SHA-256"):
        artefact_path("one")


def test_file_elsewhere_is_refused(data: Path) -> None:
    (data / "sub").mkdir()
    (data / "sub" / "x.json").write_bytes(b"{}")
    with pytest.raises(ValueError, match="expected a file in"):
        write_manifest_entry(data / "sub" / "x.json", how="x")
    with pytest.raises(FileNotFoundError):
        write_manifest_entry(data / "absent.json", how="x")
    (data / "x.json").write_bytes(b"{}")
    with pytest.raises(ValueError, match="extra values"):
        write_manifest_entry(data / "x.json", how="x", sha256="0")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"artefacts": [{}]}', '{"artefacts": [1]}', "[" * 100_000, "\xff"]
)
def test_malformed_manifest(data: Path, text: str) -> None:
    (data / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="not an artefact manifest"):
        manifest()


def test_atomic_write_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")
    atomic_write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def fail(file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
