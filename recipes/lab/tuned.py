"""Publish a tuned pair: one adapter in place of several, and the ANSM, both in half precision.

    PYTHONPATH=recipes python -m lab.tuned LOCALIZER@FIRST[@SECOND ...] ANSM.safetensors OUTPUT-STEM

Writes OUTPUT-STEM-adapter.safetensors, which belongs to LOCALIZER, and OUTPUT-STEM.safetensors, the
ANSM, which belongs to LOCALIZER with that adapter. Metadata name no folder of the machine.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import torch

from ansm_plugin.backbones.reference import build_localizer, split_name
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.adapters import save_adapter
from ansm_plugin.weights.tensors import read_metadata, read_tensors, write_tensors
from lab.half import halve


def publish_tuned(chain: str, ansm: Path, stem: str) -> None:
    """Round the tuned localizer to half precision and write what it differs in, and its ANSM."""
    base, weights, adapters = split_name(chain)
    name = f"{base}@{weights}" if weights else base
    tuned = build_localizer(chain)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.copy_(parameter.half().float())
    recipe = json.loads(anonymous(read_metadata(adapters[-1])["recipe"]))
    adapter = save_adapter(
        tuned, build_localizer(name), f"{stem}-adapter.safetensors", recipe=recipe
    )
    halve(adapter, adapter)
    target = Path(f"{stem}.safetensors")
    halve(ansm, target)
    metadata = {key: anonymous(text) for key, text in read_metadata(target).items()}
    belongs_to = json.loads(metadata["localizer"]) | {"sha256": fingerprint(tuned)}
    write_tensors(read_tensors(target), target, metadata | {"localizer": json.dumps(belongs_to)})


def anonymous(text: str) -> str:
    """Return text without the folders of the machine that made it."""
    return re.sub(r"/[^\"\\\s@]*/", "", text)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    publish_tuned(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
