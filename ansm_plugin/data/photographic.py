"""Forgeries as they are met: made of photographs by a forger's means, saved as JPEG.

Both sides have a history. A host is resized, compressed, filtered or lit anew before anything is
pasted, as an authentic photograph is that nobody forged; what is pasted has a history of its own;
and the whole is saved once or twice, on a grid that may begin anywhere. Nothing is planted: what
gives a forgery away is what its making left.

Every crop depends on (photographs, config, seed, index) alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import to_8_bit
from ansm_plugin.data.donors import pick_number
from ansm_plugin.data.edits import edited, recompressed, resized, resized_mask, window
from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.data.making import Forged, make_crops
from ansm_plugin.data.montage import MAKERS, Area, Source
from ansm_plugin.data.outlines import Outline
from ansm_plugin.data.pixels import Floats, Mask, Pixels, Rng
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.text import number_or_nan

_MARGIN = 8  # of a grid: the last save may begin inside the one before
_HOST_EDITS = 0.2
_WHOLE_EDITS = 0.12  # after pasting, to the whole picture


@dataclass(frozen=True, kw_only=True)
class PhotographicConfig:
    """What forgeries of photographs look like.

    Attributes:
        size: side of the square crops, in pixels.
        area: smallest and largest share of forged pixels.
        kinds: what is drawn from, "NAME:SHARE" for a share beside 1: "splice", "copy_move",
            "removal".
        authentic: share of crops in which nothing is pasted (their mask is empty).
        shrunk: share of pictures that are resized to 0.6 to 1 of their size after pasting.
        twice: share of pictures that are saved twice.
        uncompressed: share of pictures whose last save loses nothing, as PNG or TIFF; what was
            saved before stays in them.
        labels: folder of label maps or masks with the stems of photographs: things of these are cut
            along them, those of others along segments that are found.
    """

    size: int = 224
    area: tuple[float, float] = (0.02, 0.4)
    kinds: tuple[str, ...] = ("splice:0.6", "copy_move:0.25", "removal:0.15")
    authentic: float = 0.2
    shrunk: float = 0.25
    twice: float = 0.35
    uncompressed: float = 0.0
    labels: Path | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown kinds and values out of range."""
        self.shares()
        if self.size < 64 or not 0 < self.area[0] <= self.area[1] < 1:
            raise ConfigError(f"size {self.size} must be 64 or more, area {self.area} in (0, 1).")
        for name in ("authentic", "shrunk", "twice", "uncompressed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed: 0 to 1.")

    def shares(self) -> dict[str, float]:
        """Return the kinds with their shares, which sum to 1."""
        written = [text.partition(":") for text in self.kinds]
        if not written:
            raise ConfigError(f"no kinds are named; known: {', '.join(MAKERS)}.")
        for name, _, _ in written:
            if name not in MAKERS:
                raise ConfigError(unknown_name("forgery kind", name, MAKERS))
        numbers = [_share(share or "1", name) for name, _, share in written]
        return {name: n / sum(numbers) for (name, _, _), n in zip(written, numbers, strict=True)}


def photographic(
    photographs: Sequence[Pixels],
    count: int,
    config: PhotographicConfig,
    *,
    seed: int,
    known: Mapping[int, list[Outline]] | None = None,
    processes: int | None = None,
    progress: Progress = silent,
) -> Forgeries:
    """Make `count` forgeries out of `photographs`.

    Args:
        photographs: `(H, W, 3)` uint8 arrays; those too small for a crop are left out.
        count: how many.
        config: what they look like.
        seed: together with the index it decides each one.
        known: outlines of things in some photographs, by their number.
        processes: worker processes; None uses the cores of the machine, 1 stays in this one.
        progress: called with "forging crops", finished and all crops, and no logs.

    Raises:
        ImageError: no photograph is large enough.
    """
    least = config.size + _MARGIN
    # Numbers of those that are large enough, as the maker counts.
    numbers = [i for i, p in enumerate(photographs) if min(p.shape[:2]) >= least]
    outlined = {n: (known or {})[i] for n, i in enumerate(numbers) if i in (known or {})}
    maker = partial(_numbered, config=config, seed=seed, known=outlined)
    made = make_crops(
        maker, photographs, count, least=least, processes=processes, progress=progress
    )
    return Forgeries(*made)


def _numbered(
    photographs: Sequence[Pixels],
    index: int,
    *,
    config: PhotographicConfig,
    seed: int,
    known: Mapping[int, list[Outline]],
) -> Forged:
    if not _sources or _sources[0].photographs is not photographs:
        _sources[:] = [Source(photographs, known)]
    return forge_photograph(_sources[0], config, np.random.default_rng((seed, index)))


_sources: list[Source] = []  # of this process: outlines are found once


def forge_photograph(source: Source, config: PhotographicConfig, rng: Rng) -> Forged:
    """Return one picture, forged or authentic, after its last save."""
    unsaved = compose(source, config, rng)
    if config.uncompressed and rng.random() < config.uncompressed:
        return unsaved
    saved = recompressed(unsaved.image.astype(np.float32), rng, aligned=0.7)
    return unsaved._replace(image=to_8_bit(saved))


def compose(source: Source, config: PhotographicConfig, rng: Rng) -> Forged:
    """Return one picture, forged or authentic, before its last save."""
    number = pick_number(source.photographs, rng)
    # A smaller picture comes from a larger one, whatever is pasted in between.
    scale = rng.uniform(0.6, 1.0) if rng.random() < config.shrunk else 1.0
    final = config.size + _MARGIN
    side = min(round(final / scale), min(source.photographs[number].shape[:2]))
    host = edited(window(source.photographs[number], side, rng), rng, _HOST_EDITS)
    picture, mask = host, np.zeros(host.shape[:2], np.uint8)
    if rng.random() >= config.authentic:
        picture, mask = _forged(host, source, number, config, rng)
    if side != final:
        picture = resized(picture, (final, final), rng)
        mask = resized_mask(mask, (final, final))
    picture = edited(picture, rng, _WHOLE_EDITS)
    if rng.random() < config.twice:
        picture = recompressed(picture, rng)
    # The last save may begin inside a block of the one before.
    down, across = (0, 0) if rng.random() < 0.5 else rng.integers(0, _MARGIN, 2)
    place = np.s_[down : down + config.size, across : across + config.size]
    return Forged(to_8_bit(picture[place]), mask[place], number)


def _forged(
    host: Floats, source: Source, number: int, config: PhotographicConfig, rng: Rng
) -> tuple[Floats, Mask]:
    """Return a host with something pasted into it, and where."""
    shares = config.shares()
    for _ in range(4):  # a flat host has no outlines, a small one no room
        kind = str(rng.choice(list(shares), p=list(shares.values())))
        content, mask = MAKERS[kind](host, source, number, Area(*config.area), rng)
        if mask.any():
            edge = mask[..., None].astype(np.float32)
            if rng.random() < 0.7:  # cut by a brush, whose edge is soft
                edge = blurred(edge, float(rng.uniform(0.4, 1.6)))
            return host + edge * (content - host), mask
    return host, np.zeros(host.shape[:2], np.uint8)


def _share(text: str, name: str) -> float:
    share = number_or_nan(text)
    if not 0 < share < math.inf:
        raise ConfigError(f"the share of {name!r} is {text!r}; write a number above 0: {name}:0.5.")
    return share
