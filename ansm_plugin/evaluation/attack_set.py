"""Anti-forensics sets: attacked images with their masks, as files that other tools read.

`Tp/` and `Gt/` hold one PNG each per image and attack, with equal names: the folder layout of
IMDLBenCo's ManiDataset, and what `ansm train` and `ansm evaluate` match by stem. `dataset.json` is
the list of pairs of its JsonDataset, `manifest.json` says how each file was made.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ansm_plugin.data.samples import Sample, count_images
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.attacked_files import Forged, Writer
from ansm_plugin.evaluation.attacked_files import Victim as Victim  # its home of 0.1
from ansm_plugin.evaluation.manifest import (
    MANIFEST,
    AttackedFile,
    AttackPlan,
    Manifest,
    made_with,
)
from ansm_plugin.evaluation.parts import PIXELS_TOGETHER
from ansm_plugin.system.device import CPU
from ansm_plugin.system.differences import differences
from ansm_plugin.system.files import make_folder, write_json, write_whole
from ansm_plugin.system.lines import absorb_parts, part_of, read_lines
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.system.progress import Progress, silent

RECORDS, PAIRS = "records.jsonl", "dataset.json"


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
        samples: batches; on the CPU one image is attacked at a time, on an accelerator as many of
            one size as fit, with the same noise.
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
    device = torch.device(victim.device)
    localizer = _described(victim, device)
    decides = made_with(localizer, plan)
    known = among.once(lambda: _open_set(output, decides, force=force))
    write = Writer(victim, plan, output, part_of(output / RECORDS, among), known)
    skipped: list[str] = []
    mine: dict[int, AttackedFile] = {}  # by number in the set
    jobs = [(name, float(eps)) for name in plan.attacks for eps in plan.eps_255]
    total, finished = count_images(samples) * len(jobs), 0
    progress("attack", 0, total, {})
    own = (forged for forged in _forged(samples, skipped) if among.owns(forged.number))
    for group in _groups(own, device):
        for job, (attack, eps) in enumerate(jobs):
            for forged, record in zip(group, write(group, attack, eps), strict=True):
                mine[forged.number * len(jobs) + job] = record
            finished += len(group) * among.count
            # Images of other processes, which are about as far, count as finished.
            wanted = total - len(skipped) * len(jobs)
            progress("attack", min(finished, wanted), wanted, {})
    records = {number: record for part in among.gather(mine) for number, record in part.items()}
    files = tuple(records[number] for number in sorted(records))
    manifest = Manifest(localizer=localizer, plan=plan, records=files, skipped=tuple(skipped))
    return among.once(lambda: _finish(manifest, output))


def _described(victim: Victim, device: torch.device) -> dict[str, Any]:
    """Return what is said of a localizer; a set is made on one kind of device."""
    told = {} if device.type == CPU.type else {"device": device.type}
    return {**victim.localizer, **told}


def _forged(samples: Sequence[Sample], skipped: list[str]) -> Iterator[Forged]:
    """Yield forged images one by one; names of others are added to `skipped`."""
    taken: set[str] = set()
    number = itertools.count()
    for index in range(len(samples)):
        images, masks, names = samples[index]
        for row, name in enumerate(names):
            if bool(masks[row].any()):
                stem = _own_stem(name, taken)
                image, mask = (pixels[row : row + 1].float() for pixels in (images, masks))
                yield Forged(image, mask, stem, next(number))
            else:
                skipped.append(name)


def _groups(forged: Iterable[Forged], device: torch.device) -> Iterator[list[Forged]]:
    """Yield neighbours of one size that are attacked together; on the CPU each is alone."""
    most = PIXELS_TOGETHER if device.type != CPU.type else 0
    group: list[Forged] = []
    for one in forged:
        pixels = (len(group) + 1) * one.mask.numel()
        if group and (pixels > most or one.mask.shape != group[0].mask.shape):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _own_stem(name: str, taken: set[str]) -> str:
    """Return a stem for the files of an image: its path with "-" for "/", numbered if taken."""
    wanted = re.sub(r"[^\w.-]+", "-", (Path(name).parent / Path(name).stem).as_posix())
    numbered = (f"{wanted}-{number}" for number in itertools.count(2))
    stem = next(s for s in itertools.chain([wanted], numbered) if s not in taken)
    taken.add(stem)
    return stem


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
