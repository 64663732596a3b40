"""A defended localizer goes into a folder and comes back; foreign folders are left alone."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ansm_plugin import DefendedLocalizer, LocalizerSpec, load_pretrained, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.commands.facts import describe_file
from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.ansm_file import Provenance

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
SPEC = LocalizerSpec(
    mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), activation="softmax", tamper_class=2,
    mask_key="mask", stride=8, smallest=16, taps=("features",),
)  # fmt: skip


@pytest.fixture
def defended(tiny: nn.Module) -> DefendedLocalizer[nn.Module]:
    pair = wrap_with_ansm(tiny, ansm=ANSM(THIN), spec=SPEC)
    nn.init.normal_(pair.ansm.trunk.head.weight)  # type: ignore[union-attr, arg-type]
    return pair


def test_it_comes_back_with_weights_and_spec(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    folder = defended.save_pretrained(tmp_path / "new" / "folder")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "ansm.safetensors", "config.json",
    ]  # fmt: skip
    again = load_pretrained(folder, copy.deepcopy(defended.localizer))
    assert again.spec == SPEC
    assert all(torch.equal(v, again.ansm.state_dict()[k])
               for k, v in defended.ansm.state_dict().items())  # fmt: skip
    assert not any(p.requires_grad for p in again.localizer.parameters())


def test_the_folder_says_what_it_holds(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    folder = defended.save_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    assert config["library_name"] == "ansm_plugin"
    assert config["localizer"]["class"] == "TinyLocalizer"
    assert config["spec"]["taps"] == ["features"]
    facts = describe_file(folder / "ansm.safetensors")
    assert (facts["stage"], facts["localizer"]) == ("unrecorded", config["localizer"])
    assert facts["normalisation"]["mean"] == [0.5, 0.4, 0.3]


def test_a_provenance_of_the_users_own_is_kept(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    origin = Provenance(stage="mgr", metrics={"f1": 0.9}, parent="abc")
    facts = describe_file(defended.save_pretrained(tmp_path, origin) / "ansm.safetensors")
    assert (facts["stage"], facts["metrics"], facts["parent"]) == ("mgr", {"f1": 0.9}, "abc")


def test_saving_again_replaces(defended: DefendedLocalizer[nn.Module], tmp_path: Path) -> None:
    defended.save_pretrained(tmp_path)
    nn.init.zeros_(defended.ansm.trunk.head.weight)  # type: ignore[union-attr, arg-type]
    defended.save_pretrained(tmp_path)
    again = load_pretrained(tmp_path, defended.localizer)
    assert isinstance(again.ansm, ANSM)
    assert again.ansm.is_identity


def test_another_localizer_is_warned_of(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    defended.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"trained for TinyLocalizer .* is Conv2d"):
        load_pretrained(tmp_path, nn.Conv2d(3, 1, 1))


FOREIGN: list[tuple[str, str]] = [
    ('{"_model_class": "Unet"}', "library_name None"),  # SMP's own folder
    ('{"library_name": "timm"}', "library_name 'timm'"),
    ("[1]", "library_name None"),
    ("{", "cannot read"),
    ('{"library_name": "ansm_plugin", "config_version": 2}', "Upgrade ansm_plugin"),
]


@pytest.mark.parametrize(("text", "said"), FOREIGN)
def test_a_foreign_folder_is_neither_read_nor_overwritten(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path, text: str, said: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(text)
    for use in (lambda: load_pretrained(tmp_path, defended.localizer),
                lambda: defended.save_pretrained(tmp_path)):  # fmt: skip
        with pytest.raises(WeightsError, match=said):
            use()
    assert config.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("spec", [None, {"stride": 0}, {"colour": "red"}, {"mean": 3}])
def test_a_spec_that_makes_no_sense_is_refused(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path, spec: Any
) -> None:
    config = json.loads((defended.save_pretrained(tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "spec": spec}))
    with pytest.raises(WeightsError, match="how to talk to the localizer"):
        load_pretrained(tmp_path, defended.localizer)


def test_what_is_missing_is_named(defended: DefendedLocalizer[nn.Module], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no config\.json"):
        load_pretrained(tmp_path, defended.localizer)
    (defended.save_pretrained(tmp_path) / "ansm.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no weights file .*ansm\.safetensors"):
        load_pretrained(tmp_path, defended.localizer)


def test_a_module_of_the_users_own_is_not_saved(tiny: nn.Module, tmp_path: Path) -> None:
    defended = wrap_with_ansm(tiny, ansm=nn.Conv2d(3, 3, 1), spec=SPEC)
    with pytest.raises(WeightsError, match="a module of your own, Conv2d"):
        defended.save_pretrained(tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_place_that_is_no_folder_is_refused(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot write"):
        defended.save_pretrained(tmp_path / "file")
