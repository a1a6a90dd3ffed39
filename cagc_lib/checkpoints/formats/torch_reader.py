"""Reads torch files of others, zipped or of the kind before, without running them.

    zip:    stored entries, among them data.pkl, version and data/KEY, and an end record
    before: five pickles, then for each KEY the length as int64 and the raw numbers

`pickle_machine` interprets the pickle with an open grammar: what makes tensors and NVIDIA's modules
is known, and any other name stays a name, so that numpy's scalars, paths and options beside the
weights are read past and nothing is imported. A tensor's numbers stay in the file until `loaded`
asks for them, so that an optimiser's are never read. An archive that would unfold to more than its
file is refused. Chapter 12.
"""

import contextlib
import dataclasses
import functools
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..files import one_line, reason_of
from .pickle_machine import Budget, Cursor, Machine
from .pickle_reader import (
    OUTER_OPCODES,
    SNAPSHOT,
    STORAGE_TYPES,
    Storage,
    legacy_pickles,
    rebuild_tensor,
    storage_id,
)

MAX_PICKLE_BYTES = 2**24
# an entry that torch.save does not write -> what the archive is
_OTHERS = {
    "constants.pkl": "TorchScript", "archive_format": "a program of torch.export",
    "serialized_exported_program.json": "a program of torch.export",
}  # fmt: skip


def _later(budget: Budget, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any,
           hooks: Any, metadata: Any = None) -> functools.partial:  # fmt: skip
    return functools.partial(
        rebuild_tensor, budget, storage, offset, size, stride, requires_grad, hooks
    )


def _parameter(budget: Budget, data: Any, requires_grad: Any, hooks: Any) -> Any:
    return data


_KNOWN = ("torch_utils.persistence._reconstruct_persistent_obj", "collections.OrderedDict")
_OPEN = dataclasses.replace(
    SNAPSHOT,
    opcodes=OUTER_OPCODES | {"BINPERSID"},
    calls={
        **{name: SNAPSHOT.calls[name] for name in _KNOWN},
        "torch._utils._rebuild_tensor_v2": _later,
        "torch._utils._rebuild_parameter": _parameter,
    },
    build=lambda target, state: target,
    open=True,
)


def _machine(
    data: memoryview, budget: Budget, read: Callable[[str, int], bytes]
) -> tuple[Machine, dict[str, Storage]]:
    """A machine for a pickle, and the storages that it will name; `read` gives a key's bytes."""
    found: dict[str, Storage] = {}

    def numbers(key: str, count: int) -> bytes:
        budget.spend("bytes of storages", count)
        return read(key, count)

    def persistent(args: Any) -> Any:
        if type(args) is tuple and len(args) == 4 and args[0] == "module":
            return args[1]  # before zip, a class came with its source
        _, kind, key, _, count = storage_id(args)[:5]
        dtype = STORAGE_TYPES.get(kind.name)
        if dtype is None:
            return kind
        place = functools.partial(numbers, key, count * dtype.itemsize)
        known = found.setdefault(key, Storage(dtype, count, place))
        if (known.dtype, known.count) != (dtype, count):
            raise ValueError("got a storage of two types or lengths, expected one")
        return known

    grammar = dataclasses.replace(_OPEN, persistent=persistent)
    return Machine(Cursor(data), budget, grammar), found


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
        raise ValueError(
            f"got {size} bytes that begin a zip archive but lack its end, expected a whole file "
            "(cut off?)"
        )
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


def _read_zip(file: BinaryIO, budget: Budget) -> Any:
    with damage_named():
        archive, folder = open_archive(file)

    def entry(name: str, count: int = 0) -> bytes:
        with damage_named():
            return archive.read(f"{folder}/{name}")

    if f"{folder}/byteorder" in archive.NameToInfo and entry("byteorder") != b"little":
        raise ValueError("got big-endian numbers, expected little-endian")
    machine, _ = _machine(
        memoryview(entry("data.pkl")), budget, lambda key, count: entry(f"data/{key}")
    )
    try:
        return machine.run()
    except ValueError as error:
        raise ValueError(f"data.pkl: refused at byte {machine.at}: {error}") from None


def _read_legacy(file: BinaryIO, budget: Budget) -> Any:
    starts: dict[str, int] = {}

    def read(key: str, count: int) -> bytes:
        file.seek(starts[key])
        return file.read(count)

    size = file.seek(0, 2)
    file.seek(0)
    machine, found = _machine(memoryview(file.read(MAX_PICKLE_BYTES)), budget, read)
    try:
        content, keys = legacy_pickles(machine)
    except ValueError as error:
        raise ValueError(f"refused at byte {machine.at}: {error}") from None
    at = machine.cursor.position
    for key in keys if type(keys) is list else ():
        storage = found.get(key) if type(key) is str else None
        if storage is None:
            raise ValueError("got a list of other storages than the tensors', expected theirs")
        file.seek(at)
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise ValueError(f"storage {key}: got another length, expected {storage.count}")
        starts[key] = at + 8
        at += 8 + storage.count * storage.dtype.itemsize
        if at > size:
            raise ValueError(f"cut off: got {size} bytes, expected {at} or more")
    if found.keys() != starts.keys():
        raise ValueError("got tensors without their storages, expected all of them")
    return content


@contextlib.contextmanager
def torch_content(path: Path) -> Iterator[Any]:
    """What torch.save was given, for as long as the file is open.

    Dicts, lists, tuples and plain values are what they are, NVIDIA's modules `PersistentObject`,
    tensors what `loaded` reads, and anything else is a `Global`, its name.

    Raises:
        ValueError: a damaged file or no torch file, here or where a tensor is read; one line that
            starts with the path, as does that of any ValueError raised meanwhile.
    """
    try:
        with path.open("rb") as file:
            read = _read_zip if file.read(2) == b"PK" else _read_legacy
            yield read(file, Budget(path.stat().st_size))
    except ValueError as error:
        raise ValueError(one_line(path, error)) from None
