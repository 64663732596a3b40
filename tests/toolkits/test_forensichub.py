"""ForensicHub through a test double of its registry, datasets and transform."""

from __future__ import annotations

import copy
import importlib
import sys
import types
from types import ModuleType
from typing import Any

import pytest
import torch
from host_models import HostModel, QuantisedStreams, trained
from torch import Tensor, nn

from ansm_plugin.errors import ConfigError
from ansm_plugin.toolkits import forensichub
from ansm_plugin.toolkits.hub_images import SPECS, norm_type_of


def batch_of(hub: ModuleType, dataset: str, norm_type: str, **options: Any) -> dict[str, Any]:
    """Return what a dataset of the host gives under a transform of the YAML."""
    transform = hub.TRANSFORMS.get("AIGCTransform")(norm_type).get_post_transform()
    made = hub.DATASETS.get(dataset)("x", post_transform=transform, **options)
    return {key: torch.stack([made[0][key], made[1][key]]) for key in ("image", "mask")}


def test_a_model_is_nested_by_name_and_init_config(hub: ModuleType) -> None:
    assert forensichub.register() == ["ANSM"]
    config = {"name": "ANSM", "init_config": {"name": "HostModel", "init_config": {"width": 6}}}
    pair = hub.build_from_registry(hub.MODELS, config).eval()
    assert pair.localizer.head.in_channels == 6
    batch = batch_of(hub, "ManiDataset", "clip")
    assert torch.equal(pair(**batch)["pred_mask"], pair.localizer(**batch)["pred_mask"])


def test_registering_twice_changes_nothing(hub: ModuleType) -> None:
    forensichub.register()
    assert forensichub.register() == ["ANSM"]
    assert list(hub.MODELS.module_dict) == ["HostModel", "DTD", "ANSM"]


def test_another_model_of_that_name_is_not_replaced(hub: ModuleType) -> None:
    hub.MODELS.register_module("ANSM", HostModel)
    with pytest.raises(ConfigError, match="holds another model named ANSM, of host_models"):
        forensichub.register()


# --- the normalisation belongs to the dataset -----------------------------------------------------


@pytest.mark.parametrize("norm_type", list(SPECS))
@pytest.mark.parametrize("dataset", ["ManiDataset", "IMDLCrossDataset"])
def test_the_ansm_gets_the_pixels_whatever_the_dataset_makes_of_the_transform(
    dataset: str, norm_type: str, hub: ModuleType
) -> None:
    pair = trained(forensichub.build("HostModel")).eval()
    asked: list[Tensor] = []
    pair.ansm.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
    batch = batch_of(hub, dataset, norm_type)
    pair(**batch)
    levels = 255 * asked[0]
    assert torch.allclose(levels, levels.round(), atol=1e-2)
    expected = "image_net" if dataset == "ManiDataset" else norm_type
    assert pair.spec.mean == SPECS[expected].mean
    assert pair.spec.normalisation == f"ForensicHub's images: {expected}"
    change = (pair.spec.denormalise(pair.localizer.seen["image"] - batch["image"])).detach()
    mean = torch.tensor(pair.spec.mean).view(1, 3, 1, 1)
    assert 0 < float((change - mean).abs().max()) <= 16 / 255 + 1e-6


def test_a_norm_type_that_the_images_contradict_is_refused(hub: ModuleType) -> None:
    pair = forensichub.build("HostModel", norm_type="clip")
    pair(**batch_of(hub, "IMDLCrossDataset", "clip"))
    with pytest.raises(
        ConfigError, match=r"norm_type is clip, but .* under image_net: ManiDataset"
    ):
        pair(**batch_of(hub, "ManiDataset", "clip"))


def test_each_dataset_of_one_run_is_read_in_its_own_way(hub: ModuleType) -> None:
    pair = forensichub.build("HostModel")
    for dataset, expected in (("ManiDataset", "image_net"), ("IMDLCrossDataset", "clip")) * 2:
        pair(**batch_of(hub, dataset, "clip"))
        assert pair.spec.std == SPECS[expected].std


def test_images_that_do_not_tell_keep_what_is_known(hub: ModuleType) -> None:
    batch = batch_of(hub, "IMDLCrossDataset", "standard")
    noisy = {**batch, "image": batch["image"] + 0.001 * torch.randn_like(batch["image"])}
    with pytest.raises(ConfigError, match=r"no whole grey levels .* give norm_type, one of image_"):
        copy.deepcopy(forensichub.build("HostModel"))(**noisy)
    pair = forensichub.build("HostModel")
    pair(**batch)
    pair(**noisy)
    assert pair.spec.std == SPECS["standard"].std
    assert forensichub.build("HostModel", norm_type="none")(**noisy)["pred_mask"].ndim == 4


def test_a_batch_of_two_normalisations_is_refused(hub: ModuleType) -> None:
    first, second = (batch_of(hub, d, "clip") for d in ("ManiDataset", "IMDLCrossDataset"))
    mixed = {key: torch.cat([first[key], second[key]]) for key in first}
    with pytest.raises(ConfigError, match="normalised by image_net and by clip: CrossDataset"):
        forensichub.build("HostModel")(**mixed)


@pytest.mark.parametrize("level", [0, 128, 254])
@pytest.mark.parametrize("norm_type", list(SPECS))
def test_even_one_colour_tells_its_normalisation(norm_type: str, level: int) -> None:
    pixels = torch.full((1, 3, 200, 300), level / 255)
    assert norm_type_of(SPECS[norm_type].normalise(pixels)) == norm_type


def test_white_paper_is_read_as_the_images_before_it(hub: ModuleType) -> None:
    white = torch.ones(2, 3, 32, 32)  # under "standard" as under "none"
    for norm_type in ("standard", "none"):
        pair = forensichub.build("HostModel")
        batch = batch_of(hub, "IMDLCrossDataset", norm_type)
        pair(**batch)
        pair(**{**batch, "image": white})
        assert pair.spec.std == SPECS[norm_type].std
        given = forensichub.build("HostModel", norm_type=norm_type)
        given(**{**batch, "image": white})
        assert given.spec.std == SPECS[norm_type].std


# --- what an ANSM cannot reach --------------------------------------------------------------------


def test_the_streams_of_dtd_and_ffdn_are_called_undefended(hub: ModuleType) -> None:
    with pytest.warns(UserWarning, match="is defended partially: its inputs dct, qt are"):
        forensichub.build("DTD")


def test_the_streams_of_a_model_inside_a_wrapper_are_too(hub: ModuleType) -> None:
    class Mask2LabelWrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_model = QuantisedStreams()

        def forward(self, image: Tensor, label: Tensor, **kwargs: Any) -> dict[str, Any]:
            return {}

    hub.MODELS.register_module("Mask2LabelWrapper", Mask2LabelWrapper)
    with pytest.warns(UserWarning, match="Mask2LabelWrapper is defended partially: .* dct, qt"):
        forensichub.build("Mask2LabelWrapper")


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hub")
def test_the_configs_own_dict_is_left_alone() -> None:
    config = {"width": 6}
    forensichub.build("HostModel", config)
    assert config == {"width": 6}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("HostModell", {}, "ForensicHub cannot build 'HostModell'"),
        ("HostModel", {"norm_type": "imagenet"}, "unknown norm_type 'imagenet'.*image_net"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        forensichub.build(name, **options)


@pytest.mark.usefixtures("_doubles")
def test_a_missing_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ForensicHub.registry", None)
    with pytest.raises(ConfigError, match=r"ForensicHub cannot be imported .*HOSTS\.md"):
        forensichub.register()


@pytest.mark.usefixtures("_doubles")
def test_the_older_package_of_that_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("ForensicHub")
    monkeypatch.setitem(sys.modules, "ForensicHub.registry", types.ModuleType("registry"))
    with pytest.raises(ConfigError, match="older package of PyPI"):
        forensichub.register()
