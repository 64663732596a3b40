"""Choices of stage 3, and what its attacks with knowledge of the module search."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.attacks.spec import require_attacks, require_startable
from ansm_plugin.localizer.call import Forward
from ansm_plugin.recipes.branches import BranchTarget, attacked_masks, clean_masks
from ansm_plugin.recipes.overfitting import Checks
from ansm_plugin.recipes.prices import Prices, require_shares
from ansm_plugin.recipes.stage import Pairs, Setup
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.sending import sent
from ansm_plugin.training.step import Share, Turn
from ansm_plugin.training.targets import Target, Teller, Told, parse_targets


@dataclass(frozen=True, kw_only=True)
class Hardened(Prices):
    """Choices of stage 3, with those of `Prices`.

    Attributes:
        attacks: names of attacks on module and localizer together; one is drawn per batch. The
            masks that they are told are drawn as those of the recipe's `attacks`.
        target: the masks of all versions, as in stage 2; "ground_truth" as in version 0.1.
        eps_255: their radii in grey levels; one is drawn per image.
        attack_steps: their gradient steps.
        ramp: share of the training over which radii grow from 0 to their full size.
        warm_start: share of images whose attack starts at their noise of T1; others at random.
        knowing_weight: of the images attacked with knowledge.
        original_weight: of the originals.
        bce_weight: share of cross-entropy beside soft Dice.
        checks: against overfitting to weak attacks.
        fit: how long and how fast; a batch of n images is three versions of n / 3 crops.
    """

    attacks: tuple[str, ...] = ("margin", "cospgd")
    target: BranchTarget = "localizer"
    eps_255: tuple[float, ...] = (1.0, 2.0, 4.0)
    attack_steps: int = 3
    ramp: float = 0.3
    warm_start: float = 0.25
    knowing_weight: float = 1.0
    original_weight: float = 1.0
    bce_weight: float = 0.3
    checks: Checks = field(default_factory=Checks)
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=6000, batch_size=48))

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown attacks and numbers out of range."""
        super().__post_init__()
        require_attacks(self.attacks, steps=self.attack_steps)
        require_startable("hardened.attacks", self.attacks)
        require_radii_255("eps_255", self.eps_255)
        require_shares(self, "ramp", "warm_start")


@dataclass(frozen=True)
class Material:
    """What a training draws from.

    Attributes:
        pairs: crops whose masks are `(N, 3, S, S)`: the truth, the mask that the version attacked
            without knowledge is held to, the localizer's own.
        teller: draws which masks the attacks with knowledge are told.
    """

    pairs: Pairs
    teller: Teller

    @classmethod
    def of(cls, setup: Setup, hardened: Hardened, pairs: Pairs, forward: Forward) -> Material:
        """Return the material of pairs, which are the first ones of the setup."""
        targets = parse_targets(setup.stage.attacks.targets)
        # Noise for another crop is no attack with knowledge of this one.
        known = tuple(t for t in targets if t.name != "swap") or (Target("truth"),)
        truth = pairs.masks
        if hardened.target == "ground_truth" and not any(t.name == "own" for t in known):
            masks = truth.expand(-1, 3, -1, -1)
        else:
            own = clean_masks(forward, pairs.originals)
            told = setup.codes
            codes = torch.zeros(len(truth)) if told is None else told[: len(truth)]
            masks = torch.cat([truth, attacked_masks(hardened.target, truth, own, codes), own], 1)
        return cls(pairs._replace(masks=masks), Teller(known, truth))


def version_masks(target: BranchTarget, masks: Tensor, codes: Tensor) -> Tensor:
    """Return what the three versions are held to, `(3B, 1, S, S)`.

    Args:
        target: as in stage 2.
        masks: those of `Material`, `(B, 3, S, S)`.
        codes: which masks the attacks with knowledge were told, `(B,)`.
    """
    truth, without, own = masks.chunk(3, dim=1)
    of_originals = truth if target == "ground_truth" else own
    return torch.cat([attacked_masks(target, truth, own, codes), without, of_originals])


@dataclass(frozen=True)
class Search:
    """What the attacks of one batch search, drawn.

    Attributes:
        attack: name in `ATTACKS`.
        tensors: originals, masks and T1 versions as floats, first points, radii `(B,)` in pixel
            units.
        told: which masks the attack goes away from.
    """

    attack: str
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    told: Told

    def of(self, share: Share) -> Search:
        """Return what one process computes; all was drawn for the whole batch."""
        originals, masks, attacked, start, radii = (share.of(t) for t in self.tensors)
        told = Told(*(share.of(t) for t in self.told))
        return Search(self.attack, (originals, masks, attacked, start, radii), told)


def draw_search(
    hardened: Hardened, pairs: Pairs, turn: Turn, teller: Teller | None = None
) -> Search:
    """Draw crops, an attack, its radii, where it starts and what it is told, for the whole batch.

    `pairs` have the masks of `Material`; without a teller attacks are told the truth, and the
    masks may be that alone.
    """
    generator = turn.generator
    count = max(turn.share.count, hardened.fit.batch_size // 3)
    index = pairs.pick(count, generator)
    originals, masks, attacked = pairs.rows(index)
    name = hardened.attacks[int(torch.randint(len(hardened.attacks), (), generator=generator))]
    choice = torch.randint(len(hardened.eps_255), (count,), generator=generator)
    done = turn.index / hardened.fit.steps
    grown = min(1.0, done / hardened.ramp) if hardened.ramp else 1.0
    device = originals.device
    radii = sent(grown * torch.tensor(hardened.eps_255)[choice] / 255, device)
    noise = sent(2 * torch.rand(originals.shape, generator=generator) - 1, device)
    warm = sent(torch.rand(count, generator=generator), device) < hardened.warm_start
    random = originals + radii.view(-1, 1, 1, 1) * noise
    start = torch.where(warm.view(-1, 1, 1, 1), attacked, random)
    teller = teller or Teller((Target("truth"),), pairs.masks[:, :1])
    told = teller.tell(index, generator, lambda: masks[:, -1:])
    return Search(name, (originals, masks, attacked, start, radii), told)
