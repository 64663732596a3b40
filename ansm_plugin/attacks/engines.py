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
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.attacks.ball import Norm, ball
from ansm_plugin.attacks.objectives import objective as find_objective
from ansm_plugin.attacks.objectives import value
from ansm_plugin.attacks.spec import Forward
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.localizer.call import mask_forward
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


def engine_attack(
    name: str,
    localizer: nn.Module,
    spec: LocalizerSpec,
    images: Tensor,
    masks: Tensor,
    eps: float,
    *,
    objective: str = "bce",
    steps: int = 10,
    step_share: float | None = None,
    seed: int = 0,
    precision: str = "fp32",
) -> Tensor:
    """Return images attacked by the `torchattack` library, rounded to 8 bit and in the ball.

    Warns where the objective did not rise for a single image.

    Args:
        name: name in `ENGINE_ATTACKS`.
        localizer: bare or defended; frozen and in eval mode meanwhile, then as before.
        spec: how to talk to it.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        eps: radius in pixel units; for PGDL2 the root mean square change.
        objective: name in `OBJECTIVES`.
        steps: gradient steps.
        step_share: step size as a share of eps; None is 2.5 / steps, as in `AttackSpec`. The
            library's own is 1 / steps.
        seed: decides all randomness; the global generator stays as it was.
        precision: "bf16" runs the localizer under autocast.

    Raises:
        ConfigError: the library is not installed, or an unknown attack or objective.
    """
    if name not in ENGINE_ATTACKS:
        raise ConfigError(unknown_name("torchattack attack", name, ENGINE_ATTACKS))
    loss, library = DenseLoss(objective), _library()
    within = ball(images, eps, ENGINE_ATTACKS[name])
    forward = mask_forward(localizer, spec, precision=precision)
    masks = masks.detach().float()
    with frozen_eval(localizer), _seeded(seed, images.device), torch.enable_grad():
        radius = eps * (within.images[0].numel() ** 0.5 if ENGINE_ATTACKS[name] == "l2" else 1.0)
        share = 2.5 / steps if step_share is None else step_share
        attack = _build(
            getattr(library, name), BinaryAsTwoClass(forward), images.device, radius, share, steps
        )
        attack.lossfn = loss
        found = attack(within.images.clone(), masks.squeeze(1).long()).detach()
        attacked = within.round(within.project(found))
        with torch.no_grad():
            before, after = (forward(x).float() for x in (within.images, attacked))
    if not bool((value(objective, after, masks) > value(objective, before, masks)).any()):
        warnings.warn(
            f"{name} had no effect: {objective} rose for no image. The loss may be a no-op, the "
            "gradient masked, or eps too small.",
            stacklevel=2,
        )
    return attacked


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of CPU and `device`, and give them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _library() -> Any:
    try:
        return importlib.import_module("torchattack")
    except ImportError as error:
        raise ConfigError(
            "the torchattack library is not installed; run: pip install 'ansm_plugin[attacks]'"
        ) from error


def _build(
    kind: type[Any],
    model: nn.Module,
    device: torch.device,
    radius: float,
    share: float,
    steps: int,
) -> Any:
    known = inspect.signature(kind).parameters
    wanted = {"eps": radius, "alpha": share * radius, "steps": steps}
    return kind(model, None, device, **{k: v for k, v in wanted.items() if k in known})
