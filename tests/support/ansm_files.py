"""Files of an ANSM that is not the identity, as saved and with other metadata."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.weights.ansm_file import save_ansm
from ansm_plugin.weights.tensors import read_metadata

THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))


def trained() -> ANSM:
    """Return a module that is not the identity."""
    ansm = ANSM(THIN)
    nn.init.normal_(ansm.trunk.head.weight)
    return ansm.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_ansm(trained(), tmp_path / "ansm.safetensors")


def rewritten(saved: Path, **metadata: str) -> Path:
    """Return a copy of a file with other metadata."""
    path = saved.with_name("rewritten.safetensors")
    save_file(load_file(saved), path, metadata={**read_metadata(saved), **metadata})
    return path
