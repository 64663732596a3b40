"""How much of the localizer's answer to the original the suppressed image is held to.

A hard mask says nothing of how sure the localizer was, nor of what it saw on the way. Each term
here takes more of that as its target; none of them is in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.branches import clean_logits
from ansm_plugin.recipes.distillation import Network
from ansm_plugin.recipes.ffa import Features
from ansm_plugin.recipes.prices import require_weights
from ansm_plugin.recipes.stage import Setup
from ansm_plugin.training.losses import relative_l2, soft_mask, squashed_logits
from ansm_plugin.training.sending import sent


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Weights of the localizer's own answer, as more than a mask; 0 leaves a term out.

    Attributes:
        soft_original: weight of the divergence of the suppressed original's mask from the
            localizer's own, both as probabilities: also how sure it is stays as it was.
        soft_attacked: the same for the suppressed attacked image.
        logit_weight: weight of the distance of both masks of the attacked image as squashed
            logits, which asks most near the decision.
        logit_scale: logits above this count as sure there.
        feature_weight: weight of the distance of the encoder's features of the suppressed attacked
            image from the original's, over their energy. It has the localizer run unfolded, in more
            time.
        taps: encoder stages whose features these are; empty takes those of the localizer's spec.
    """

    soft_original: float = 0.0
    soft_attacked: float = 0.0
    logit_weight: float = 0.0
    logit_scale: float = 4.0
    feature_weight: float = 0.0
    taps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers out of range."""
        require_weights(
            self, "soft_original", "soft_attacked", "logit_weight", "logit_scale", "feature_weight"
        )
        if not self.logit_scale:
            raise ConfigError("logit_scale is 0; it must be above 0.")

    @property
    def is_soft(self) -> bool:
        """Whether a term needs the localizer's own logits."""
        return bool(self.soft_original or self.soft_attacked or self.logit_weight)


class Answer(NamedTuple):
    """Mask logits `(2B, 1, H, W)` of suppressed images, attacked first; their features."""

    logits: Tensor
    features: Sequence[Tensor]


def stages_to_compare(
    matching: Matching, defended: DefendedLocalizer[nn.Module]
) -> tuple[str, ...]:
    """Return the taps whose features are compared; none where they have no weight.

    Raises:
        ConfigError: they have one, but neither the choices nor the localizer's spec name taps.
    """
    if not matching.feature_weight:
        return ()
    if not (names := matching.taps or defended.spec.taps):
        raise ConfigError(
            f"{type(defended.localizer).__name__} has no known taps; name the stages to compare: "
            "taps = ['module.path', ...], or --localizer-taps module.path,... on the command line; "
            "or leave feature_weight at 0."
        )
    return names


class Matcher:
    """Runs the localizer for a training and compares its answers with those to the originals.

    Args:
        setup: holds the localizer and the crops.
        matching: the weights.
        precision: of the localizer.

    Raises:
        ConfigError: features have a weight, but neither the choices nor the localizer's spec name
            taps.
    """

    def __init__(self, setup: Setup, matching: Matching, precision: str) -> None:
        self._matching = matching
        self.forward = setup.quick_forward(precision)
        self._answer: Callable[[Tensor], Answer] = lambda x: Answer(self.forward(x), ())
        if matching.feature_weight:
            localizer, names = setup.defended.localizer, stages_to_compare(matching, setup.defended)
            network = Network(localizer, setup.spec, names, precision)
            self._answer = lambda x: Answer(*network(x))
            self._features = Features(localizer, names, setup.forward(precision))
        # They change as little as the localizer does: made once.
        self._own = clean_logits(self.forward, setup.pairs.originals) if matching.is_soft else None

    def answer(self, suppressed: Tensor) -> Answer:
        """Run the localizer on suppressed images, `(2B, 3, H, W)` in [0, 1]."""
        return self._answer(suppressed)

    def terms(self, answer: Answer, index: Tensor, originals: Tensor) -> list[Tensor]:
        """Return the weighted terms of a batch.

        Args:
            answer: the localizer's.
            index: numbers of the crops, `(B,)`.
            originals: these crops as the ANSM got them, `(B, 3, H, W)` in [0, 1].
        """
        chosen, terms = self._matching, []
        if self._own is not None:
            own = self._own[sent(index, self._own.device)].float()
            attacked, original = answer.logits.chunk(2)
            near = squashed_logits(attacked, own, scale=chosen.logit_scale)
            terms = [
                weight * term
                for weight, term in (
                    (chosen.soft_original, soft_mask(original, own)),
                    (chosen.soft_attacked, soft_mask(attacked, own)),
                    (chosen.logit_weight, near),
                )
                if weight
            ]
        if chosen.feature_weight:
            with torch.no_grad():
                wanted = self._features(originals)
            found = [feature[: len(originals)] for feature in answer.features]
            terms += [chosen.feature_weight * relative_l2(found, wanted)]
        return terms
