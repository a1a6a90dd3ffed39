"""Reads torch files of others, zipped or of the kind before, without running them.

    zip:    stored entries, among them data.pkl, version and data/KEY, and an end record
    before: five pickles, then for each KEY the length as int64 and the raw numbers

`pickle_machine` interprets the pickle with an open grammar: what makes tensors and NVIDIA's modules
is known, and any other name stays a name, so that numpy's scalars, paths and options beside the
weights are read past and nothing is imported. Numbers stay in the file until `loaded` asks for
them, so that an optimiser's are never read. An archive that would unfold to more than its file is
refused. Chapter 13.
"""

import contextlib
import dataclasses
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO

from ..files import one_line, reason_of
from . import pickle_reader
from .pickle_machine import Budget, Cursor, Machine
from .pickle_reader import SNAPSHOT, STORAGE_TYPES

MAX_PICKLE_BYTES = 2**24
# an entry that torch.save does not write -> what the archive is
_OTHERS = {
    "constants.pkl": "TorchScript", "archive_format": "a program of torch.export",
    "serialized_exported_program.json": "a program of torch.export",
}  # fmt: skip
_KNOWN = ("torch_utils.persistence._reconstruct_persistent_obj", "collections.OrderedDict")


def _later(budget: Budget, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any,
           hooks: Any, metadata: Any = None) -> Callable[[], Any]:  # fmt: skip
    shape = (offset, size, stride, requires_grad, hooks)
    return lambda: pickle_reader.rebuild_tensor(budget, pickle_reader.loaded(storage), *shape)


_OPEN = dataclasses.replace(
    SNAPSHOT,
    opcodes=SNAPSHOT.opcodes | {"BINPERSID"},
    calls={
        **{name: SNAPSHOT.calls[name] for name in _KNOWN},
        "torch._utils._rebuild_tensor_v2": _later,
        "torch._utils._rebuild_parameter": lambda budget, data, *rest: data,
        "torch._utils._rebuild_parameter_with_state": lambda budget, data, *rest: data,
    },
    build=lambda target, state: target,
    open=True,
)


def _machine(
    data: bytes, budget: Budget, read: Callable[[str, int], bytes]
) -> tuple[Machine, dict[str, tuple[int, int]]]:
    """A machine for a pickle, and the storages that it will name: key -> numbers, bytes.

    `read` gives a storage's bytes by its key and their count.
    """
    places: dict[str, tuple[int, int]] = {}

    @cache
    def storage(name: str, key: str, size: int) -> pickle_reader.Storage:
        budget.spend("bytes of storages", size)
        numbers = read(key, size)
        if len(numbers) != size:
            raise ValueError(f"got a storage of {len(numbers)} bytes, expected {size}")
        return pickle_reader.storage_of(numbers, STORAGE_TYPES[name])

    def persistent(args: Any) -> Any:
        if type(args) is tuple and len(args) == 4 and args[0] == "module":
            return args[1]  # before zip, a class came with its source
        _, kind, key, _, count = pickle_reader.storage_id(args)[:5]
        if kind.name not in STORAGE_TYPES:
            return kind
        places[key] = count, count * STORAGE_TYPES[kind.name].itemsize
        return partial(storage, kind.name, key, places[key][1])

    grammar = dataclasses.replace(_OPEN, persistent=persistent)
    return Machine(Cursor(memoryview(data)), budget, grammar), places


@contextlib.contextmanager
def damage_named() -> Iterator[None]:
    """Turn what zipfile and torch raise for damaged files, of many types, into a ValueError."""
    try:
        yield
    except Exception as error:
        reason = reason_of(error)
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            reason = f"got the name {refused[1][:80]}, expected tensors and plain values only"
        named = reason if reason.startswith("got ") else f"not a readable torch file: {reason}"
        raise ValueError(named) from None


def open_archive(file: BinaryIO) -> tuple[zipfile.ZipFile, str]:
    """Open torch's archive and name its folder.

    Raises:
        ValueError: it is cut off, of another program, compressed or of shared entries.
    """
    size = file.seek(0, 2)
    if not zipfile.is_zipfile(file):
        got = f"{size} bytes that begin a zip archive but lack its end"
        raise ValueError(f"got {got}, expected a whole file (cut off?)")
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    for other in {name.rpartition("/")[2] for name in names} & set(_OTHERS):
        raise ValueError(f"got {_OTHERS[other]}, expected weights that torch.save wrote")
    # a compressed entry could unfold to any size; torch.save never compresses
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("got a compressed archive, expected one of torch.save")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("got an archive of overlapping entries, expected separate ones")
    folder = entries[0].filename.partition("/")[0] if entries else ""
    if not {f"{folder}/data.pkl", f"{folder}/version"} <= names:
        raise ValueError("got a zip archive that torch.save did not write, expected one of its")
    return archive, folder


def _read(file: BinaryIO, budget: Budget) -> Any:
    starts: dict[str, int] = {}

    def read(key: str, size: int) -> bytes:
        with damage_named():
            if archive:
                return archive.read(f"{folder}/data/{key}")
            file.seek(starts[key])
            return file.read(size)

    if file.read(2) == b"PK":
        archive, folder = open_archive(file)
        order = f"{folder}/byteorder"
        if order in archive.NameToInfo and archive.read(order) != b"little":
            raise ValueError("got big-endian numbers, expected little-endian")
        machine, _ = _machine(archive.read(f"{folder}/data.pkl"), budget, read)
    else:
        archive, size = None, file.seek(0, 2)
        file.seek(0)
        machine, places = _machine(file.read(MAX_PICKLE_BYTES), budget, read)
    try:
        if archive:
            return machine.run()
        content, keys = pickle_reader.legacy_pickles(machine)
    except ValueError as error:
        raise ValueError(f"refused at byte {machine.at} of its pickle: {error}") from None
    at = machine.cursor.position
    for key in keys:
        count, length = places[key]
        file.seek(at)
        if int.from_bytes(file.read(8), "little") != count:
            raise ValueError(f"got storage {key} of another length, expected {count}")
        starts[key] = at + 8
        at += 8 + length
    if at > size:
        raise ValueError(f"got {size} bytes, expected {at} or more (cut off?)")
    return content


@contextlib.contextmanager
def torch_content(path: Path) -> Iterator[Any]:
    """What torch.save was given, for as long as the file is open.

    Dicts, lists, tuples and plain values are what they are, NVIDIA's modules `PersistentObject`,
    tensors what `loaded` reads, and anything else is a `Global`, its name.

    Raises:
        ValueError: a damaged file or no torch file, here or where a tensor is read; like any
            ValueError raised meanwhile, it is one line that starts with the path.
    """
    try:
        with path.open("rb") as file:
            with damage_named():
                content = _read(file, Budget(path.stat().st_size))
            yield content
    except ValueError as error:
        raise ValueError(one_line(path, error)) from None
