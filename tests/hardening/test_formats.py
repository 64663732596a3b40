"""Files of every format version that was ever written still load.

`fixtures/` holds one small file per format and version, kept for good: a new version adds files and
a row here, and rewrites none. Every value in them follows from `fill`, so each can be checked.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.weights import adapters, ansm_file
from ansm_plugin.weights.adapters import apply_adapter
from ansm_plugin.weights.ansm_file import load_ansm

FIXTURES = Path(__file__).with_name("fixtures")
THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))


def fill(module: nn.Module, first: float) -> nn.Module:
    """Give every parameter values that any release of torch computes alike."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            values = torch.arange(parameter.numel()).remainder(7) / 8 + first + number
            parameter.copy_(values.view(parameter.shape))
    return module


def localizer() -> nn.Module:
    """Return what the kept adapters belong to."""
    return fill(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 1, 1)), 0)


@pytest.mark.parametrize("version", range(1, ansm_file.FORMAT_VERSION + 1))
def test_an_ansm_of_each_version_loads(version: int) -> None:
    found = load_ansm(FIXTURES / f"ansm-{version}.safetensors").state_dict()
    expected = fill(ANSM(THIN), 1).state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("version", range(1, int(adapters.FORMAT_VERSION) + 1))
def test_an_adapter_of_each_version_applies(version: int) -> None:
    bare = localizer()
    tuned = apply_adapter(bare, FIXTURES / f"adapter-{version}.safetensors")
    expected = localizer()
    fill(expected[1], 2)  # type: ignore[index]
    found = tuned.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.state_dict().items())
    assert torch.equal(bare[1].weight, localizer()[1].weight)  # type: ignore[index]
