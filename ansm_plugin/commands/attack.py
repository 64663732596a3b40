"""`ansm attack`: an anti-forensics set, to test any localizer or defence with."""

from __future__ import annotations

import warnings
from pathlib import Path

from rich.console import Console

from ansm_plugin.commands.models import load_localizer
from ansm_plugin.commands.terminal import show_progress
from ansm_plugin.defended import unwrap, wrap_with_ansm
from ansm_plugin.evaluation.attack_set import MANIFEST, AttackPlan, write_attacked
from ansm_plugin.evaluation.material import read_material
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.processes import processes
from ansm_plugin.system.text import say
from ansm_plugin.weights.ansm_file import identify


def run(
    *,
    localizer: str | None,
    images: Path | None,
    masks: Path | None,
    pattern: str,
    count: int | None,
    attacks: tuple[str, ...],
    eps: tuple[float, ...],
    steps: int,
    seed: int,
    output: Path,
    force: bool,
    json: Path | None,
    command_line: str,
) -> None:
    """Attack, and say what it did.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    among = processes()
    plan = AttackPlan(attacks=attacks, eps_255=eps, steps=steps, seed=seed)
    if json is not None:
        make_folder(json.parent)
    samples = read_material(images, masks, pattern, count, 0).scored
    wrapped = wrap_with_ansm(load_localizer(localizer))  # for its spec, and to freeze it
    spec = wrapped.spec
    with show_progress(Console(stderr=True)) as progress:
        made = write_attacked(
            mask_forward(wrapped.localizer, spec),
            samples,
            plan,
            output,
            localizer=identify(wrapped.localizer, spec),
            force=force,
            progress=progress,
            among=among,
        )
    unwrap(wrapped)
    if not among.is_first:
        return
    for key in made.idle():
        warnings.warn(
            f"{key} took no F1: its images are as good as the originals. Is the localizer right "
            "about them at all, does a gradient reach the image, are eps and steps large enough?",
            stacklevel=2,
        )
    if made.skipped:
        say(f"left out {len(made.skipped)} images without forged pixels")
    say(f"wrote {len(made.records)} attacked images to {output}; see {output / MANIFEST}")
    if json is not None:
        fields = {"command": command_line, "files": made.records, "skipped": made.skipped}
        say(f"wrote {write_json(json, fields)}")
