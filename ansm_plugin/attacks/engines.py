"""Attacks of the `torchattack` library on a dense binary localizer, behind a guard.

The library expects class logits, fills the gradients of parameters, draws from the global
generator and returns floats with a graph. `engine_attack` gives it two channels and frozen
parameters, and takes 8-bit images in the ball from it.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ansm_plugin.attacks.answers import Answers
from ansm_plugin.attacks.ball import Ball, Norm, ball
from ansm_plugin.attacks.door import outside_inference_mode, require_forgeries
from ansm_plugin.attacks.objectives import objective as find_objective
from ansm_plugin.attacks.objectives import value
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.modes import frozen_eval
from ansm_plugin.localizer.spec import LocalizerSpec

# Those that take dense labels. DIFGSM and DeCoWA do too, but move the image away from its mask: use
# our "difgsm". Admix, BSR, MIG, L2T, SSA and ATT fail on dense labels or other sizes than 224.
ENGINE_ATTACKS: dict[str, Norm] = {
    "FGSM": "linf",
    "IFGSM": "linf",
    "PGD": "linf",
    "MIFGSM": "linf",
    "NIFGSM": "linf",
    "SINIFGSM": "linf",
    "VMIFGSM": "linf",
    "VNIFGSM": "linf",
    "GRA": "linf",
    "MuMoDIG": "linf",
    "TIFGSM": "linf",
    "PGDL2": "l2",
}


class BinaryAsTwoClass(nn.Module):
    """Show one tamper logit z as the two class logits (0, z).

    Cross-entropy over them is binary cross-entropy of z; over the one channel alone it would be 0
    everywhere, and the attack noise without a direction.

    Args:
        forward: pixels -> mask logits `(B, 1, H, W)`.
    """

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self._forward = forward

    def forward(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> logits `(B, 2, H, W)`: authentic, forged."""
        logits = self._forward(pixels)
        return torch.cat([torch.zeros_like(logits), logits], dim=1)


class DenseLoss(nn.Module):
    """An objective as the library's loss: two-class logits and class labels -> scalar sum.

    A sum and not a mean: see `objectives`. It does not know how far the attack is and takes
    0, which matters to SegPGD only.

    Args:
        name: name in `OBJECTIVES`.
    """

    def __init__(self, name: str = "bce") -> None:
        super().__init__()
        self._objective = find_objective(name)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Shape: `(B, 2, H, W)` and `(B, H, W)` -> scalar."""
        difference = logits[:, 1:] - logits[:, :1]
        return self._objective(difference.float(), labels.unsqueeze(1).float(), 0.0).sum()


@dataclass(frozen=True)
class EngineAttack:
    """An attack of the library.

    Attributes:
        name: in `ENGINE_ATTACKS`.
        objective: name in `OBJECTIVES`, maximised.
        steps: gradient steps.
        step_share: step size as a share of eps; None is 2.5 / steps, as in `AttackSpec`. The
            library's own is 1 / steps.
    """

    name: str
    objective: str = "bce"
    steps: int = 10
    step_share: float | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown names and no steps."""
        if self.name not in ENGINE_ATTACKS:
            raise ConfigError(unknown_name("torchattack attack", self.name, ENGINE_ATTACKS))
        find_objective(self.objective)
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; an attack needs at least 1.")

    @property
    def norm(self) -> Norm:
        """Norm of the ball that the library searches."""
        return ENGINE_ATTACKS[self.name]

    @property
    def relative_step(self) -> float:
        """Step size as a share of eps."""
        return 2.5 / self.steps if self.step_share is None else self.step_share


def engine_attack(
    localizer: nn.Module,
    spec: LocalizerSpec,
    images: Tensor,
    masks: Tensor,
    eps: float,
    attack: EngineAttack,
    *,
    seed: int = 0,
    precision: str = "fp32",
) -> Tensor:
    """Return images attacked by the `torchattack` library, rounded to 8 bit and in the ball.

    Warns where the objective did not rise for a single image.

    Args:
        localizer: bare or defended; frozen and in eval mode meanwhile, then as before.
        spec: how to talk to it.
        images: floats `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}; booleans and integers will do.
        eps: radius in pixel units; for PGDL2 the root mean square change.
        attack: of the library, and how it is run.
        seed: decides all randomness; the global generators stay as they were.
        precision: "bf16" runs the localizer under autocast.

    Raises:
        ConfigError: the library is not installed, or eps is out of range.
        ImageError: images or masks are not as said above.
        LocalizerError: what comes out are no finite mask logits.
    """
    forward = mask_forward(localizer, spec, precision=precision)
    with outside_inference_mode(), frozen_eval(localizer), torch.enable_grad():
        images, masks = require_forgeries(images, masks)
        return _attacked(forward, ball(images, eps, attack.norm), masks, eps, attack, seed)


def _attacked(
    forward: Forward, within: Ball, masks: Tensor, eps: float, attack: EngineAttack, seed: int
) -> Tensor:
    """Run the library within a ball, and warn where it did nothing."""
    kind, answers = getattr(_library(), attack.name), Answers(forward)
    with _seeded(seed, within.images.device):
        engine = _build(kind, forward, within, eps, attack)
        engine.lossfn = DenseLoss(attack.objective)
        points = engine(within.images.clone(), masks.squeeze(1).long()).detach()
        attacked = within.round(within.project(points))
    with torch.no_grad():
        before, after = (
            answers.logits(forward(x), masks, attack.objective) for x in (within.images, attacked)
        )
    answers.require_finite()
    values = [value(attack.objective, logits, masks) for logits in (before, after)]
    if not bool((values[1] > values[0]).any()):
        warnings.warn(
            f"{attack.name} had no effect: {attack.objective} rose for no image. The loss may be a "
            "no-op, the gradient masked, or eps too small.",
            stacklevel=3,
        )
    return attacked


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of CPU, `device` and numpy, and give them back as they were."""
    devices = [device] if device.type == "cuda" else []
    numpy_state = np.random.get_state()  # noqa: NPY002 # MuMoDIG draws from there
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002


def _library() -> Any:
    try:
        return importlib.import_module("torchattack")
    except ImportError as error:
        raise ConfigError(
            "the torchattack library is not installed; run: pip install 'ansm_plugin[attacks]'"
        ) from error


def _build(
    kind: type[Any], forward: Forward, within: Ball, eps: float, attack: EngineAttack
) -> Any:
    """Return an attack of the library with those of our settings that it knows."""
    # The library's radius in l2 is that of the whole image, ours that of a value.
    radius = eps * (within.images[0].numel() ** 0.5 if attack.norm == "l2" else 1.0)
    ours = {"eps": radius, "alpha": attack.relative_step * radius, "steps": attack.steps}
    known = inspect.signature(kind).parameters
    options = {name: setting for name, setting in ours.items() if name in known}
    return kind(BinaryAsTwoClass(forward), None, within.images.device, **options)
