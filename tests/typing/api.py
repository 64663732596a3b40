"""User code that must type-check under mypy --strict; it is never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ansm_plugin import (
    ANSM,
    AnsmError,
    DefendedLocalizer,
    LocalizerSpec,
    __version__,
    apply_adapter,
    attack,
    evaluate,
    load_ansm,
    localize,
    save_ansm,
    train,
    unwrap,
    wrap_with_ansm,
)
from ansm_plugin.api.photographs import Localized
from ansm_plugin.attacks import Forward
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, Sample


class Mine(nn.Module):
    """A localizer of the user's own."""

    classes = 2

    def forward(self, images: Tensor) -> Tensor:
        return images


defended = wrap_with_ansm(Mine())
assert_type(defended, DefendedLocalizer[Mine])
assert_type(defended.localizer, Mine)
assert_type(defended.localizer.classes, int)
assert_type(unwrap(defended), Mine)
assert_type(defended.spec, LocalizerSpec)


def use(images: Tensor) -> Tensor:
    delta = defended.perturbation(images)
    assert_type(delta, Tensor)
    return defended.suppress(images)


wrap_with_ansm(Mine(), "weights.safetensors", ansm="base", spec=LocalizerSpec(mean=(0.5, 0.5, 0.5)))
wrap_with_ansm(Mine(), ansm=nn.Identity())
assert_type(apply_adapter(Mine(), "adapter.safetensors"), Mine)
assert_type(load_ansm("weights.safetensors"), ANSM)
assert_type(save_ansm(ANSM("small"), "weights.safetensors"), Path)
assert_type(defended.train(), DefendedLocalizer[Mine])
assert_type(__version__, str)


def theirs(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    return pixels + eps * torch.rand(pixels.shape, generator=generator)


pixels, masks = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
pairs: DataLoader[tuple[Tensor, ...]] = DataLoader(TensorDataset(pixels, masks))
assert_type(attack(Mine(), pixels, masks, attack=theirs, eps_255=4), Tensor)
assert_type(attack("forensic-unet", pairs), list[Sample])
assert_type(attack((Mine(), LocalizerSpec()), "images", Path("masks")), list[Sample])
assert_type(evaluate(defended, pairs, config=EvaluationConfig()), Evaluation)
assert_type(localize(defended, ["a.jpg", Path("b.jpg")]), list[Localized])
assert_type(train("two-stage", "runs", localizer=Mine(), images=pairs), Path)

try:
    wrap_with_ansm(Mine(), ansm="bas")
except AnsmError as error:
    print(error)
