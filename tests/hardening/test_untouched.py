"""The localizer is the user's: nothing of it changes, and eight threads are as good as one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from ansm_plugin import unwrap, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.backbones.timm_family import build as build_timm
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.evaluation.attack_set import Victim, write_attacked
from ansm_plugin.evaluation.manifest import AttackPlan
from ansm_plugin.export import PixelsToProbability, export_onnx
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.recipes.tuning import Tune, merged, tunable_copy, tuned_parameters
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import StepOutput, Turn, fit
from ansm_plugin.training.losses import mask_loss
from ansm_plugin.weights.adapters import apply_adapter, save_adapter

THIN = Architecture(widths=(4, 4), encoder_blocks=(1, 1), decoder_blocks=(1,))


def plain() -> nn.Module:
    """Return a localizer with everything that could be moved by accident."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
    )
    model.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # type: ignore[assignment]
    return model


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "smp": lambda: smp.Unet("resnet18", encoder_weights=None, decoder_channels=(16, 8, 8, 8, 8)),
    "timm": lambda: build_timm("resnet10t?width=8"),
}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Return copies of all that belongs to a module."""
    return {
        "tensors": {k: v.clone() for k, v in model.state_dict().items()},
        "dtypes": {k: (v.dtype, v.device, v.data_ptr()) for k, v in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "hooks": [len(getattr(m, kind)) for m in model.modules() for kind in HOOKS],
        "random": torch.random.get_rng_state(),
    }


def require_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Compare two snapshots, bit for bit."""
    for key in ("dtypes", "modes", "flags", "hooks"):
        assert before[key] == after[key], key
    assert all(torch.equal(v, after["tensors"][k]) for k, v in before["tensors"].items())
    for one, other in zip(before["gradients"], after["gradients"], strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert torch.equal(before["random"], after["random"])


def use(model: nn.Module, folder: Path) -> None:
    """Wrap, train, attack, evaluate and unwrap."""
    with torch.random.fork_rng():  # a fresh ANSM draws its weights from the global generator
        ansm = ANSM(THIN)
    defended = wrap_with_ansm(model, ansm=ansm)
    images = torch.linspace(0, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    masks = torch.zeros(2, 1, 32, 32)
    masks[..., 4:20, 4:20] = 1
    forward = mask_forward(defended, defended.spec)

    def step(turn: Turn) -> StepOutput:
        return StepOutput(mask_loss(forward(images), masks), {})

    config = FitConfig(steps=2, warmup=0)
    fit("toy", ansm, step, config, folder=folder, identity={})
    samples = [Sample(images, masks, ("a", "b"))]
    bare = mask_forward(model, defended.spec)
    plan = AttackPlan(attacks=("pgd",), eps_255=(4,), steps=1)
    write_attacked(Victim(bare, {}), samples, plan, folder / "set")
    attacks = EvaluationConfig(
        threats=("T0", "T1", "T4"), attacks=("pgd",), eps_255=(4,), steps=1, white_box_steps=1
    )
    evaluate(defended, samples, attacks)
    assert unwrap(defended) is model


@pytest.mark.parametrize("is_training", [True, False], ids=["train mode", "eval mode"])
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_of_a_localizer_changes(family: str, is_training: bool, tmp_path: Path) -> None:
    model = FAMILIES[family]().train(is_training)
    first = next(model.parameters())
    first.grad = torch.ones_like(first)  # of the user's own training
    list(model.parameters())[-1].requires_grad_(False)
    before = snapshot(model)
    use(model, tmp_path)
    require_same(before, snapshot(model))


@pytest.mark.parametrize("tune", ["norm", "lora", "all"])
def test_nothing_of_a_localizer_changes_by_tuning(tune: Tune, tmp_path: Path) -> None:
    model = plain()
    before = snapshot(model)
    copied = tunable_copy(model, tune, rank=1, seed=0)
    with torch.no_grad():
        for parameter in tuned_parameters(copied, tune):
            parameter.add_(1)
    path = save_adapter(merged(copied), model, tmp_path / "adapter.safetensors")
    tuned = apply_adapter(model, path)
    require_same(before, snapshot(model))
    theirs = {v.data_ptr() for v in model.state_dict().values()}
    assert not theirs & {v.data_ptr() for v in tuned.state_dict().values()}


@pytest.mark.parametrize("way", ["onnx", "torch"])
@pytest.mark.parametrize("is_training", [True, False], ids=["train mode", "eval mode"])
@pytest.mark.parametrize(
    "family",
    ["plain", *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES if f != "plain")],
)
def test_nothing_of_a_localizer_changes_by_export(
    family: str, is_training: bool, way: str, tmp_path: Path
) -> None:
    model = FAMILIES[family]().train(is_training)
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    before = snapshot(model)
    with torch.random.fork_rng():
        ansm = ANSM(THIN)
    defended = wrap_with_ansm(model, ansm=ansm)
    if way == "onnx":
        export_onnx(defended, tmp_path / "m.onnx", side=64)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own internals
            torch.export.export(PixelsToProbability(defended).eval(), (torch.rand(1, 3, 64, 64,
                                generator=torch.Generator().manual_seed(0)),))  # fmt: skip
    assert unwrap(defended) is model
    require_same(before, snapshot(model))


def test_a_defended_localizer_can_be_copied_and_the_copy_is_its_own() -> None:
    model = plain()
    defended = wrap_with_ansm(model, ansm=ANSM(THIN))
    other = copy.deepcopy(defended)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert any(bool(p.any()) for p in model.parameters())


def test_eight_threads_give_the_results_of_one() -> None:
    with torch.no_grad():
        ansm = ANSM(THIN)
        for parameter in ansm.parameters():
            parameter.normal_(std=0.2)
    defended: DefendedLocalizer[nn.Module] = wrap_with_ansm(plain(), ansm=ansm)
    sizes = [(24 + index % 3, 32) for index in range(48)]
    images = [
        torch.rand(1, 3, *size, generator=torch.manual_seed(i)) for i, size in enumerate(sizes)
    ]

    def localized(image: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = defended(image)
        return result

    expected = [localized(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(localized, images))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
