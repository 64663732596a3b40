"""Files of weights: safetensors with their provenance."""

from ansm_plugin.weights.ansm_file import (
    Provenance,
    identify,
    load_ansm,
    read_ansm_metadata,
    save_ansm,
    warn_if_foreign,
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
    "Provenance",
    "identify",
    "load_ansm",
    "load_localizer_weights",
    "load_strictly",
    "read_ansm_metadata",
    "read_metadata",
    "read_tensors",
    "save_ansm",
    "sha256_of",
    "tensor_names",
    "warn_if_foreign",
    "write_tensors",
]
