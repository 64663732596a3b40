"""One run at a time in an output folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.files import ASIDE, make_folder, unwritable

LOCK = ".ansm-lock"
_OURS = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(ASIDE)}")  # as `files.written_aside` names it
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # what a planted link points to must not be emptied
# Network file systems without locks; there the file itself is all that there is.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def only_run_in(folder: Path | None) -> Iterator[None]:
    """Make an output folder this run's own until the end of the block; None is no folder.

    The lock belongs to the process: a killed run leaves its file behind, but not the lock. What
    such a run had not finished writing is removed. Of the processes of one distributed run only the
    first holds the lock.

    Raises:
        ConfigError: another run writes there (it is named), or the folder cannot be written.
    """
    if folder is None or os.environ.get("RANK", "0") != "0":
        yield
        return
    is_new = not folder.exists()
    path = make_folder(folder) / LOCK
    try:
        handle = _locked(path)
    except OSError as error:
        raise _no_lock(path) if error.errno == errno.ELOOP else unwritable(path, error) from error
    try:
        for left in folder.rglob(f".*{ASIDE}"):
            if _OURS.fullmatch(left.name):  # the folder may hold photographs and others' files
                left.unlink(missing_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder itself may have gone
            path.unlink(missing_ok=True)
            if is_new:
                folder.rmdir()  # fails where there is a result; a refused run leaves nothing
        os.close(handle)


def _locked(path: Path) -> int:
    """Return a handle that holds the lock of `path`, with our name in the file."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o644)
        try:
            _require_own_file(handle, path)
            _take(handle, path)
            if _is_of(handle, path):
                return _signed(handle)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _require_own_file(handle: int, path: Path) -> None:
    """Raise ConfigError unless a lock is a file that has no other name: it will be emptied."""
    found = os.fstat(handle)
    if path.is_symlink() or not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise _no_lock(path)


def _no_lock(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is a link or no plain file; a lock is never written through one. Delete it, or "
        "choose another folder."
    )


def _take(handle: int, path: Path) -> None:
    """Lock an open file; the system lets go of it when the process ends, however it ends."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(path) from error
    except ImportError:  # Windows
        _refuse_living(path)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _refuse_living(path)


def _refuse_living(path: Path) -> None:
    """Raise ConfigError unless whoever signed the file is known to have ended."""
    holder = _holder(path)
    pid, host = holder.get("pid"), holder.get("host")
    if host == platform.node() and isinstance(pid, int) and not _lives(pid):
        return
    if holder:
        raise _in_use(path)


def _lives(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, signal 0 would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _is_of(handle: int, path: Path) -> bool:
    """Return whether `path` is still the open file; its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _signed(handle: int) -> int:
    os.ftruncate(handle, 0)
    name = json.dumps({"pid": os.getpid(), "host": platform.node()})
    os.write(handle, name.encode())
    return handle


def _holder(path: Path) -> dict[str, object]:
    """Return who signed a lock file; empty where nobody has yet."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _in_use(path: Path) -> ConfigError:
    holder = _holder(path)
    who = f"process {holder.get('pid', '?')} on {holder.get('host', 'this computer')}"
    return ConfigError(
        f"another run writes to {path.parent}: {who}. Wait for it, choose another folder, or, "
        f"if it is sure that it has ended, delete {path}."
    )
