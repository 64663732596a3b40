"""The constants of SMP's encoders are those that timm knows, or a warning says so."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.encoders import encoders
from torch import nn

from ansm_plugin.backbones.smp_encoders import ENCODERS, constants, find_encoder_normalisation
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import IMAGENET_MEAN
from ansm_plugin.localizer.traits import find_normalisation

HALF = (0.5, 0.5, 0.5)
# What SMP calls weights -> tags of timm, of which a model has at least one.
TAGS = {
    "imagenet": ("tv_in1k", "aa_in1k", "mx_in1k", "apple_in1k", "tf_in1k", "in1k", "ra_in1k"),
    "imagenet+5k": ("mx_in1k",),
    "imagenet+background": ("tf_in1k",),
    "ssl": ("fb_ssl_yfcc100m_ft_in1k",),
    "swsl": ("fb_swsl_ig1b_ft_in1k",),
    "instagram": ("fb_wsl_ig1b_ft_in1k",),
    "advprop": ("ap_in1k",),
    "noisy-student": ("ns_jft_in1k",),
    "noisy-student-475": ("ns_jft_in1k_475",),
}
OTHER_NAMES = {
    "inceptionresnetv2": "inception_resnet_v2", "inceptionv4": "inception_v4",
    "mobilenet_v2": "mobilenetv2_100", "xception": "legacy_xception", "senet154": "legacy_senet154",
}  # fmt: skip
# NVIDIA's, and one that timm has no more; both were trained with ImageNet's.
NO_COUNTERPART = {*(f"mit_b{size}" for size in range(6)), "resnext101_32x48d"}


def in_timm(name: str) -> str:
    """Return what timm calls an encoder of SMP."""
    name = OTHER_NAMES.get(name, name).removeprefix("timm-")
    for before, after in (("efficientnet-", "tf_efficientnet_"), ("se_res", "legacy_seres")):
        name = name.replace(before, after)
    return name


def tagged(name: str, weights: str) -> list[str]:
    """Return timm's names of the weights that SMP calls so; the first is the nearest."""
    known = set(timm.list_pretrained(f"{in_timm(name)}.*"))
    return [full for tag in TAGS[weights] if (full := f"{in_timm(name)}.{tag}") in known]


class Named(nn.Module):
    """An SMP model as far as its normalisation goes: an encoder of a class, without weights."""

    def __init__(self, name: str, weights: str | None) -> None:
        super().__init__()
        kind = encoders[name]["encoder"]
        self.encoder = kind.__new__(kind)
        nn.Module.__init__(self.encoder)
        self.config = {"encoder_name": name, "encoder_weights": weights}


EVERY = [(n, w) for n, known in encoders.items() for w in known["pretrained_settings"]]


@pytest.mark.parametrize(("name", "weights"), EVERY)
def test_constants_are_those_of_timm(name: str, weights: str) -> None:
    found = tagged(name, weights)
    assert found or name in NO_COUNTERPART
    mean, std, source = find_encoder_normalisation(Named(name, weights))
    assert source.startswith(f"SMP encoder {name}: ")
    if found:
        config = timm.get_pretrained_cfg(found[0])
        assert mean == pytest.approx(config.mean, abs=1e-6)
        assert std == pytest.approx(config.std, abs=1e-6)
    else:
        assert mean == IMAGENET_MEAN


@pytest.mark.parametrize("name", encoders)
def test_without_known_weights_it_is_said_where_they_matter(name: str) -> None:
    """Trainings of one encoder that differ in their constants are both named."""
    means = {
        tuple(timm.get_pretrained_cfg(found[0]).mean)
        for weights in encoders[name]["pretrained_settings"]
        if (found := tagged(name, weights))
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        find_encoder_normalisation(Named(name, None))
    words = " ".join(str(w.message) for w in said)
    assert bool(words) == (len(means) > 1)
    if words:
        assert all(word in words for word in ("imagenet", "advprop", "0.485", "0.5", "spec="))


def test_every_encoder_of_smp_is_in_the_table() -> None:
    assert all(constants(known["encoder"]) for known in encoders.values())
    assert len(ENCODERS) == len({known["encoder"] for known in encoders.values()})


@pytest.mark.parametrize("around", [nn.Identity(), smp.encoders.get_encoder("dpn68").__class__])
def test_an_exchanged_encoder_is_not_described_by_the_name_of_the_first(around: Any) -> None:
    model = smp.Unet("resnet18", encoder_weights=None)
    if isinstance(around, nn.Module):  # an encoder of the user's own

        class Mine(nn.Module):
            """Has what SMP asks of an encoder."""

            out_channels, output_stride = [3, 64, 64, 128, 256, 512], 32

        model.encoder = Mine()
        with pytest.warns(UserWarning, match="does not say how its input is normalised"):
            assert describe(model).mean == IMAGENET_MEAN
    else:
        model.encoder = smp.encoders.get_encoder("dpn68", weights=None)
        assert describe(model).mean[0] == pytest.approx(124 / 255)
        assert describe(model).normalisation == "SMP encoder DPNEncoder: DPN"


def test_a_subclass_that_names_its_encoder_itself_is_described() -> None:
    class Mine(smp.Unet):
        """SMP keeps no config of it."""

        def __init__(self) -> None:
            super().__init__("timm-tf_efficientnet_lite0", encoder_weights=None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SMP's own, of "timm-"
        spec = describe(Mine())
    assert spec.mean == HALF


def test_two_encoders_that_disagree_are_both_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 1, 1))
    model[0].pretrained_cfg = {"mean": HALF, "std": HALF}  # type: ignore[assignment]
    model[1].pretrained_cfg = {"mean": HALF, "std": HALF}  # type: ignore[assignment]
    assert find_normalisation(model)[0] == HALF
    model[1].pretrained_cfg = {"mean": IMAGENET_MEAN, "std": HALF}  # type: ignore[assignment]
    with pytest.warns(UserWarning, match=r"two normalisations.*cfg of 0.*0\.485.*cfg of 1"):
        assert find_normalisation(model)[0] == HALF


def test_the_constants_of_timms_own_encoders_are_those_of_their_tag() -> None:
    model = smp.Unet("tu-tf_efficientnet_b0.ap_in1k", encoder_weights=None)
    assert describe(model).mean == HALF
    assert torch.is_tensor(next(model.parameters()))
