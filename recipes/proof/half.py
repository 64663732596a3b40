"""Round a localizer to half precision: `python recipes/proof/half.py NAME FULL.safetensors OUTPUT`.

The proof measures and attacks what it publishes, so a localizer is rounded before an ANSM is
trained for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer import fingerprint
from ansm_plugin.weights import load_localizer_weights, read_metadata, read_tensors, write_tensors


def halve(name: str, full: Path, output: Path) -> None:
    """Write the weights of the localizer `name` with all floats in fp16."""
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in read_tensors(full).items()
    }
    write_tensors(tensors, output, read_metadata(full))
    localizer = build_architecture(name)
    load_localizer_weights(localizer, output)
    write_tensors(tensors, output, read_metadata(full) | {"sha256": fingerprint(localizer)})


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    halve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
