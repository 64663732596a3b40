"""Checkpoints in each form that torch writes, and calls that are made where they are unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FORMS = {
    "zip": {},
    "zip, protocol 4": {"pickle_protocol": 4},
    "legacy": {"_use_new_zipfile_serialization": False},
    "legacy, protocol 5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "old.pth"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new.safetensors"


class Call:
    """Calls a function where it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to be made again."""
        return self.call

    def __call__(self) -> None:
        """Be callable, for pickle asks that of what it writes as a function."""
