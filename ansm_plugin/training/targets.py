"""Which mask an attack of a training is told, and whether that mask says where the truth is.

An attack that is told the true mask leaves it in its noise, and a module learns to read it there:
that looks like recovery, and lets anybody write a mask into a photograph. Noise made for a mask
that was drawn without looking at the truth cannot carry the answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ansm_plugin.data.forgeries import region
from ansm_plugin.data.pixels import Rng
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.system.text import number_or_nan
from ansm_plugin.training.sending import sent

# Codes in files are numbers in this order: add at the end, take nothing away.
TARGETS = ("truth", "other", "mirror", "blob", "complement", "empty", "full", "own", "swap")
INDEPENDENT = frozenset({"other", "blob", "empty", "full"})  # drawn without looking at the truth
ONLY_TRUTH = ("truth",)  # what version 0.1 told
_TOWARDS = "towards-"
_BLOB_AREA = (0.1, 0.4)  # shares of the crop: drawn, for the area of the truth would say something
_WRITTEN = re.compile(r"(?P<towards>towards-)?(?P<name>[a-z]+)(:(?P<share>[0-9.eE+-]+))?")


class Target(NamedTuple):
    """A mask that attacks are told: its name, away from it or towards it, how often."""

    name: str
    towards: bool = False
    share: float = 1.0

    @property
    def code(self) -> int:
        """The number that stands for name and direction in files, below 256."""
        return 2 * TARGETS.index(self.name) + self.towards


class Told(NamedTuple):
    """Masks `(B, 1, H, W)` that an attack goes away from, floats in {0, 1}, and codes `(B,)`."""

    masks: Tensor
    codes: Tensor


def parse_target(text: str) -> Target:
    """Read a target: `NAME`, `towards-NAME`, each with `:SHARE` behind it, 1 where there is none.

    Raises:
        ConfigError: an unknown name (nearest ones are offered), or a share that is no number above
            0.
    """
    match = _WRITTEN.fullmatch(text)
    name = match["name"] if match else text.removeprefix(_TOWARDS).partition(":")[0]
    if name not in TARGETS:
        raise ConfigError(unknown_name("attack target", name, TARGETS))
    share = number_or_nan(match["share"] or "1") if match else math.nan
    if match is None or not 0 < share < math.inf:
        raise ConfigError(
            f"the share of attack target {text!r} is not a number above 0; write it as in "
            "other:0.2, or leave it out for 1."
        )
    if match["towards"] and name == "swap":
        raise ConfigError("attack target 'towards-swap' has no meaning; write swap.")
    return Target(name, bool(match["towards"]), share)


def parse_targets(texts: Sequence[str]) -> tuple[Target, ...]:
    """Read all targets of a mixture; ConfigError for none, an unknown name or a bad share."""
    if not texts:
        raise ConfigError(f"no attack targets are named; known: {', '.join(TARGETS)}.")
    return tuple(parse_target(text) for text in texts)


def independent(codes: Tensor) -> Tensor:
    """Return where the noise cannot carry the truth. Shape: codes `(N,)` -> bool `(N,)`."""
    known = [TARGETS.index(name) for name in sorted(INDEPENDENT)]
    return torch.isin(codes.long() // 2, torch.tensor(known, device=codes.device))


def swapped(attacked: Tensor, originals: Tensor, codes: Tensor) -> Tensor:
    """Give crops of target "swap" the noise of the crop before them, the first that of the last.

    Shape: two `(B, 3, H, W)` in [0, 1] and codes `(B,)` -> `(B, 3, H, W)` in [0, 1].
    """
    is_swap = codes.to(attacked.device) == Target("swap").code
    if not bool(is_swap.any()):
        return attacked
    foreign = (originals + (attacked - originals).roll(1, 0)).clamp(0, 1)
    return torch.where(is_swap.view(-1, 1, 1, 1), foreign, attacked)


@dataclass(frozen=True)
class Teller:
    """Draws which masks attacks on some of all crops are told.

    Attributes:
        targets: what is drawn from, each with its share.
        masks: the true masks of all crops, `(N, 1, S, S)` uint8 in {0, 1}.
    """

    targets: tuple[Target, ...]
    masks: Tensor

    def tell(self, index: Tensor, generator: torch.Generator, own: Callable[[], Tensor]) -> Told:
        """Draw a target for each of the crops `index`, `(B,)`.

        Where the truth is the only target nothing is drawn: `generator` stays as it is.

        Args:
            index: numbers of crops.
            generator: decides targets and masks.
            own: returns the localizer's own masks of these crops, `(B, 1, S, S)` in {0, 1};
                called where one of them is told.
        """
        truth = self.masks[sent(index, self.masks.device)].float()
        if {target.code for target in self.targets} == {Target("truth").code}:
            return Told(truth, torch.zeros(len(truth), dtype=torch.uint8))
        rng = np.random.default_rng(int(torch.randint(1 << 62, (), generator=generator)))
        shares = np.array([target.share for target in self.targets])
        drawn = rng.choice(len(self.targets), size=len(truth), p=shares / shares.sum())
        targets = [self.targets[k] for k in drawn]
        found = own().float() if any(t.name == "own" for t in targets) else truth
        numbers = index.tolist()
        masks = []
        for row, target in enumerate(targets):
            given = found[row] if target.name == "own" else truth[row]
            mask = self._mask(target.name, given, numbers[row], rng)
            masks.append(1 - mask if target.towards else mask)
        codes = torch.tensor([target.code for target in targets], dtype=torch.uint8)
        return Told(torch.stack(masks), codes)

    def _mask(self, name: str, given: Tensor, number: int, rng: Rng) -> Tensor:
        """Return a mask `(1, S, S)` for crop `number`; `given` is its truth, or its own mask."""
        if name == "other":
            return self._other(given, number, rng)
        if name == "blob":
            return _blob(given, rng)
        if name == "mirror":
            return given.flip([(-1,), (-2,), (-1, -2)][int(rng.integers(3))])
        if name == "complement":
            return 1 - given
        if name in ("empty", "full"):
            return torch.full_like(given, float(name == "full"))
        return given

    def _other(self, given: Tensor, number: int, rng: Rng) -> Tensor:
        """Return the mask of another forged crop; a blob where there is none."""
        place = int(rng.integers(len(self._forged))) if self._forged else 0
        for chosen in self._forged[place : place + 2] + self._forged[:1]:
            if chosen != number:
                return self.masks[chosen].to(given)
        return _blob(given, rng)

    @cached_property
    def _forged(self) -> list[int]:
        found: list[int] = self.masks.flatten(1).any(1).nonzero().flatten().tolist()
        return found


def _blob(like: Tensor, rng: Rng) -> Tensor:
    height, width = like.shape[-2:]
    blob = region(max(height, width), _BLOB_AREA, rng)[:height, :width]
    return torch.from_numpy(blob)[None].to(like)
