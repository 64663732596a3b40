"""Modules that the attacker of T3.5 trained himself, from our recipe, before the same localizer.

He has the localizer and the recipe, but neither the weights of the module nor its seed. What fools
several modules of his own at once fools the one that he has not seen more often (Liu et al.,
"Delving into Transferable Adversarial Examples", ICLR 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, add
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.modes import autocast, device_of
from ansm_plugin.system.paths import user_path
from ansm_plugin.weights.ansm_file import AnsmFile

ALL = "all"  # name of the attack through all modules at once


@dataclass(frozen=True)
class Behind:
    """The localizer behind a module: pixels -> mask logits.

    Attributes:
        bare: pixels -> mask logits of the localizer.
        ansm: the module, in eval mode.
        to_bf16: whether it runs under autocast.
    """

    bare: Forward
    ansm: nn.Module
    to_bf16: bool = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> `(B, 1, H, W)`."""
        with autocast(pixels.device, to_bf16=self.to_bf16):
            delta = self.ansm(pixels)
        return self.bare(add(pixels, delta.float()))


@dataclass(frozen=True)
class Mean:
    """The mean of what several forwards answer, for an attack on all of them at once."""

    forwards: tuple[Forward, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> mean logits `(B, 1, H, W)`."""
        return torch.stack([forward(pixels) for forward in self.forwards]).mean(0)


def own_modules(
    files: Sequence[str], defended: DefendedLocalizer[Any], precision: str
) -> dict[str, Forward]:
    """Return the localizer behind each of these modules, by the stems of their files.

    Warns of a module that was trained for another localizer.

    Args:
        files: safetensors files of ANSMs, `~` as in a shell; equal stems are numbered.
        defended: whose localizer, spec and device are used.
        precision: "bf16" runs modules and localizer under autocast.

    Raises:
        WeightsError: a file cannot be read or holds no ANSM.
    """
    bare = mask_forward(defended.localizer, defended.spec, precision=precision)
    found: dict[str, Forward] = {}
    for path in map(user_path, files):
        file = AnsmFile.read(path)
        file.warn_unless_for(defended.localizer)
        module: ANSM = file.ansm.to(device_of(defended)).eval().requires_grad_(False)
        found[_unused(path.stem, found)] = Behind(bare, module, precision == "bf16")
    return found


def with_all(own: Mapping[str, Forward]) -> dict[str, Forward]:
    """Return modules of the attacker and, where there are several, the mean of all (`ALL`).

    Raises:
        ConfigError: a module is called so already.
    """
    if ALL in own:
        raise ConfigError(f"a module of the attacker is called {ALL!r}; give it another name.")
    if len(own) < 2:
        return dict(own)
    return {**own, ALL: Mean(tuple(own.values()))}


def _unused(stem: str, taken: Mapping[str, object]) -> str:
    """Return a name without folders, which no result may tell, that nothing has yet."""
    names = (stem if number == 1 else f"{stem} {number}" for number in range(1, len(taken) + 3))
    return next(name for name in names if name not in taken and name != ALL)
