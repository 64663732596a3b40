"""Models as users bring them: a fresh wrap changes no bit, and `explain` says what is true.

Plain nets have the habits of MONAI's, written anew: any size, deep supervision, two classes behind
a softmax, and sizes that must be multiples of 16.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin import explain, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer.traits import fingerprint

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
SIZES = ((64, 64), (70, 97))  # the second one has no factor in common with any stride


class Plain(nn.Module):
    """Two stages down and up again.

    Args:
        classes: of the mask.
        levels: how often the image is halved.
    """

    def __init__(self, classes: int = 1, levels: int = 2) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.PReLU())
        self.down = nn.ModuleList(nn.Conv2d(6, 6, 3, 2, 1) for _ in range(levels))
        self.head = nn.Conv2d(6, classes, 1)

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the features from fine to coarse."""
        found = [self.first(images)]
        for layer in self.down:
            found.append(torch.relu(layer(found[-1])))
        return found


class AnySize(Plain):
    """Enlarges each stage to the size of the finer one, as BasicUNet pads."""

    def forward(self, images: Tensor) -> Tensor:
        finest, *others = self.stages(images)
        for stage in others:
            finest = finest + functional.interpolate(stage, finest.shape[-2:], mode="bilinear")
        mask: Tensor = self.head(finest)
        return mask


class DeeplySupervised(Plain):
    """Returns the masks of all stages in a list, the finest first, as DynUNet does in training."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.head(stage) for stage in self.stages(images)]


class Softmax(AnySize):
    """Two classes, of which the second says forged, as probabilities."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class Sixteen(Plain):
    """Doubles the coarsest stage up again and adds them, as UNet does: other sizes fail."""

    def forward(self, images: Tensor) -> Tensor:
        *finer, mask = self.stages(images)
        for stage in reversed(finer):
            mask = stage + functional.interpolate(mask, scale_factor=2)
        logits: Tensor = self.head(mask)
        return logits


class Case(NamedTuple):
    """A model, and what is true of it."""

    build: Callable[[], nn.Module]
    family: str
    localizer: str
    around: tuple[str, ...] = ()
    stride: int = 1
    activation: str = "logits"
    mask: str = "all of it"
    aligns: bool = True
    guessed: tuple[str, ...] = ()


UNET = "smp:Unet?encoder_name=tu-test_resnet&decoder_channels=16,8,8,8,8"
FPN = (
    "smp:FPN?encoder_name=tu-test_resnet&decoder_pyramid_channels=32"
    "&decoder_segmentation_channels=32"
)
NOT_SAID = ("does not say how its input is normalised",)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


CASES = {
    "any size": Case(AnySize, "plain", "AnySize", aligns=False, guessed=NOT_SAID),
    "deep supervision": Case(
        DeeplySupervised, "plain", "DeeplySupervised", mask="number 0", aligns=False,
        guessed=(*NOT_SAID, "mask_key"),
    ),
    "softmax": Case(
        lambda: Softmax(2), "plain", "Softmax", activation="softmax", aligns=False,
        guessed=(*NOT_SAID, "tamper_class", "taken for probabilities"),
    ),
    "sixteen": Case(
        lambda: Sixteen(levels=4), "plain", "Sixteen", stride=16, aligns=False, guessed=NOT_SAID
    ),
    "plain, compiled": Case(
        lambda: compiled(Sixteen(levels=4)), "plain", "Sixteen", ("OptimizedModule",), stride=16,
        aligns=False, guessed=NOT_SAID,
    ),
    "SMP": Case(lambda: build_architecture(FPN), "smp", "FPN", stride=32),
    "timm": Case(
        lambda: build_architecture("timm:test_resnet"), "timm", "TimmLocalizer", stride=32
    ),
    "DataParallel": Case(
        lambda: nn.DataParallel(build_architecture(FPN)), "smp", "FPN", ("DataParallel",), stride=32
    ),
    "compiled": Case(
        lambda: compiled(build_architecture("timm:test_resnet")), "timm", "TimmLocalizer",
        ("OptimizedModule",), stride=32,
    ),
    "Sequential": Case(
        lambda: nn.Sequential(build_architecture(UNET)), "smp", "Unet", ("Sequential",)
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.mark.filterwarnings("ignore:.*(does not say|taken for probabilities)")
def test_a_fresh_wrap_changes_no_bit(case: Case) -> None:
    localizer = case.build().eval()
    defended = wrap_with_ansm(localizer, ansm=ANSM(THIN))
    is_compiled = "OptimizedModule" in case.around
    for height, width in SIZES[:1] if is_compiled else SIZES:  # each is compiled anew, in seconds
        inputs = torch.randn(1, 3, height, width)
        with torch.no_grad():
            output = defended(inputs)
            if height % case.stride == width % case.stride == 0:
                _same(output, localizer(inputs))
            else:  # the bare one fails
                assert output.shape[-2:] == (height, width)


def _same(output: Any, expected: Any) -> None:
    if isinstance(expected, Tensor):
        assert torch.equal(output, expected)
        return
    assert len(output) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(output, expected, strict=True))


def test_what_is_said_of_it_is_true(case: Case) -> None:
    localizer = case.build()
    before = fingerprint(localizer)
    with warnings.catch_warnings():  # all that is guessed is in what it returns
        warnings.simplefilter("error")
        found = explain(localizer)
    assert fingerprint(localizer) == before
    assert (found.localizer, found.around, found.spec.family) == (
        case.localizer, case.around, case.family
    )  # fmt: skip
    assert (found.spec.stride, found.spec.activation) == (case.stride, case.activation)
    assert found.output.value.endswith(f"the mask is {case.mask}")
    assert "it answers an image of" in found.sizes.source
    assert found.gradient.share == pytest.approx(1, abs=0.1)
    assert found.parameters == sum(p.numel() for p in localizer.parameters())
    assert (found.dtype, found.device) == ("float32", "cpu")
    assert len(found.guesses) == len(case.guessed)
    assert all(any(word in guess for guess in found.guesses) for word in case.guessed)
    works = {verdict.command: verdict.works for verdict in found.commands}
    assert {"localize", "attack", "train mgr"} <= {name for name in works if works[name]}
    assert works["train ffa"] == case.aligns
    assert all(tapped.shape is not None for tapped in found.taps)
    assert json.loads(json.dumps(found.to_json()))["spec"]["stride"] == case.stride
