"""Damaged and hostile files of every format: refused in one line, and nothing they name runs."""

import argparse
import io
import json
import os
import random
import struct
import time
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hostile import legacy, mutate, refuse, running_nothing, small_generator, watch, zipped

from book._tools.snapshots import generator_module, shells, snapshot
from cagc_lib.checkpoints import (
    load_checkpoint,
    load_network,
    load_tensors,
    load_training_state,
    module_tensors,
    read_nvidia_pickle,
    save_generator,
)
from cagc_lib.checkpoints.formats import rosinality
from cagc_lib.networks import Lineage

GOLDEN = Path(__file__).parents[1] / "golden"

nothing_runs = pytest.fixture(autouse=True)(watch)


def seed_file(kind: str) -> bytes:
    """A small file of one of the kinds that hold a generator."""
    if kind == "golden":
        return (GOLDEN / "nvidia_ada.pkl").read_bytes()
    g, buffer = small_generator(), io.BytesIO()
    Path("x.pkl").write_bytes(snapshot(g))
    if kind == "snapshot":
        return Path("x.pkl").read_bytes()
    content = {
        "rosinality": rosinality.pack(g, None), "module": generator_module(g),
        "state": {"G_ema": module_tensors(read_nvidia_pickle("x.pkl")["G_ema"])},
    }[kind.split()[0]]  # fmt: skip
    with shells():
        torch.save(content, buffer, _use_new_zipfile_serialization="legacy" not in kind)
    return buffer.getvalue()


def mutant_of(data: bytes, rng: random.Random) -> bytes:
    """The file changed, or the pickle within its archive."""
    if not data.startswith(b"PK") or rng.random() < 0.3:
        return mutate(data, rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, mutate(content, rng) if "data.pkl" in entry else content)
    return buffer.getvalue()


LAYOUTS = ("rosinality", "module", "state")
TORCH_FILES = [f"{layout}{how}" for layout in LAYOUTS for how in ("", " legacy")]


@pytest.mark.parametrize(
    ("kind", "count"), [("snapshot", 400), ("golden", 30), *((kind, 500) for kind in TORCH_FILES)]
)
def test_mutants_load_or_are_refused_and_run_nothing(kind: str, count: int) -> None:
    data, rng, refused = seed_file(kind), random.Random(7), 0
    Path("mutant").write_bytes(data)
    load_checkpoint("mutant")  # whatever torch imports late
    for _ in range(count):
        Path("mutant").write_bytes(mutant_of(data, rng))
        times: list[float] = []
        # processor time, which other work on this machine lengthens a little only
        while not times or (times[-1] > 0.15 and len(times) < 3):
            start, text = time.process_time(), ""
            try:
                with running_nothing():
                    load_checkpoint("mutant")
            except ValueError as error:
                text = str(error)
                assert text.startswith("mutant: ")
                assert "\n" not in text
            times.append(time.process_time() - start)
        assert min(times) < 0.15 or kind == "golden"
        refused += bool(text)
    assert count // 4 < refused < count


@pytest.mark.parametrize("file", ["rosinality.pt", "nvidia_ada.pkl", "x.safetensors"])
def test_cut_files_are_refused(file: str) -> None:
    if file == "x.safetensors":
        save_generator(load_checkpoint(GOLDEN / "rosinality.pt").generator, file)
    data = Path(file).read_bytes() if file == "x.safetensors" else (GOLDEN / file).read_bytes()
    for length in (0, 1, 2, 8, 9, 100, 5000, len(data) // 2, len(data) - 4096, len(data) - 1):
        refuse(data[:length], "cut")


def test_a_download_that_was_cut_off_is_named() -> None:
    data = (GOLDEN / "rosinality.pt").read_bytes()
    assert refuse(data[:100_000], "trunc.pt") == (
        "trunc.pt: got 100000 bytes that begin a zip archive but lack its end, expected a whole "
        "file (cut off?)"
    )
    torch.save({"g_ema": {}}, "old.pt", _use_new_zipfile_serialization=False)
    text = refuse(Path("old.pt").read_bytes()[:40])
    assert "refused at byte 27 of its pickle: cut off: got 8 bytes after byte 32, expected" in text
    data = (GOLDEN / "nvidia_ada.pkl").read_bytes()
    frame = struct.unpack("<Q", data[3:11])[0]
    assert refuse(data[:50_000], "trunc.pkl") == (
        f"trunc.pkl: refused at byte 2: cut off: got 49989 bytes after byte 11, expected {frame} "
        "for a frame"
    )
    save_generator(small_generator(), "whole.safetensors")
    data = Path("whole.safetensors").read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for length, expected in (
        (100, f"{header} or more"), (header, f"{len(data)}"), (len(data) - 1, f"{len(data)}")
    ):
        text = refuse(data[:length], "trunc.safetensors")
        assert text == f"trunc.safetensors: cut off: got {length} bytes, expected {expected}"
    # a header that promises nothing is not one that was cut
    assert "not a readable safetensors file" in refuse(data + b"x", "long.safetensors")


# --- torch files


class Exploit:
    """Pickles as a call of a function that no checkpoint needs."""

    def __reduce__(self) -> tuple:
        return os.getenv, ("HOME",)


def hostile_torch_file(**options) -> bytes:
    buffer = io.BytesIO()
    torch.save({"g_ema": Exploit(), "args": Exploit()}, buffer, **options)
    return buffer.getvalue()


def test_hostile_torch_files() -> None:
    system = b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch canary\x85R."
    assert "got a whole os.system, expected" in refuse(zipped(system, version=b"3\n"))
    assert "got a whole os.system, expected" in refuse(legacy(system))
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        assert "os.getenv" in refuse(hostile_torch_file(**options))


def test_a_refused_file_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []
    real = torch.load

    def load(*args, **options):
        tries.append(options["weights_only"])
        return real(*args, **options)

    monkeypatch.setattr(torch, "load", load)
    refuse(hostile_torch_file(), load=load_training_state)
    assert tries == [True]
    # those of others are not torch's to read
    refuse(hostile_torch_file())
    refuse(hostile_torch_file(), load=load_tensors)
    assert tries == [True]


def test_zip_files_of_another_kind() -> None:
    bomb = zipped(b"\x80\x02}.", zipfile.ZIP_DEFLATED, **{"data/0": bytes(10**7)})
    assert len(bomb) < 10**5
    assert "compressed archive" in refuse(bomb)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    other = "x.pkl: got a zip archive that torch.save did not write, expected one of its"
    assert refuse(buffer.getvalue()) == other
    # torch would ask for its own source to be repaired
    assert refuse(zipped(b"\x80\x02}.")) == other
    assert "104 bytes that begin a zip archive but lack its end" in refuse(
        b"PK\x03\x04" + bytes(100)
    )


@pytest.mark.parametrize("content", [[], 3, {}, {"a": 1}, {"state_dict": {}}, None])
def test_torch_files_without_a_generator(content) -> None:
    torch.save(content, "x.pt")
    refuse(Path("x.pt").read_bytes(), "x.pt")


def test_torch_file_with_control_characters_in_its_names() -> None:
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(GOLDEN / "rosinality.pt", weights_only=True)
    content["g_ema"]["a\n\x1b[31m"] = torch.ones(1)
    torch.save(content, "x.pt")
    assert "\x1b" not in refuse(Path("x.pt").read_bytes(), "x.pt")


def test_damaged_training_state() -> None:
    torch.save({"a": torch.ones(100)}, "x.pt")
    data = Path("x.pt").read_bytes()
    for length in (0, 10, 300, len(data) - 1):
        refuse(data[:length], "cut.pt", load_training_state)
    refuse(hostile_torch_file(), "x.pt", load_training_state)


# --- safetensors


def header_of(**changes) -> dict:
    config = {"resolution": 8, "channels": [3, 3, 2, 2], "z_dim": 4, "w_dim": 4,
              "mapping_layers": 2}
    header = {"format": "cagc-checkpoint", "version": 1, "generator": config}
    return header | {"discriminator": None, "lineage": None} | changes


def write(header, edit=len) -> bytes:
    tensors = {f"generator.{k}": v for k, v in small_generator().state_dict().items()}
    edit(tensors)
    text = header if isinstance(header, str) else json.dumps(header)
    return safetensors.torch.save(tensors, None if header is None else {"cagc": text})


def config_of(**changes) -> dict:
    return header_of(generator=header_of()["generator"] | changes)


def sngan(z_dim: int) -> dict:
    config = {"resolution": 8, "channels": [2, 2, 2], "z_dim": z_dim}
    return header_of(kind="sngan", generator=config)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "got safetensors of format 'NoneType'"),
        ("", "not a readable safetensors file"),
        ("{", "not a readable safetensors file"),
        ("[" * 100_000, "not a readable safetensors file"),
        ("3", "of format 'NoneType'"),
        (header_of(format="pt"), "of format 'pt', expected 'cagc-checkpoint'"),
        (header_of(version=2), "another version of the format, expected 1"),
        (header_of(colour=1), "header: got unknown key 'colour', expected format, version"),
        (header_of(version="1"), "another version of the format, expected 1"),
        (json.dumps(header_of()).replace("8", "[" * 900 + "]" * 900), "x.safetensors: "),
        ({"format": "cagc-checkpoint", "version": 1}, "malformed header: KeyError 'generator'"),
        (header_of(generator=3), "malformed header"),
        (header_of(generator=None), "malformed header"),
        (header_of(discriminator=[1]), "malformed header|discriminator config"),
        (config_of(colour=1), r"generator config: unknown colour; expected channels"),
        (config_of(resolution=9), "resolution: got 9"),
        (config_of(resolution="8"), "resolution: got '8'"),
        (config_of(channels=5), "malformed header"),
        (config_of(channels=[3, 3, 2]), "channels: got 3 widths"),
        (config_of(channels=[3, 3, 2, 0]), r"channels\[3\]: got 0"),
        (config_of(channels=[3, 3, 2, 2.5]), r"channels\[3\]: got 2.5"),
        (config_of(channels=[3, 3, 2, 10**12]), "expected at most"),
        (config_of(channels=[3, 3, 2, 4]), r"expected \["),
        (config_of(mapping_layers=10**9), "64 mapping layers"),
        (config_of(mapping_layers=3), r"missing \(mapping.fc2.bias\)"),
        (config_of(mapping_layers=1), r"unexpected \(mapping.fc1.bias\)"),
        (header_of(kind="biggan"), "kind: got 'biggan', expected one of stylegan2, sngan"),
        (header_of(kind=["sngan"]), r"kind: got \"\['sngan'\]\", expected one of"),
        (header_of(kind=None), "kind: got 'None', expected one of"),
        (header_of(kind="sngan"), "SN-GAN config: unknown mapping_layers, w_dim"),
        (sngan(10**12), "expected at most"),
        (sngan(4), r"missing \(synthesis.blocks.0.bn1.bias\)"),
        (config_of(conv_clamp="big"), "malformed header|conv_clamp"),
        (header_of(lineage={}), r"lineage: tensors 4 missing \(keep.0\)"),
        (header_of(discriminator={"resolution": 8, "channels": [4, 4]}), "tensors 13 missing"),
    ],
)
def test_wrong_safetensors_header(header, message: str) -> None:
    Path("x.safetensors").write_bytes(write(header))
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint("x.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("generator.w_avg"), r"1 missing \(w_avg\)"),
        (lambda t: t.update({"generator.extra": torch.ones(1)}), r"1 unexpected \(extra\)"),
        (lambda t: t.update({"other": torch.ones(1)}), "other: got an unexpected tensor"),
        (lambda t: t.update({"lineage.keep.0": torch.ones(1)}), r"1 unexpected \(keep.0\)"),
        (lambda t: t.update({"discriminator.x": torch.ones(1)}), r"1 unexpected \(x\)"),
        (lambda t: t.update({"generator.w_avg": torch.ones(4).int()}), "got torch.int32"),
        (lambda t: t.update({"generator.w_avg": torch.ones(5)}), r"shape \[5\], expected \[4\]"),
        (lambda t: t.update({"generator.w_avg": torch.full([4], torch.nan)}), "NaN or infinity"),
        (lambda t: t.update({"generator.w_avg": torch.full([4], torch.inf)}), "NaN or infinity"),
    ],
)
def test_wrong_safetensors_content(edit, message: str) -> None:
    data = write(header_of(), edit)
    Path("x.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_checkpoint("x.safetensors")


LINEAGE = {"source_channels": [6, 6, 4, 4], "source_sha256": "", "rgb_gain": "preserved"}


def with_lineage(said: dict, **tensors: torch.Tensor) -> bytes:
    g = small_generator()
    g.lineage = Lineage(tuple(torch.arange(n) for n in g.config.channels), (6, 6, 4, 4))
    save_generator(g, "x.safetensors")
    content = safetensors.torch.load_file("x.safetensors") | tensors
    return safetensors.torch.save(content, {"cagc": json.dumps(header_of(lineage=said))})


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1}, {"source_sha256": {}}, {"rgb_gain": None}, {"source_channels": "6644"},
        {"source_channels": [6, 6, 4, 4.0]}, {"source_channels": [6, 6, 4]},
    ],
)
def test_wrong_lineage_header(change: dict) -> None:
    assert "lineage: got" in refuse(with_lineage(LINEAGE | change))


@pytest.mark.parametrize(
    "keep", [[0, 0, 1], [2, 1, 3], [0, 1, 9], [-1, 0, 1], [0, 1], [0.0, 1.0, 2.0]]
)
def test_wrong_lineage(keep: list) -> None:
    data = with_lineage(LINEAGE, **{"lineage.keep.0": torch.tensor(keep)})
    assert "keep.0: expected 3 ascending int64 indices below 6" in refuse(data, "x.safetensors")


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**63) + b"{" + bytes(100), struct.pack("<Q", 100) + b"{" + b" " * 10,
        struct.pack("<Q", 2) + b"{}", b"\x7fELF" + bytes(100), b"<html><body>404", b"{" * 100,
        struct.pack("<Q", 60)
        + b'{"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}} '[:60],
        bytes(100),
    ],
)
def test_other_files(data: bytes) -> None:
    refuse(data)
    refuse(data, load=lambda path: load_network(path, "parser"))


def test_folder_pipe_and_empty_file() -> None:
    Path("folder.pt").mkdir()
    with pytest.raises(ValueError, match="got a folder, expected a safetensors file"):
        load_checkpoint("folder.pt")
    os.mkfifo("pipe.pt")
    with pytest.raises(ValueError, match="got a pipe or a device"):
        load_checkpoint("pipe.pt")
    assert "got an empty file, expected a safetensors file" in refuse(b"")
