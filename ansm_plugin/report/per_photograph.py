"""F1 of each image behind a row, from the records that an evaluation kept beside its result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.evaluation.results import WORST, WORST_L2, Row, norm_of
from ansm_plugin.evaluation.scores import Scores, from_json
from ansm_plugin.system.lines import read_lines

_CLOSE = 1e-9  # of a mean of numbers that were kept exactly
_FRAMED = (" authentic", " forged")  # how a key ends that is scored against a wrong mask


class PerImage(NamedTuple):
    """Values of the forged images of a row, in one order for all rows of a run.

    Attributes:
        f1: `(B,)` fp64; NaN where the attack left the image out.
        area: forged share of each image.
        source: number of the photograph that each comes from; all differ where nobody said.
        place: number of batch and number in it of each image.
    """

    f1: Tensor
    area: Tensor
    source: Tensor
    place: tuple[tuple[int, int], ...]


_Parts = Mapping[int, Mapping[str, Scores]]  # by the number of the batch, then by defence


class PerPhotograph:
    """What the records of one evaluation say of single images.

    Args:
        path: the file of records; None, or one that is not there, holds nothing.

    Raises:
        ConfigError: the file cannot be read.
    """

    def __init__(self, path: Path | None) -> None:
        self._series: dict[tuple[str, str], dict[int, dict[str, Scores]]] = {}
        for line in read_lines(path) if path is not None else ():
            # Of another release, or damaged: its row has no values then.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                batch, _, cell = line["key"].partition(" ")
                if "scores" in line and not cell.endswith(_FRAMED):
                    scores = {name: from_json(found) for name, found in line["scores"].items()}
                    self._series.setdefault((line["identity"], cell), {})[int(batch)] = scores

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._series)

    def of(self, row: Row) -> PerImage | None:
        """Return the values whose mean a row is; None where no records have that mean.

        A folder may hold records of other choices too, such as fewer steps.
        """
        candidates = self._worst(row) if row.attack in (WORST, WORST_L2) else self._single(row)
        return next((found for found in candidates if _is_of(row, found)), None)

    def _single(self, row: Row) -> Iterator[PerImage]:
        begins = f"{row.threat} {row.attack} {row.eps_255:g} "
        for (_, cell), parts in self._series.items():
            if cell.startswith(begins):
                yield from _values(parts, row.defence)

    def _worst(self, row: Row) -> Iterator[PerImage]:
        """Yield the lowest F1 of each image over all attacks in one ball, as each run had them."""
        by_run: dict[str, list[PerImage]] = {}
        for (identity, cell), parts in self._series.items():
            threat, _, rest = cell.partition(" ")
            attack, middle, _ = rest.partition(f" {row.eps_255:g} ")
            if threat == row.threat and middle and norm_of(attack) == row.norm:
                by_run.setdefault(identity, []).extend(_values(parts, row.defence))
        for same in by_run.values():
            if same and all(values.place == same[0].place for values in same):
                lowest = torch.stack([v.f1.nan_to_num(nan=torch.inf) for v in same]).amin(0)
                yield same[0]._replace(f1=lowest.masked_fill(lowest.isinf(), torch.nan))


def _values(parts: _Parts, defence: str) -> Iterator[PerImage]:
    if not all(defence in scores for scores in parts.values()):
        return
    found = [(batch, parts[batch][defence]) for batch in sorted(parts)]
    place = tuple((batch, i) for batch, scores in found for i in range(len(scores.f1)))
    own = torch.arange(len(place), dtype=torch.float64)
    said = torch.cat([scores.source for _, scores in found])
    yield PerImage(
        torch.cat([scores.f1 for _, scores in found]),
        torch.cat([scores.area for _, scores in found]),
        said if len(said) == len(place) else own,
        place,
    )


def _is_of(row: Row, found: PerImage) -> bool:
    known = found.f1[~found.f1.isnan()]
    return len(known) == row.images and abs(float(known.mean()) - row.f1) < _CLOSE
