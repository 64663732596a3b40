"""`ansm evaluate`: numbers of a localizer with and without its ANSM."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from rich.console import Console

from ansm_plugin.ansm import Precision
from ansm_plugin.commands.models import load_defended
from ansm_plugin.commands.terminal import show_progress
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.material import VALIDATION, read_material
from ansm_plugin.evaluation.results import Threat
from ansm_plugin.evaluation.rivals import baseline_names, costs, fit_baselines, surrogates
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.report.page import write_html
from ansm_plugin.report.panels import save_pictures
from ansm_plugin.report.table import print_table
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.processes import processes
from ansm_plugin.system.text import say

RESULT, RECORDS, REPORT = "evaluation.json", "records.jsonl", "report.html"


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is run where the options leave it open."""

    threats: tuple[str, ...]
    white_box_attacks: tuple[str, ...]
    white_box_eps: tuple[float, ...]
    white_box_steps: int
    adaptive: tuple[str, ...]
    count: int | None
    baselines: tuple[str, ...]
    precision: Precision
    attack_precision: Precision


FULL = Effort(
    threats=("T0", "T1", "T2", "T4", "T5"),
    white_box_attacks=("margin", "pgd"),
    white_box_eps=(2, 4, 8),
    white_box_steps=20,
    adaptive=("straight-through", "unsaturated", "bypass", "warm-start"),
    count=None,
    baselines=("cheap",),
    precision="fp32",
    attack_precision="bf16",
)
QUICK = Effort(
    threats=("T0", "T1", "T4"),
    white_box_attacks=("margin",),
    white_box_eps=(8,),
    white_box_steps=10,
    adaptive=("warm-start",),
    count=16,
    baselines=("jpeg",),
    precision="bf16",
    attack_precision="bf16",
)


def run(
    *,
    localizer: str | None,
    ansm: Path | None,
    images: Path | None,
    masks: Path | None,
    pattern: str,
    count: int | None,
    threat: tuple[str, ...] | None,
    attacks: tuple[str, ...],
    eps: tuple[float, ...],
    steps: int,
    white_box_attacks: tuple[str, ...] | None,
    white_box_steps: int | None,
    adaptive: tuple[str, ...] | None,
    precision: Precision | None,
    ansm_precision: Precision,
    gate: bool,
    tile: int,
    cost_size: int | None,
    surrogate: list[str],
    baselines: tuple[str, ...] | None,
    seed: int,
    quick: bool,
    force: bool,
    output: Path | None,
    json: Path | None,
    command_line: str,
) -> None:
    """Evaluate, show the table and say where the files are.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    effort = QUICK if quick else FULL
    chosen = threat or (*effort.threats, *(("T3",) if surrogate else ()))
    config = EvaluationConfig(
        threats=cast(tuple[Threat, ...], tuple(chosen)),
        attacks=attacks,
        eps_255=eps,
        steps=steps,
        white_box_attacks=white_box_attacks or effort.white_box_attacks,
        white_box_steps=effort.white_box_steps if white_box_steps is None else white_box_steps,
        white_box_eps_255=effort.white_box_eps,
        adaptive=effort.adaptive if adaptive is None else adaptive,
        precision=effort.precision,
        attack_precision=precision or effort.attack_precision,
        tile=tile,
        seed=seed,
    )
    names = baseline_names(baselines or effort.baselines)
    among = processes()
    prepare_folders(output, json, force=force)  # now, not after minutes of attacks
    material = read_material(
        images, masks, pattern, count or effort.count, VALIDATION if names else 0
    )
    defended = load_defended(
        localizer, ansm, may_be_untrained=True, precision=ansm_precision, gate=gate
    )
    with show_progress(Console(stderr=True)) as progress:
        others = fit_baselines(names, defended, material.validation, config, progress=progress)
        bare = mask_forward(defended.localizer, defended.spec, precision=config.precision)
        evaluation = evaluate(
            defended,
            material.scored,
            config,
            localizer=localizer or "",
            ansm=str(ansm or ""),
            command=command_line,
            baselines={label: baseline(bare) for label, baseline in others.items()},
            surrogates=surrogates(surrogate, config.attack_precision, defended),
            records=output / RECORDS if output else None,
            progress=progress,
            among=among,
        )
    if not among.is_first:
        return
    height, width = (cost_size or min(tile, n) for n in material.scored[0].images.shape[-2:])
    evaluation = replace(evaluation, cost=costs(defended, others, (height, width)))
    # A log has room for names in one line; a terminal has the room that it has.
    print_table(evaluation, Console(width=None if sys.stdout.isatty() else 120))
    if json is not None:
        say(f"wrote {write_json(json, evaluation.as_json())}")
    if output is not None:
        pictures = save_pictures(defended, material.scored, evaluation, config, output)
        write_report(evaluation, pictures, output)
        say(f"wrote {output / REPORT}, {output / RESULT} and {len(pictures)} pictures")


def prepare_folders(output: Path | None, json: Path | None, *, force: bool) -> None:
    """Make the folders; refuse one that holds a finished report, unless `force` says so.

    Raises:
        ConfigError: there is a report already, or a folder cannot be made.
    """
    if json is not None:
        make_folder(json.parent)
    if output is None:
        return
    if (output / RESULT).exists() and not force:
        raise ConfigError(
            f"{output} holds a finished report; name another folder, or pass --force to replace "
            "it. (An interrupted evaluation goes on without --force.)"
        )
    make_folder(output)


def write_report(evaluation: Evaluation, pictures: Sequence[Path], output: Path) -> None:
    """Write the page to look at, then the numbers, whose file says that all is there."""
    fields = json_format.loads(json_format.dumps(evaluation.as_json()))
    write_html(fields, [(path.stem, path) for path in pictures], output / REPORT)
    write_json(output / RESULT, evaluation.as_json())
