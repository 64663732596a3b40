"""Paths as users write them, and as files of ours hold them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ansm_plugin.errors import ConfigError


def user_path(text: str) -> Path:
    """Return the path of a text, a `~` at its start replaced by the home folder.

    A shell does so at the start of a word alone: not in `--output=~/x`, `NAME@~/w.safetensors` or
    a config. As in a shell `~nobody` stays what it is where nobody has that name.
    """
    with contextlib.suppress(UnicodeError):  # what `path_text` wrote, where names are ASCII
        text = os.fsdecode(text.encode("utf-8", "surrogateescape"))
    return Path(os.path.expanduser(text))  # noqa: PTH111 - for Path ./~ is ~, which a shell leaves


def path_text(text: str) -> str:
    """Return a text that may name files as UTF-8 can hold it, whatever the locale.

    Raises:
        ConfigError: a name of a file is no text in UTF-8.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError as error:
        raise ConfigError(
            f"{text!r} is a name that is no text in UTF-8, so no config can hold it; rename it."
        ) from error
