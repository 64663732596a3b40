"""Adapters: what a localizer was tuned by, told, applied to that localizer alone, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.users_localizer import LOCALIZER
from torch import nn

from ansm_plugin import apply_adapter
from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.commands.facts import describe_file
from ansm_plugin.errors import LocalizerError, WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes.tuning import merged, tunable_copy, tuned_parameters
from ansm_plugin.weights.adapters import save_adapter
from ansm_plugin.weights.ansm_file import save_ansm
from ansm_plugin.weights.tensors import read_metadata, write_tensors

pytestmark = pytest.mark.usefixtures("_thin_preset")


@pytest.fixture
def bare() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)).eval()


@pytest.fixture
def adapter(tmp_path: Path, bare: nn.Module) -> Path:
    tuned = tunable_copy(bare, "norm", rank=1, seed=0)
    for parameter in tuned_parameters(tuned, "norm"):
        nn.init.constant_(parameter, 0.5)
    return save_adapter(tuned, bare, tmp_path / "adapter.safetensors")


def test_an_adapter_says_what_it_is(bare: nn.Module, adapter: Path) -> None:
    facts = describe_file(adapter)
    assert facts["kind"] == "adapter"
    assert facts["localizer"] == fingerprint(bare)
    assert facts["tensors"] == 2


def test_an_adapter_of_another_localizer_is_refused(bare: nn.Module, adapter: Path) -> None:
    nn.init.zeros_(bare[0].bias)  # type: ignore[index]
    with pytest.raises(WeightsError, match=r"belongs to a localizer with state \w{12}; the Seq"):
        apply_adapter(bare, adapter)


def test_a_file_that_is_no_adapter_is_refused(
    tmp_path: Path, bare: nn.Module, adapter: Path
) -> None:
    ansm = save_ansm(ANSM("thin"), tmp_path / "ansm.safetensors")
    with pytest.raises(WeightsError, match=r"no adapter \(format 'ansm'"):
        apply_adapter(bare, ansm)
    newer = write_tensors({}, tmp_path / "new.safetensors", {"format": "adapter"})
    with pytest.raises(WeightsError, match="Upgrade ansm_plugin"):
        apply_adapter(bare, newer)


@pytest.mark.parametrize("damage", ["value", "name", "shape"])
def test_a_damaged_adapter_is_refused(bare: nn.Module, adapter: Path, damage: str) -> None:
    tensors = load_file(adapter)
    name = sorted(tensors)[0]
    tensors |= {
        "value": {name: tensors[name] + 1},
        "name": {"other": tensors[name]},
        "shape": {name: torch.zeros(9)},
    }[damage]
    write_tensors(tensors, adapter, read_metadata(adapter))
    with pytest.raises(WeightsError, match=r"damaged|does not fit"):
        apply_adapter(bare, adapter)


def test_weights_and_adapter_may_both_be_named(tmp_path: Path, user_code: Path) -> None:
    bare = build_localizer(LOCALIZER)
    nn.init.ones_(bare.get_parameter("head.bias"))
    weights = write_tensors(bare.state_dict(), tmp_path / "with@sign.safetensors", {})
    tuned = tunable_copy(bare, "all", rank=1, seed=0)
    nn.init.zeros_(tuned.get_parameter("head.bias"))
    adapter = save_adapter(tuned, bare, tmp_path / "adapter.safetensors")
    named = build_localizer(f"{LOCALIZER}@{weights}@{adapter}")
    assert fingerprint(named) == fingerprint(tuned)


def test_a_model_with_other_layers_is_no_tuned_copy(tmp_path: Path, bare: nn.Module) -> None:
    with pytest.raises(WeightsError, match="an adapter holds new values, no new layers"):
        save_adapter(nn.Conv2d(3, 1, 1), bare, tmp_path / "adapter.safetensors")


@pytest.mark.parametrize("tune", ["none", "norm", "lora", "all"])
def test_a_tunable_copy_computes_what_the_localizer_computes(bare: nn.Module, tune: Any) -> None:
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    copied = tunable_copy(bare, tune, rank=2, seed=0)
    assert torch.equal(copied(images), bare(images))
    assert merged(copied).state_dict().keys() == bare.state_dict().keys()
    assert torch.equal(copied(images), bare(images))


def test_a_low_rank_change_is_of_low_rank(bare: nn.Module) -> None:
    copied = tunable_copy(bare, "lora", rank=1, seed=0)
    for parameter in tuned_parameters(copied, "lora"):
        nn.init.normal_(parameter)
    change = (merged(copied).get_parameter("0.weight") - bare.get_parameter("0.weight")).flatten(1)
    assert int(torch.linalg.matrix_rank(change, atol=1e-5)) == 1


def test_a_localizer_without_norms_cannot_tune_them() -> None:
    with pytest.raises(LocalizerError, match="tune 'norm' trains; use all"):
        tuned_parameters(nn.Conv2d(3, 1, 1), "norm")
