"""The long part of an evaluation: every cell on every batch, one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from ansm_plugin.data.samples import Facts, Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.errors import ImageError
from ansm_plugin.evaluation.checks.transplant import TransplantTest
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.images import Batch, make_together, shared_noise
from ansm_plugin.evaluation.parts import PIXELS_TOGETHER, NoiseMaker
from ansm_plugin.evaluation.plan import Cell
from ansm_plugin.evaluation.records import Records, key_of
from ansm_plugin.evaluation.results import DEFENDED, Defence
from ansm_plugin.evaluation.scores import Scores, against, joined, left_out, quality_of, score
from ansm_plugin.evaluation.transplant import Transplant, Values, mean_of
from ansm_plugin.localizer.call import Forward
from ansm_plugin.system.device import CPU
from ansm_plugin.system.processes import Processes
from ansm_plugin.system.progress import Progress

CellScores = Mapping[Defence, Scores]
_FEW = 4  # images that gradient and search are tried on


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is run on every batch.

    Attributes:
        cells: the attacks.
        scored: the defences, by name: pixels -> mask logits, one tile of them at a time.
        suppress: pixels -> pixels behind the module, one tile of them at a time.
        transplant: what the module adds, tried without the image that it adds it to.
        maker: makes the noise of the attacks.
        device: where all of this runs.
    """

    cells: Sequence[Cell]
    scored: Mapping[str, Forward]
    suppress: Forward
    transplant: TransplantTest
    maker: NoiseMaker
    device: torch.device

    @property
    def config(self) -> EvaluationConfig:
        """How hard it is."""
        return self.maker.config

    def place(self, sample: Sample) -> Sample:
        """Return a batch as floats where everything runs."""
        images, masks = (pixels.float().to(self.device) for pixels in sample[:2])
        return sample._replace(images=images, masks=masks)

    def score(self, batch: Batch, cell: Cell) -> dict[Defence, Scores]:
        """Score every defence of a cell, and what noise or module did to the images."""
        if cell.framed:
            frames = batch.frames(cell)
            return {d: against(self.scored[d], *frames) for d in cell.scored}
        if batch.lacks_partner(cell.noise):
            alone = left_out(1)._replace(source=batch.forged_source)
            return dict.fromkeys(cell.scored, alone)
        images, masks, forged, source, originals = batch.images(cell)
        found = {
            d: score(self.scored[d], images, masks, forged)._replace(source=source[forged.cpu()])
            for d in cell.scored
        }
        if originals is not None:
            quality = quality_of(images, originals)  # slow, and the same before every defence
            return {d: values._replace(**quality) for d, values in found.items()}
        # T0: what the defence adds where there is nothing to suppress.
        if not cell.channel and bool(forged.any()):
            chosen = images if bool(forged.all()) else images[forged]  # choosing copies
            with torch.no_grad():
                suppressed = self.suppress(chosen)
            found[DEFENDED] = found[DEFENDED]._replace(**quality_of(suppressed, chosen))
        return found


class Scoring:
    """The scores of all cells on all samples; each batch is read once, if any of it is missing.

    Args:
        bench: what is run.
        samples: the batches.
        facts: what is known of them.
        records: finished parts, which are neither read nor run again.
    """

    def __init__(
        self, bench: Bench, samples: Sequence[Sample], facts: Facts, records: Records
    ) -> None:
        self._bench = bench
        self._samples = samples
        self._facts = facts
        self.records = records
        noise = bench.transplant.noise
        self._shared = shared_noise(bench.cells) | ({noise} if noise else set())
        self._few: Sample | None = None
        self._transplants: dict[int, Values] = {}  # of the batches of this process

    def run(self, progress: Progress, among: Processes) -> list[dict[Defence, Scores]]:
        """Return the scores of each cell by defence, those of all processes.

        `progress` is called with "evaluate", finished and all parts, and no logs.
        """
        cells = self._bench.cells
        own = [index for index in range(len(self._samples)) if among.owns(index)]
        told = _Told(progress, (len(cells) + 1) * len(self._samples), among.count)
        mine: dict[int, list[CellScores]] = {}
        for group in groups(own, self._facts.shapes, self._bench.device):
            mine |= self._group_scores(group, told)
        parts = {index: scores for part in among.gather(mine) for index, scores in part.items()}
        return [
            {d: joined([parts[index][position][d] for index in sorted(parts)]) for d in cell.scored}
            for position, cell in enumerate(cells)
        ]

    def transplant(self, among: Processes) -> Transplant | None:
        """Return what the transplant test found on all batches, once `run` is through."""
        parts = {i: v for part in among.gather(self._transplants) for i, v in part.items()}
        return mean_of([parts[i] for i in sorted(parts)], self._bench.transplant.attack)

    def few_forged(self) -> Sample:
        """Return a few forged images of the first batch that has any, no larger than a tile."""
        if self._few is None:  # another process's batch, or every part of it was known
            if self._facts.first_forged is None:
                raise ImageError("no image is forged; F1 needs at least one.")
            self._read(self._facts.first_forged)
        assert self._few is not None
        return self._few

    def _group_scores(self, group: Sequence[int], told: _Told) -> dict[int, list[CellScores]]:
        """Return the scores of all cells on some batches, by the number of the batch."""
        # Each is read where a part of it is missing.
        batches = {index: cache(partial(self._batch, index)) for index in group}
        found: dict[int, list[CellScores]] = {index: [] for index in group}
        for cell in self._bench.cells:
            known = {index: self._known(cell, index) for index in group}
            missing = [index for index in group if known[index] is None]
            if len(missing) > 1:
                make_together([batches[index]() for index in missing], cell, self._bench.maker)
            for index in group:
                scores = known[index]
                if scores is None:
                    scores = self._bench.score(batches[index](), cell)
                    self.records.put(key_of(cell, index), scores)
                found[index].append(scores)
                told.one_more()
        for index in group:
            self._transplants[index] = self._transplanted(index, batches[index])
            told.one_more()
        return found

    def _known(self, cell: Cell, index: int) -> CellScores | None:
        scores = self.records.get(key_of(cell, index))
        return scores if scores is not None and set(scores) == set(cell.scored) else None

    def _transplanted(self, index: int, batch: Callable[[], Batch]) -> Values:
        test = self._bench.transplant
        if not test.sees(index):
            return {}
        key = f"{index} transplant {test.noise}"
        values = self.records.noted(key)
        if values is None:
            values = test.of(batch(), index)
            self.records.note(key, values)
        return values

    def _batch(self, index: int) -> Batch:
        first = sum(count for count, *_ in self._facts.shapes[:index])
        return Batch(self._read(index), index, self._bench.maker, self._shared, first)

    def _read(self, index: int) -> Sample:
        sample = self._bench.place(self._samples[index])
        if index == self._facts.first_forged:
            self._few = _few_forged(sample, self._bench.maker.tiling)
        return sample


class _Told:
    """Says how many parts are finished.

    Args:
        progress: is called with "evaluate", finished and all parts, and no logs.
        total: number of all parts.
        processes: that do them; those of others, which are about as far, count as finished.
    """

    def __init__(self, progress: Progress, total: int, processes: int) -> None:
        self._progress, self._total, self._processes = progress, total, processes
        self._done = 0

    def one_more(self) -> None:
        """Say that one more part is finished."""
        self._done = min(self._total, self._done + self._processes)
        self._progress("evaluate", self._done, self._total, {})


def groups(
    indices: Sequence[int], shapes: Sequence[tuple[int, int, int]], device: torch.device
) -> list[list[int]]:
    """Return batches that are attacked together: neighbours of one size, where that saves time.

    Args:
        indices: of the batches, in their order.
        shapes: number, height and width of the images of all batches.
        device: an accelerator has use for more images at once; a CPU has none.
    """
    most = PIXELS_TOGETHER if device.type != CPU.type else 0
    found: list[list[int]] = []
    pixels = 0
    for index in indices:
        count, height, width = shapes[index]
        pixels += count * height * width
        if not found or pixels > most or shapes[found[-1][0]][1:] != (height, width):
            found.append([])
            pixels = count * height * width
        found[-1].append(index)
    return found


def _few_forged(sample: Sample, tiling: Tiling) -> Sample:
    """Return the first forged images of a batch, cut to a tile; copied, to let go of the batch."""
    images, masks, names = sample
    forged = masks.flatten(1).any(1)
    images, masks = images[forged][:_FEW], masks[forged][:_FEW]
    rows, columns = tiling.fullest(masks)
    return Sample(_cut(images, rows, columns), _cut(masks, rows, columns), names[:_FEW])


def _cut(pixels: Tensor, rows: slice, columns: slice) -> Tensor:
    return pixels[..., rows, columns].clone()
