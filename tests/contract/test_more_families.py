"""The contract for models of transformers and torchvision, built tiny, by name, without weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import DefendedLocalizer, explain, load_pretrained, unwrap, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import IMAGENET_MEAN
from ansm_plugin.localizer.taps import taps
from ansm_plugin.training.losses import channelwise_kl

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
HALF, NONE = (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)
_SWIN = (
    "backbone_config.model_type=swin&backbone_config.embed_dim=8&backbone_config.depths=1,1,1,1"
    "&backbone_config.num_heads=1,1,2,2&backbone_config.window_size=4"
    "&backbone_config.out_features=stage1,stage2,stage3,stage4"
)
_VIT = "image_size=64&hidden_size=16&num_hidden_layers=4&num_attention_heads=2&intermediate_size=16"


class Case(NamedTuple):
    """A model by its name, and what its spec must say."""

    name: str
    mean: tuple[float, ...]
    taps: tuple[str, ...]
    source: str
    colour_order: str = "rgb"
    takes_odd: bool = True  # 70x97 pixels, by itself
    side: int = 64  # of the images that are tried, in pixels


CASES = {
    "segformer": Case(
        "transformers:segformer?hidden_sizes=8,16,24,32&depths=1,1,1,1&num_attention_heads=1,2,2,4"
        "&decoder_hidden_size=16",
        IMAGENET_MEAN,
        ("segformer.stages.1", "segformer.stages.2"),
        "type segformer: ImageNet",
    ),
    "upernet": Case(
        f"transformers:upernet?{_SWIN}&hidden_size=16&auxiliary_in_channels=32",
        IMAGENET_MEAN,
        ("backbone[1]", "backbone[2]"),
        "type upernet: ImageNet",
    ),
    "mobilevit": Case(
        "transformers:mobilevit?num_labels=1&hidden_sizes=16,16,24&num_attention_heads=2"
        "&neck_hidden_sizes=8,8,16,16,24,24,32&aspp_out_channels=16&output_stride=16",
        NONE,
        ("mobilevit.encoder.layer.2", "mobilevit.encoder.layer.3"),
        "type mobilevit: none, blue first",
        colour_order="bgr",
    ),
    "mobilevitv2": Case(
        "transformers:mobilevitv2?width_multiplier=0.25&aspp_out_channels=16"
        "&base_attn_unit_dims=32,32,32&n_attn_blocks=1,1,1",
        NONE,
        ("mobilevitv2.encoder.layer.2", "mobilevitv2.encoder.layer.3"),
        "type mobilevitv2: none, blue first",
        colour_order="bgr",
    ),
    "beit": Case(
        f"transformers:beit?{_VIT}&out_indices=1,2,3,4&use_relative_position_bias=true",
        HALF,
        ("beit.layers.1[0]:nlc+1", "beit.layers.2[0]:nlc+1"),
        "type beit: 0.5",
    ),
    "dpt": Case(
        f"transformers:dpt?{_VIT}&backbone_out_indices=0,1,2,3&neck_hidden_sizes=8,8,16,16"
        "&fusion_hidden_size=8&is_hybrid=false",
        HALF,
        ("dpt.encoder.layer.1[0]:nlc+1", "dpt.encoder.layer.2[0]:nlc+1"),
        "type dpt: 0.5",
        takes_odd=False,  # square images only
    ),
    "mask2former": Case(
        f"transformers:mask2former?{_SWIN}&feature_size=32&mask_feature_size=32&hidden_dim=32"
        "&encoder_feedforward_dim=16&encoder_layers=1&decoder_layers=2&num_attention_heads=2"
        "&dim_feedforward=16&num_queries=5&num_labels=2",
        IMAGENET_MEAN,
        ("model.pixel_level_module.encoder[1]", "model.pixel_level_module.encoder[2]"),
        "type mask2former: ImageNet",
    ),
    **{
        name: Case(
            f"torchvision:{name}",
            IMAGENET_MEAN,
            ("backbone.layer2", "backbone.layer3"),
            "torchvision: ImageNet",
            side=32,
        )
        for name in ("deeplabv3_resnet50", "fcn_resnet50")
    },
    **{
        name: Case(
            f"torchvision:{name}?num_classes=2",
            IMAGENET_MEAN,
            ("backbone.6", "backbone.12"),
            "torchvision: ImageNet",
            side=32,
        )
        for name in ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
    },
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def built(case: Case) -> nn.Module:
    """Build a model whose signals neither vanish nor explode, in train mode.

    Weights are made larger, and BatchNorms see two images.
    """
    model = build_architecture(case.name).train()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        model(torch.rand(2, 3, case.side, case.side))
    return model


def test_a_model_keeps_the_contract(case: Case, tmp_path: Path) -> None:
    localizer = built(case)
    modes = [module.training for module in localizer.modules()]
    defended = wrap_with_ansm(localizer, ansm=ANSM(THIN))
    check_spec(defended, case)
    check_a_fresh_wrap_changes_no_bit(defended, case)
    nn.init.normal_(defended.ansm.trunk.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    check_gradients(defended, case.side)
    check_taps(defended, case.side)
    check_any_size(defended)
    check_it_is_saved_and_loaded(defended, case.side, tmp_path)
    assert unwrap(defended) is localizer
    assert [module.training for module in localizer.modules()] == modes


def check_spec(defended: DefendedLocalizer[nn.Module], case: Case) -> None:
    """The spec says what is true, and where it comes from."""
    spec = defended.spec
    assert spec.family == case.name.partition(":")[0]
    assert spec.mean == pytest.approx(case.mean)
    assert spec.normalisation.endswith(case.source)
    assert (spec.colour_order, spec.taps) == (case.colour_order, case.taps)
    assert (spec.activation, spec.tamper_class, spec.stride) == ("logits", 1, 1)


def tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of an output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)


def check_a_fresh_wrap_changes_no_bit(defended: DefendedLocalizer[nn.Module], case: Case) -> None:
    """All that comes back equals what the model returns, called by position and by keyword."""
    keyword = "pixel_values" if "transformers" in case.name else None
    for size in [(case.side, case.side), (70, 97) if case.takes_odd else (70, 70)]:
        inputs = defended.spec.normalise(torch.rand(1, 3, *size))
        with torch.no_grad():
            bare = defended.localizer(inputs)
            found = defended(**{keyword: inputs}) if keyword else defended(inputs)
        assert type(found) is type(bare)
        pairs = list(zip(tensors(bare), tensors(found), strict=True))
        assert pairs
        assert all(torch.equal(a, b) for a, b in pairs)


def check_gradients(defended: DefendedLocalizer[nn.Module], side: int) -> None:
    """An attack on pixels, and training of the ANSM, get gradients; the model's weights none."""
    pixels = torch.rand(1, 3, side, side, requires_grad=True)
    logits = mask_forward(defended, defended.spec)(pixels)
    assert float(logits.detach().std()) > 0
    gradients = torch.autograd.grad(logits.sum(), [pixels, *defended.ansm.parameters()])
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert all(bool(g.any()) for g in (gradients[0], gradients[-1]))
    assert float((gradients[0] != 0).float().mean()) > 0.9
    assert not any(p.requires_grad for p in defended.localizer.parameters())


def check_taps(defended: DefendedLocalizer[nn.Module], side: int) -> None:
    """Two stages of real channels, without prefix tokens, that tell two images apart."""
    found = []
    pixels = torch.rand(1, 3, side, side)
    for images in (pixels, pixels.flip(-1)):
        with torch.no_grad(), taps(defended.localizer, defended.spec.taps) as features:
            defended.localizer(defended.spec.normalise(images))
        found.append(list(features.values()))
    assert len(found[0]) == 2
    assert [f.shape[-1] in {4, 16, 64} for f in found[0]] == [True, True]  # squares
    assert all(f.shape[1] > 3 and bool(f.std(-1).any()) for f in found[0])
    assert float(channelwise_kl(*found)) > 0


def check_any_size(defended: DefendedLocalizer[nn.Module]) -> None:
    """Masks have the size of the image, whatever that is."""
    forward = mask_forward(defended, defended.spec)
    for size in ((37, 50), (5, 9)):
        with torch.no_grad():
            assert forward(torch.rand(1, 3, *size)).shape == (1, 1, *size)


def check_it_is_saved_and_loaded(
    defended: DefendedLocalizer[nn.Module], side: int, folder: Path
) -> None:
    """The ANSM and the spec come back from a folder and defend the same."""
    pixels = torch.rand(1, 3, side, side)
    defended.save_pretrained(folder)
    with torch.no_grad():
        before = mask_forward(defended, defended.spec)(pixels)
        again = load_pretrained(folder, unwrap(defended))
        assert again.spec == defended.spec
        torch.testing.assert_close(mask_forward(again, again.spec)(pixels), before)
    unwrap(again)


def test_what_doctor_says_is_true(case: Case) -> None:
    localizer = build_architecture(case.name)
    found = explain(localizer)
    assert (found.localizer, found.spec) == (type(localizer).__name__, describe(localizer))
    assert "it answers an image of" in found.sizes.source
    place = "made of class and mask queries" if "mask2former" in case.name else "entry '"
    assert f"the mask is {place}" in found.output.value
    assert found.activation.value == "logits"
    assert [tapped.name for tapped in found.taps] == list(case.taps)
    assert all(tapped.shape is not None for tapped in found.taps)
    share = found.gradient.share  # None: without training some masks do not answer
    assert share == pytest.approx(1, abs=0.1) or "does not answer" in found.gradient.reason
    assert all(verdict.works for verdict in found.commands)
