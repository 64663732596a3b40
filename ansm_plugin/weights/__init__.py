"""Files of weights: safetensors with their provenance."""

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
