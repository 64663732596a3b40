"""`explain`: what is known of a localizer, what that rests on, and what works on it."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, explain, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.explanation import Explanation
from ansm_plugin.localizer.facts import Facts
from ansm_plugin.localizer.gradient import GradientShare
from ansm_plugin.localizer.stated import stated
from ansm_plugin.localizer.verdicts import verdicts
from tests.support.cutting import CUTS, HALF, Answered, TwoStreams

THIN = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())


def page(found: Explanation) -> str:
    """Return the page without its line breaks."""
    return " ".join(" ".join(found.lines()).split())


def works(found: Explanation) -> dict[str, str]:
    """Return why each command does not work, "" where it does."""
    return {v.command: "" if v.works else v.reason for v in found.commands}


def test_it_is_frozen_and_json() -> None:
    found = explain(Answered())
    with pytest.raises(FrozenInstanceError):
        found.localizer = "another"  # type: ignore[misc]
    table = json.loads(json.dumps(found.to_json()))
    assert table["localizer"] == "Answered"
    assert table["gradient"] == {"share": pytest.approx(1, abs=0.05), "reason": ""}
    assert table["spec"]["mean"] == [0.5, 0.5, 0.5]
    assert table["guesses"] == []
    assert {"command": "train ffa", "works": False, "reason": works(found)["train ffa"]} in table[
        "commands"
    ]


def test_every_line_of_the_page_fits() -> None:
    found = explain(TwoStreams(Tensor.detach), LocalizerSpec(taps=("stem", "no.such.module")))
    assert max(map(len, found.lines())) <= 100
    assert re.search(r"gradient [2-8]\d% comes back to the image; the rest is cut off", page(found))
    assert "no.such.module" in page(found)


def test_a_guess_is_called_one_and_the_option_overrules_it() -> None:
    model = Answered(torch.sigmoid)
    model.pretrained_cfg = None  # type: ignore[assignment]
    found = explain(model)
    assert len(found.guesses) == 2
    assert "ImageNet mean and std are assumed" in found.normalisation.guess
    assert "--localizer-mean and --localizer-std" in found.normalisation.guess
    assert "--localizer-activation" in found.activation.guess
    said = Facts(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), activation="sigmoid", stride=4)
    after = explain(model, facts=said)
    assert after.guesses == ()
    assert after.spec.stride == 4
    assert after.sizes.source.startswith("as you say")
    assert after.normalisation.source == "source: explicit"
    assert stated(model) is None  # it was said for this page alone


def test_a_spec_that_is_given_is_held_against_what_is_seen() -> None:
    found = explain(Answered(torch.sigmoid), LocalizerSpec(stride=8))
    assert found.family.source == "its spec was given"
    assert found.activation.value == "logits"
    assert "they look like sigmoid" in found.activation.guess


def test_a_stride_that_does_not_hold_is_seen() -> None:
    def sixteen(logits: Tensor) -> Tensor:
        assert logits.shape[-1] % 16 == 0
        return logits

    found = explain(Answered(sixteen), LocalizerSpec(stride=8))
    assert "but it fails on 88x72" in found.sizes.source
    assert "--localizer-stride" in found.sizes.guess
    assert explain(Answered(sixteen)).spec.stride == 16


def test_one_fixed_size_is_seen() -> None:
    def square(logits: Tensor) -> Tensor:
        assert logits.shape[-2:] == (256, 256)
        return logits

    found = explain(Answered(square))
    assert (
        found.sizes.value == "multiples of 256 pixels from 256 pixels on; other images are padded"
    )
    assert "taken for one of a fixed size" in found.sizes.source


def test_a_mask_that_does_not_lie_over_its_image_is_remarked() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.ConvTranspose2d(4, 1, 4, 4))
    model.pretrained_cfg = HALF  # type: ignore[assignment]
    (remark,) = explain(model).remarks
    assert "its mask of an image of 67x65 has 68x68" in remark
    assert "A stride of 4 pads" in remark
    assert explain(model, facts=Facts(stride=4)).remarks == ()


FORMS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "dict": (lambda m: {"loss": m.mean(), "pred_mask": m}, "the mask is entry 'pred_mask'"),
    "tuple": (lambda m: (m, m.mean((1, 2, 3))), "the mask is number 0"),
    "without channels": (lambda m: m[:, 0], "the mask is all of it"),
}


@pytest.mark.parametrize("form", FORMS)
def test_where_the_mask_is_in_an_output(form: str) -> None:
    way, said = FORMS[form]
    found = explain(Answered(way))
    assert said in found.output.value
    assert found.output.guess == ""


def test_which_of_several_masks_is_a_guess() -> None:
    found = explain(Answered(lambda m: (m.expand(-1, 3, -1, -1), m)))
    assert "of 3 classes number 1 is taken for forged" in found.output.guess
    assert "spec=LocalizerSpec(tamper_class=..., mask_key=...)" in found.output.guess


# --- which commands work --------------------------------------------------------------------------


def test_nothing_works_without_a_mask() -> None:
    found = explain(Answered(lambda m: m.mean((1, 2, 3))))
    assert "no mask found" in found.output.source
    assert set(works(found).values()) == {"no mask comes out of it"}
    assert explain(nn.Conv2d(3, 1, 1, device="meta"), LocalizerSpec()).parameters == 4


def test_nothing_works_where_the_mask_holds_nan() -> None:
    found = explain(Answered(lambda m: m * float("nan")))
    assert set(works(found).values()) == {"its mask holds NaN"}


def test_what_needs_a_gradient_does_not_work_without() -> None:
    found = explain(Answered(CUTS["numpy"]), LocalizerSpec(taps=("stem",)))
    assert "Can't call numpy()" in page(found)
    reasons = works(found)
    assert [name for name in reasons if not reasons[name]] == ["localize", "export"]
    assert "--threat T0,T6" in reasons["evaluate"]


def test_what_needs_taps_does_not_work_without() -> None:
    assert "--localizer-taps" in works(explain(Answered()))["train ffa"]
    found = explain(Answered(), facts=Facts(taps=("stem",)))
    assert set(works(found).values()) == {""}
    assert "yes: calibrate, train mgr (with --ansm FILE)" in page(found)
    assert "stem: 8 channels at 4096 places" in page(found)
    broken = explain(Answered(), facts=Facts(taps=("stem", "sten")))
    assert "sten gives no feature" in works(broken)["train two-stage"]
    assert "nearest: stem" in page(broken)


def test_a_part_of_the_gradient_is_a_caution() -> None:
    (attack,) = [v for v in verdicts("", GradientShare(0.4), ()) if v.command == "attack"]
    assert attack.works
    assert "a part of the gradient" in attack.reason


# --- what is left alone ---------------------------------------------------------------------------


def test_a_defended_localizer_is_refused() -> None:
    defended = wrap_with_ansm(Answered(), ansm=ANSM(THIN))
    with pytest.raises(LocalizerError, match=r"explain\(defended.localizer\)"):
        explain(defended)
    explain(defended.localizer)
    with pytest.raises(LocalizerError, match=r"a localizer is a torch\.nn\.Module; given str"):
        explain("forensic-unet")  # type: ignore[arg-type]


def test_nothing_of_the_localizer_changes(tiny: nn.Module) -> None:
    tiny.train()
    state = {name: value.clone() for name, value in tiny.state_dict().items()}
    drawn = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(tiny, facts=Facts(taps=("features",)))
    assert all(torch.equal(value, state[name]) for name, value in tiny.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(module.training for module in tiny.modules())
    assert all(p.requires_grad and p.grad is None for p in tiny.parameters())
