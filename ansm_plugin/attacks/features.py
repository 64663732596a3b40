"""The feature objective: drive a localizer's stages away from what they show of the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.attacks.door import attackable, require_images
from ansm_plugin.attacks.spec import AttackSpec
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.taps import taps

# At the original itself the distance is flat, so the attack starts beside it.
FEATURE_ATTACK = AttackSpec(objective="output", random_start=True)


@dataclass(frozen=True)
class EncoderOnly:
    """What an attacker has who knows the encoder alone; called, it is the whole localizer.

    Attributes:
        localizer: the bare localizer, in eval mode.
        spec: how to talk to it; its taps are what is attacked.
    """

    localizer: nn.Module
    spec: LocalizerSpec

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return mask logits `(B, 1, H, W)`."""
        return mask_forward(self.localizer, self.spec)(pixels)

    def against(self, images: Tensor) -> Forward:
        """Return what to climb with `FEATURE_ATTACK` for these originals.

        Raises:
            LocalizerError: the localizer has no taps.
        """
        return feature_forward(self.localizer, self.spec, images)


def feature_forward(localizer: nn.Module, spec: LocalizerSpec, images: Tensor) -> Forward:
    """Return pixels -> distance of their features from those of `images`, `(B, 1, 1, 1)`.

    To be climbed with `FEATURE_ATTACK` or another spec of objective "output": no mask is needed, so
    this is the attack of one who knows the encoder only (ForensicsSAM, arXiv 2508.07402). Mean
    over stages of squared L2 distance, relative to the original's energy, plus 1 - cosine.

    Args:
        localizer: the bare localizer; put in eval mode meanwhile, with a warning, where it is not.
        spec: how to talk to it; its taps are what is compared.
        images: originals `(B, 3, H, W)` in [0, 1]; the closure takes the same batch, attacked.

    Raises:
        LocalizerError: there is no tap, or one does not exist.
        ImageError: images are not as said above.
    """
    if not spec.taps:
        raise LocalizerError(
            "a feature attack needs taps and this localizer's spec names none; give the spec "
            "taps=(...)."
        )
    run = mask_forward(localizer, spec)
    with attackable(localizer), torch.no_grad():
        images = require_images(images)
        originals = _features(localizer, run, images, spec.taps)

    def forward(pixels: Tensor) -> Tensor:
        pairs = zip(_features(localizer, run, pixels, spec.taps), originals, strict=True)
        return torch.stack([_distance(a, o) for a, o in pairs]).mean(0).view(-1, 1, 1, 1)

    return forward


def _features(
    localizer: nn.Module, run: Forward, pixels: Tensor, names: Sequence[str]
) -> list[Tensor]:
    with taps(localizer, names) as tapped:
        run(pixels)
        return [tapped[name].float().flatten(1) for name in names]


def _distance(attacked: Tensor, original: Tensor) -> Tensor:
    energy = original.square().sum(1).clamp_min(1e-8)
    squared = (attacked - original).square().sum(1) / energy
    return squared + 1 - functional.cosine_similarity(attacked, original, dim=1)
