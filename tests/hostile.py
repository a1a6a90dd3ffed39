"""Pickles that attack, opcode by opcode, and what every attack's test watches.

Python's own pickler would not write most of these. The text of each key is what the file does.
"""

import contextlib
import io
import os
import random
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from book._tools.snapshots import dump
from cagc_lib.checkpoints import load_checkpoint
from cagc_lib.networks import Generator, GeneratorConfig


def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in an empty folder; fail if a file touched its canary there or reached a shell."""
    monkeypatch.chdir(tmp_path)
    reached = []
    for owner, attribute in ((os, "system"), (subprocess, "Popen")):
        monkeypatch.setattr(owner, attribute, lambda *args, **options: reached.append(args))
    yield
    assert not Path("canary").exists()
    assert reached == []


# what Python itself reports when a pickle does what pickles can do
_EVENTS = {
    "exec", "compile", "import", "pickle.find_class", "os.system", "os.exec", "os.fork",
    "os.posix_spawn", "os.putenv", "os.remove", "os.rename", "subprocess.Popen", "socket.connect",
    "ctypes.dlopen", "marshal.loads",
}  # fmt: skip
_seen: list[str] = []
_listening = False


def _audit(event: str, args: tuple) -> None:
    # a hook stays for the life of the process, so it must cost nothing while nobody listens
    if _listening and (event in _EVENTS or (event == "open" and args[1] not in (None, "r", "rb"))):
        _seen.append(f"{event} {args!r}"[:200])


sys.addaudithook(_audit)


@contextlib.contextmanager
def running_nothing() -> Iterator[None]:
    """Fail if Python imports, compiles, executes, writes or connects meanwhile."""
    global _listening
    _seen.clear()
    _listening = True
    try:
        yield
    finally:
        _listening = False
    # said in words: pytest explains only the asserts of test files
    if _seen:
        raise AssertionError(f"expected nothing to run, got {_seen}")


def refuse(data: bytes, file: str = "x.pkl", load: Callable[[str], Any] = load_checkpoint) -> str:
    """Load the bytes, which must fail in one line that starts with the file; return the line."""
    Path(file).write_bytes(data)
    with pytest.raises(ValueError) as error:
        load(file)
    message = str(error.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message


def small_generator() -> Generator:
    """A generator whose file is small enough to be mutated thousands of times."""
    return Generator(GeneratorConfig(8, (3, 3, 2, 2), 4, 4, mapping_layers=2))


def refused_at_once(attacks: dict[str, bytes], load: Callable[[str], Any]) -> None:
    """Every attack of less than 1,000 bytes is refused in under 50 ms."""
    small = {key: data for key, data in attacks.items() if len(data) < 1000}
    assert len(small) > 80
    for key, data in small.items():
        Path("x.pkl").write_bytes(data)
        times = []
        for _ in range(3):  # processor time, the least of three: this machine may be busy
            start = time.process_time()
            with pytest.raises(ValueError):
                load("x.pkl")
            times.append(time.process_time() - start)
        assert min(times) < 0.05, f"{key}: {min(times):.3f} s"


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change one to eight places: bytes, bits, cuts, repeats, opcodes swapped for others."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not out:
            break
        at, kind = rng.randrange(len(out)), rng.randrange(6)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randrange(1, 40)]
        elif kind == 4:
            out[at : at + 1] = rng.choice(OPCODES)
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out) or b"\x80"


def zipped(content: bytes, compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """An archive as torch.save writes it, with this data.pkl."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, value in more.items():
            archive.writestr(f"archive/{key}", value)
    return buffer.getvalue()


def legacy(content: bytes, keys: bytes = b"\x80\x02].") -> bytes:
    """A file as torch.save wrote it before, up to the storages, with this as its value."""
    buffer = io.BytesIO()
    torch.save(None, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue().removesuffix(b"\x80\x02N." + b"\x80\x02]q\x00.") + content + keys


OPCODES = (b"R", b"b", b"\x81", b"\x93", b"(", b".", b"cos\nsystem\n")
P = b"\x80\x04"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def root(value: bytes) -> bytes:
    """A file whose root is {"G_ema": value}."""
    return P + b"}" + text("G_ema") + value + b"s."


def blob(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def storage(values: torch.Tensor, edit: Callable[[bytes], bytes] = lambda data: data) -> bytes:
    """A storage's nested torch.save, cut out of a pickled tensor and edited."""
    data = dump({"t": values})
    start = data.index(b"\x80\x02\x8a\x0a\x6c\xfc")
    (count,) = struct.unpack("<I", data[start - 4 : start])
    content = edit(data[start : start + count])
    return name("torch.storage", "_load_from_bytes") + blob(content) + b"\x85R"


def again(values: torch.Tensor) -> bytes:
    """One storage's bytes, remembered and loaded forty times; every result stays on the stack."""
    loader = storage(values)
    at = loader.index(b"B")
    start, content = loader[:at], loader[at : -len(b"\x85R")]
    return P + content + b"\x94" + start + b"\x94" + b"h\x01h\x00\x85R" * 40 + b"."


def tensor(
    offset: int = 0, size: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,),
    hooks: bytes = b"}",
) -> bytes:
    """A view of a storage of 4,096 ones."""

    def numbers(items: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(number(item) for item in items) + b"t"

    parts = number(offset) + numbers(size) + numbers(stride) + b"\x89" + hooks
    view = name("torch._utils", "_rebuild_tensor_v2") + b"("
    return view + storage(torch.ones(4096)) + parts + b"tR"


def call(module: str, attribute: str, argument: bytes = b"") -> bytes:
    return name(module, attribute) + (argument or text("touch canary")) + b"\x85R"


def nest(open_: bytes, close: bytes, levels: int) -> bytes:
    return open_ * levels + b"N" + close * levels


def doubling(levels: int) -> bytes:
    """A tuple of twice a tuple of twice ...: 2**levels leaves in a few bytes."""
    step = b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(levels))
    return b")" + step


DTYPE = name("numpy", "dtype") + text("f8") + b"\x89\x88\x87R"
STATE = b"(K\x03%bNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
CALLED = (
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"),
    ("importlib", "import_module"), ("torch.hub", "load"), ("numpy", "load"),
    # a dotted name in an allowed module
    ("torch.storage", "os.system"), ("dnnlib.util", "call_func_by_name"),
)  # fmt: skip
EXECUTION = {f"STACK_GLOBAL {'.'.join(names)}": root(call(*names)) for names in CALLED} | {
    "GLOBAL os.system": b"cos\nsystem\n(S'touch canary'\ntR.",
    "GLOBAL os.system, protocol 2": b"\x80\x02cos\nsystem\n" + text("touch canary") + b"\x85R.",
    "builtins.exec": root(call("builtins", "exec", text("open('canary', 'w')"))),
    "builtins.eval": root(call("builtins", "eval", text("open('canary', 'w')"))),
    "builtins.open": root(name("builtins", "open") + text("canary") + text("w") + b"\x86R"),
    "builtins.__import__": root(call("builtins", "__import__", text("antigravity"))),
    "builtins.getattr": root(name("builtins", "getattr") + text("a") + text("b") + b"\x86R"),
    "torch.load": root(call("torch", "load", text("x.pt"))),
    "pickle.loads": root(call("pickle", "loads", blob(b"N."))),
    "TensorFlow era": root(name("dnnlib.tflib.network", "Network") + b")\x81"),
    "numpy arrays of stylegan3": root(name("numpy.core.multiarray", "_reconstruct")),
    "INST": P + b"(S'touch canary'\nios\nsystem\n.",
    "OBJ": P + b"(cos\nsystem\n" + text("touch canary") + b"o.",
    "EXT1": P + b"\x82\x01.",
    "EXT2": P + b"\x83\x01\x00.",
    "EXT4": P + b"\x84\x01\x00\x00\x00.",
    "PERSID": P + b"Pkey\n.",
    "BINPERSID": root(text("key") + b"Q"),
    "NEWOBJ of a function": root(name("torch._utils", "_rebuild_parameter") + b")\x81"),
    "NEWOBJ_EX": root(name("dnnlib.util", "EasyDict") + b")}\x92"),
    "REDUCE of EasyDict": root(name("dnnlib.util", "EasyDict") + b")R"),
    "REDUCE of a string": root(text("os.system") + b")R"),
    "REDUCE without a tuple": root(name("collections", "OrderedDict") + b"NR"),
    "BUILD on a dict": root(b"}}" + text("__class__") + b"Nsb"),
    "BUILD with __setstate__": root(name("numpy", "dtype") + b"}b"),
    "STACK_GLOBAL of numbers": root(b"K\x01K\x02\x93"),
    "STACK_GLOBAL of a huge nest": P + doubling(60) + doubling(60) + b"\x93.",
    "hostile name inside a storage": root(
        name("torch.storage", "_load_from_bytes")
        + blob(b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch canary\x85R.")
        + b"\x85R"
    ),
    "BINPERSID os.system inside a storage": root(
        storage(torch.ones(4), lambda d: d.replace(b"ctorch\nFloatStorage\n", b"cos\nsystem\n"))
    ),
}
RESOURCES = {
    "LONG_BINPUT 2**26": P + b"Nr\x00\x00\x00\x04.",
    "LONG_BINPUT 2**32 - 1": P + b"Nr\xff\xff\xff\xff.",
    "LONG_BINGET of nothing": P + b"j\xff\xff\xff\xff.",
    "BINBYTES8 claims 2**62": P + b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "BINBYTES claims 4 GB": P + b"B\xff\xff\xff\xffx.",
    "BINUNICODE claims 4 GB": P + b"X\xff\xff\xff\xffx.",
    "BINUNICODE8": P + b"\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "BYTEARRAY8": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "LONG4": P + b"\x8b\xff\xff\xff\x7f\x01.",
    "LONG of many digits": P + b"L" + b"9" * 900 + b"L\n.",
    "frame longer than the file": P + b"\x95" + struct.pack("<Q", 10**6) + b"N.",
    "frame of 2**64 - 1": P + b"\x95" + b"\xff" * 8 + b"N.",
    "frame cut in its length": P + b"\x95\x01\x00",
    "tuples nested 20,000 deep": P + b"N" + b"\x85" * 20_000 + b".",
    "lists nested 70 deep": root(nest(b"]", b"a", 70)[:-1] + b"a"),
    "dicts nested 70 deep": root((b"}" + text("k")) * 70 + b"N" + b"s" * 70),
    "opcode flood": P + b"N" * 200_001 + b".",
    "mark flood": P + b"(" * 200_001 + b".",
    "memo flood": P + b"N" + b"\x94" * 100_001 + b".",
    "text flood": P + text("x" * 9_000_000) + b".",
    "set flood": P + b"\x8f" * 200_001 + b".",
    "wide text, then sets": P + text("x" * (2**22 - 4) + "\U0001f600") + b"\x8f" * 200_000 + b".",
    "one list made a set again and again": P + b"](" + b"".join(
        b"\x8c\x05" + f"{i:05}".encode() for i in range(50_000)
    ) + b"e\x94" + name("builtins", "set") + b"\x94" + b"h\x01h\x00\x85R" * 30_000 + b".",
    "doubling tuples": root(doubling(120)),
    "dict that holds itself": P + b"}\x94" + text("G_ema") + b"h\x00s.",
    "list that holds itself": root(b"]\x94h\x00a"),
}
TENSORS = {
    "offset beyond the storage": tensor(offset=4096),
    "negative offset": tensor(offset=-1),
    "stride beyond the storage": tensor(stride=(5000,)),
    "negative stride": tensor(stride=(-1,)),
    "size beyond the storage": tensor(size=(4097,)),
    "zeros strides, huge size": tensor(size=(2**30, 2**30), stride=(0, 0)),
    "empty axis": tensor(size=(0,)),
    "size and stride of two lengths": tensor(size=(2, 2)),
    "nine axes": tensor(size=(1,) * 9, stride=(1,) * 9),
    "hooks": tensor(hooks=b"}" + text("a") + b"Ns"),
    "many views of one storage": P + b"}" + text("s") + storage(torch.ones(4096)) + b"\x94s"
    + b"".join(
        text(f"t{i}") + name("torch._utils", "_rebuild_tensor_v2")
        + b"(h\x00K\x00M\x00\x10\x85K\x01\x85\x89}tRs"
        for i in range(8)
    ) + b".",
    "one storage loaded again and again": again(torch.ones(2**20)),
    "tensor of no storage": name("torch._utils", "_rebuild_tensor_v2")
    + b"(NK\x00K\x01\x85K\x01\x85\x89}tR",
    "tensor of too few arguments": name("torch._utils", "_rebuild_tensor_v2") + b")R",
    "parameter of no tensor": name("torch._utils", "_rebuild_parameter") + b"N\x88}\x87R",
    "storage of no bytes": name("torch.storage", "_load_from_bytes") + b"N\x85R",
    "storage of another magic": storage(
        torch.ones(4), lambda d: d.replace(b"\x6c\xfc", b"\x6c\xfd")
    ),
    "storage cut short": storage(torch.ones(4), lambda d: d[:-1]),
    "storage with more": storage(torch.ones(4), lambda d: d + b"x"),
    "storage cut in its pickles": storage(torch.ones(4), lambda d: d[:100]),
    "storage that claims more": storage(
        torch.ones(4), lambda d: d[:-24] + struct.pack("<q", 2**60) + d[-16:]
    ),
    "storage that claims less than none": storage(
        torch.ones(4), lambda d: d[:-24] + struct.pack("<q", -4) + d[-16:]
    ),
    "big-endian storage": storage(torch.ones(4), lambda d: d.replace(b"q\x02\x88", b"q\x02\x89")),
    "dtype object": name("numpy", "dtype") + text("O") + b"\x89\x88\x87R",
    "dtype big-endian": DTYPE + STATE.replace(b"%b", text(">")),
    "scalar of another size": name("numpy._core.multiarray", "scalar")
    + DTYPE + STATE.replace(b"%b", text("<")) + b"C\x03abc\x86R",
    "set of lists": name("builtins", "set") + b"]]a\x85R",
}  # fmt: skip
MALFORMED = {
    "protocol 0": b"N.",
    "protocol 1": b"\x80\x01N.",
    "protocol 6": b"\x80\x06N.",
    "two PROTO": P + P + b"N.",
    "no STOP": P + b"N",
    "STOP on nothing": P + b".",
    "two values": P + b"NN.",
    "open mark": P + b"(N.",
    "bytes after STOP": root(b"N") + b"N",
    "root is a tuple": P + b")\x94.",
    "root is a list": P + b"].",
    "unknown opcode": P + b"\xff.",
    "POP": P + b"N0.",
    "DUP": P + b"N2.",
    "SETITEM below a mark": P + b"}(" + text("a") + b"Ns.",
    "SETITEMS on a list": P + b"](" + text("a") + b"Nu.",
    "odd SETITEMS": P + b"}(" + text("a") + b"u.",
    "number as a key": P + b"}K\x01Ns.",
    "list as a key": P + b"}]Ns.",
    "APPEND to a dict": P + b"}Na.",
    "TUPLE without a mark": P + b"Nt.",
    "not UTF-8": P + b"X\x01\x00\x00\x00\xff.",
    "GLOBAL without a line end": P + b"c" + b"x" * 500,
    "GLOBAL not ASCII": P + b"c\xff\nx\n.",
    "TUPLE3 of one": P + b"N\x87.",
    "cut number": P + b"J\x00",
}
TENSORS = {key: data if data.startswith(P) else root(data) for key, data in TENSORS.items()}
ATTACKS = EXECUTION | RESOURCES | TENSORS | MALFORMED


def later(key: str, numbers: int, size: int) -> bytes:
    """A tensor as in a file of torch.save, of a storage that is said to hold so many numbers."""
    place = b"(" + text("storage") + name("torch", "FloatStorage") + text(key) + text("cpu")
    view = name("torch._utils", "_rebuild_tensor_v2") + b"(" + place + number(numbers) + b"tQ"
    return view + b"K\x00" + number(size) + b"\x85K\x01\x85\x89}tR"


def network(value: bytes) -> bytes:
    """A file whose g_ema holds the value as its constant."""
    return P + b"}" + text("g_ema") + b"}" + text("input.input") + value + b"ss."


# what only the open grammar of torch's files lets pass: the values of data.pkl
TORCH = {
    "tuple as a key": network(b"}" + doubling(60) + b"Ns"),
    "huge names": P + text("x" * 2**21) + b"\x94" + b"h\x00h\x00\x93" * 60_000 + b".",
    "dicts in dicts in dicts": P + b"}" + b"".join(
        text(f"{k}") + b"}(" + b"".join(
            text(f"{i}") + (b"h" + bytes([k - 1]) if k else b"N") for i in range(300)
        ) + b"u\x94s" for k in range(4)
    ) + b".",
    "dict that holds itself": P + b"}\x94" + text("a") + b"h\x00s.",
    "many networks": P + b"}(" + b"".join(
        text(f"{i}.input.input") + b"N" for i in range(30_000)
    ) + b"u.",
    "storage outside the archive": network(later("../../etc/passwd", 4, 4)),
    "storage that is not there": network(later("9", 4, 4)),
    "storage of another length": network(later("0", 5, 5)),
    "storage of a huge length": network(later("0", 2**31 - 1, 4)),
    "tensor beyond its storage": network(later("0", 4, 5)),
    "tensor of a name": network(call("os", "system")),
    "call of a call of a name": network(call("os", "system")[:-1] + b"R)R)\x81}b"),
    "network of a name": P + b"}" + text("g_ema") + call("os", "system") + b"s.",
    "module of no layers": P
    + call("torch_utils.persistence", "_reconstruct_persistent_obj", b"}") + b".",
    "integer of a million bytes": P + b"\x8b" + struct.pack("<i", 10**6) + bytes(10**6) + b".",
    "integer of fewer bytes than none": P + b"\x8b" + struct.pack("<i", -1) + b".",
}  # fmt: skip
