"""Files of weights: safetensors with their provenance.

Names are imported when they are first used: the catalogue beside them is read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansm_plugin.weights.ansm_file import (
        AnsmFile,
        Provenance,
        identify,
        load_ansm,
        read_provenance,
        save_ansm,
    )
    from ansm_plugin.weights.tensors import (
        load_localizer_weights,
        load_strictly,
        read_metadata,
        read_tensors,
        sha256_of,
        tensor_names,
        write_tensors,
    )

__all__ = [
    "AnsmFile",
    "Provenance",
    "identify",
    "load_ansm",
    "load_localizer_weights",
    "load_strictly",
    "read_metadata",
    "read_provenance",
    "read_tensors",
    "save_ansm",
    "sha256_of",
    "tensor_names",
    "write_tensors",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ansm_plugin.weights import ansm_file, tensors

    return getattr(ansm_file if hasattr(ansm_file, name) else tensors, name)
