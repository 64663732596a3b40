"""What is known of Hugging Face's segmentation models by their type: class, input, sizes, taps.

Sizes are in pixels. Paths of taps are those of transformers 5; where a release before has another
one, that stands behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from ansm_plugin.localizer.sizes import Sizes
from ansm_plugin.localizer.spec import IMAGENET_MEAN, IMAGENET_STD, ColourOrder, Triple

Paths = Callable[[Any], Iterable[tuple[str, ...]]]  # config -> for each tap its possible paths


@dataclass(frozen=True)
class Input:
    """What the image processor of a type makes of pixels in [0, 1].

    Attributes:
        called: in words.
        mean: of each colour channel, red first, that is subtracted.
        std: of each colour channel, that it divides by.
        colour_order: of the channels.
    """

    called: str
    mean: Triple
    std: Triple
    colour_order: ColourOrder = "rgb"


IMAGENET = Input("ImageNet", IMAGENET_MEAN, IMAGENET_STD)
HALF = Input("0.5", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RAW_BGR = Input("none, blue first", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bgr")


@dataclass(frozen=True)
class Kind:
    """What is known of one type.

    Attributes:
        architecture: class in transformers.
        input: of its image processor.
        sizes: config -> the sizes that it takes.
        taps: config -> two encoder stages, the second and the third of four.
    """

    architecture: str
    input: Input
    sizes: Callable[[Any], Sizes]
    taps: Paths


def taps_of(localizer: nn.Module, kind: Kind, config: Any) -> tuple[str, ...]:
    """Return those taps of a kind that the localizer has."""
    modules = {name for name, _ in localizer.named_modules()}
    chosen = [
        next((path for path in paths if path.partition("[")[0].partition(":")[0] in modules), None)
        for paths in kind.taps(config)
    ]
    return tuple(path for path in chosen if path is not None)


def _any_from(smallest: int) -> Callable[[Any], Sizes]:
    """Return sizes of a type that takes any size from some pixels on."""
    return lambda config: Sizes(1, smallest)


def _segformer_sizes(config: Any) -> Sizes:
    """Its attention shrinks keys by a stride of its own at each stage."""
    strides = [prod(config.strides[: stage + 1]) for stage in range(len(config.strides))]
    return Sizes(1, max(a * b for a, b in zip(strides, config.sr_ratios, strict=True)))


def _whole_image(config: Any) -> Sizes:
    side = config.image_size
    side = int(side if isinstance(side, int) else max(side))
    return Sizes(side, side)


def _dpt_sizes(config: Any) -> Sizes:
    """It takes the root of its number of patches for the height; the hybrid has one size alone.

    Like BEiT it passes over pixels beyond the last whole patch.
    """
    return _whole_image(config) if config.is_hybrid else Sizes(1, int(config.patch_size), True)


def _stages(*templates: str, stages: tuple[int, int] = (1, 2)) -> Paths:
    return lambda config: [tuple(t.format(stage) for t in templates) for stage in stages]


def _layers(*templates: str, chosen: Callable[[Any], Iterable[int]]) -> Paths:
    """Return layers of a transformer as taps: one number in each template."""
    return lambda config: [tuple(t.format(layer) for t in templates) for layer in chosen(config)]


def _beit_layers(config: Any) -> list[int]:
    """Its outputs count the embeddings as the first."""
    return [index - 1 for index in list(config.out_indices)[1:3]]


def _eomt_layers(config: Any) -> list[int]:
    count = int(config.num_hidden_layers)
    return [count // 2 - 1, 3 * count // 4 - 1]


def _eomt_taps(config: Any) -> list[tuple[str, ...]]:
    prefix = 1 + int(config.num_register_tokens)
    return [(f"layers.{layer}[0]:nlc+{prefix}",) for layer in _eomt_layers(config)]


_BACKBONE = _stages("backbone[{}]")
_OF_QUERIES = _stages("model.pixel_level_module.encoder[{}]")
_MOBILE = (2, 3)  # its layers of stride 8 and 16
KINDS = {
    "segformer": Kind(
        "SegformerForSemanticSegmentation",
        IMAGENET,
        _segformer_sizes,
        _stages("segformer.stages.{}", "segformer.encoder.layer_norm.{}:nlc+0"),
    ),
    "upernet": Kind("UperNetForSemanticSegmentation", IMAGENET, _any_from(32), _BACKBONE),
    "mobilevit": Kind(
        "MobileViTForSemanticSegmentation",
        RAW_BGR,
        _any_from(1),
        _stages("mobilevit.encoder.layer.{}", stages=_MOBILE),
    ),
    "mobilevitv2": Kind(
        "MobileViTV2ForSemanticSegmentation",
        RAW_BGR,
        _any_from(33),  # two by two cells of its last stage
        _stages("mobilevitv2.encoder.layer.{}", stages=_MOBILE),
    ),
    "mobilenet_v2": Kind(
        "MobileNetV2ForSemanticSegmentation",
        HALF,
        _any_from(1),
        _stages("mobilenet_v2.layer.{}", stages=(4, 11)),  # the last ones of stride 8 and 16
    ),
    "beit": Kind(
        "BeitForSemanticSegmentation",
        HALF,
        lambda config: Sizes(1, 2 * int(config.patch_size)),
        _layers("beit.layers.{}[0]:nlc+1", "beit.encoder.layer.{}[0]:nlc+1", chosen=_beit_layers),
    ),
    "data2vec-vision": Kind(
        "Data2VecVisionForSemanticSegmentation",
        HALF,
        _whole_image,
        _layers("data2vec_vision.encoder.layer.{}[0]:nlc+1", chosen=_beit_layers),
    ),
    "dpt": Kind(
        "DPTForSemanticSegmentation",
        HALF,
        _dpt_sizes,
        _layers(
            "dpt.encoder.layer.{}[0]:nlc+1",
            chosen=lambda config: list(config.backbone_out_indices)[1:3],
        ),
    ),
    "mask2former": Kind(
        "Mask2FormerForUniversalSegmentation", IMAGENET, _any_from(33), _OF_QUERIES
    ),
    "maskformer": Kind("MaskFormerForInstanceSegmentation", IMAGENET, _any_from(33), _OF_QUERIES),
    "eomt": Kind("EomtForUniversalSegmentation", IMAGENET, _whole_image, _eomt_taps),
}
