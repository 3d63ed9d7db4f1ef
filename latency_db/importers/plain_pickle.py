"""Reads a dict of texts and floats that ``np.save`` wrote, without unpickling it.

``np.save`` of a dict makes an array of one Python object: a header, then a pickle. A pickle is a program for a machine
with a stack, and the program of a file from outside may be any. So here is a machine that cannot do more than is asked
of it: it knows the few instructions that make texts, numbers, tuples, a list and a dict, and takes what numpy wraps
around the dict for what it is, word for word. The name of a function is compared with five known ones and stands on the
stack as a token; nothing is looked up, imported or called, whatever the file says.
"""

from __future__ import annotations

import enum
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from latency_db.errors import ImportFormatError, InputError

MAX_BYTES = 16 * 2**20
MAX_INSTRUCTIONS = 1_000_000
"""A row takes three, so a table may have some 300,000."""
MAX_TEXT = 1000
"""Bytes of one text: keys of tables are far shorter."""

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}
"""By version of the format: how many bytes give the header's length."""
# numpy evaluates a header as Python. That of a single object has always been this one, so it is compared instead.
_HEADER = re.compile(rb"\{'descr': '\|O', 'fortran_order': False, 'shape': \(\), \} *\n")
_PROTO, _STOP = 0x80, ord(".")
_PROTOCOLS = range(2, 6)


def read(path: Path) -> dict[str, float]:
    """The dict in a ``.npy`` file, in the file's order.

    Raises:
        InputError: the file cannot be read.
        ImportFormatError: it is anything else than a dict of texts and positive, finite floats.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        return loads(content)
    except ImportFormatError as error:
        raise ImportFormatError(f"{path} is not read: {error.message}") from None


def loads(content: bytes) -> dict[str, float]:
    """As :func:`read`, from the bytes of the file.

    Raises:
        ImportFormatError: see :func:`read`.
    """
    if len(content) > MAX_BYTES:
        raise ImportFormatError(f"it is longer than {MAX_BYTES} bytes")
    return _Machine(content, _start(content)).run()


def shown(text: str) -> str:
    """A text from a file as an error may print it: one line of bearable length, whatever is in it."""
    quoted = ascii(text)
    return quoted if len(quoted) <= 100 else f"{quoted[:96]}...{quoted[-1]}"


def _start(content: bytes) -> int:
    """Where the pickle begins."""
    if not content.startswith(_MAGIC):
        raise ImportFormatError("it is no .npy file")
    size = _LENGTH_BYTES.get(content[6:8])
    if size is None:
        raise ImportFormatError("it is a .npy file of an unknown version")
    begin = 8 + size
    end = begin + int.from_bytes(content[8:begin], "little")
    if end > len(content) or not _HEADER.fullmatch(content[begin:end]):
        raise ImportFormatError("it is no .npy file of a single Python object")
    return end


class _Token(enum.Enum):
    """Stands for what a file names or makes beside texts, numbers and containers. It does nothing."""

    ENCODE = enum.auto()
    RECONSTRUCT = enum.auto()
    NDARRAY = enum.auto()
    DTYPE = enum.auto()
    EMPTY_DTYPE = enum.auto()
    OBJECT_DTYPE = enum.auto()
    EMPTY_ARRAY = enum.auto()


@dataclass(frozen=True)
class _Array:
    """The array of one object, with the object in it."""

    table: dict[str, float]


_NAMES = {
    ("_codecs", "encode"): _Token.ENCODE,
    ("numpy", "dtype"): _Token.DTYPE,
    ("numpy", "ndarray"): _Token.NDARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _Token.RECONSTRUCT,
    ("numpy.core.multiarray", "_reconstruct"): _Token.RECONSTRUCT,
}
# What is "called", with exactly which arguments, and what then stands in its place. The first is how protocol 2, which
# has no bytes, writes b"b".
_CALLS: tuple[tuple[_Token, tuple[object, ...], object], ...] = (
    (_Token.ENCODE, ("b", "latin1"), b"b"),
    (_Token.RECONSTRUCT, (_Token.NDARRAY, (0,), b"b"), _Token.EMPTY_ARRAY),
    (_Token.DTYPE, ("O8", False, True), _Token.EMPTY_DTYPE),
)
_DTYPE_STATE = (3, "|", None, None, None, -1, -1, 63)
_ARRAY_STATE = (1, (), _Token.OBJECT_DTYPE, False)
"""Version, shape, dtype, Fortran order; the list of objects follows."""


class _Machine:
    """Runs one pickle. Its work and its memory are linear in the instructions: none copies what another made."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content = content
        self.position = position
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> dict[str, float]:
        """Up to the end of the file, which is where the program has to end."""
        if self.number(1) != _PROTO or self.number(1) not in _PROTOCOLS:
            raise self.refused("a pickle of protocol 2 to 5 begins otherwise")
        for _ in range(MAX_INSTRUCTIONS):
            code = self.number(1)
            if code == _STOP:
                return self.result()
            step = _STEPS.get(code)
            if step is None:
                raise self.refused(f"instruction 0x{code:02x} is none that a table needs")
            step(self)
        raise self.refused(f"more than {MAX_INSTRUCTIONS} instructions")

    def result(self) -> dict[str, float]:
        if self.position != len(self.content):
            raise self.refused("something follows the end")
        if len(self.stack) != 1 or self.marks or not isinstance(self.stack[0], _Array):
            raise self.refused("what it makes is not one array")
        return self.stack[0].table

    def refused(self, reason: str) -> ImportFormatError:
        return ImportFormatError(f"before byte {self.position}: {reason}")

    # The file

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.content):
            raise self.refused("it is cut off, or declares more than there is")
        piece = self.content[self.position : end]
        self.position = end
        return piece

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> str:
        end = self.content.find(b"\n", self.position, self.position + MAX_TEXT)
        if end < 0:
            raise self.refused("a name without an end")
        # Compared, never shown undecoded: any encoding that cannot fail will do.
        return self.take(end + 1 - self.position)[:-1].decode("latin-1")

    # The stack

    def push(self, value: object) -> None:
        self.stack.append(value)

    def top(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.refused("there is nothing to work on")
        return self.stack[-1]

    def pop(self) -> object:
        value = self.top()
        self.stack.pop()
        return value

    def pop_all(self) -> list[object]:
        """Everything since the last mark."""
        if not self.marks:
            raise self.refused("there is no mark")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # Instructions

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def frame(self) -> None:
        if self.number(8) > len(self.content) - self.position:
            raise self.refused("a frame is longer than the file")

    def push_text(self, length_bytes: int) -> None:
        size = self.number(length_bytes)
        if size > MAX_TEXT:
            raise self.refused(f"a text of {size} bytes")
        try:
            self.push(self.take(size).decode("utf-8"))
        except UnicodeDecodeError:
            raise self.refused("a text that is not UTF-8") from None

    def push_float(self) -> None:
        (value,) = struct.unpack(">d", self.take(8))
        self.push(value)

    def push_tuple(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.push((*reversed(values),))

    def tuple_since_mark(self) -> None:
        self.push((*self.pop_all(),))

    def append(self) -> None:
        value = self.pop()
        values = self.top()
        if not isinstance(values, list):
            raise self.refused("something is appended to what is no list")
        values.append(value)

    def put(self, index: int) -> None:
        if index in self.memo or index > MAX_INSTRUCTIONS:
            raise self.refused(f"place {index} of the memo cannot be filled")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise self.refused(f"place {index} of the memo is empty")
        self.push(self.memo[index])

    def name(self, module: object, name: object) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.refused("a name that is no text")
        token = _NAMES.get((module, name))
        if token is None:
            raise self.refused(f"it names {shown(f'{module}.{name}')}, which no table needs")
        self.push(token)

    def name_in_lines(self) -> None:
        module = self.line()
        self.name(module, self.line())

    def name_on_stack(self) -> None:
        name = self.pop()
        self.name(self.pop(), name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        for known, wanted, made in _CALLS:
            if function is known and arguments == wanted:
                self.push(made)
                return
        raise self.refused("it calls something, or with arguments that no table needs")

    def build(self) -> None:
        state, made = self.pop(), self.pop()
        if made is _Token.EMPTY_DTYPE and state == _DTYPE_STATE:
            self.push(_Token.OBJECT_DTYPE)
        elif made is _Token.EMPTY_ARRAY and isinstance(state, tuple) and state[:-1] == _ARRAY_STATE:
            self.push(_Array(self.only_dict(state[-1])))
        else:
            raise self.refused("it fills something in a way that no table needs")

    def only_dict(self, values: object) -> dict[str, float]:
        if not (isinstance(values, list) and len(values) == 1 and isinstance(values[0], dict)):
            raise self.refused("the array's object is no dict")
        table: dict[str, float] = values[0]
        return table

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.enter(key, value)

    def set_items(self) -> None:
        values = self.pop_all()
        if len(values) % 2:
            raise self.refused("a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.enter(key, value)

    def enter(self, key: object, value: object) -> None:
        table = self.top()
        if not isinstance(table, dict):
            raise self.refused("an item is put into what is no dict")
        if not isinstance(key, str):
            raise self.refused("a key is no text")
        if not isinstance(value, float):
            raise self.refused(f"the value of {shown(key)} is no float")
        if not (math.isfinite(value) and value > 0):
            raise self.refused(f"the value of {shown(key)} is {value}, not a positive number")
        if key in table:
            raise self.refused(f"{shown(key)} is there twice")
        table[key] = value


_STEPS: dict[int, Callable[[_Machine], None]] = {
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    # Scalars
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("K"): lambda machine: machine.push(machine.number(1)),
    ord("J"): lambda machine: machine.push(machine.number(4, signed=True)),
    ord("G"): _Machine.push_float,
    0x8C: lambda machine: machine.push_text(1),
    ord("X"): lambda machine: machine.push_text(4),
    ord("C"): lambda machine: machine.push(machine.take(machine.number(1))),
    # Containers
    ord("}"): lambda machine: machine.push({}),
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_items,
    ord("]"): lambda machine: machine.push([]),
    ord("a"): _Machine.append,
    ord(")"): lambda machine: machine.push(()),
    0x85: lambda machine: machine.push_tuple(1),
    0x86: lambda machine: machine.push_tuple(2),
    0x87: lambda machine: machine.push_tuple(3),
    ord("t"): _Machine.tuple_since_mark,
    # The memo
    ord("q"): lambda machine: machine.put(machine.number(1)),
    ord("r"): lambda machine: machine.put(machine.number(4)),
    0x94: lambda machine: machine.put(len(machine.memo)),
    ord("h"): lambda machine: machine.get(machine.number(1)),
    ord("j"): lambda machine: machine.get(machine.number(4)),
    # What numpy wraps around it
    ord("c"): _Machine.name_in_lines,
    0x93: _Machine.name_on_stack,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
}
