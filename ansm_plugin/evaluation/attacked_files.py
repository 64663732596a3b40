"""The files of an anti-forensics set: an attacked image, its mask, and the record of both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ansm_plugin.attacks import AttackSpec, attack_spec, run_attack
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.evaluation.manifest import AttackedFile, AttackPlan
from ansm_plugin.localizer.call import Forward
from ansm_plugin.metrics.image_quality import psnr_scores
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.system.device import tf32
from ansm_plugin.system.files import write_whole
from ansm_plugin.system.lines import append_line
from ansm_plugin.system.memory import Capacity


class Victim(NamedTuple):
    """The localizer that is attacked.

    Attributes:
        forward: pixels -> mask logits, bare.
        localizer: family, class and sha256, for the manifest.
        device: of the forward.
    """

    forward: Forward
    localizer: dict[str, Any]
    device: torch.device | str = "cpu"


class Forged(NamedTuple):
    """One forged image `(1, 3, H, W)` in [0, 1], mask `(1, 1, H, W)`, file stem and number."""

    image: Tensor
    mask: Tensor
    stem: str
    number: int

    @property
    def digest(self) -> str:
        """The sha256 of the pixels."""
        return hashlib.sha256(self.image.numpy().tobytes()).hexdigest()


class _Job(NamedTuple):
    """One attack at one radius in grey levels."""

    attack: str
    spec: AttackSpec
    eps: float

    def file(self, forged: Forged) -> str:
        return f"{forged.stem}_{self.attack}-{self.eps:g}.png"


@dataclass(frozen=True)
class Writer:
    """Writes attacked images, each with its mask and its record; those that are there stay.

    Attributes:
        victim: the localizer that is attacked.
        plan: the attacks.
        output: the folder of the set.
        lines: file that receives the records.
        known: records of earlier runs, by the names of their files.
    """

    victim: Victim
    plan: AttackPlan
    output: Path
    lines: Path
    known: dict[str, AttackedFile]
    _capacity: Capacity = field(default_factory=Capacity)

    def __call__(self, group: Sequence[Forged], attack: str, eps: float) -> list[AttackedFile]:
        """Return the records of images of one size, whose files are there afterwards."""
        job = _Job(attack, attack_spec(attack, steps=self.plan.steps), eps)
        found = {forged.number: self._finished(forged, job) for forged in group}
        missing = [forged for forged in group if found[forged.number] is None]
        if missing:
            for forged, record in zip(missing, self._attacked(missing, job), strict=True):
                found[forged.number] = record
                append_line(self.lines, record.as_json())
        return [record for record in found.values() if record is not None]

    def _finished(self, forged: Forged, job: _Job) -> AttackedFile | None:
        """Return the record of a file that an earlier run has finished."""
        name = job.file(forged)
        record = self.known.get(name)
        if record is None or record.source != forged.digest:
            return None
        is_there = all((self.output / kind / name).is_file() for kind in ("Tp", "Gt"))
        return record if is_there else None

    def _attacked(self, group: Sequence[Forged], job: _Job) -> list[AttackedFile]:
        """Write attacked images with their masks; return how each was made and what that did."""
        forward, _, device = self.victim
        images, masks = (torch.cat(list(t)).to(device) for t in zip(*(f[:2] for f in group)))  # noqa: B905

        def attack(rows: slice) -> Tensor:
            # Seeded by the image, so that neither order nor a kill nor memory changes a file.
            seeds = [(self.plan.seed, f"{job.attack} {f.stem}", job.eps, 0) for f in group[rows]]
            own = [attack_generator(*seed) for seed in seeds]
            radius = job.eps / 255
            return run_attack(forward, images[rows], masks[rows], radius, job.spec, generator=own)

        attacked = self._capacity.run(attack, len(group), ("attack", images.shape[1:]))
        score = self._capacity.bounded(forward, "score")
        with torch.no_grad(), tf32(images.device, on=False):
            before, after = (f1_scores(score(x).cpu(), masks.cpu()) for x in (images, attacked))
        visible = psnr_scores(attacked, images).clamp_max(100.0)
        for forged, pixels in zip(group, attacked.cpu(), strict=True):
            _save_image(pixels, self.output / "Tp" / job.file(forged))
            _save_mask(forged.mask, self.output / "Gt" / job.file(forged))
        figures = zip(group, before.tolist(), after.tolist(), visible.tolist(), strict=True)
        return [self._record(forged, job, *numbers) for forged, *numbers in figures]

    def _record(
        self, forged: Forged, job: _Job, before: float, after: float, psnr: float
    ) -> AttackedFile:
        return AttackedFile(
            file=job.file(forged),
            source=forged.digest,
            attack=job.attack,
            eps_255=job.eps,
            objective=job.spec.objective,
            steps=job.spec.steps,
            seed=self.plan.seed,
            f1_before=before,
            f1_after=after,
            psnr=psnr,
        )


def _save_image(image: Tensor, path: Path) -> None:
    _save_png(image.mul(255).round().byte().permute(1, 2, 0).numpy(), path)


def _save_mask(mask: Tensor, path: Path) -> None:
    _save_png(mask[0, 0].mul(255).byte().cpu().numpy(), path)


def _save_png(pixels: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
    write_whole(path, lambda stream: Image.fromarray(pixels).save(stream, "PNG"))
