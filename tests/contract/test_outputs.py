"""Whatever form a localizer's output has, it passes through, and the mask in it is found."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, wrap_with_ansm
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe

PLAIN = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Pair(NamedTuple):
    """A named tuple as output."""

    mask: Tensor
    label: Tensor


@dataclass(frozen=True)
class Frozen:
    """An object with attributes that cannot be set."""

    logits: Tensor
    loss: Tensor | None = None


class ModelOutput(OrderedDict[str, Tensor]):
    """Like Hugging Face's: a mapping whose entries are attributes too."""

    @property
    def logits(self) -> Tensor:
        """Return the entry."""
        return self["logits"]


# Each form holds the logits of the mask, which the test knows, under its own place.
FORMS: dict[str, tuple[Callable[[Tensor], Any], str | int | None]] = {
    "tensor": (lambda m: m, None),
    "tensor without channel": (lambda m: m[:, 0], None),
    "tuple": (lambda m: (m, m.mean((2, 3))), None),
    "list, second": (lambda m: [m.mean((2, 3)), m], 1),
    "named tuple": (lambda m: Pair(m, m.mean((2, 3))), None),
    "pred_mask": (lambda m: {"loss": m.mean(), "pred_mask": m}, None),
    "out": (lambda m: OrderedDict(out=m, aux=-m), None),
    "key of its own": (lambda m: {"forged": m, "mask": -m}, "forged"),
    "mapping with attributes": (lambda m: ModelOutput(logits=m), None),
    "object": (lambda m: SimpleNamespace(logits=m, loss=None), None),
    "object, attribute of its own": (lambda m: SimpleNamespace(forged=m, mask=-m), "forged"),
    "frozen object": (lambda m: Frozen(m), None),
}


class Localizer(nn.Module):
    """Marks red pixels and says so in one form; takes multiples of 8 only."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, images: Tensor) -> Any:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)` in the form."""
        assert images.shape[-1] % 8 == images.shape[-2] % 8 == 0
        return self.form(images[:, :1] - images[:, 1:2])


def expected(pixels: Tensor) -> Tensor:
    return pixels[:, :1] - pixels[:, 1:2]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("size", [(16, 8), (13, 9), (3, 5)])
def test_the_mask_is_found_and_the_form_is_kept(name: str, size: tuple[int, int]) -> None:
    form, key = FORMS[name]
    spec = replace(PLAIN, stride=8, mask_key=key)
    pixels = torch.rand(2, 3, *size)
    defended = wrap_with_ansm(Localizer(form), spec=spec)
    output = defended(pixels)
    assert type(output) is type(form(expected(pixels)))
    torch.testing.assert_close(spec.mask_logits(output, size), expected(pixels))
    for localizer in (defended, defended.localizer):
        torch.testing.assert_close(mask_forward(localizer, spec)(pixels), expected(pixels))


def test_everything_beside_the_mask_passes_through() -> None:
    form = FORMS["object"][0]
    output = wrap_with_ansm(Localizer(form), spec=replace(PLAIN, stride=8))(torch.rand(1, 3, 9, 8))
    assert output.loss is None
    given = SimpleNamespace(logits=torch.rand(1, 1, 16, 8))
    wrap_with_ansm(Localizer(lambda m: given), spec=replace(PLAIN, stride=8))(
        torch.rand(1, 3, 9, 8)
    )
    assert given.logits.shape == (1, 1, 16, 8)  # a copy was cropped


def test_a_mask_of_a_quarter_of_the_size_lies_over_the_image() -> None:
    """Transformers of Hugging Face return such logits; padding must not stretch them."""
    spec = replace(PLAIN, stride=32)
    localizer = Localizer(lambda m: SimpleNamespace(logits=nn.functional.avg_pool2d(m, 4)))
    pixels = torch.zeros(1, 3, 40, 36)
    pixels[:, :, :20, :20] = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    mask = mask_forward(localizer, spec)(pixels) > 0.5
    assert mask.shape == (1, 1, 40, 36)
    assert torch.equal(mask[..., :18, :18], torch.ones_like(mask[..., :18, :18]))
    assert not mask[..., 22:, :].any()
    assert not mask[..., 22:].any()


# --- SMP's own options ----------------------------------------------------------------------------


def unet(**options: Any) -> nn.Module:
    """Build a small Unet with options of its head."""
    model: nn.Module = smp.Unet(
        "resnet18", encoder_weights=None, decoder_channels=(16, 16, 8, 8, 8), **options
    )
    return model.eval()


@pytest.mark.parametrize(
    ("options", "tamper_class", "probability"),
    [
        ({}, 1, lambda out: out.sigmoid()),
        ({"activation": "sigmoid"}, 1, lambda out: out),
        ({"classes": 2, "activation": "softmax2d"}, 1, lambda out: out[:, 1:]),
        ({"classes": 2}, 1, lambda out: out.softmax(1)[:, 1:]),
        ({"classes": 2}, 0, lambda out: out.softmax(1)[:, :1]),
        ({"classes": 4}, 2, lambda out: out.softmax(1)[:, 2:3]),
        ({"classes": 4, "activation": "softmax2d"}, 3, lambda out: out[:, 3:]),
        ({"aux_params": {"classes": 2}}, 1, lambda out: out[0].sigmoid()),
        ({"aux_params": {"classes": 2}, "activation": "sigmoid"}, 1, lambda out: out[0]),
    ],
)
def test_the_mask_is_the_probability_of_the_tamper_class(
    options: dict[str, Any], tamper_class: int, probability: Callable[[Any], Tensor]
) -> None:
    localizer = unet(**options)
    spec = replace(describe(localizer), tamper_class=tamper_class)
    pixels = torch.rand(2, 3, 32, 32)
    defended = wrap_with_ansm(localizer, spec=spec)
    with torch.no_grad():
        wanted = probability(localizer(spec.normalise(pixels)))
        found = [mask_forward(model, spec)(pixels).sigmoid() for model in (defended, localizer)]
        output = defended(spec.normalise(pixels))
    assert type(output) is (tuple if "aux_params" in options else Tensor)
    for mask in found:
        assert mask.shape == (2, 1, 32, 32)
        torch.testing.assert_close(mask, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"classes": 3}, {"classes": 2, "activation": "softmax2d"}])
def test_gradients_pass_every_head(options: dict[str, Any]) -> None:
    localizer = unet(**options)
    pixels = torch.rand(1, 3, 32, 32, requires_grad=True)
    logits = mask_forward(wrap_with_ansm(localizer), describe(localizer))(pixels)
    assert torch.autograd.grad(logits.sum(), pixels)[0].any()
