"""Reads the pickles of stylegan2-ada-pytorch and stylegan3 without running them.

    path -> {"G": ..., "D": ..., "G_ema": PersistentObject(class_name, source_sha256, state), ...}

`pickle_machine` interprets the opcodes; this file says which are allowed, what each name
stands for, and how a tensor is rebuilt: every storage is a nested `torch.save` of the kind before
its zip format, parsed here with all bounds checked. Each such file carries the Python source of its
classes, which NVIDIA's loader executes; here it is hashed and dropped. Whatever is not on the lists
is a ValueError that gives the byte offset. Chapter 13.
"""

import hashlib
import math
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .pickle_machine import Budget, Cursor, Global, Grammar, Machine

MAX_FILE_BYTES = 2**31
MAX_DEPTH = 64
MAX_PATH = 256
_OUTER_OPCODES = frozenset(
    """PROTO FRAME STOP NONE NEWTRUE NEWFALSE EMPTY_DICT EMPTY_LIST EMPTY_SET EMPTY_TUPLE
    BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES BINBYTES
    BINBYTES8 BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE MARK TUPLE TUPLE1 TUPLE2 TUPLE3
    APPEND APPENDS SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD""".split()  # noqa: SIM905
)
_INNER_OPCODES = frozenset(
    """PROTO STOP NONE NEWTRUE LONG1 BININT BININT1 BININT2 BINUNICODE BINPUT LONG_BINPUT MARK TUPLE
    EMPTY_DICT EMPTY_LIST APPEND SETITEM SETITEMS GLOBAL BINPERSID""".split()  # noqa: SIM905
)
STORAGE_TYPES = {
    "torch.FloatStorage": torch.float32, "torch.HalfStorage": torch.float16,
    "torch.DoubleStorage": torch.float64, "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16, "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8, "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64, "torch.ComplexDoubleStorage": torch.complex128,
}  # fmt: skip
_SCALARS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "b1": "<?"}
_ID_KINDS = [str, Global, str, str, int]
_DTYPE_STATE_TAIL = (None, None, None, -1, -1, 0)
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MODULE_KEYS = ("_parameters", "_buffers", "_modules")
_PERSISTENT_KEYS = {"type", "version", "module_src", "class_name", "state"}


@dataclass(frozen=True)
class PersistentObject:
    """One pickled NVIDIA module: its class name, its `__dict__`, and a hash of its source text."""

    class_name: str
    source_sha256: str
    state: dict[str, Any]


@dataclass(frozen=True)
class _Dtype:
    code: str


@dataclass(frozen=True)
class Storage:
    """The numbers that tensors are views of, [numel]."""

    values: Tensor


def _persistent(budget: Budget, meta: Any) -> PersistentObject:
    if type(meta) is not dict or set(meta) != _PERSISTENT_KEYS:
        raise ValueError(f"got a persistent object without exactly {sorted(_PERSISTENT_KEYS)}")
    if meta["type"] != "class" or meta["version"] != 6:
        raise ValueError("got another kind of persistent object, expected a class, version 6")
    kinds = tuple(type(meta[key]) for key in ("module_src", "class_name", "state"))
    if kinds != (str, str, dict):
        raise ValueError("got a persistent object of wrong types, expected two strings and a dict")
    text = meta["module_src"]
    if text not in budget.hashes:
        data = text.encode("utf-8", "surrogatepass")
        budget.hashes[text] = hashlib.sha256(data).hexdigest()
    return PersistentObject(meta["class_name"], budget.hashes[text], meta["state"])


def _empty_dict(budget: Budget) -> dict[str, Any]:
    return {}


def _set(budget: Budget, items: Any) -> set[str]:
    if type(items) is not list or any(type(item) is not str for item in items):
        raise ValueError("got a set of other things, expected strings")
    # one list out of the memo may be made a set any number of times
    budget.spend("opcodes", len(items))
    return set(items)


def _dtype(budget: Budget, code: Any, align: Any, copy: Any) -> _Dtype:
    if type(code) is not str or code not in _SCALARS or align is not False or copy is not True:
        raise ValueError(f"got an unknown numpy dtype, expected one of {sorted(_SCALARS)}")
    return _Dtype(code)


def _scalar(budget: Budget, dtype: Any, data: Any) -> int | float | bool:
    layout = _SCALARS[dtype.code] if type(dtype) is _Dtype else ""
    if not layout or type(data) is not memoryview or len(data) != struct.calcsize(layout):
        raise ValueError("got a malformed numpy scalar, expected a dtype and its bytes")
    return struct.unpack(layout, data)[0]


def rebuild_tensor(budget: Budget, storage: Any, offset: Any, size: Any, stride: Any,
                   requires_grad: Any, hooks: Any) -> Tensor:  # fmt: skip
    """Rebuild a tensor as torch does, if it lies in its storage; each number is counted once."""
    if type(storage) is not Storage or type(requires_grad) is not bool or hooks != {}:
        raise ValueError("got a malformed tensor, expected a storage, a flag and no hooks")
    if type(size) is not tuple or type(stride) is not tuple or not len(size) == len(stride) <= 8:
        raise ValueError("got a malformed tensor shape, expected two tuples of up to 8 sizes")
    if any(type(value) is not int for value in (offset, *size, *stride)):
        raise ValueError("got a malformed tensor shape, expected integers")
    count, available = math.prod(size), storage.values.numel()
    if offset < 0 or min(size, default=1) < 1 or min(stride, default=0) < 0:
        raise ValueError("got a negative offset or stride or an empty axis, expected none")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > available or last >= available:
        raise ValueError(f"got a tensor reaching element {last}, expected < {available}")
    budget.spend("bytes of tensors", count * storage.values.element_size())
    return storage.values.as_strided(size, stride, offset)


def _rebuild_parameter(budget: Budget, data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    if type(data) is not Tensor or type(requires_grad) is not bool or hooks != {}:
        raise ValueError("got a malformed parameter, expected a tensor, a flag and no hooks")
    return data


def _set_byte_order(target: Any, state: Any) -> _Dtype:
    """BUILD has one use in these files: the byte order of a numpy scalar's dtype."""
    ok = type(target) is _Dtype and type(state) is tuple and len(state) == 8
    if not ok or state[0] != 3 or state[1] not in ("<", "|") or state[2:] != _DTYPE_STATE_TAIL:
        raise ValueError("got BUILD of an unknown state, expected a little-endian numpy dtype")
    return target


def storage_id(args: Any) -> tuple:
    """Check a persistent id: "storage", its type, key, place, length, and None before zip."""
    kinds = [type(value) for value in args] if type(args) is tuple else []
    known = kinds in (_ID_KINDS, [*_ID_KINDS, type(None)])
    if not known or args[0] != "storage" or args[4] < 0:
        raise ValueError("got an unknown persistent id, expected that of a torch storage")
    return args


def legacy_pickles(machine: Machine) -> tuple[Any, Any]:
    """The value and the storages' keys of a `torch.save` before its zip format: five pickles."""
    magic, protocol, system, value, keys = (machine.run() for _ in range(5))
    if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL) or type(system) is not dict:
        raise ValueError("got a storage of another kind, expected torch.save before its zip format")
    if system.get("little_endian") is not True:
        raise ValueError("got a big-endian storage, expected little-endian")
    return value, keys


def _load_storage(budget: Budget, blob: Any) -> Storage:
    """A nested pre-zip `torch.save`: five pickles, the length as int64, the raw numbers."""
    if type(blob) is not memoryview:
        raise ValueError("got a storage that is not bytes")
    cursor = Cursor(blob)
    machine = Machine(cursor, budget, _INNER)
    try:
        place, keys = legacy_pickles(machine)
        stored = cursor.number("<q")
    except ValueError as error:
        raise ValueError(f"storage, byte {machine.at} of {len(blob)}: {error}") from None
    if type(place) is not tuple or keys != [place[2]] or stored != place[4]:
        raise ValueError("got a storage whose id, key list and length disagree")
    dtype = STORAGE_TYPES[place[1].name]
    count = stored * dtype.itemsize
    if count != cursor.left():
        raise ValueError(f"got {cursor.left()} bytes of numbers, expected {count}")
    # one blob out of the memo may be loaded any number of times
    budget.spend("bytes of storages", count)
    return storage_of(cursor.take(count, "numbers"), dtype)


def storage_of(data: bytes | memoryview, dtype: torch.dtype) -> Storage:
    """Copy raw numbers: a copy is aligned, and lets the file's bytes go."""
    # torch makes no tensor of an empty buffer
    values = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return Storage(values)


_INNER = Grammar(_INNER_OPCODES, dict.fromkeys(STORAGE_TYPES), persistent=storage_id)
SNAPSHOT = Grammar(
    _OUTER_OPCODES,
    calls={
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
        "collections.OrderedDict": _empty_dict,
        "builtins.set": _set,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch.storage._load_from_bytes": _load_storage,
        "numpy.core.multiarray.scalar": _scalar,
        "numpy._core.multiarray.scalar": _scalar,
        "numpy.dtype": _dtype,
    },
    instances={"dnnlib.util.EasyDict": _empty_dict},
    build=_set_byte_order,
    explained={
        "dnnlib.tflib.": "a TensorFlow pickle; convert it with legacy.py of stylegan2-ada-pytorch "
        "first",
        **dict.fromkeys(
            ("numpy.core.multiarray._rec", "numpy._core.multiarray._rec", "torch.nn.", "pg_mod"),
            "as StyleGAN3, StyleGAN-XL and Projected GAN have, expected a StyleGAN2",
        ),
    },
)


def _children(value: Any) -> Collection[Any]:
    if type(value) is PersistentObject:
        return [value.state]
    if type(value) is dict:
        return value.values()
    return value if type(value) in (list, tuple) else ()


def _height(value: Any, heights: dict[int, int], depth: int = 0) -> int:
    """How many levels a value has, `depth` above it; by identity, so shared parts are walked once.

    A value that contains itself has more than any limit.
    """
    if id(value) not in heights and depth < MAX_DEPTH:
        below = [_height(child, heights, depth + 1) for child in _children(value)]
        heights[id(value)] = 1 + max(below, default=0)
    if depth + heights.get(id(value), 1) > MAX_DEPTH:
        raise ValueError(f"got values nested deeper than {MAX_DEPTH}, expected fewer levels")
    return heights[id(value)]


def read_nvidia_pickle(path: str | Path) -> dict[str, Any]:
    """Reads a snapshot of stylegan2-ada-pytorch or of stylegan3's StyleGAN2 as inert values.

    Args:
        path: a `.pkl` with the keys G, D, G_ema; protocols 2 to 5.

    Returns:
        The root dict. Modules are `PersistentObject`, tensors are CPU tensors, the rest is made of
        dict, list, tuple, set, str, int, float, bool and None.

    Raises:
        ValueError: the file asks for anything off the allow-list; names the byte offset.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise ValueError(f"{path}: got {size} bytes, expected 1 to {MAX_FILE_BYTES}")
    cursor = Cursor(memoryview(path.read_bytes()))
    machine = Machine(cursor, Budget(size), SNAPSHOT)
    try:
        root = machine.run()
        if cursor.left():
            raise ValueError(f"got {cursor.left()} bytes after STOP, expected none")
        if type(root) is not dict:
            raise ValueError(f"got a {type(root).__name__} as the root, expected a dict with G_ema")
        _height(root, {})
    except ValueError as error:
        raise ValueError(f"{path}: refused at byte {machine.at}: {error}") from None
    return root


def submodules(module: PersistentObject) -> dict[str, PersistentObject]:
    """A pickled module and all it contains, by dotted path; the module itself is "".

    Raises:
        ValueError: the object is not shaped like a torch module, or contains a module twice.
    """
    found: dict[str, PersistentObject] = {}
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", module)]
    while todo:
        path, node = todo.pop()
        if type(node) is not PersistentObject or id(node) in seen:
            raise ValueError(f"module {path!r} is repeated or not a module, expected a tree")
        parts = [node.state.get(key) for key in _MODULE_KEYS]
        # one dict out of the memo may be any number of modules'
        if any(type(part) is not dict or id(part) in seen for part in parts):
            raise ValueError(f"module {path!r}: expected dicts {', '.join(_MODULE_KEYS)}")
        seen |= {id(node), *map(id, parts)}
        found[path] = node
        todo += [(_dotted(path, name), m) for name, m in node.state["_modules"].items()]
    return found


def _dotted(path: str, name: Any) -> str:
    """A name within a path; a long one would be repeated in all that it holds."""
    dotted = f"{path}.{name}" if path else f"{name}"
    if len(dotted) > MAX_PATH:
        raise ValueError(f"got a name of {len(dotted)} letters, expected at most {MAX_PATH}")
    return dotted


def loaded(value: Any) -> Any:
    """Read what `torch_reader` left in the file, a tensor or a storage; return others as given."""
    return value() if callable(value) else value


def module_tensors(module: PersistentObject) -> dict[str, Tensor]:
    """A pickled module's state dict: dotted names -> parameters and buffers.

    Raises:
        ValueError: as `submodules`, or a parameter that is not a tensor.
    """
    tensors: dict[str, Tensor] = {}
    for path, node in submodules(module).items():
        for name, value in (node.state["_parameters"] | node.state["_buffers"]).items():
            name, value = _dotted(path, name), loaded(value)
            if type(value) not in (Tensor, type(None)):
                raise ValueError(f"{name}: got a {type(value).__name__}, expected a tensor")
            if value is not None:
                tensors[name] = value
    return tensors
