"""Pickles of results and checkpoints, decoded by a machine that builds data and can do nothing else.

An unpickler calls what a file names, with the arguments that the file gives. A list of allowed names does not make that
safe: NumPy's constructors, called wrongly, read and write outside of their memory. This machine knows the opcodes that
plain data takes. A name in a file stays a name here. Three calls are understood, and made by our own code: an
OrderedDict, a tensor, and a tensor's storage.

What is built is a tree of dicts, lists, tuples, numbers, texts, bytes, None and tensors. All failures are ValueErrors.
"""

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_SIZE = 256 * 2**20  # bytes of a file, and of anything in it
MAX_OPCODES = 5_000_000  # decoded in some 5 s
MAX_HEADER_OPCODES = 100  # of each pickle before a storage's numbers
MAX_STACK = 50_000  # pickles put 1000 entries at a time into a list or a dict
MAX_MARKS = 50
MAX_MEMBERS = 25_000  # of an archive: one for each tensor, and a few
MAX_DIMENSIONS = 8
MAX_SHARED_TUPLE = 16

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# What torch.save wrote before 1.6, and writes to this day for a tensor in an ordinary pickle, begins with these.
LEGACY_HEADER = [
    0x1950A86A20F9469CFC6C,
    1001,
    {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}},
]


@dataclass(frozen=True)
class Name:
    """What a pickle calls a function or a class. It is never looked up."""

    module: str
    name: str


@dataclass(frozen=True)
class StorageKind:
    """What is said of a tensor's memory: its type, its key in the file, and how many numbers it has."""

    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True)
class Storage:
    """A tensor's memory."""

    dtype: torch.dtype
    data: bytes


Call = Callable[..., Any]  # raises TypeError for arguments that it does not take


def decode_pickle(data: bytes) -> Any:
    """The value of a pickle, in which tensors are as `pickle.dumps` writes them. Nothing may follow it."""
    stream = io.BytesIO(data)
    value = _decode(stream, {**TENSOR_CALLS, **STORAGE_CALLS})
    if stream.read(1):
        raise ValueError("something follows its end")
    return value


def decode_archive(data: bytes) -> Any:
    """The value in an archive of `torch.save`. Members must be stored plainly, so nothing inflates."""
    if data.count(b"PK\1\2") > MAX_MEMBERS:
        raise ValueError("it has too many members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _decode_members(archive, len(data))
    except (zipfile.BadZipFile, struct.error, OverflowError, RuntimeError, OSError, EOFError) as error:
        raise ValueError(f"its archive is damaged: {error}") from error


def _decode_members(archive: zipfile.ZipFile, size: int) -> Any:
    infos = archive.infolist()
    members = {info.filename for info in infos}
    if len(members) != len(infos):
        raise ValueError("two members have one name")
    if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in infos):
        raise ValueError("a member is compressed")
    if sum(info.file_size for info in infos) > size:
        raise ValueError("its members overlap")
    root = next((name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")), None)
    if root is None:
        raise ValueError("it has no data.pkl")

    def read(name: str) -> bytes:
        if root + name not in members:
            raise ValueError(f"it has no {name}, or uses it twice")
        members.remove(root + name)
        return archive.read(root + name)

    def load(reference: Any) -> Storage:
        kind = _storage_kind(reference)
        return _storage(kind, read(f"data/{kind.key}"))

    if read("byteorder") != b"little":
        raise ValueError("its byte order is not little-endian")
    stream = io.BytesIO(read("data.pkl"))
    value = _decode(stream, TENSOR_CALLS, load)
    if stream.read(1):
        raise ValueError("something follows the end of its data.pkl")
    return value


def _decode(
    stream: io.BytesIO,
    calls: Mapping[Name, Call],
    load: Callable[[Any], Any] | None = None,
    max_opcodes: int = MAX_OPCODES,
) -> Any:
    """The value of the pickle that a stream goes on with; the stream then stands behind it.

    :param calls: what a pickle may call.
    :param load: gives what stands for a persistent ID.
    """
    machine = _Machine(calls, load)
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number >= max_opcodes or len(machine.stack) > MAX_STACK or len(machine.marks) > MAX_MARKS:
            raise ValueError("it is too large, or too deep")
        machine.step(opcode.name, argument)
    value = machine.pop()
    if machine.stack or machine.marks:
        raise ValueError("its end comes too early")
    return value


class _Machine:
    """A pickle's stack, marks and memo."""

    def __init__(self, calls: Mapping[Name, Call], load: Callable[[Any], Any] | None):
        self.calls, self.load = calls, load
        self.stack: list[Any] = []
        self.marks: list[int] = []  # how high the stack was
        self.memo: list[Any] = []

    def step(self, opcode: str, argument: Any) -> None:
        """Carry out one opcode."""
        push = self.stack.append
        match opcode:
            case "BINFLOAT" | "BININT1" | "BININT2" | "BININT" | "LONG1":
                push(argument)
            case "SHORT_BINUNICODE" | "BINUNICODE" | "SHORT_BINBYTES" | "BINBYTES":
                push(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                push({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[opcode]())
            case "MARK":
                self.marks.append(len(self.stack))
            case "APPENDS":
                values = self.pop_to_mark()
                self.top(list).extend(values)
            case "APPEND":
                value = self.pop()
                self.top(list).append(value)
            case "SETITEMS":
                self.set_items(self.pop_to_mark())
            case "SETITEM":
                self.set_items([self.pop(), self.pop()][::-1])
            case "TUPLE":
                push(tuple(self.pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple([self.pop() for _ in range(int(opcode[-1]))][::-1]))
            case "MEMOIZE":
                self.remember()
            case "BINPUT" | "LONG_BINPUT" if argument == len(self.memo):
                self.remember()
            case "BINGET" | "LONG_BINGET":
                push(self.recall(argument))
            case "GLOBAL":
                push(Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name = self.pop_text()
                push(Name(self.pop_text(), name))
            case "REDUCE":
                arguments, function = self.pop(), self.pop()
                push(self.call(function, arguments))
            case "BUILD":  # a state dict's attributes, which are its modules' versions: left out
                self.pop()
                self.top(dict)
            case "BINPERSID" if self.load is not None:
                push(self.load(self.pop()))
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _:
                raise ValueError(f"it holds {opcode}, where plain data does not")

    def pop(self) -> Any:
        """Take the uppermost value, of those above the last mark."""
        self.top(object)
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The uppermost value, which must be of a kind."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("a value is missing")
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"a {type(self.stack[-1]).__name__} is where a {kind.__name__} should be")
        return self.stack[-1]

    def pop_text(self) -> str:
        """Take the uppermost value, a text."""
        self.top(str)
        return self.pop()

    def pop_to_mark(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        if not self.marks:
            raise ValueError("a mark is missing")
        height = self.marks.pop()
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dict on top."""
        target, keys = self.top(dict), items[::2]
        if len(items) % 2 or not all(type(key) in (str, int) for key in keys):
            raise ValueError("a key is neither a text nor a whole number")
        before = len(target)
        target.update(zip(keys, items[1::2], strict=True))
        if len(target) != before + len(keys):
            raise ValueError("a key comes twice")

    def remember(self) -> None:
        """Put the uppermost value into the memo, if it is small and cannot change; of any other, that it was there."""
        value = self.top(object)
        is_flat = isinstance(value, tuple) and len(value) <= MAX_SHARED_TUPLE and not any(map(_is_container, value))
        self.memo.append(value if is_flat or isinstance(value, (str, Name)) else None)

    def recall(self, index: int) -> Any:
        """A value from the memo. No list, dict or tensor is in two places, so what is built is a tree."""
        value = self.memo[index] if index < len(self.memo) else None
        if value is None:
            raise ValueError("its memo does not hold what is asked of it")
        return value

    def call(self, name: Any, arguments: Any) -> Any:
        """What our own code makes of a call in the file."""
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is not a name")
        if name not in self.calls:
            raise ValueError(f"it holds {f'{name.module}.{name.name}'[:80]!r}, which is not plain data")
        try:
            return self.calls[name](*arguments)
        except TypeError:
            raise ValueError(f"it calls {name.name} in a way of its own") from None


def _is_container(value: Any) -> bool:
    return isinstance(value, (tuple, list, dict, Tensor, Storage))


def _ordered_dict() -> dict[Any, Any]:
    return {}


def _encode(text: Any, encoding: Any) -> bytes:  # how a pickle of protocol 2 writes bytes
    if not isinstance(text, str) or encoding != "latin1":
        raise TypeError
    return text.encode("latin-1")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any) -> Tensor:
    """A tensor of its own memory, row by row, whatever the storage holds beside it."""
    if [*map(type, (storage, shape, strides, hooks))] != [Storage, tuple, tuple, dict] or hooks:
        raise TypeError
    if not all(type(number) is int and 0 <= number <= MAX_SIZE for number in (offset, *shape, *strides)):
        raise TypeError
    if not len(shape) == len(strides) <= MAX_DIMENSIONS or math.prod(max(n, 1) for n in shape) > MAX_SIZE:
        raise ValueError("a tensor's shape is not one")
    count, itemsize, stride = math.prod(shape), storage.dtype.itemsize, 1
    for size, given in zip(reversed(shape), reversed(strides), strict=True):
        if given != stride and size > 1 and count:
            raise ValueError("a tensor is not contiguous")
        stride *= size
    if (offset + count) * itemsize > len(storage.data):
        raise ValueError("a tensor is larger than its storage")
    if not count:
        return torch.empty(shape, dtype=storage.dtype)
    data = bytearray(storage.data[offset * itemsize : (offset + count) * itemsize])
    return torch.frombuffer(data, dtype=storage.dtype).reshape(shape)


def _storage_kind(reference: Any) -> StorageKind:
    match reference:  # its place, such as "cpu", is no matter here
        case ("storage", Name("torch", kind), str(key), str(), int(count), *rest) if rest in ([], [None]):
            if kind in DTYPES and key.isascii() and key.isdecimal() and 0 <= count <= MAX_SIZE:
                return StorageKind(DTYPES[kind], key, int(count))
    raise ValueError("a storage is not described as one")


def _storage(kind: StorageKind, data: bytes) -> Storage:
    if len(data) != kind.count * kind.dtype.itemsize:
        raise ValueError(f"a storage of {kind.count} numbers has {len(data)} bytes")
    if kind.dtype is torch.bool and max(data, default=0) > 1:
        raise ValueError("a bool is neither 0 nor 1")
    return Storage(kind.dtype, data)


def _legacy_storage(data: Any) -> Storage:
    """A storage as `torch.save` wrote it before 1.6: five pickles, the count, and the numbers."""
    if not isinstance(data, bytes):
        raise TypeError
    stream = io.BytesIO(data)
    *header, kind, keys = (_decode(stream, {}, _storage_kind, MAX_HEADER_OPCODES) for _ in range(5))
    if header != LEGACY_HEADER or not isinstance(kind, StorageKind):
        raise ValueError("a storage does not begin as one")
    if keys != [kind.key] or stream.read(8) != kind.count.to_bytes(8, "little"):
        raise ValueError("a storage contradicts itself")
    return _storage(kind, stream.read())


TENSOR_CALLS: Mapping[Name, Call] = {
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
}
STORAGE_CALLS: Mapping[Name, Call] = {
    Name("torch.storage", "_load_from_bytes"): _legacy_storage,
    Name("_codecs", "encode"): _encode,
}
