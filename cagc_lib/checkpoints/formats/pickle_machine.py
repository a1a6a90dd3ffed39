"""A stack machine that interprets pickle opcodes over inert values and runs nothing.

A pickle is a program that may import and call anything. `Machine` reads that program byte by byte:
an opcode off its allow-list, a global name off its table, a read past the end, or more opcodes,
memo entries or text than the caps allow is a ValueError. A name stands for a function of this
project that checks its arguments and builds a plain value; nothing the file names is imported.
`pickle_reader` holds the lists for StyleGAN2 snapshots. Chapter 13.
"""

import functools
import inspect
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_OPCODES = 200_000  # a 32x32 snapshot has 24,000, inner pickles included
MAX_MEMO = 100_000
MAX_TEXT_BYTES = 4 * 2**20  # four times that in memory, where one letter of a text is wide
MAX_LINE_BYTES = 256
MAX_INTEGER_BYTES = 1024  # few enough for Python to print it
# not tuples, whose hash may take for ever
_PLAIN_KEYS = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Global:
    """A name the file used where pickle would import, or what it would have made: only the name."""

    name: str


@dataclass(frozen=True)
class Grammar:
    """What one kind of pickle may contain.

    Args:
        opcodes: names of the allowed opcodes, as `pickletools` spells them.
        calls: what REDUCE may name -> a function of (budget, *arguments) that checks its arguments
            and returns an inert value; None for a name that may be mentioned but not called.
        instances: what NEWOBJ may name -> the same.
        build: BUILD, as a function of (target, state).
        persistent: BINPERSID, as a function of the persistent id.
        explained: beginnings of refused names that tell what the file is -> what to say of it.
        open: let other names pass; such a name stays one, whatever is called on it or put into it.
    """

    opcodes: frozenset[str]
    calls: dict[str, Callable[..., Any] | None]
    instances: dict[str, Callable[..., Any]] = field(default_factory=dict)
    build: Callable[[Any, Any], Any] | None = None
    persistent: Callable[[Any], Any] | None = None
    explained: dict[str, str] = field(default_factory=dict)
    open: bool = False

    @functools.cached_property
    def actions(self) -> dict[int, Callable[["Machine"], None]]:
        """The allowed opcodes by their byte."""
        allowed = [op for op in pickletools.opcodes if op.name in self.opcodes]
        return {ord(op.code): _ACTIONS[op.name] for op in allowed}


class Budget:
    """What one file may still use; the pickles nested inside it draw on the same account."""

    def __init__(self, file_bytes: int) -> None:
        # every number lies in the file once, so storages or views of more than that are an attack
        self.limits = {
            "opcodes": MAX_OPCODES,
            "bytes of text": MAX_TEXT_BYTES,
            "bytes of tensors": file_bytes,
            "bytes of storages": file_bytes,
        }
        self.used = dict.fromkeys(self.limits, 0)
        self.hashes: dict[str, str] = {}  # of source texts, most of which come many times

    def spend(self, what: str, amount: int) -> None:
        """Book `amount` more of one resource; a ValueError where the limit is passed."""
        self.used[what] += amount
        if self.used[what] > self.limits[what]:
            raise ValueError(f"got more {what} than expected, at most {self.limits[what]}")


class Cursor:
    """A position in a buffer; every read is checked against the buffer's end."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.position = 0

    def left(self) -> int:
        """Bytes between here and the end."""
        return len(self.data) - self.position

    def need(self, count: int, what: str) -> None:
        """Raise a ValueError if the buffer ends before `count` more bytes."""
        if count > self.left():
            raise ValueError(
                f"cut off: got {self.left()} bytes after byte {self.position}, expected {count} "
                f"for {what}"
            )

    def take(self, count: int, what: str) -> memoryview:
        """The next `count` bytes, not copied."""
        self.need(count, what)
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, layout: str) -> Any:
        """The next number, in one of struct's layouts."""
        return struct.unpack(layout, self.take(struct.calcsize(layout), "a number"))[0]

    def line(self) -> str:
        """The next ASCII line, without its end."""
        head = bytes(self.data[self.position : self.position + MAX_LINE_BYTES])
        end = head.find(b"\n")
        if end < 0:
            raise ValueError(f"got no end of line, expected one within {MAX_LINE_BYTES} bytes")
        self.position += end + 1
        return head[:end].decode("ascii")


class Machine:
    """The stack machine: a stack, marks into it, and a memo."""

    def __init__(self, cursor: Cursor, budget: Budget, grammar: Grammar) -> None:
        self.cursor = cursor
        self.budget = budget
        self.grammar = grammar
        self.actions = grammar.actions
        self.at = cursor.position  # of the opcode being interpreted, for messages
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Interpret one pickle, from its PROTO to its STOP, and return the value it leaves."""
        self.stack, self.marks, self.memo = [], [], {}
        start = self.cursor.position
        while True:
            self.at = self.cursor.position
            self.budget.spend("opcodes", 1)
            code = self.cursor.take(1, "an opcode")[0]
            action = self.actions.get(code)
            if action is None or (code == _PROTO) != (self.at == start):
                known = pickletools.code2op.get(chr(code))
                name = known.name if known else f"0x{code:02x}"
                expected = "PROTO" if self.at == start else "one of the allowed ones"
                raise ValueError(f"got opcode {name}, expected {expected}")
            if code == _STOP:
                value = self.pop()
                if self.stack or self.marks:
                    raise ValueError("got values left over at STOP, expected one value")
                return value
            action(self)

    def text(self, layout: str) -> None:
        """Push a UTF-8 string whose length comes first."""
        count = self.cursor.number(layout)
        self.budget.spend("bytes of text", count)
        self.stack.append(str(self.cursor.take(count, "a string"), "utf-8", "surrogatepass"))

    def integer(self, layout: str) -> None:
        """Push an integer whose length in bytes comes first."""
        count = self.cursor.number(layout)
        if not 0 <= count <= MAX_INTEGER_BYTES:
            raise ValueError(f"got an integer of {count} bytes, expected 0 to {MAX_INTEGER_BYTES}")
        data = self.cursor.take(count, "an integer")
        self.stack.append(int.from_bytes(data, "little", signed=True))

    def get(self, index: int) -> None:
        """Push a remembered value."""
        if index not in self.memo:
            raise ValueError(f"got memo index {index}, expected one stored before")
        self.stack.append(self.memo[index])

    def tuple_of(self, count: int) -> None:
        """Push a tuple of the top values."""
        self.stack.append(tuple([self.pop() for _ in range(count)][::-1]))

    def pop(self) -> Any:
        """Take the top value; those below the last mark are out of reach."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("got an empty stack, expected a value")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Take every value above the last mark, and the mark."""
        if not self.marks:
            raise ValueError("got no MARK on the stack, expected one")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def put(self, index: int) -> None:
        """Remember the top value."""
        if len(self.memo) >= MAX_MEMO:
            raise ValueError(f"got more than {MAX_MEMO} memo entries, expected fewer")
        value = self.pop()
        self.stack.append(value)
        self.memo[index] = value

    def push_global(self, module: Any, attribute: Any) -> None:
        """Push a name if it is on the lists, or any in an open grammar; it is never imported."""
        if type(module) is not str or type(attribute) is not str:
            raise ValueError("got a global named by other things, expected two strings")
        name = f"{module}.{attribute}"
        if self.grammar.open:
            self.budget.spend("bytes of text", len(name))
            self.stack.append(Global(name))
            return
        if name not in self.grammar.calls and name not in self.grammar.instances:
            allowed = sorted({*self.grammar.calls, *self.grammar.instances})
            explained = self.grammar.explained.items()
            reasons = [text for start, text in explained if name.startswith(start)]
            expected = reasons[0] if reasons else f"expected one of {', '.join(allowed)}"
            raise ValueError(f"got global {name[:120]!r}, {expected}")
        self.stack.append(Global(name))

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values into the dict on top of the stack."""
        keys, target = items[::2], self.pop()
        if self.grammar.open:
            keys = [k if type(k) in _PLAIN_KEYS else Global(type(k).__name__) for k in keys]
        elif any(type(key) is not str for key in keys):
            raise ValueError("got a key of another kind, expected a string")
        into = {} if self.grammar.open and type(target) is Global else target
        if type(into) is not dict or len(items) % 2:
            raise ValueError("got items of another kind, expected a dict, keys and values")
        into.update(zip(keys, items[1::2], strict=True))
        self.stack.append(target)

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        target = self.pop()
        into = [] if self.grammar.open and type(target) is Global else target
        if type(into) is not list:
            raise ValueError(f"got {type(target).__name__} to append to, expected a list")
        into.extend(items)
        self.stack.append(target)

    def call(self, table: dict[str, Callable[..., Any] | None]) -> None:
        """REDUCE and NEWOBJ: the project's own function for the name, on checked arguments."""
        arguments, callee = self.pop(), self.pop()
        if type(callee) is not Global or type(arguments) is not tuple:
            raise ValueError(f"got a call of {type(callee).__name__}, expected an allowed global")
        rebuild = table.get(callee.name)
        if rebuild is None and self.grammar.open:
            self.stack.append(callee)
            return
        if rebuild is None:
            raise ValueError(f"got a call of {callee.name}, which is not called this way")
        try:
            _signature(rebuild).bind(self.budget, *arguments)
        except TypeError as error:
            raise ValueError(f"got arguments of {callee.name} with {error}") from None
        self.stack.append(rebuild(self.budget, *arguments))

    def proto(self) -> None:
        """Protocols 2 to 5 share the opcodes that are allowed here."""
        version = self.cursor.number("<B")
        if not 2 <= version <= 5:
            raise ValueError(f"got protocol {version}, expected 2 to 5")


_signature = functools.cache(inspect.signature)
_STOP, _PROTO = ord("."), 0x80
_ACTIONS: dict[str, Callable[[Machine], None]] = {
    "PROTO": Machine.proto,
    "FRAME": lambda m: m.cursor.need(m.cursor.number("<Q"), "a frame"),
    "STOP": lambda m: None,
    "NONE": lambda m: m.stack.append(None),
    "NEWTRUE": lambda m: m.stack.append(True),
    "NEWFALSE": lambda m: m.stack.append(False),
    "EMPTY_DICT": lambda m: m.stack.append({}),
    "EMPTY_LIST": lambda m: m.stack.append([]),
    "EMPTY_SET": lambda m: m.stack.append(set()),
    "EMPTY_TUPLE": lambda m: m.stack.append(()),
    "BININT": lambda m: m.stack.append(m.cursor.number("<i")),
    "BININT1": lambda m: m.stack.append(m.cursor.number("<B")),
    "BININT2": lambda m: m.stack.append(m.cursor.number("<H")),
    "BINFLOAT": lambda m: m.stack.append(m.cursor.number(">d")),
    "LONG1": lambda m: m.integer("<B"),
    "LONG4": lambda m: m.integer("<i"),
    "SHORT_BINUNICODE": lambda m: m.text("<B"),
    "BINUNICODE": lambda m: m.text("<I"),
    "SHORT_BINBYTES": lambda m: m.stack.append(m.cursor.take(m.cursor.number("<B"), "bytes")),
    "BINBYTES": lambda m: m.stack.append(m.cursor.take(m.cursor.number("<I"), "bytes")),
    "BINBYTES8": lambda m: m.stack.append(m.cursor.take(m.cursor.number("<Q"), "bytes")),
    "BINGET": lambda m: m.get(m.cursor.number("<B")),
    "LONG_BINGET": lambda m: m.get(m.cursor.number("<I")),
    "BINPUT": lambda m: m.put(m.cursor.number("<B")),
    "LONG_BINPUT": lambda m: m.put(m.cursor.number("<I")),
    "MEMOIZE": lambda m: m.put(len(m.memo)),
    "MARK": lambda m: m.marks.append(len(m.stack)),
    "TUPLE": lambda m: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m: m.tuple_of(1),
    "TUPLE2": lambda m: m.tuple_of(2),
    "TUPLE3": lambda m: m.tuple_of(3),
    "APPEND": lambda m: m.extend([m.pop()]),
    "APPENDS": lambda m: m.extend(m.pop_to_mark()),
    "SETITEM": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m: m.set_items(m.pop_to_mark()),
    "GLOBAL": lambda m: m.push_global(m.cursor.line(), m.cursor.line()),
    "STACK_GLOBAL": lambda m: m.push_global(*[m.pop(), m.pop()][::-1]),
    "REDUCE": lambda m: m.call(m.grammar.calls),
    "NEWOBJ": lambda m: m.call(m.grammar.instances),
    "BUILD": lambda m: m.stack.append(m.grammar.build(*[m.pop(), m.pop()][::-1])),
    "BINPERSID": lambda m: m.stack.append(m.grammar.persistent(m.pop())),
}
