"""Every SMP architecture with every kind of encoder, and timm encoders under the reference head.

`combination` runs over all that can be built, `sample` over one architecture per encoder, one
encoder per architecture and all timm encoders, `refusal` over what SMP itself refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import segmentation_models_pytorch as smp
import timm
from torch import nn

from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer.spec import IMAGENET_MEAN

ARCHITECTURES = (
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3",
    "DeepLabV3Plus", "UPerNet", "Segformer", "DPT",
)  # fmt: skip
SWIN, VIT = "tu-swin_tiny_patch4_window7_224", "tu-test_vit"
# Swin is made thin, not changed in kind.
THIN_SWIN = "img_size=64&embed_dim=24&depths=1,1,1,1"
ENCODERS = {
    "resnet18": "",
    "vgg11": "",
    "mobilenet_v2": "",
    "efficientnet-b0": "",
    "mit_b0": "",
    "tu-convnext_atto": "",
    "tu-mobilenetv4_conv_small": "",
    SWIN: THIN_SWIN,
    VIT: "dynamic_img_size=true",
}
_DILATES = ("DeepLabV3", "DeepLabV3Plus", "PAN")
# SMP 0.5 builds these, but what it builds cannot run or takes wrong sizes; 0.6 corrected it.
IS_SMP_05 = smp.__version__.startswith("0.5.")
_BROKEN_05 = {
    ("DPT", "tu-convnext_atto"),
    *((name, encoder) for name in ("Linknet", "UnetPlusPlus")
      for encoder in (SWIN, "tu-convnext_atto")),
    ("DeepLabV3Plus", SWIN),
    ("PAN", SWIN),
}  # fmt: skip
BROKEN = _BROKEN_05 if IS_SMP_05 else set[tuple[str, str]]()
REFUSED = {
    **{
        ("DPT", encoder): f"Only Timm encoders are supported for DPT.*got {encoder}"
        for encoder in ENCODERS
        if not encoder.startswith("tu-")
    },
    **{(name, "vgg11"): "'VGG' models do not support dilated mode" for name in _DILATES},
    **{
        (name, SWIN): "unexpected keyword argument 'output_stride'"
        for name in _DILATES
        if not IS_SMP_05
    },
    **{(name, VIT): "Unsupported model downsampling pattern" for name in ARCHITECTURES[:-1]},
    ("UnetPlusPlus", "mit_b0"): "UnetPlusPlus is not support encoder_name=mit_b0",
    ("Linknet", "mit_b0"): "Encoder `mit_b0` is not supported for Linknet",
}
SAMPLED = (
    ("Unet", "resnet18"), ("UnetPlusPlus", "mobilenet_v2"), ("MAnet", "mit_b0"),
    ("Linknet", "vgg11"), ("FPN", "tu-convnext_atto"), ("PSPNet", "efficientnet-b0"),
    ("PAN", "resnet18"), ("DeepLabV3", "mobilenet_v2"),
    ("DeepLabV3Plus", "tu-mobilenetv4_conv_small"), ("UPerNet", SWIN), ("Segformer", "mit_b0"),
    ("DPT", VIT),
)  # fmt: skip
TIMM = (
    "test_resnet",  # convolutional
    "test_efficientnet",
    "test_byobnet",
    "test_nfnet",
    "test_convnext",
    "convnext_atto",
    "test_vit?dynamic_img_size=true",  # a class token before the patches
    "test_vit3?img_size=64",  # registers, one size
    "vit_tiny_patch16_224?dynamic_img_size=true&depth=3",
    f"swin_tiny_patch4_window7_224?{THIN_SWIN}",  # channels last
    "swinv2_tiny_window8_256?img_size=64&embed_dim=24&depths=1,1,1,1",
    "test_mambaout",
    "pvt_v2_b0",
    "test_coatnet?img_size=64",  # hybrids of convolution and attention
    "test_maxvit?img_size=64",
    "mobilenetv4_hybrid_medium",
    "vit_tiny_r_s16_p8_224?dynamic_img_size=true",
)


class Combination(NamedTuple):
    """A localizer by its command-line name, and the normalisation of its encoder."""

    name: str
    mean: tuple[float, ...]
    source: str

    def build(self) -> nn.Module:
        """Build it with random weights, in train mode as a user would hand it over."""
        return build_architecture(self.name).train()


def _smp(architecture: str, encoder: str) -> Combination:
    options = "&".join(filter(None, [f"encoder_name={encoder}", ENCODERS[encoder]]))
    if architecture == "DPT" and encoder != VIT:
        options += "&decoder_readout=ignore"  # SMP's advice where there are no prefix tokens
    is_timm = encoder.startswith("tu-")
    mean = _timm_mean(encoder.removeprefix("tu-")) if is_timm else IMAGENET_MEAN
    source = "pretrained_cfg" if is_timm else f"SMP encoder {encoder}"
    return Combination(f"smp:{architecture}?{options}", mean, source)


def _timm_mean(name: str) -> tuple[float, ...]:
    return tuple(timm.get_pretrained_cfg(name).mean)


def all_pairs() -> Iterator[tuple[str, str]]:
    """Yield every architecture with every encoder."""
    return ((architecture, encoder) for architecture in ARCHITECTURES for encoder in ENCODERS)


SMP_COMBINATIONS = [_smp(*pair) for pair in all_pairs() if pair not in REFUSED.keys() | BROKEN]
TIMM_COMBINATIONS = [
    Combination(f"timm:{name}", _timm_mean(name.partition("?")[0]), "pretrained_cfg")
    for name in TIMM
    if timm.is_model(name.partition("?")[0])  # older releases of timm lack some
]
SAMPLES = [*(_smp(*pair) for pair in SAMPLED), *TIMM_COMBINATIONS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests the combinations that they ask for by argument."""
    tables = {"combination": [*SMP_COMBINATIONS, *TIMM_COMBINATIONS], "sample": SAMPLES}
    for name, table in tables.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, table, ids=[c.name for c in table])
    if "refusal" in metafunc.fixturenames:
        rows = [(_smp(*pair).name, reason) for pair, reason in REFUSED.items()]
        metafunc.parametrize("refusal", rows, ids=[name for name, _ in rows])


@pytest.fixture
def counts() -> dict[str, int]:
    """Return how many of each there are."""
    return {
        "architectures": len(ARCHITECTURES),
        "encoders": len(ENCODERS),
        "pairs": len(list(all_pairs())),
        "smp": len(SMP_COMBINATIONS),
        "refused": len(REFUSED),
        "broken": len(BROKEN),
        "timm": len(TIMM_COMBINATIONS),
        "timm that old releases lack": len(TIMM) - len(TIMM_COMBINATIONS),
        "sampled architectures": len({architecture for architecture, _ in SAMPLED}),
        "sampled encoders": len({encoder for _, encoder in SAMPLED}),
    }
