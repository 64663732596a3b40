"""Tensors, files and nested values as JSON values that are equal only where every bit is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

Results = dict[str, Any]  # JSON values that hold no others, by a key like the path of a file


def summed(tensor: Tensor) -> str:
    """Return the bytes of a float tensor as a hash, with their sum for whoever reads it."""
    plain = tensor.detach().contiguous()
    total = float(plain.double().sum())
    return f"{sha256(plain.numpy().tobytes())} {list(plain.shape)} sum {total:.9g}"


def tensors_of(path: Path) -> Results:
    """Return hashes of the tensors of a safetensors file, and its metadata as it stands there."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    found = below("metadata", header.pop("__metadata__", {}))
    for name, entry in header.items():
        first, end = (start + offset for offset in entry["data_offsets"])
        found[f"tensor/{name}"] = f"{sha256(content[first:end])} {entry['dtype']} {entry['shape']}"
    return found


def pixels_of(path: Path) -> str:
    """Return a hash of the pixels of a picture in grey or RGB."""
    pixels = np.atleast_3d(np.asarray(Image.open(path)))
    return f"{sha256(pixels.tobytes())} {list(pixels.shape)}"


def sha256(content: bytes) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def flat(value: Any, key: str = "") -> Results:
    """Return the values inside nested tables and lists, by keys like `rows/3/f1`."""
    if not isinstance(value, dict | list) or not value:
        return {key.removesuffix("/"): value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for name, part in pairs for k, v in flat(part, f"{key}{name}/").items()}


def below(name: str, found: Mapping[str, Any]) -> Results:
    """Return results with `name/` before every key."""
    return {f"{name}/{key}": value for key, value in found.items()}
