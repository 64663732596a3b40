"""Round weights to half precision.

    PYTHONPATH=recipes python -m lab.half FULL.safetensors OUTPUT [NAME]

NAME is that of the localizer, and left out for an ANSM. The proof measures and attacks what it
publishes, so a localizer is rounded before an ANSM is trained for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.tensors import load_strictly, read_metadata, read_tensors, write_tensors


def halve(full: Path, output: Path, name: str = "") -> None:
    """Write weights with all floats in fp16, and the fingerprint of the localizer `name`."""
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in read_tensors(full).items()
    }
    metadata = read_metadata(full)
    if name:
        localizer = build_architecture(name)
        load_strictly(localizer, tensors, str(full))
        metadata |= {"sha256": fingerprint(localizer)}
    write_tensors(tensors, output, metadata)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    halve(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
