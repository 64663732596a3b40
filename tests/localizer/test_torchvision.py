"""Models of torchvision by name: classes, taps, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ansm_plugin import wrap_with_ansm
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.backbones.torchvision_family import matches
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe

LIGHT = "torchvision:lraspp_mobilenet_v3_large"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("deeplabv3_resnet5", r"'deeplabv3_resnet5'.*Nearest: deeplabv3_resnet50"),
        ("resnet50", r"unknown segmentation model of torchvision 'resnet50'"),
        ("fcn_resnet50?classes=1", r"unknown option of fcn_resnet50 'classes'.*num_classes"),
        ("fcn_resnet50?weights=DEFAULT", r"unknown option of fcn_resnet50 'weights'"),
        ("fcn_resnet50?weights_backbone=DEFAULT", r"unknown option.*'weights_backbone'"),
        ("lraspp_mobilenet_v3_large?num_classes=many", r"torchvision cannot build"),
        ("lraspp_mobilenet_v3_large?num_classes=3&forged=3", r"forged of .* is 3; allowed"),
    ],
)
def test_names_that_cannot_be_built_get_a_useful_answer(name: str, said: str) -> None:
    with pytest.raises(LocalizerError, match=said):
        build_architecture(f"torchvision:{name}")


@pytest.mark.parametrize(("options", "forged"), [("", 1), ("?num_classes=2", 1),
                                                 ("?num_classes=21&forged=15", 15)])  # fmt: skip
def test_the_forged_class_is_known_or_said(options: str, forged: int) -> None:
    localizer = build_architecture(LIGHT + options).eval()
    spec = describe(localizer)
    assert (spec.mask_key, spec.tamper_class) == ("out", forged)
    pixels = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        logits = localizer(spec.normalise(pixels))["out"]
        found = mask_forward(localizer, spec)(pixels).sigmoid()
    wanted = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, forged, None]
    torch.testing.assert_close(found, wanted)


def test_several_classes_without_a_word_are_refused() -> None:
    localizer = build_architecture(f"{LIGHT}?num_classes=21")
    with pytest.raises(LocalizerError, match=r"LRASPP has 21 labels, .*localizer.forged = INDEX"):
        wrap_with_ansm(localizer)
    localizer.forged = 15  # type: ignore[assignment]
    assert wrap_with_ansm(localizer).spec.tamper_class == 15


def test_the_auxiliary_head_passes_through() -> None:
    localizer = build_architecture("torchvision:deeplabv3_mobilenet_v3_large?aux_loss=true").eval()
    defended = wrap_with_ansm(localizer)
    inputs = torch.rand(1, 3, 33, 41)
    with torch.no_grad():
        bare, found = localizer(inputs), defended(inputs)
    assert list(found) == list(bare) == ["out", "aux"]
    assert all(torch.equal(found[key], bare[key]) for key in bare)


def test_other_modules_are_not_of_this_family() -> None:
    localizer = build_architecture(LIGHT)
    assert matches(localizer)
    assert not matches(localizer.backbone)  # type: ignore[arg-type]
    assert not matches(localizer.classifier)  # type: ignore[arg-type]
    assert not matches(nn.Conv2d(3, 1, 1))
