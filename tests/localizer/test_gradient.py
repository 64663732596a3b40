"""Which share of the gradient comes back through a localizer, and who is told before attacking."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.cli import main
from ansm_plugin.errors import LocalizerError
from ansm_plugin.evaluation import material
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.ready import require_attackable
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.gradient import GradientShare, gradient_share, require_gradient
from ansm_plugin.localizer.traits import fingerprint
from tests.support.cutting import CUTS, Answered, TwoStreams, straight_through

THIN = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())


def measured(model: nn.Module) -> GradientShare:
    return gradient_share(model, describe(model))


@pytest.mark.parametrize("cut", CUTS)
def test_a_localizer_that_cuts_the_gradient_has_none(cut: str) -> None:
    found = gradient_share(Answered(CUTS[cut]), LocalizerSpec())
    assert found.share == 0
    assert found.is_cut
    assert found.reason


def test_a_differentiable_localizer_has_all_of_it(tiny: nn.Module, unet: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiny does not say how its input is normalised
        shares = [measured(model).share for model in (Answered(), tiny, unet)]
    assert all(share is not None and share > 0.95 for share in shares), shares


@pytest.mark.parametrize("cut", ["detach", "no_grad"])
def test_one_of_two_equal_streams_is_half(cut: str) -> None:
    shares = []
    for seed in range(6):
        torch.manual_seed(seed)
        found = measured(TwoStreams(CUTS[cut]))
        assert found.is_partial
        shares.append(found.share or 0.0)
    assert 0.4 < sum(shares) / len(shares) < 0.6


def test_a_stream_counts_by_the_square_of_its_weight() -> None:
    def weak(images: Tensor) -> Tensor:
        return 0.2 * images.detach()

    found = measured(TwoStreams(weak)).share
    assert found is not None
    assert found > 0.9  # 1 / (1 + 0.04)


def test_rounding_that_lets_the_gradient_through_cuts_nothing() -> None:
    share = measured(TwoStreams(straight_through)).share
    assert share is not None
    assert share > 0.9


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Answered(lambda x: 0 * x), "does not answer"),
        (Answered(lambda x: x * float("nan")), "NaN"),
        (Answered(lambda x: x.mean((1, 2, 3))), "no mask"),
        (nn.Conv2d(3, 1, 1, device="meta"), "no values"),
    ],
)
def test_where_it_cannot_be_told_nothing_is_claimed(model: nn.Module, reason: str) -> None:
    found = gradient_share(model, LocalizerSpec())
    assert found.share is None
    assert reason in found.reason
    assert not found.is_cut
    assert not found.is_partial
    require_gradient(model, LocalizerSpec())  # whatever is wrong with it is said by who uses it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_is_too_coarse_to_measure_but_not_to_see_a_cut(dtype: torch.dtype) -> None:
    found = gradient_share(Answered().to(dtype), LocalizerSpec())
    if dtype == torch.float64:
        assert found.share == pytest.approx(1, abs=0.05)
    else:
        assert found.share is None
        assert "too coarse" in found.reason
    assert gradient_share(Answered(CUTS["detach"]).to(dtype), LocalizerSpec()).is_cut


def test_memory_that_runs_out_is_no_cut() -> None:
    def full(values: Tensor) -> Tensor:
        if values.requires_grad:
            raise torch.OutOfMemoryError
        return values

    assert measured(Answered(full)).share is None


def test_a_localizer_of_single_images_is_measured() -> None:
    def one(logits: Tensor) -> Tensor:
        assert len(logits) == 1
        return logits

    assert gradient_share(Answered(one), LocalizerSpec()).share == pytest.approx(1, abs=0.05)


def test_measuring_leaves_no_trace(unet: nn.Module) -> None:
    unet.train()
    next(iter(unet.parameters())).requires_grad_(False)
    state, flags = fingerprint(unet), [p.requires_grad for p in unet.parameters()]
    modes = [module.training for module in unet.modules()]
    drawn = torch.get_rng_state(), random.getstate()
    measured(unet)
    assert fingerprint(unet) == state
    assert [p.requires_grad for p in unet.parameters()] == flags
    assert [module.training for module in unet.modules()] == modes
    assert all(p.grad is None for p in unet.parameters())
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert random.getstate() == drawn[1]


def test_a_compiled_localizer_is_not_compiled_for_it() -> None:
    def backend(graph: Any, _: Any) -> Any:
        raise AssertionError("it was compiled")

    model = torch.compile(Answered(), backend=backend)
    assert gradient_share(model, LocalizerSpec()).share == pytest.approx(1, abs=0.05)  # type: ignore[arg-type]


def test_a_caller_in_inference_mode_changes_nothing() -> None:
    model = Answered()
    with torch.inference_mode():
        assert gradient_share(model, LocalizerSpec()).share == pytest.approx(1, abs=0.05)


# --- who is told ----------------------------------------------------------------------------------


def test_training_and_attacks_are_refused_by_name() -> None:
    with pytest.raises(LocalizerError, match=r"no gradient comes back through Answered: its outp"):
        require_gradient(Answered(CUTS["detach"]), LocalizerSpec())
    with pytest.raises(LocalizerError, match=r"Can't call numpy.*take detach\(\), no_grad"):
        require_gradient(Answered(CUTS["numpy"]), LocalizerSpec())


def test_a_part_is_warned_of_with_its_share() -> None:
    with pytest.warns(UserWarning, match=r"\d\d% of the gradient comes back through TwoStreams"):
        require_gradient(TwoStreams(Tensor.detach), LocalizerSpec())
    require_gradient(Answered(), LocalizerSpec())  # warnings are errors here


@pytest.mark.parametrize("threats", [("T0", "T1"), ("T0", "T4"), ("T0", "T6"), ("T0",)])
def test_an_evaluation_asks_for_a_gradient_where_an_attack_needs_it(threats: Any) -> None:
    defended = wrap_with_ansm(Answered(CUTS["detach"]), ansm=ANSM(THIN))
    config = EvaluationConfig(threats=threats)
    if {"T1", "T4"} & set(threats):
        with pytest.raises(LocalizerError, match="no gradient comes back"):
            require_attackable(defended, config, ())
    else:
        require_attackable(defended, config, ())


@pytest.mark.parametrize("cut", ["numpy", "no backward", "in place"])
@pytest.mark.parametrize("whole", [True, False])
def test_an_attack_says_it_in_our_words(cut: str, whole: bool) -> None:
    """Torch's own are "Can't call numpy() on Tensor that requires grad" and the like."""
    model = Answered(CUTS[cut]).eval()
    forward = mask_forward(model, describe(model)) if whole else lambda pixels: model(pixels)
    images, masks = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    with pytest.raises(LocalizerError, match=r"no gradient comes back through .*Answered"):
        run_attack(forward, images, masks, 8 / 255, attack_spec("pgd", steps=1))


def test_a_command_tells_it_before_it_reads_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from tests.support.cutting import *\ndef build():\n    return Answered(CUTS['numpy'])\n"
    (tmp_path / "cuts_it.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(material, "read_material", lambda *_, **__: pytest.fail("images were read"))
    command = ["attack", "--localizer", "cuts_it:build", "--output", str(tmp_path / "set")]
    assert main([*command, "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "no gradient comes back through Answered: Can't call numpy()" in said
    assert "`ansm localize` works without" in said
