"""Output files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ansm_plugin.errors import ConfigError


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a temporary file that replaces `path` at the end.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        Path(name).chmod(0o644)  # mkstemp is private; results are shared like other files
        Path(name).replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
    return path


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
