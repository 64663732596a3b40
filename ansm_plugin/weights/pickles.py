"""Pickles read as data: nothing is imported, nothing is called, only tensors are made.

A checkpoint is a pickle, which names classes and functions and says with what to call them. Here
the names stay names: what builds a tensor from its bytes is done by this module, and what anything
else would have made becomes a `Made`, which holds its parts. So options, paths, dates and numbers
of numpy beside the tensors do no harm, installed or not. torch's own tensors-only loader is not
used: it refuses all of these, and keys of deeply nested tuples end its process.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from ansm_plugin.weights.inert import KINDS, Global, Made, NeedsCode, fill

_TENSOR_TYPES = re.compile(r"torch\.(Tensor|nn\.parameter\.(Parameter|Buffer)|_tensor\.Tensor)")


class Storage(NamedTuple):
    """Memory of tensors: `data` is `(bytes,)` in uint8; dtype None is said by each tensor."""

    data: Tensor
    dtype: torch.dtype | None


class PickleReader:
    """Reads pickles of a stream, one at a time, and leaves the stream behind each.

    Args:
        stream: of bytes.
        storage: from a persistent id of torch to the memory that it names.

    Attributes:
        made: kinds of what was not made, in order and without the basic types.
    """

    def __init__(self, stream: IO[bytes], storage: Callable[[Any], Any]) -> None:
        self._stream = stream
        self.storage = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under the marks
        self._memo: dict[int, Any] = {}
        self.made: dict[str, None] = {}

    def load(self) -> Any:
        """Return what the next pickle holds.

        Raises:
            NeedsCode: it calls functions, or names what can run code.
            Exception: of any ordinary kind where it is damaged.
        """
        self._stack, self._below, self._memo = [], [], {}
        for code, argument, _ in pickletools.genops(self._stream):
            if code.name == "STOP":
                break
            self._step(code.name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _FRESH:
            self._stack.append(_FRESH[name]())
        elif name in _STORED:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif name in _FETCHED:
            self._stack.append(self._memo[argument])
        elif name == "GLOBAL":
            self._stack.append(Global.named(*argument.split(" ", 1)))
        elif name == "INST":
            what = Global.named(*argument.split(" ", 1))
            self._stack.append(self.make(what, self._marked(), is_class=True))
        elif name in _ACTIONS:
            _ACTIONS[name](self)
        elif name not in ("PROTO", "FRAME"):
            raise NeedsCode(f"it uses {name}, which torch never writes")

    # --- the stack --------------------------------------------------------------------------------

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        """Return what stands above the last mark, and take both away."""
        found, self._stack = self._stack, self._below.pop()
        return found

    def _last(self, count: int) -> list[Any]:
        if count > len(self._stack):
            raise pickle.UnpicklingError("too little on the stack")
        found = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return found

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    # --- containers -------------------------------------------------------------------------------

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, (list, Made)):
            raise pickle.UnpicklingError(f"cannot append to {type(target).__name__}")
        (target.parts if isinstance(target, Made) else target).extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise pickle.UnpicklingError(f"cannot set items of {type(target).__name__}")
        fill(target, zip(items[::2], items[1::2], strict=True))

    def _dict(self) -> None:
        items = self._marked()
        self._push({})
        self._set_items(items)

    # --- what classes and functions would make ----------------------------------------------------

    def _stack_global(self) -> None:
        self._push(Global.named(*self._last(2)))

    def _object(self) -> None:
        what, *arguments = self._marked()
        self._push(self.make(what, arguments, is_class=True))

    def _new_object(self, count: int = 2) -> None:
        what, arguments, *named = self._last(count)
        self._push(self.make(what, [*arguments, *named], is_class=True))

    def _reduce(self) -> None:
        what, arguments = self._last(2)
        self._push(self.make(what, arguments, is_class=False))

    def _build(self) -> None:
        (state,) = self._last(1)
        target = self._stack[-1]
        if isinstance(target, Made):
            target.parts.append(state)
        elif type(target) is not dict:  # attributes of an OrderedDict are no tensors
            raise NeedsCode(f"it sets the state of {type(target).__name__}")

    def _persistent(self) -> None:
        (identity,) = self._last(1)
        self._push(self.storage(identity))

    def make(self, what: Any, arguments: Iterable[Any], *, is_class: bool) -> Any:
        """Return a tensor or a dict where `what` makes one, and a `Made` for all else.

        Args:
            what: the name; a call of anything else is refused.
            arguments: as data.
            is_class: whether the pickle itself says that `what` is a class.

        Raises:
            NeedsCode: a call of a function.
        """
        if not isinstance(what, Global):
            raise NeedsCode(f"it calls {what if isinstance(what, Made) else type(what).__name__}")
        if maker := _MAKERS.get(str(what)):
            return maker(self, *arguments)
        if not is_class and not what.is_maker:
            raise NeedsCode(f"it calls the function {what}")
        if what.module == "copyreg":  # the old spelling of "an object of this class"
            what, *arguments = arguments
            return self.make(what, arguments, is_class=True)
        return self.inert(what, arguments)

    def inert(self, what: Global, arguments: Iterable[Any]) -> Made:
        """Return what stands for the object that `what` would make."""
        kind = KINDS.get(str(what), str(what))
        if not what.is_basic:
            self.made[kind] = None
        return Made(kind, arguments)


# --- what is made in truth ------------------------------------------------------------------------


def _dictionary(_: PickleReader, *arguments: Any) -> dict[Any, Any]:
    """Return what dict and its kin make; the factory of a defaultdict is left out."""
    found: dict[Any, Any] = {}
    for argument in arguments:
        if isinstance(argument, Mapping):
            fill(found, argument.items())
        elif isinstance(argument, (list, tuple)):
            fill(found, argument)
    return found


def _tensor(_: PickleReader, storage: Storage, offset: int, size: Any, *rest: Any) -> Tensor:
    """Return a view of a storage; torch refuses one that reaches beyond it."""
    stride, dtype = rest[0], storage.dtype
    if len(rest) > 3 and isinstance(rest[3], Global):  # the third form says the dtype itself
        dtype = vars(torch).get(rest[3].name)
    if not isinstance(dtype, torch.dtype):
        raise NeedsCode("it holds tensors of a dtype that this torch does not have")
    whole = storage.data.numel() // dtype.itemsize * dtype.itemsize
    flat = storage.data[:whole].view(dtype)
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)


def _of_type(reader: PickleReader, rebuild: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """Return the tensor of a parameter; what a class of others makes of one stays unmade."""
    found = reader.make(rebuild, arguments, is_class=False)
    is_plain = isinstance(kind, Global) and _TENSOR_TYPES.fullmatch(str(kind))
    return found if is_plain else reader.make(kind, [found], is_class=True)


def _attribute(reader: PickleReader, owner: Any, name: Any) -> Made:
    """Stand for a member of an enum; whoever calls it is refused."""
    if not (isinstance(owner, Global) and isinstance(name, str)):
        raise NeedsCode("it calls builtins.getattr")
    return reader.inert(Global.named(owner.module, f"{owner.name}.{name}"), ())


def _bytes(_: PickleReader, text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in {encoding[:20]}")
    return text.encode("latin-1")


def _first(_: PickleReader, tensor: Any, *others: Any) -> Any:
    return tensor


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    "collections.Counter": _dictionary,
    "_codecs.encode": _bytes,
    "builtins.getattr": _attribute,
    "torch.Size": lambda _, sizes=(): tuple(sizes),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.storage._load_from_bytes": lambda reader, data: reader.storage(("bytes", data)),
}
_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT",
    "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_STORED = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_FETCHED = frozenset({"GET", "BINGET", "LONG_BINGET"})
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": lambda: Made("set"),  # a set would hash what it holds
}
_ACTIONS: dict[str, Callable[[PickleReader], Any]] = {
    "MARK": PickleReader._mark,
    "POP": lambda r: r._last(1) if r._stack else r._marked(),
    "POP_MARK": PickleReader._marked,
    "DUP": lambda r: r._push(r._stack[-1]),
    "TUPLE": lambda r: r._push(tuple(r._marked())),
    "TUPLE1": lambda r: r._push(tuple(r._last(1))),
    "TUPLE2": lambda r: r._push(tuple(r._last(2))),
    "TUPLE3": lambda r: r._push(tuple(r._last(3))),
    "LIST": lambda r: r._push(r._marked()),
    "DICT": PickleReader._dict,
    "FROZENSET": lambda r: r._push(Made("frozenset", r._marked())),
    "APPEND": lambda r: r._append(r._last(1)),
    "APPENDS": lambda r: r._append(r._marked()),
    "ADDITEMS": lambda r: r._append(r._marked()),
    "SETITEM": lambda r: r._set_items(r._last(2)),
    "SETITEMS": lambda r: r._set_items(r._marked()),
    "STACK_GLOBAL": PickleReader._stack_global,
    "OBJ": PickleReader._object,
    "NEWOBJ": PickleReader._new_object,
    "NEWOBJ_EX": lambda r: r._new_object(3),
    "REDUCE": PickleReader._reduce,
    "BUILD": PickleReader._build,
    "BINPERSID": PickleReader._persistent,
}
