"""Hub folders by name: a folder here, else a repository of the Hugging Face hub.

Two files are asked for, safetensors and JSON, so that nothing that is fetched can run code. What
is in the hub's cache is found without a network; HF_HUB_OFFLINE is respected.
"""

from __future__ import annotations

import re
from pathlib import Path

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.folder import CONFIG, WEIGHTS

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def find_folder(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a name: the folder here that is called so, else the hub's.

    Args:
        name: a path, or "owner/name" of a repository; a folder here comes first.
        revision: branch, tag or commit of the repository; a commit alone never changes. None is
            its newest state.

    Raises:
        WeightsError: a revision of a folder here, or a repository that cannot be fetched.
    """
    folder = Path(name)
    if folder.is_dir():
        if revision is not None:
            raise WeightsError(
                f"{name} is a folder here, which has no revision {revision!r}; leave it out, or "
                "run elsewhere to take the repository of that name."
            )
        return folder
    if isinstance(name, Path) or not _REPOSITORY.fullmatch(name):
        if revision is None:
            return folder  # whoever reads it says what is missing
        raise WeightsError(
            f"revision={revision!r} is of a repository, and {str(name)!r} is none; a repository "
            'of the Hugging Face hub is named "owner/name".'
        )
    return _fetched(name, revision)


def _fetched(repository: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError(
            f"there is no folder {repository}, and the Hugging Face hub needs another package: "
            "pip install huggingface_hub."
        ) from error
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=[WEIGHTS, CONFIG])
        )
    except Exception as error:  # of the hub, of its HTTP library in each version, of the disk
        at = f" at revision {revision!r}" if revision else ""
        raise WeightsError(
            f"there is no folder {repository}, and the repository of that name{at} cannot be had "
            f"from the Hugging Face hub: {type(error).__name__}: {_first_line(error)}. Check name, "
            "network and HF_HUB_OFFLINE, or download it elsewhere and give its folder."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
