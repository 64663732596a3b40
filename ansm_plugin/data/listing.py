"""What lies in a folder: every entry is an image to read, or left out with a reason."""

from __future__ import annotations

import fnmatch
import os
import stat
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from ansm_plugin.data.formats import SUFFIXES, why_not_read
from ansm_plugin.errors import ImageError
from ansm_plugin.system.text import one_line

_MOST_NAMED = 10


class LeftOut(TypedDict):
    """An entry that is not used: its path below the folder, and why."""

    file: str
    reason: str


class Listing(NamedTuple):
    """The entries of a folder, or those of them whose names match.

    Attributes:
        folder: which one.
        files: images to read, in order of their names.
        left_out: the other entries.
    """

    folder: Path
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]

    def said(self, most: int = _MOST_NAMED) -> str:
        """Return what was left out in words, at most so many names for each reason; or ""."""
        entries = len(self.files) + len(self.left_out)
        return said_of(self.left_out, entries, f"in {one_line(self.folder)}", most)

    def warn(self) -> None:
        """Warn where something was left out."""
        if self.left_out:
            warnings.warn(self.said(), stacklevel=2)


def said_of(left_out: Sequence[LeftOut], entries: int, where: str, most: int = _MOST_NAMED) -> str:
    """Return "left out N of M entries WHERE: names (reason); ..."; "" where there are none."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in left_out:
        by_reason[entry["reason"]].append(one_line(entry["file"]))
    groups = [f"{shortened(files, most)} ({reason})" for reason, files in by_reason.items()]
    if not groups:
        return ""
    return f"left out {len(left_out)} of {entries} entries {where}: {'; '.join(groups)}."


def shortened(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """Return names separated by commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def list_folder(
    folder: Path,
    pattern: str = "*",
    *,
    recursive: bool = False,
    skip: Mapping[Path, str] | None = None,
) -> Listing:
    """Look at every entry of a folder; nothing is passed over in silence.

    Files are told by their names alone; what cannot be read is for their reader to say. Links to
    files are followed, links to folders are not.

    Args:
        folder: where.
        pattern: which entries count, by their names; folders always do.
        recursive: whether folders in it are entered.
        skip: folders that are never entered, and why: "" for one that is used otherwise, which is
            not named then.

    Raises:
        ImageError: no such folder, it cannot be opened, or the pattern is none.
    """
    if folder.is_file():
        raise ImageError(
            f"{folder} is a file, and a folder is needed; a list of pairs names its masks itself, "
            "so it goes without a folder of masks."
        )
    if not folder.is_dir():
        raise ImageError(f"there is no folder {folder}; check the path.")
    lister = _Lister(
        folder, pattern, recursive, {p.resolve(): why for p, why in (skip or {}).items()}
    )
    lister.enter(folder)
    return Listing(folder, tuple(lister.files), tuple(lister.left_out))


def require_images(listing: Listing, pattern: str = "*") -> None:
    """Raise ImageError where no entry is an image, with what was left out."""
    if not listing.files:
        more = f" ({listing.said()})" if listing.left_out else ""
        none = "there is no image" if pattern == "*" else f"no image matches {pattern!r}"
        raise ImageError(
            f"{none} in {listing.folder}; allowed: {', '.join(sorted(SUFFIXES))}.{more}"
        )


def same_name(name: str) -> str:
    """Return a name in the form in which it is compared: composed, as most systems write it."""
    return unicodedata.normalize("NFC", name)


class _Lister:
    """Sorts the entries of folders into files and what is left out."""

    def __init__(
        self, folder: Path, pattern: str, recursive: bool, skip: Mapping[Path, str]
    ) -> None:
        self.folder, self.pattern, self.recursive, self.skip = folder, pattern, recursive, skip
        self.files: list[Path] = []
        self.left_out: list[LeftOut] = []

    def enter(self, folder: Path) -> None:
        """Sort every entry of a folder that counts."""
        for path in _entries(folder, self.pattern):
            self._sort(path)

    def _sort(self, path: Path) -> None:
        name = path.relative_to(self.folder).as_posix()
        try:
            reason = _reason(path)
            if reason is None:
                name += "/"
                reason = self.skip.get(path.resolve())
                if reason is None:
                    reason = self._why_not_entered(path)
                    if not reason:
                        self.enter(path)
                if not reason:
                    return
        except (OSError, ImageError) as error:
            reason = f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        if reason:
            self.left_out.append({"file": name, "reason": reason})
        else:
            self.files.append(path)

    def _why_not_entered(self, path: Path) -> str:
        if not self.recursive:
            return "a folder; name it, or pass --recursive"
        return "a link to a folder; name that folder" if path.is_symlink() else ""


def _reason(path: Path) -> str | None:
    """Return why an entry is left out, "" for a file that is read and None for a folder."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return "a link to nothing"
        return f"cannot be opened: {error.strerror}"
    if stat.S_ISDIR(mode):
        return None
    if not stat.S_ISREG(mode):  # opening a pipe would wait for whoever writes into it
        return "no file, but a pipe, a socket or a device"
    return why_not_read(path)


def _entries(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield folders and what matches, in order of their names."""
    if not pattern or "\0" in pattern:
        raise ImageError(f"{pattern!r} matches no file names; write train_*.")
    if "/" in pattern:  # chooses folders, too
        yield from _globbed(folder, pattern)
        return
    try:
        found = sorted(Path(entry.path) for entry in os.scandir(folder))
    except OSError as error:
        raise ImageError(f"cannot open the folder {folder}: {error.strerror}.") from error
    wanted = same_name(pattern)
    for path in found:
        if fnmatch.fnmatch(same_name(path.name), wanted) or _may_be_folder(path):
            yield path


def _may_be_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # why, is said when it is sorted
        return True


def _globbed(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in folder.glob(pattern) if not path.is_dir())
    except (ValueError, NotImplementedError, IndexError) as error:  # "/*", for one
        raise ImageError(f"{pattern!r} matches no file names ({error}); write train_*.") from error
