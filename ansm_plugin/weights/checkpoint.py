"""Files of torch.save, of now and of before 1.6: opened, and read as data.

A zip holds a pickle and one entry a storage. Before, four pickles (a magic number, the version,
the system, what was saved) stood in a row, then the names of the storages, then their bytes.
"""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.inert import Global, NeedsCode
from ansm_plugin.weights.pickles import PickleReader, Storage

# What damaged files raise, beside our refusal of code.
_DAMAGED = (
    RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError,
    AssertionError, ArithmeticError, MemoryError, NotImplementedError, struct.error,
    pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip
# Tensors may share or repeat their memory, and a zip may be compressed; more than this is a bomb.
_LARGEST_SHARE, _LARGEST_SLACK = 16, 2**26
_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
    "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
}  # fmt: skip
# First bytes of what is taken for a checkpoint: what it is, and what to do.
_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run: git lfs pull",
    b"<": "a web page, as a download that failed leaves it; download the file again",
    b"\x1f\x8b": "compressed by gzip; run gunzip on it",
    b"\x89HDF": "an HDF5 file of another framework; this reads files of torch.save alone",
}


class Checkpoint(NamedTuple):
    """What a file of torch.save holds.

    Attributes:
        value: mappings, lists, numbers, text, tensors, and `Made` for all else.
        made: kinds of what was not made, such as "numpy scalar"; without the basic types.
    """

    value: Any
    made: tuple[str, ...]


def read_tensors_only(source: Path) -> Any:
    """Return what a checkpoint holds, as `read_checkpoint` reads it."""
    return read_checkpoint(source).value


def read_checkpoint(source: Path) -> Checkpoint:
    """Read a file of torch.save; nothing that it names is imported or called.

    Raises:
        WeightsError: missing, already safetensors, truncated, another kind of file, or in need of
            code.
    """
    _require_file(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickletools, about escapes in damaged text
            return _read(source)
    except NeedsCode as error:
        raise WeightsError(
            f"{source} needs code to be read, which could do anything; it was refused and nothing "
            f"of it was run ({_first_line(error)}). Load it where you trust it and save its "
            "tensors alone: torch.save(model.state_dict(), 'tensors.pth')."
        ) from error
    except _DAMAGED as error:
        raise WeightsError(_damage(source, error)) from error


def _read(source: Path) -> Checkpoint:
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            return _read_zip(archive, source)
    with source.open("rb") as stream:
        return _read_row(stream, source.stat().st_size)


def require_modest(size: int, source: Path) -> None:
    """Refuse a checkpoint that claims many times the bytes of its file before they are made."""
    limit = _LARGEST_SHARE * source.stat().st_size + _LARGEST_SLACK
    if size > limit:
        raise WeightsError(
            f"{source} claims to hold {size:,} bytes of tensors, more than {_LARGEST_SHARE} times "
            "its size; it is damaged or made to fill the memory. Copy it again."
        )


def _require_file(source: Path) -> None:
    """Raise WeightsError for what is no file, and for files of a known other kind."""
    try:
        is_there, is_folder = source.is_file(), source.is_dir()
    except (OSError, ValueError):  # a name too long for any file
        is_there = is_folder = False
    if is_folder:
        raise WeightsError(f"{source} is a folder; name the file of torch.save inside it.")
    if not is_there:
        raise WeightsError(f"there is no checkpoint {source}; check the path.")
    if source.suffix == ".safetensors":
        raise WeightsError(f"{source} is safetensors already; use it as it is.")
    head = _head(source)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27:
        raise WeightsError(
            f"{source} is safetensors already, under another name; use it as it is, as "
            f"{source.with_suffix('.safetensors').name}."
        )
    for start, what in _OTHERS.items():
        if head.lstrip().startswith(start):
            raise WeightsError(f"{source} is not a torch checkpoint: it is {what}.")


def _head(source: Path) -> bytes:
    try:
        with source.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise WeightsError(f"cannot read {source}: {error}.") from error


# --- the zip of today -----------------------------------------------------------------------------


def _read_zip(archive: zipfile.ZipFile, source: Path) -> Checkpoint:
    names = archive.namelist()
    root = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
    if f"{root}constants.pkl" in names or any("/code/__torch__" in n for n in names):
        raise WeightsError(
            f"{source} is a TorchScript archive, which holds a program; it was refused and nothing "
            "of it was run. Load it where you trust it and save its tensors alone: "
            "torch.save(torch.jit.load(...).state_dict(), 'tensors.pth')."
        )
    if root is None:
        outline = one_line(", ".join(names[:4]), most=200)
        raise WeightsError(
            f"{source} is not a torch checkpoint: it is a zip of other files ({outline}). Unpack "
            "it, and name the file of torch.save inside."
        )
    require_modest(sum(entry.file_size for entry in archive.infolist()), source)
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big":
        raise ValueError("its numbers are in big-endian order; save it again on this machine")
    with archive.open(f"{root}data.pkl") as stream:
        reader = PickleReader(io.BytesIO(stream.read()), _Entries(archive, root))
    return Checkpoint(reader.load(), tuple(reader.made))


class _Entries:
    """Storages that lie in a zip, each read once."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self._archive = archive
        self._root = root
        self._read: dict[str, torch.Tensor] = {}

    def __call__(self, identity: Any) -> Storage:
        """Return the storage of a persistent id."""
        dtype, key, _ = _identified(identity)
        if key not in self._read:
            entry = self._archive.getinfo(f"{self._root}data/{key}")
            with self._archive.open(entry) as stream:
                self._read[key] = _filled(stream, entry.file_size)
        return Storage(self._read[key], dtype)


# --- the row of pickles of before -----------------------------------------------------------------


def _read_row(stream: IO[bytes], size: int) -> Checkpoint:
    """Read pickles in a row, or the one pickle of a file that torch did not write."""
    storages = _Following(size)
    reader = PickleReader(stream, storages)
    first = reader.load()
    if type(first) is not int:
        return Checkpoint(first, tuple(reader.made))
    if first != _MAGIC:
        raise ValueError("it begins with another number than that of torch")
    reader.load()
    system = reader.load()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise ValueError("its numbers are in big-endian order; save it again on this machine")
    value = reader.load()
    storages.fill(stream, reader.load())
    return Checkpoint(value, tuple(reader.made))


class _Following:
    """Storages whose bytes follow behind the pickles, or lie inside them.

    Args:
        size: bytes of the whole file; no more are made.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._made: dict[str, tuple[torch.Tensor, int]] = {}

    def __call__(self, identity: Any) -> Any:
        """Return the storage of a persistent id, still empty; or read one of the pickle's own."""
        if identity[0] == "bytes":
            return _read_row(io.BytesIO(identity[1]), len(identity[1])).value
        if identity[0] == "module":  # the class of a whole model, with its source
            return identity[1]
        dtype, key, count = _identified(identity)
        width = dtype.itemsize if dtype else 1
        if key not in self._made:
            self._left -= count * width
            if count < 0 or self._left < 0:
                raise EOFError("its storages are larger than the file")
            self._made[key] = (torch.empty(count * width, dtype=torch.uint8), width)
        data = self._made[key][0]
        if len(identity) > 5 and identity[5] is not None:  # a part of a storage
            _, start, length = identity[5]
            data = data[start * width : (start + length) * width]
        return Storage(data, dtype)

    def fill(self, stream: IO[bytes], keys: Any) -> None:
        """Read the storages, each behind the number of its elements."""
        for key in keys:
            data, width = self._made[str(key)]
            (count,) = struct.unpack("<q", stream.read(8))
            if count * width != data.numel():
                raise ValueError(f"storage {key!r} holds {count} elements, not those it claims")
            data.copy_(_filled(stream, data.numel()))


def _identified(identity: Any) -> tuple[torch.dtype | None, str, int]:
    """Return dtype, name and number of elements in a persistent id; untyped storages have none."""
    kind, which, key, _, count = identity[:5]
    if kind != "storage" or not isinstance(which, Global):
        raise NeedsCode("it refers to something else than a storage")
    return _DTYPES.get(which.name.removesuffix("Storage")), str(key), int(count)


def _filled(stream: IO[bytes], size: int) -> torch.Tensor:
    """Return `(size,)` bytes of a stream."""
    content = bytearray(stream.read(size))
    if len(content) != size:
        raise EOFError("it ends in the middle of a tensor")
    return torch.frombuffer(content, dtype=torch.uint8) if size else torch.empty(0).byte()


# --- words ----------------------------------------------------------------------------------------


def _damage(source: Path, error: Exception) -> str:
    """Say what a file is that cannot be read."""
    reason = _first_line(error)
    head = _head(source)
    if head[:1] != b"\x80" and head[:2] != b"PK":
        if _is_tar(source):
            return (
                f"{source} is a tar archive; unpack it, and name the file of torch.save inside. "
                "One that torch 0.1 wrote has to be loaded and saved again by an old torch."
            )
        return f"{source} is not a torch checkpoint ({reason}); check the path."
    return (
        f"{source} cannot be read as a torch checkpoint ({reason}); it is truncated or another "
        "kind of file. Copy it again."
    )


def _is_tar(source: Path) -> bool:
    try:
        return tarfile.is_tarfile(source)
    except _DAMAGED:
        return False


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(lines[0] if lines else type(error).__name__)[:200]
