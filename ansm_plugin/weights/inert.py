"""Classes and functions that a pickle names: never looked up, and what they would make is data.

Nothing named here is ever imported or called. The lists below therefore guard nothing: they tell
data, which is left out and said, from a file that calls functions, which is refused as a whole.
"""

from __future__ import annotations

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# Modules that no checkpoint names for the sake of its data.
_RUNNING = frozenset({
    "os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "shutil", "pty", "socket",
    "_socket", "ctypes", "_ctypes", "cffi", "importlib", "_frozen_importlib", "imp", "pkgutil",
    "runpy", "code", "codeop", "pdb", "bdb", "cProfile", "profile", "timeit", "trace",
    "webbrowser", "multiprocessing", "threading", "_thread", "asyncio", "concurrent", "pickle",
    "_pickle", "marshal", "shelve", "dill", "cloudpickle", "tempfile", "urllib", "http", "ftplib",
    "smtplib", "requests", "platform", "distutils", "setuptools", "pip", "ensurepip", "venv",
    "doctest", "inspect", "gc", "signal", "_signal", "atexit", "zipimport",
})  # fmt: skip
_BASIC_TYPES = frozenset({
    "set", "frozenset", "bytes", "bytearray", "complex", "range", "slice", "list", "dict",
    "tuple", "object", "int", "float", "str", "bool", "type", "getattr",
})  # fmt: skip
_PLAIN_TYPES = frozenset({"SimpleNamespace", "MappingProxyType", "GenericAlias", "NoneType"})
# Classes and makers of data in small letters; others are classes by their capital letter, or
# makers by the underscore that they begin with, as `_reconstruct` and `__randomstate_ctor` do.
_MAKERS = {
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"builtins.{name}" for name in _BASIC_TYPES),
    *(f"collections.{name}" for name in ("defaultdict", "deque")),
    *(f"numpy.{name}" for name in ("dtype", "ndarray", "matrix", "memmap", "recarray", "record")),
    *(f"numpy.rec.{name}" for name in ("recarray", "record")),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *(f"numpy.{core}.records.{n}" for core in ("core", "_core") for n in ("recarray", "record")),
    *(f"torch.{name}" for name in ("device", "dtype", "layout", "memory_format", "finfo")),
    "_codecs.encode",
    "operator.getitem",
    "_operator.getitem",  # Optional[int] and its like, in the options of omegaconf
    "array.array",
    "uuid.UUID",
}
# What many files hold, in the words of their users.
KINDS = {
    **{f"numpy.{core}.multiarray.scalar": "numpy scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": "numpy array" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": "numpy array" for core in ("core", "_core")},
}
_UNSAID_ROOTS = frozenset({"builtins", "collections", "copyreg", "_codecs"})
_UNSAID = frozenset({"torch.device", "numpy.dtype"})
_LARGEST_KEY = 64  # parts of a tuple; hashing goes down without any limit of its own


class NeedsCode(pickle.UnpicklingError):
    """A pickle calls what has no business beside tensors."""


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names.

    Attributes:
        module: with dots.
        name: with dots where it lies inside a class.
    """

    module: str
    name: str

    @classmethod
    def named(cls, module: str, name: str) -> Global:
        """Return it under the name that Python 3 has for it.

        Raises:
            NeedsCode: it is of no use to data, and may run anything.
        """
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        found = cls(module, name)
        root = module.partition(".")[0]
        runs = root in _RUNNING or bool(_RUNNING & set(name.split(".")[:-1]))
        is_function = root == "builtins" and not (name in _BASIC_TYPES or name[:1].isupper())
        if runs or is_function or (module == "types" and name not in _PLAIN_TYPES):
            raise NeedsCode(f"it names {found}")
        return found

    @property
    def is_maker(self) -> bool:
        """Whether a call of it makes data, as far as its name tells."""
        last = self.name.rpartition(".")[2]
        return last[:1].isupper() or last.startswith("_") or str(self) in _MAKERS

    @property
    def is_basic(self) -> bool:
        """Whether what it makes is too ordinary to be said."""
        return self.module.partition(".")[0] in _UNSAID_ROOTS or str(self) in _UNSAID

    def __str__(self) -> str:
        """Return the dotted name."""
        return f"{self.module}.{self.name}"


class Made(dict[Any, Any]):
    """What a class or function would have made; it compares by identity.

    Its items are those that the pickle puts into it, as into a dict.

    Attributes:
        kind: what would have made it, for messages: "pathlib.PosixPath", "numpy array".
        parts: arguments, state and members, as data.
    """

    __slots__ = ("kind", "parts")
    __hash__ = object.__hash__  # type: ignore[assignment] # it may be a key, as paths and enums are

    def __init__(self, kind: str, parts: Iterable[Any] = ()) -> None:
        super().__init__()
        self.kind = kind
        self.parts = list(parts)

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same object."""
        return self is other

    def __ne__(self, other: object) -> bool:
        """Return whether it is another object."""
        return self is not other

    def __repr__(self) -> str:
        """Return its kind: what it holds may be endless."""
        return self.kind

    @property
    def is_module(self) -> bool:
        """Whether it is a model of torch that was pickled whole."""
        return any(isinstance(p, dict) and "_parameters" in p for p in self.parts)

    @property
    def is_tensor(self) -> bool:
        """Whether it would be a tensor, or an object that holds some."""
        return self.kind.startswith(("torch._utils.", "torch._tensor.")) or holds_tensors(self)


def holds_tensors(value: Any) -> bool:
    """Return whether a tensor lies anywhere inside, parts of `Made` included."""
    seen: set[int] = set()
    rest = [value]
    while rest:
        current = rest.pop()
        if isinstance(current, Tensor):
            return True
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Made):
            rest += current.parts
        if isinstance(current, dict):
            rest += current.values()
        elif isinstance(current, (list, tuple)):
            rest += current
    return False


def fill(target: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Put items into a dict.

    Raises:
        UnpicklingError: a key that cannot be hashed, or not without danger.
    """
    for key, value in pairs:
        _require_key(key)
        target[key] = value


def _require_key(key: Any) -> None:
    rest, seen = [key], 0
    while rest and seen <= _LARGEST_KEY:
        part, seen = rest.pop(), seen + 1
        if type(part) is tuple:
            rest += part
        elif not isinstance(part, (str, bytes, int, float, Global, Made, type(None))):
            raise pickle.UnpicklingError(f"{type(part).__name__} is no key")
    if rest:
        raise pickle.UnpicklingError("a key of too many parts")
