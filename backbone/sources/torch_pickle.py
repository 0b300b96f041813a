"""What a pickle of torch.save would make, found out without making it: its calls, sizes, depth and sharing."""

import math
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any

DEEPEST = 64  # containers in containers
ITEM, CONTAINER, TENSOR = 48, 256, 1024  # bytes of memory that an object takes, about
STORAGES = {
    "torch BoolStorage": 1, "torch ByteStorage": 1, "torch CharStorage": 1, "torch ShortStorage": 2,
    "torch HalfStorage": 2, "torch BFloat16Storage": 2, "torch IntStorage": 4, "torch FloatStorage": 4,
    "torch LongStorage": 8, "torch DoubleStorage": 8, "torch.storage UntypedStorage": 1,
}  # fmt: skip
DICT, COUNTER = "collections OrderedDict", "collections Counter"
TENSORS, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
SIZE, DEVICE = "torch Size", "torch device"
CALLED = {DICT, COUNTER, TENSORS, PARAMETER, SIZE, DEVICE}
DTYPES = {f"torch {name}" for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16",
                                       "float32", "float64")}  # fmt: skip
U16, U32, I32, F64 = Struct("<H"), Struct("<I"), Struct("<i"), Struct(">d")
MARK = object()


class Refused(ValueError):
    """The pickle would call what is no tensor or plain data; the text says what."""


class Damaged(ValueError):
    """The pickle is cut off, nonsense or out of proportion; the text says how."""


class Node:
    """An object as far as it has to be known. kind: "atom", "text", "list", "dict", "tuple", "call", "storage" or
    "tensor". cost: bytes that it takes when nothing is shared. value: of a number, a text or a tuple; the name of a
    call; keys of a dict, at most two; bytes and size of an element of a storage."""

    __slots__ = ("closed", "cost", "depth", "node_type", "value")

    def __init__(self, node_type: str, cost: int, value: Any = None, depth: int = 0):
        self.node_type, self.cost, self.depth = node_type, cost, depth
        self.value: Any = value
        self.closed = False  # whether something holds it: then it must not grow


ATOM, EMPTY = Node("atom", ITEM), Node("tuple", ITEM, ())


def scan_pickle(data: bytes, records: Mapping[str, int], budget: int) -> None:
    """Go through a pickle of torch.save, protocol 2, with what torch.load(weights_only=True) knows, and less.

    records: bytes of each storage in the archive by key. budget: bytes that the objects may take together where nothing
    is shared: lists that hold one list a thousand times, and so on, are copied a thousand times by what goes through
    them later.
    Raises Refused for calls other than those that tensors need, and Damaged.
    """
    scanner = _Scanner(data, records, budget)
    try:
        scanner.run()
    except (Refused, Damaged):
        raise
    except (IndexError, ValueError, AttributeError, TypeError) as error:
        raise Damaged(f"its pickle is cut off, or nonsense at byte {scanner.at:,}") from error


class _Scanner:
    def __init__(self, data: bytes, records: Mapping[str, int], budget: int):
        self.data, self.records, self.left, self.at = data, records, budget, 0
        self.stack: list = []
        self.memo: dict[int, Node] = {}
        self.done = False

    def run(self) -> None:
        steps = self._steps()
        if self.data[:2] != b"\x80\x02":
            raise Damaged("its pickle is not of protocol 2, which torch.save writes")
        self.at = 2
        while not self.done:
            code = self.data[self.at]
            self.at += 1
            step = steps.get(code)
            if step is None:
                raise Damaged(f"its pickle has the instruction {bytes([code])!r}, which tensors do not need")
            step()

    def _steps(self) -> dict[int, Callable[[], None]]:
        steps: dict[bytes, Callable[[], None]] = {
            b"N": self._atom, b"\x88": self._atom, b"\x89": self._atom, b"K": self._byte, b"M": self._short,
            b"J": self._int, b"G": self._float, b"X": self._text, b"\x8a": self._long, b"]": lambda: self._new("list"),
            b"}": lambda: self._new("dict"), b")": lambda: self.stack.append(EMPTY), b"(": self._mark,
            b"t": lambda: self._tuple(self._marked()), b"\x85": lambda: self._tuple(self._last(1)),
            b"\x86": lambda: self._tuple(self._last(2)), b"\x87": lambda: self._tuple(self._last(3)),
            b"a": lambda: self._add(self._last(1), "list"), b"e": lambda: self._add(self._marked(), "list"),
            b"s": lambda: self._add(self._last(2), "dict"), b"u": lambda: self._add(self._marked(), "dict"),
            b"c": self._global, b"R": self._reduce, b"b": self._build, b"Q": self._storage,
            b"q": lambda: self._put(self._number(1)), b"r": lambda: self._put(self._unpack(U32)),
            b"h": lambda: self._get(self._number(1)), b"j": lambda: self._get(self._unpack(U32)), b".": self._stop,
        }  # fmt: skip
        return {code[0]: step for code, step in steps.items()}

    def _spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise Damaged("what its pickle describes is out of proportion to the file")

    def _push(self, node: Node) -> None:
        self._spend(node.cost)
        self.stack.append(node)

    def _bytes(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise IndexError
        self.at += count
        return self.data[self.at - count : self.at]

    def _number(self, count: int) -> int:
        return int.from_bytes(self._bytes(count), "little")

    def _unpack(self, node_type: Struct) -> int:
        return node_type.unpack(self._bytes(node_type.size))[0]

    def _pop(self) -> Node:
        node = self.stack.pop()
        if node is MARK:
            raise IndexError
        return node

    def _last(self, count: int) -> list[Node]:
        return [self._pop() for _ in range(count)][::-1]

    def _marked(self) -> list[Node]:
        items = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def _mark(self) -> None:
        self._spend(CONTAINER)
        self.stack.append(MARK)

    def _atom(self) -> None:
        self._push(ATOM)

    def _byte(self) -> None:
        self._push(Node("atom", ITEM, self._number(1)))

    def _short(self) -> None:
        self._push(Node("atom", ITEM, self._unpack(U16)))

    def _int(self) -> None:
        self._push(Node("atom", ITEM, self._unpack(I32)))

    def _float(self) -> None:
        self._unpack(F64)
        self._atom()

    def _long(self) -> None:
        number = int.from_bytes(self._bytes(self._number(1)), "little", signed=True)
        if not -(1 << 63) <= number < 1 << 64:
            raise Damaged("its pickle holds a number of more than 64 bits")
        self._push(Node("atom", ITEM, number))

    def _text(self) -> None:
        text = self._bytes(self._unpack(U32)).decode()
        self._push(Node("text", 2 * ITEM + len(text), text))

    def _new(self, node_type: str) -> None:
        self._push(Node(node_type, CONTAINER, [] if node_type == "dict" else None, 1))

    def _hold(self, holder: Node, items: list[Node]) -> None:
        for item in items:
            item.closed = True
            holder.cost += item.cost
            if item.depth >= holder.depth:
                holder.depth = item.depth + 1
        if holder.depth > DEEPEST:
            raise Damaged(f"its pickle nests more than {DEEPEST} deep")

    def _tuple(self, items: list[Node]) -> None:
        node = Node("tuple", CONTAINER, tuple(items), 1)
        self._spend(CONTAINER)
        self._hold(node, items)
        self.stack.append(node)

    def _add(self, items: list[Node], node_type: str) -> None:
        holder = self.stack[-1]
        if holder is MARK or holder.node_type != node_type or holder.closed:
            raise Damaged("its pickle adds to what it has ended, or to what is no list or dict")
        self._hold(holder, items)
        if node_type == "dict":
            if len(items) % 2:
                raise IndexError
            for key in items[::2]:
                # Numbers of any size could be chosen so that all of them fall into one place of the dict.
                small = key.node_type == "atom" and isinstance(key.value, int) and abs(key.value) < 1 << 31
                if key.node_type != "text" and not small:
                    raise Damaged("its pickle holds a dict whose keys are neither texts nor small numbers")
                if len(holder.value) < 2:
                    holder.value.append(key.value)

    def _global(self) -> None:
        position = self.at
        for _ in range(2):  # the module's line, and the name's
            position = self.data.index(b"\n", position, self.at + 512) + 1
        name = " ".join(self._bytes(position - self.at).decode().split("\n")[:2])
        if name not in CALLED and name not in STORAGES and name not in DTYPES:
            raise Refused(f"it would run {name.replace(' ', '.')[:200]}")
        self._push(Node("atom" if name in DTYPES else "call", ITEM, name))

    def _put(self, position: int) -> None:
        if self.stack[-1] is MARK:
            raise IndexError
        self._spend(ITEM)
        self.memo[position] = self.stack[-1]

    def _get(self, position: int) -> None:
        node = self.memo.get(position)
        if node is None:
            raise IndexError
        node.closed = True
        self._push(node)

    def _storage(self) -> None:
        (given,) = self._last(1)
        parts: Any = given.value if given.node_type == "tuple" else ()
        if (
            len(parts) != 5
            or parts[0].value != "storage"
            or parts[1].node_type != "call"
            or parts[2].node_type != "text"
        ):
            raise Damaged("its pickle refers to something that is no storage")
        item, key, count = STORAGES.get(parts[1].value, 0), parts[2].value, parts[4].value
        if not item or not isinstance(count, int) or self.records.get(key) != count * item:
            raise Damaged(f"the storage {str(key)[:40]!r} is not as long as its pickle says")
        self._push(Node("storage", ITEM, (count * item, item)))

    def _reduce(self) -> None:
        call, arguments = self._last(2)
        if call.node_type != "call" or arguments.node_type != "tuple":
            raise Damaged("its pickle calls what is no function")
        given = arguments.value
        node_types = [each.node_type for each in given]
        if call.value == DICT and not given:
            self._new("dict")
        elif call.value == COUNTER and node_types == ["dict"]:
            self._push(Node("dict", given[0].cost, [], given[0].depth))
        elif (call.value == SIZE and node_types == ["tuple"]) or (
            call.value == DEVICE and node_types and node_types[0] == "text"
        ):
            self._push(Node("tuple", arguments.cost, (), arguments.depth))
        elif call.value == PARAMETER and len(given) == 3 and node_types[0] == "tensor" and _no_hooks(given[2]):
            self._push(given[0])
        elif call.value == TENSORS and len(given) == 6 and node_types[0] == "storage" and _no_hooks(given[5]):
            self._push(_tensor(*given[:4]))
        else:
            raise Damaged(f"its pickle calls {call.value.replace(' ', '.')} with something else than torch.save writes")

    def _build(self) -> None:
        """Only what torch keeps beside a state dict: an attribute of another name could stand for a method."""
        target, state = self._last(2)
        if target.node_type != "dict" or target.closed or state.node_type != "dict" or state.value != ["_metadata"]:
            raise Damaged("its pickle sets attributes of what is no state dict")
        self._hold(target, [state])
        self.stack.append(target)

    def _stop(self) -> None:
        if len(self.stack) != 1 or self.stack[0] is MARK:
            raise IndexError
        self.done = True


def _no_hooks(node: Node) -> bool:
    return node.node_type == "dict" and not node.value


def _tensor(storage: Node, offset: Node, size: Node, stride: Node) -> Node:
    """Its elements must lie in its storage, and be no more than that has: strides of 0 repeat them for ever."""
    sides: Any = [side.value for side in size.value] if size.node_type == "tuple" else [None]
    steps: Any = [step.value for step in stride.value] if stride.node_type == "tuple" else [None]
    numbers = [offset.value, *sides, *steps]
    if len(sides) != len(steps) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise Damaged("its pickle holds a tensor whose size or strides are no numbers")
    total, item = storage.value
    count, reach = math.prod(sides), offset.value + 1
    reach += sum((side - 1) * step for side, step in zip(sides, steps, strict=True))
    if count and max(count, reach) * item > total:
        raise Damaged("its pickle holds a tensor that is larger than its storage")
    return Node("tensor", TENSOR + count * item)
