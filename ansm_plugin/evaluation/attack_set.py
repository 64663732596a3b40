"""Anti-forensics sets: attacked images with their masks, as files that other tools read.

`Tp/` and `Gt/` hold one PNG each per image and attack, with equal names: the folder layout of
IMDLBenCo's ManiDataset, and what `ansm train` and `ansm evaluate` match by stem. `dataset.json` is
the list of pairs of its JsonDataset, `manifest.json` says how each file was made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ansm_plugin.attacks import Forward, attack_spec, run_attack
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.errors import ConfigError
from ansm_plugin.metrics.image_quality import psnr_scores
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.system.files import make_folder, write_json, write_whole
from ansm_plugin.system.lines import absorb_parts, append_line, part_of, read_lines
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.system.progress import Progress, silent

MANIFEST, RECORDS, PAIRS = "manifest.json", "records.jsonl", "dataset.json"
MIN_EFFECT = 0.01  # mean loss of F1 below which an attack did nothing


@dataclass(frozen=True, kw_only=True)
class AttackPlan:
    """What an anti-forensics set is made with.

    Attributes:
        attacks: names in `attacks.ATTACKS`.
        eps_255: their radii in grey levels.
        steps: their gradient steps.
        seed: decides random starts.
    """

    attacks: tuple[str, ...] = ("mifgsm",)
    eps_255: tuple[float, ...] = (2, 4, 8)
    steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown attacks and radii out of range."""
        for name in self.attacks:
            attack_spec(name)
        if not self.attacks or not self.eps_255 or not all(0 < e <= 255 for e in self.eps_255):
            raise ConfigError(
                f"attacks {self.attacks} and eps {self.eps_255}: name at least one of each; eps "
                "is in grey levels, above 0 and at most 255."
            )


class Manifest(NamedTuple):
    """Records of all files, by file; images without forged pixels that were left out."""

    records: list[dict[str, Any]]
    skipped: list[str]

    def idle(self) -> list[str]:
        """Return the attacks that took less than `MIN_EFFECT` of F1 on average."""
        found: dict[str, list[float]] = {}
        for record in self.records:
            key = f"{record['attack']}@{record['eps_255']:g}"
            found.setdefault(key, []).append(record["f1_before"] - record["f1_after"])
        return [key for key, lost in found.items() if sum(lost) / len(lost) < MIN_EFFECT]


class _One(NamedTuple):
    """One forged image `(1, 3, H, W)` in [0, 1] with its mask `(1, 1, H, W)` and a file stem."""

    image: Tensor
    mask: Tensor
    stem: str


def write_attacked(
    forward: Forward,
    samples: Sequence[Sample],
    plan: AttackPlan,
    output: Path,
    *,
    localizer: dict[str, Any],
    device: torch.device | str = "cpu",
    force: bool = False,
    progress: Progress = silent,
    among: Processes = ALONE,
) -> Manifest:
    """Attack every forged image and write the set; the same call goes on after a kill.

    Args:
        forward: pixels -> mask logits of the bare localizer.
        samples: batches; one image is attacked at a time, so memory does not grow with them.
        plan: the attacks.
        output: the folder of the set.
        localizer: family, class and sha256, for the manifest.
        device: of the forward.
        force: whether a set made otherwise may be replaced.
        progress: called with "attack", finished and all images, and no logs.
        among: `processes()` where several processes call this alike: each takes its share of the
            images, and the set is that of one process.

    Raises:
        ConfigError: the folder holds another set, or cannot be written.
        LocalizerError: no gradient reaches the image.
    """
    made_with = {"localizer": localizer, **json.loads(json.dumps(asdict(plan)))}
    known = among.once(lambda: _open_set(output, made_with, force=force))
    skipped: list[str] = []
    mine: dict[int, dict[str, Any]] = {}  # by number in the set
    jobs = [(name, float(eps)) for name in plan.attacks for eps in plan.eps_255]
    total = sum(len(s.names) for s in samples) * len(jobs)
    for number, one in enumerate(_forged(samples, skipped)):
        for job, (attack, eps) in enumerate(jobs if among.owns(number) else ()):
            name = f"{one.stem}_{attack}-{eps:g}.png"
            source = hashlib.sha256(one.image.numpy().tobytes()).hexdigest()
            record = known.get(name)
            if record is None or record["source"] != source or not _is_there(output, name):
                made = _attack_one(forward, one, attack, eps, plan, device, output / "Tp" / name)
                record = {"file": name, "source": source, **made}
                _save_mask(one.mask, output / "Gt" / name)
                append_line(part_of(output / RECORDS, among), record)
            done = number * len(jobs) + job
            mine[done] = record
            # Images of other processes, which are about as far, count as finished.
            progress("attack", done + 1, total - len(skipped) * len(jobs), {})
    records = {number: record for part in among.gather(mine) for number, record in part.items()}
    manifest = Manifest([records[number] for number in sorted(records)], skipped)
    return among.once(lambda: _finish(manifest, made_with, output))


def _forged(samples: Sequence[Sample], skipped: list[str]) -> Iterator[_One]:
    """Yield forged images one by one; names of others are added to `skipped`."""
    for index in range(len(samples)):
        images, masks, names = samples[index]
        for row, name in enumerate(names):
            if bool(masks[row].any()):
                stem = re.sub(r"[^\w.-]+", "-", Path(name).stem)
                yield _One(images[row : row + 1].float(), masks[row : row + 1].float(), stem)
            else:
                skipped.append(name)


def _attack_one(
    forward: Forward,
    one: _One,
    attack: str,
    eps: float,
    plan: AttackPlan,
    device: torch.device | str,
    path: Path,
) -> dict[str, Any]:
    """Write one attacked image; return how it was made and what it did."""
    spec = attack_spec(attack, steps=plan.steps)
    images, masks = one.image.to(device), one.mask.to(device)
    # Seeded by the image, so that neither order nor a kill changes a file.
    generator = attack_generator(plan.seed, f"{attack} {one.stem}", eps, 0)
    attacked = run_attack(forward, images, masks, eps / 255, spec, generator=generator)
    _save_png(attacked[0].mul(255).round().byte().permute(1, 2, 0).cpu().numpy(), path)
    with torch.no_grad():
        before, after = (float(f1_scores(forward(x).cpu(), one.mask)) for x in (images, attacked))
    return {
        "attack": attack,
        "eps_255": eps,
        "objective": spec.objective,
        "steps": spec.steps,
        "seed": plan.seed,
        "f1_before": before,
        "f1_after": after,
        "psnr": min(100.0, float(psnr_scores(attacked, images))),
    }


def _save_mask(mask: Tensor, path: Path) -> None:
    _save_png(mask[0, 0].mul(255).byte().cpu().numpy(), path)


def _save_png(pixels: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
    write_whole(path, lambda stream: Image.fromarray(pixels).save(stream, "PNG"))


def _is_there(output: Path, name: str) -> bool:
    return all((output / kind / name).is_file() for kind in ("Tp", "Gt"))


def _open_set(output: Path, made_with: dict[str, Any], *, force: bool) -> dict[str, dict[str, Any]]:
    """Return records of files that are finished; refuse a folder that holds something else."""
    path = output / RECORDS
    if next(read_lines(path), None) == {"made_with": made_with}:
        absorb_parts(path)
        return {line["file"]: line for line in read_lines(path) if "file" in line}
    # Hidden files are our lock, or left by a run that was killed before its first image.
    occupied = output.is_dir() and any(p.name[0] != "." for p in output.iterdir())
    if occupied and not force:
        raise ConfigError(
            f"{output} holds something else than an unfinished set of this localizer, attacks and "
            "seed; name another folder, or pass --force to write into it."
        )
    make_folder(output)
    absorb_parts(path)  # what several processes left of another set goes with it
    first = f"{json.dumps({'made_with': made_with})}\n"
    write_whole(path, lambda stream: stream.write(first.encode()))
    return {}


def _finish(manifest: Manifest, made_with: dict[str, Any], output: Path) -> Manifest:
    """Write the list of pairs and the manifest, whose presence says that the set is whole."""
    absorb_parts(output / RECORDS)
    pairs = [[f"Tp/{r['file']}", f"Gt/{r['file']}"] for r in manifest.records]
    write_json(output / PAIRS, pairs)
    fields = {**made_with, "skipped": manifest.skipped, "files": manifest.records}
    write_json(output / MANIFEST, fields)
    return manifest
