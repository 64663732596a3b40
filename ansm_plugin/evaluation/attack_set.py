"""Anti-forensics sets: attacked images with their masks, as files that other tools read.

`Tp/` and `Gt/` hold one PNG each per image and attack, with equal names: the folder layout of
IMDLBenCo's ManiDataset, and what `ansm train` and `ansm evaluate` match by stem. `dataset.json` is
the list of pairs of its JsonDataset, `manifest.json` says how each file was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample, count_images
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.manifest import (
    MANIFEST,
    AttackedFile,
    AttackPlan,
    Manifest,
    made_with,
)
from ansm_plugin.localizer.call import Forward
from ansm_plugin.metrics.image_quality import psnr_scores
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.system.differences import differences
from ansm_plugin.system.files import make_folder, write_json, write_whole
from ansm_plugin.system.lines import absorb_parts, append_line, part_of, read_lines
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.system.progress import Progress, silent

RECORDS, PAIRS = "records.jsonl", "dataset.json"


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


class _Forged(NamedTuple):
    """One forged image `(1, 3, H, W)` in [0, 1] with its mask `(1, 1, H, W)` and a file stem."""

    image: Tensor
    mask: Tensor
    stem: str


def write_attacked(
    victim: Victim,
    samples: Sequence[Sample],
    plan: AttackPlan,
    output: Path,
    *,
    force: bool = False,
    progress: Progress = silent,
    among: Processes = ALONE,
) -> Manifest:
    """Attack every forged image and write the set; the same call goes on after a kill.

    Args:
        victim: the localizer that is attacked.
        samples: batches; one image is attacked at a time, so memory does not grow with them.
        plan: the attacks.
        output: the folder of the set.
        force: whether a set made otherwise may be replaced.
        progress: called with "attack", finished and all images, and no logs.
        among: `processes()` where several processes call this alike: each takes its share of the
            images, and the set is that of one process.

    Raises:
        ConfigError: the folder holds another set, or cannot be written.
        LocalizerError: no gradient reaches the image.
    """
    decides = made_with(victim.localizer, plan)
    known = among.once(lambda: _open_set(output, decides, force=force))
    write = _Writer(victim, plan, output, part_of(output / RECORDS, among), known)
    skipped: list[str] = []
    mine: dict[int, AttackedFile] = {}  # by number in the set
    jobs = [(name, float(eps)) for name in plan.attacks for eps in plan.eps_255]
    total = count_images(samples) * len(jobs)
    for number, forged in enumerate(_forged(samples, skipped)):
        for job, (attack, eps) in enumerate(jobs if among.owns(number) else ()):
            done = number * len(jobs) + job
            mine[done] = write(forged, attack, eps)
            # Images of other processes, which are about as far, count as finished.
            progress("attack", done + 1, total - len(skipped) * len(jobs), {})
    records = {number: record for part in among.gather(mine) for number, record in part.items()}
    manifest = Manifest(
        localizer=victim.localizer,
        plan=plan,
        records=tuple(records[number] for number in sorted(records)),
        skipped=tuple(skipped),
    )
    return among.once(lambda: _finish(manifest, output))


def _forged(samples: Sequence[Sample], skipped: list[str]) -> Iterator[_Forged]:
    """Yield forged images one by one; names of others are added to `skipped`."""
    taken: set[str] = set()
    for index in range(len(samples)):
        images, masks, names = samples[index]
        for row, name in enumerate(names):
            if bool(masks[row].any()):
                stem = _own_stem(name, taken)
                yield _Forged(images[row : row + 1].float(), masks[row : row + 1].float(), stem)
            else:
                skipped.append(name)


def _own_stem(name: str, taken: set[str]) -> str:
    """Return a stem for the files of an image: its path with "-" for "/", numbered if taken."""
    wanted = re.sub(r"[^\w.-]+", "-", (Path(name).parent / Path(name).stem).as_posix())
    numbered = (f"{wanted}-{number}" for number in itertools.count(2))
    stem = next(s for s in itertools.chain([wanted], numbered) if s not in taken)
    taken.add(stem)
    return stem


@dataclass(frozen=True)
class _Writer:
    """Writes attacked images, each with its mask and its record; those that are there stay."""

    victim: Victim
    plan: AttackPlan
    output: Path
    lines: Path
    known: dict[str, AttackedFile]

    def __call__(self, forged: _Forged, attack: str, eps: float) -> AttackedFile:
        """Return the record of one file, which is there afterwards."""
        name = f"{forged.stem}_{attack}-{eps:g}.png"
        source = hashlib.sha256(forged.image.numpy().tobytes()).hexdigest()
        record = self.known.get(name)
        if record is not None and record.source == source and _is_there(self.output, name):
            return record
        record = self._attack(forged, attack, eps, name, source)
        _save_mask(forged.mask, self.output / "Gt" / name)
        append_line(self.lines, record.as_json())
        return record

    def _attack(
        self, forged: _Forged, attack: str, eps: float, name: str, source: str
    ) -> AttackedFile:
        """Write one attacked image; return how it was made and what it did."""
        forward, _, device = self.victim
        spec = attack_spec(attack, steps=self.plan.steps)
        images, masks = forged.image.to(device), forged.mask.to(device)
        # Seeded by the image, so that neither order nor a kill changes a file.
        generator = attack_generator(self.plan.seed, f"{attack} {forged.stem}", eps, 0)
        attacked = run_attack(forward, images, masks, eps / 255, spec, generator=generator)
        pixels = attacked[0].mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        _save_png(pixels, self.output / "Tp" / name)
        with torch.no_grad():
            before, after = (
                float(f1_scores(forward(x).cpu(), forged.mask)) for x in (images, attacked)
            )
        return AttackedFile(
            file=name,
            source=source,
            attack=attack,
            eps_255=eps,
            objective=spec.objective,
            steps=spec.steps,
            seed=self.plan.seed,
            f1_before=before,
            f1_after=after,
            psnr=min(100.0, float(psnr_scores(attacked, images))),
        )


def _save_mask(mask: Tensor, path: Path) -> None:
    _save_png(mask[0, 0].mul(255).byte().cpu().numpy(), path)


def _save_png(pixels: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
    write_whole(path, lambda stream: Image.fromarray(pixels).save(stream, "PNG"))


def _is_there(output: Path, name: str) -> bool:
    return all((output / kind / name).is_file() for kind in ("Tp", "Gt"))


def _open_set(output: Path, decides: dict[str, Any], *, force: bool) -> dict[str, AttackedFile]:
    """Return records of files that are finished; refuse a folder that holds something else."""
    path = output / RECORDS
    there = next(read_lines(path), {}).get("made_with")
    if there == decides:
        absorb_parts(path)
        return {record.file: record for record in _read_records(path)}
    # Hidden files are our lock, or left by a run that was killed before its first image.
    occupied = output.is_dir() and any(p.name[0] != "." for p in output.iterdir())
    if occupied and not force:
        raise ConfigError(
            f"{output} holds something else than an unfinished set of this localizer, attacks and "
            f"seed{_differing(there, decides)}; name another folder, or pass --force to write into "
            "it."
        )
    make_folder(output)
    absorb_parts(path)  # what several processes left of another set goes with it
    first = f"{json.dumps({'made_with': decides})}\n"
    write_whole(path, lambda stream: stream.write(first.encode()))
    return {}


def _differing(there: Any, now: dict[str, Any]) -> str:
    """Return " (steps is 10 there and 20 now)", "" where the folder holds no set."""
    return f" ({differences(there, now)})" if isinstance(there, dict) else ""


def _read_records(path: Path) -> Iterator[AttackedFile]:
    for line in read_lines(path):
        # The first line is no record; the file of a damaged one is made again.
        with contextlib.suppress(ConfigError):
            yield AttackedFile.from_json(line)


def _finish(manifest: Manifest, output: Path) -> Manifest:
    """Write the list of pairs and the manifest, whose presence says that the set is whole."""
    absorb_parts(output / RECORDS)
    pairs = [[f"Tp/{record.file}", f"Gt/{record.file}"] for record in manifest.records]
    write_json(output / PAIRS, pairs)
    write_json(output / MANIFEST, manifest.as_json())
    return manifest
