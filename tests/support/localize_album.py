"""`ansm localize` with a localizer that is less sure, on an album of photographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansm_plugin.cli import main

SOFT = ("--localizer", "support.bright:soft", "--bare")


def localize(album: Path, *options: str) -> int:
    """Localize the album into `out` beside it."""
    return main(["localize", str(album), "--output", str(album.parent / "out"), *SOFT, *options])


def numbers(album: Path, *options: str) -> dict[str, Any]:
    """Localize the album and return the JSON."""
    file = album.parent / "numbers.json"
    assert localize(album, *options, "--json", str(file)) == 2  # one is damaged
    found: dict[str, Any] = json.loads(file.read_text())
    return found
