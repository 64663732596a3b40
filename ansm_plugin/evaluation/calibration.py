"""Calibration of the attack score: unattacked and attacked versions of crops, and what fits them.

Unattacked are originals and what happens to every image on its way; attacked are those of an
attacker who knows the localizer (T1), at radii from 2 to 8 grey levels. The coefficients are fitted
on one half of the photographs and the threshold is set on the other: a quantile of the images that
a score was fitted on promises fewer false alarms than it keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ansm_plugin.attack_score import AttackScore, features, fit_score
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.seeds import attack_generator, image_generators, integers
from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.system.device import CPU, tf32
from ansm_plugin.system.memory import Capacity
from ansm_plugin.system.progress import Progress, silent

_ORIGINAL = "none"  # nothing is done to the image
HARMLESS = (_ORIGINAL, "jpeg-90", "jpeg-75", "resize-75", "noise", "social")
_NOISE = 2 / 255  # standard deviation: a camera's at a high sensitivity
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the score is fitted on.

    Attributes:
        harmless: names in `HARMLESS`.
        attacks: names in `attacks.ATTACKS`, through the bare localizer.
        eps_255: radii in grey levels; each image of each attack draws one.
        steps: of each attack.
        seed: decides noise, radii and random starts.
    """

    harmless: tuple[str, ...] = HARMLESS
    attacks: tuple[str, ...] = ("pgd", "mifgsm", "cospgd", "margin", "hide")
    eps_255: tuple[float, ...] = (2, 3, 4, 6, 8)
    steps: int = 10
    seed: int = 0


def harmless(name: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images as something without intent leaves them, rounded to 8 bit.

    "none" is the original, "noise" Gaussian noise of 2 grey levels, "social" what a social network
    does (smaller by a quarter and back, JPEG 80); other names are channels of T5.

    Shape: `(B, 3, H, W)` in [0, 1] -> the same.
    """
    if name == _ORIGINAL:
        return images
    if name == "noise":
        drawn = torch.randn(images.shape, generator=generator).to(images.device)
        return (images + _NOISE * drawn).clamp(0, 1).mul(255).round().div(255)
    steps = ("resize-75", "jpeg-80") if name == "social" else (name,)
    for step in steps:
        images = channel(step)(images, images[:, :1]).images
    return images


def calibrate(
    defended: DefendedLocalizer[Any],
    crops: Forgeries,
    config: Calibration | None = None,
    *,
    progress: Progress = silent,
) -> AttackScore:
    """Fit the attack score of a defended localizer.

    Half of the photographs, which nothing was fitted on, set the threshold; of one photograph, half
    of its crops, which promise less.

    Args:
        defended: trained; its own score, if it has one, plays no part.
        crops: forged and authentic ones that the figures will not be measured on.
        config: what is done to them.
        progress: called with name, finished groups, all groups and no logs.

    Raises:
        AnsmError: the localizer fails, or there are no crops.
    """
    config = config or Calibration()
    images, masks = crops.images.float().div(255), crops.masks.float()
    fit, held_out = halves(crops)
    groups: dict[str, Callable[[], Tensor]] = {
        **{n: partial(_processed, n, images, config) for n in config.harmless},
        **{
            n: partial(_attacked, defended, n, images[fit], masks[fit], config)
            for n in config.attacks
        },
    }
    found: dict[str, Tensor] = {}
    for index, (name, make) in enumerate(groups.items()):
        progress("calibrate", index, len(groups), {})
        found[name] = observe(defended, make())
    progress("calibrate", len(groups), len(groups), {})
    return fit_score(
        [found[n][fit] for n in config.harmless],
        [found[n] for n in config.attacks],
        [found[n][held_out] for n in config.harmless],
    )


def halves(crops: Forgeries) -> tuple[Tensor, Tensor]:
    """Return the numbers of crops to fit on and of those to set the threshold on, in their order.

    No photograph gives crops to both, and both have about as many. A crop of no known photograph
    counts as one of its own.

    The crops of one photograph alone are halved themselves, and a single crop is in both.
    """
    hosts = torch.arange(len(crops)) if crops.hosts is None else crops.hosts
    numbers, counts = np.unique(hosts.numpy(), return_counts=True)
    if len(numbers) < 2:
        every = torch.arange(len(crops))
        return (every[::2], every[1::2]) if len(crops) > 1 else (every, every)
    sides: tuple[list[int], list[int]] = ([], [])
    sizes = [0, 0]
    for position in np.argsort(-counts, kind="stable"):  # large ones first: the rest evens out
        smaller = int(sizes[1] < sizes[0])
        sides[smaller].append(int(numbers[position]))
        sizes[smaller] += int(counts[position])
    fit, held_out = (torch.isin(hosts, torch.tensor(side)).nonzero()[:, 0] for side in sides)
    return fit, held_out


def observe(defended: DefendedLocalizer[Any], pixels: Tensor) -> Tensor:
    """Return the features of images in batches, without a gradient.

    Shape: `(B, 3, H, W)` in [0, 1] -> `(B, F)`.
    """
    device = device_of(defended)
    with torch.no_grad(), tf32(device, on=False):
        parts = [features(*defended.pixels.examine(p.to(device))).cpu() for p in _batches(pixels)]
    return torch.cat(parts)


def _processed(name: str, images: Tensor, config: Calibration) -> Tensor:
    return harmless(name, images, attack_generator(config.seed, f"score {name}", 0, 0))


def _attacked(
    defended: DefendedLocalizer[Any],
    name: str,
    images: Tensor,
    masks: Tensor,
    config: Calibration,
) -> Tensor:
    bare = mask_forward(defended.localizer, defended.spec)
    spec = attack_spec(name, steps=config.steps)
    radii, device = torch.tensor(config.eps_255), device_of(defended)

    def attacked(rows: slice) -> Tensor:
        own = image_generators(config.seed, f"score {name}", 0, range(rows.start, rows.stop))
        drawn = radii[integers(len(radii), (len(own),), own)] / 255
        part, truth = (tensor[rows].to(device) for tensor in (images, masks))
        return run_attack(bare, part, truth, drawn, spec, generator=own).cpu()

    most = _BATCH if device.type == CPU.type else None
    return Capacity().run(attacked, len(images), name, most=most)


def _batches(images: Tensor) -> tuple[Tensor, ...]:
    return torch.split(images, _BATCH)
