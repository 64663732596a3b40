"""User code that must type-check under mypy --strict; it is never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from torch import Tensor, nn

from ansm_plugin import (
    ANSM,
    AnsmError,
    DefendedLocalizer,
    LocalizerSpec,
    __version__,
    apply_adapter,
    load_ansm,
    save_ansm,
    unwrap,
    wrap_with_ansm,
)


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

try:
    wrap_with_ansm(Mine(), ansm="bas")
except AnsmError as error:
    print(error)
