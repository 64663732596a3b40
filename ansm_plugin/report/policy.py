"""What a page of ours may do in a browser: show itself, run its own script, and nothing else."""

from __future__ import annotations

import base64
import hashlib


def policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy of a page that holds a style, a script and pictures.

    Nothing is asked for outside, and nothing that a name of a file could smuggle in is run: the
    hashes are of exactly what stands between the tags.

    Args:
        style: between `<style>` and `</style>`.
        script: between `<script>` and `</script>`.
    """
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
