"""A guess at which localizer a file of weights is of, from names and shapes of its tensors.

A localizer is named only where it was built and every name and shape fits; what weights do not say,
such as how the input is normalised and what the mask holds, is then the family's default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.errors import LocalizerError
from ansm_plugin.weights import catalogue

Shapes = Mapping[str, tuple[int, ...]]

_HEAD = "segmentation_head."  # of every architecture of SMP
_COUNTER = "num_batches_tracked"
_MOST_CHANNELS = 2048  # a file of a few bytes must not make us build a giant
_DECODERS = {  # what the decoder of an architecture has, and no other's
    "UnetPlusPlus": "decoder.blocks.x_0_0.",
    "MAnet": "decoder.center.top_conv.",
    "Linknet": "decoder.blocks.0.block.",
    "FPN": "decoder.p5.",
    "PSPNet": "decoder.psp.blocks.0.pool.",
    "DeepLabV3": "decoder.aspp.convs.",
    "DeepLabV3Plus": "decoder.aspp.0.",
    "PAN": "decoder.fpa.",
    "UPerNet": "decoder.fpn_lateral_blocks.",
    "Segformer": "decoder.mlp_stage.",
    "Unet": "decoder.blocks.0.conv1.",
}
_ENCODERS = {  # a tensor that the encoders of a kind have, and their names
    "layer1.0.conv1.weight": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
                              "resnext50_32x4d", "resnext101_32x8d"),
    "features.0.0.weight": ("mobilenet_v2",),
    "features.conv0.weight": ("densenet121", "densenet169", "densenet201", "densenet161"),
    "_conv_stem.weight": tuple(f"efficientnet-b{size}" for size in range(8)),
    "patch_embed1.proj.weight": tuple(f"mit_b{size}" for size in range(6)),
    "layer0.conv1.weight": ("se_resnet50", "se_resnet101", "se_resnext50_32x4d"),
    "features.0.weight": ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
                          "vgg19_bn"),
}  # fmt: skip

# Blocks of the third stage: these encoders cannot be built without memory and time.
_MIT_BLOCKS = {"mit_b0": 2, "mit_b1": 2, "mit_b2": 6, "mit_b3": 18, "mit_b4": 27, "mit_b5": 40}
_THIRD_STAGE = re.compile(r"encoder\.block3\.\d+\.norm1\.weight")


def recognise(shapes: Shapes) -> str | None:
    """Return the name of the localizer that all tensors fit, as `--localizer` takes it, or None.

    Those of the package and of segmentation_models_pytorch with its own encoders are known.

    Args:
        shapes: of all tensors by name, without what wrappers put before the names.
    """
    if not any(name.startswith(_HEAD) for name in shapes):
        return None  # and SMP, which is slow to import, need not be asked
    return next((name for name in _candidates(shapes) if _fits(name, shapes)), None)


def _candidates(shapes: Shapes) -> Iterator[str]:
    yield from catalogue.packaged()  # others are found by their family
    architecture = next(
        (a for a, own in _DECODERS.items() if any(name.startswith(own) for name in shapes)), None
    )
    marks = (mark for mark in _ENCODERS if f"encoder.{mark}" in shapes)
    mark = next(marks, None)
    widths = [_classes(shapes), *_unet_channels(shapes)]
    is_sane = min(widths) > 0 and max(widths) <= _MOST_CHANNELS
    if architecture is not None and mark is not None and is_sane:
        options = _options(architecture, shapes)
        blocks = sum(bool(_THIRD_STAGE.fullmatch(name)) for name in shapes)
        for encoder in (e for e in _ENCODERS[mark] if _MIT_BLOCKS.get(e, blocks) == blocks):
            yield f"smp:{architecture}?encoder_name={encoder}{options}"


def _options(architecture: str, shapes: Shapes) -> str:
    """Return the options that shapes tell, "&name=value" each, where they are not SMP's own."""
    options = ""
    if architecture == "Unet":
        channels = _unet_channels(shapes)
        if len(channels) != 5:
            options += f"&encoder_depth={len(channels)}"
        if channels != [256, 128, 64, 32, 16]:
            options += f"&decoder_channels={','.join(map(str, channels))}"
        if any(".attention1.attention." in name for name in shapes):
            options += "&decoder_attention_type=scse"
    classes = _classes(shapes)
    return options + (f"&classes={classes}" if classes != 1 else "")


def _classes(shapes: Shapes) -> int:
    return sum(shapes.get(f"{_HEAD}0.weight", (1,))[:1])


def _unet_channels(shapes: Shapes) -> list[int]:
    names = (f"decoder.blocks.{level}.conv1.0.weight" for level in range(5))
    return [sum(shapes[name][:1]) for name in names if name in shapes]


def _fits(name: str, shapes: Shapes) -> bool:
    """Return whether a localizer has these tensors and no others, counters of BatchNorm aside."""
    try:
        state = _built(name).state_dict()
    except LocalizerError:  # such as a depth that SMP does not have
        return False
    built = {key: tuple(value.shape) for key, value in state.items()}
    return _counted(built) == _counted(shapes)


def _built(name: str) -> nn.Module:
    try:
        with torch.device("meta"):  # no memory, no random numbers
            return build_architecture(name)
    except LocalizerError:  # encoders that compute with numbers as they are built
        with torch.random.fork_rng(devices=[]):
            return build_architecture(name)


def _counted(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.endswith(_COUNTER)}
