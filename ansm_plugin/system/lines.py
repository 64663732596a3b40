"""Files of JSON lines that several processes write, each its own part."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.files import unwritable
from ansm_plugin.system.processes import Processes


def part_of(path: Path, among: Processes) -> Path:
    """Return the file of lines that this process writes: `path`, or `NAME.RANK.SUFFIX` beside it.

    Two processes must not append to one file: over a network their lines would mix.
    """
    return path if among.is_first else path.with_name(f"{path.stem}.{among.rank}{path.suffix}")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the tables in a file of JSON lines; lines cut short by a kill are passed over.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not path.exists():
        return
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                yield found


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one table; behind a line that a kill cut short it begins a line of its own.

    Raises:
        ConfigError: the file cannot be written; lines before this one are kept.
    """
    try:
        with path.open("a+b") as stream:
            stream.write(b"\n" * _is_torn(stream) + json.dumps(record).encode() + b"\n")
    except OSError as error:
        raise unwritable(path, error) from error


def absorb_parts(path: Path) -> None:
    """Move the lines of all processes, of whatever number, into `path`.

    A line that a kill cut short stays short, on a line of its own.

    Raises:
        ConfigError: a file cannot be read or written.
    """
    for part in _parts(path):
        try:
            with path.open("a+b") as stream:
                stream.write(b"\n" * _is_torn(stream) + part.read_bytes())
            part.unlink()  # a kill before this leaves lines twice, which changes nothing
        except OSError as error:
            raise unwritable(path, error) from error


def _is_torn(stream: BinaryIO) -> bool:
    """Return whether the last line of a file that is open for appending has no end."""
    if not stream.seek(0, os.SEEK_END):
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"


def _parts(path: Path) -> list[Path]:
    name = re.compile(rf"{re.escape(path.stem)}\.\d+{re.escape(path.suffix)}")
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return sorted(file for file in beside if name.fullmatch(file.name))
