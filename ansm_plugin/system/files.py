"""Files and folders of results: a file appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ansm_plugin.errors import ConfigError

ASIDE = ".part"  # ending of files that are not whole yet


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a temporary file that replaces `path` at the end.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    try:
        with written_aside(path) as aside, aside.open("wb") as stream:
            write(stream)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def write_json(path: Path, value: object) -> Path:
    """Write a value as JSON; the file appears whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
        ValueError: the value holds NaN or infinity, which JSON has no form for.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    return write_whole(path, lambda stream: stream.write(text.encode()))


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, which takes its place once it is on the disk.

    Raises:
        OSError: the folder cannot be written, or the disk is full; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=ASIDE)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        _flush(aside)  # a rename may reach the disk before the bytes that it names
        aside.chmod(0o644)  # mkstemp is private; results are shared like other files
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make a folder for output where there is none.

    Raises:
        ConfigError: it cannot be made, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> ConfigError:
    """Return the error for a place that cannot be written."""
    return ConfigError(
        f"cannot write {path}: {error.strerror or error}. Nothing was left half-written; free "
        "space or choose another place."
    )


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
