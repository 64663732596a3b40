"""Numbers that go wrong: what happens is decided here, in one test per case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ansm_plugin import wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.data.read import read_mask
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError, LocalizerError, TrainingError, WeightsError
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.photograph import localize_image
from ansm_plugin.system.typed import from_table
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import StepOutput, Turn, fit
from ansm_plugin.training.losses import dual_mask, mask_loss
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm
from ansm_plugin.weights.tensors import load_localizer_weights, write_tensors

THIN = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
SPEC = LocalizerSpec(mean=(0.0,) * 3, std=(1.0,) * 3)
WRONG = (float("nan"), float("inf"), float("-inf"))


def localizer() -> nn.Module:
    """Return a convolution with a seed of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Conv2d(3, 1, 3, padding=1)


def guarded() -> DefendedLocalizer[nn.Module]:
    """Return a localizer behind an ANSM that changes pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(6)
        ansm = ANSM(THIN)
        for parameter in ansm.parameters():
            nn.init.normal_(parameter, std=0.2)
    return DefendedLocalizer(localizer(), ansm, SPEC).eval()


# --- NaN and infinity -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", WRONG)
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    ansm = ANSM(THIN)
    with torch.no_grad():
        next(ansm.parameters())[0] = value
    path = save_ansm(ansm, tmp_path / "a.safetensors")  # a diverged run may be kept to look at
    with pytest.raises(WeightsError, match="NaN or infinite"):
        load_ansm(path)
    state = localizer().state_dict()
    state["bias"] = torch.tensor([value])
    write_tensors(state, tmp_path / "b.safetensors", {})
    with pytest.raises(WeightsError, match=r"1 tensors \['bias'\]"):
        load_localizer_weights(localizer(), tmp_path / "b.safetensors")


@pytest.mark.parametrize("value", WRONG)
def test_an_image_that_is_not_finite_is_refused(value: float) -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0, 0, 0] = value
    with pytest.raises(ImageError, match="NaN or infinite"):
        guarded()(image)
    with pytest.raises(ImageError, match="NaN or infinite"):
        guarded().examine(image)  # what the attack score and its gate judge by


@pytest.mark.parametrize("value", WRONG[:2])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_weights(
    value: float, where: str, tmp_path: Path
) -> None:
    module = nn.Linear(1, 1)
    before = {k: v.clone() for k, v in module.state_dict().items()}

    def step(turn: Turn) -> StepOutput:
        loss = module.weight.sum()
        if where == "loss":
            return StepOutput(loss * value, {})
        loss.register_hook(lambda gradient: gradient * value)
        return StepOutput(loss, {})

    config = FitConfig(steps=2, warmup=0, precision="fp32")
    with pytest.raises(TrainingError, match=rf"{where} of step 1 is .*last good checkpoint: none"):
        fit("toy", module, step, config, folder=tmp_path, identity={})
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize("field", ["learning_rate", "clip_norm", "averaging"])
@pytest.mark.parametrize("value", WRONG)
def test_numbers_of_a_config_are_finite(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        from_table(FitConfig, {field: value}, "config.toml")


def test_a_localizer_that_returns_nan_is_named() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            """Shape: `(B, 3, H, W)` -> `(B, 1, H, W)`, all NaN."""
            return images[:, :1] * float("nan")

    with pytest.raises(LocalizerError, match="NaN"):
        localize_image(Broken(), SPEC, np.zeros((16, 16, 3), np.uint8))


def test_half_precision_does_not_overflow_in_the_module() -> None:
    defended = guarded()
    for dtype in (torch.float16, torch.bfloat16):
        suppressed = defended.suppress(torch.full((1, 3, 8, 8), 1.0, dtype=dtype))
        assert suppressed.dtype == dtype
        assert bool(torch.isfinite(suppressed).all())
        assert float(suppressed.detach().max()) <= 1


# --- masks and images at their limits -------------------------------------------------------------


def one_pixel() -> Tensor:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 3, 5] = 1
    return mask


@pytest.mark.parametrize("mask", [torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16), one_pixel()],
                         ids=["empty", "all", "one pixel"])  # fmt: skip
def test_losses_of_extreme_masks_are_finite_and_have_a_gradient(mask: Tensor) -> None:
    logits = torch.linspace(-50, 50, 256).view(1, 1, 16, 16).requires_grad_()
    for loss in (mask_loss(logits, mask), dual_mask(logits, logits, mask)):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("attack", ["pgd", "mifgsm", "cospgd", "segpgd", "hide", "margin", "apgd"])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_attacks_on_constant_images_and_extreme_masks_stay_in_their_ball(
    attack: str, level: float
) -> None:
    images = torch.full((3, 3, 16, 16), level)
    masks = torch.cat([one_pixel(), torch.ones(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)])
    forward = mask_forward(localizer(), SPEC)
    spec = attack_spec(attack, steps=2)
    generator = torch.Generator().manual_seed(0)
    attacked = run_attack(forward, images, masks, 4 / 255, spec, generator=generator)
    assert bool(torch.isfinite(attacked).all())
    assert float((attacked - images).abs().max()) <= 4 / 255 + 1e-6


@pytest.mark.parametrize("mask", [torch.ones(1, 1, 16, 16), one_pixel()], ids=["all", "one pixel"])
def test_a_single_image_with_an_extreme_mask_is_evaluated(mask: Tensor) -> None:
    config = EvaluationConfig(
        threats=("T0", "T1"), attacks=("pgd",), eps_255=(4,), steps=2, white_box_steps=0
    )
    found = evaluate(guarded(), [Sample(torch.full((1, 3, 16, 16), 0.5), mask, ("a",))], config)
    for row in found.rows:
        assert 0 <= row.f1 <= 1
        assert row.auc is None or 0 <= row.auc <= 1
    if bool(mask.all()):  # no untouched pixel to rank the others against
        assert all(row.auc is None for row in found.rows)


def test_without_a_forged_pixel_there_is_nothing_to_evaluate() -> None:
    sample = Sample(torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16), ("a",))
    with pytest.raises(ImageError, match="forged"):
        evaluate(guarded(), [sample])


def test_a_mask_file_of_one_pixel_or_of_white_alone_is_a_mask(tmp_path: Path) -> None:
    for level in (1, 255):
        mask = np.zeros((9, 9), np.uint8)
        mask[4, 4] = level
        Image.fromarray(mask).save(tmp_path / "m.png")
        assert read_mask(tmp_path / "m.png", (9, 9)).sum() == 1
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "m.png")
    with pytest.warns(UserWarning, match="inverted"):
        assert read_mask(tmp_path / "m.png", (9, 9)).all()


def test_an_image_of_one_pixel_is_localized() -> None:
    model = wrap_with_ansm(localizer(), ansm=ANSM(THIN), spec=SPEC)
    assert localize_image(model, SPEC, np.zeros((1, 1, 3), np.uint8)).shape == (1, 1)
