"""`ansm evaluate`: numbers of a localizer with and without its ANSM."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansm_plugin.commands.groups import (
    AimOptions,
    ImageOptions,
    ModelOptions,
    StrengthOptions,
    attack_precision_option,
    attacks_option,
    device_option,
    force_flag,
    gate_option,
    json_option,
    output_option,
    precision_option,
    seed_option,
    tile_option,
)
from ansm_plugin.commands.options import flag, group, option, record
from ansm_plugin.commands.values import names, natural, positive
from ansm_plugin.errors import ConfigError
from ansm_plugin.system.files import write_json
from ansm_plugin.system.text import say

if TYPE_CHECKING:
    import torch

    from ansm_plugin.ansm import Precision
    from ansm_plugin.evaluation.config import EvaluationConfig
    from ansm_plugin.evaluation.labels import Labels
    from ansm_plugin.evaluation.measure import Measured
    from ansm_plugin.evaluation.results import Evaluation, Threat
    from ansm_plugin.system.processes import Processes


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is evaluated, on what, and how hard; what is None is decided by the effort."""

    model: ModelOptions = group(ModelOptions)
    ansm_precision: Precision = precision_option()
    gate: bool = gate_option()
    source: ImageOptions = group(ImageOptions)
    attacks: tuple[str, ...] | None = attacks_option("pgd,mifgsm,cospgd")
    strength: StrengthOptions = group(StrengthOptions)
    attack_precision: Precision | None = attack_precision_option()
    threat: tuple[str, ...] | None = option(
        None,
        parse=names,
        metavar="T0,...,T6",
        help="what attackers know (default: T0,T1,T2,T4,T5; T3 with --surrogate, T3.5 with "
        "--own-modules)",
    )
    white_box_attacks: tuple[str, ...] | None = option(
        None,
        parse=names,
        metavar="NAMES",
        help="of T4, each at every radius (default: apgd-margin,apgd-dice,apgd-js)",
    )
    white_box_steps: int | None = option(
        None, parse=natural, metavar="N", help="of T4 (default: 100; 0: no T4)"
    )
    white_box_restarts: int | None = option(
        None,
        parse=positive,
        metavar="N",
        help="of each attack of T4, of which the best counts per image (default: 3); with less "
        "than the defaults its figure is an estimate, no bound",
    )
    adaptive: tuple[str, ...] | None = option(
        None,
        parse=names,
        metavar="NAMES",
        help="more of T4: straight-through, unsaturated, bypass, warm-start, eot "
        "(default: all but eot)",
    )
    aim: AimOptions = group(AimOptions)
    surrogate: tuple[str, ...] = option(
        (),
        parse=names,
        repeated=True,
        metavar="NAME[+ANSM],...",
        help="what T3 attacks in place of your localizer: another one, one with an ANSM, or "
        "`encoder` for your own without its decoder; separated by commas, or repeated",
    )
    own_modules: tuple[str, ...] = option(
        (),
        parse=names,
        metavar="FILES",
        help="ANSMs before the same localizer that the attacker of T3.5 trained himself from our "
        "recipe, with other seeds or presets, separated by commas: he attacks each of them and all "
        "at once",
    )
    baselines: tuple[str, ...] | None = option(
        None,
        parse=names,
        metavar="NAMES",
        help="other defences: cheap, none, or names (default: cheap, all without training)",
    )
    cost_size: int | None = option(
        None,
        parse=positive,
        metavar="PIXELS",
        help="side of the square whose cost is measured (default: the size of the first images)",
    )
    tile: int | None = tile_option("; each is attacked as an image of its own")
    seed: int = seed_option()
    quick: bool = flag(help="16 images, T0, T1, T4, JPEG alone as baseline, bf16")
    output: Path | None = output_option("report.html, its JSON and pictures", None)
    force: bool = force_flag()
    json: Path | None = json_option()
    device: str = device_option()
    command_line: str = record()

    def config(self) -> EvaluationConfig:
        """Return what is attacked: that of the effort, but for what the command line sets.

        Raises:
            ConfigError: an unknown name or a number out of range.
        """
        from ansm_plugin.evaluation.config import full, quick

        effort = quick() if self.quick else full()
        threats: tuple[Threat, ...] = ("T3",) if self.surrogate else ()
        threats += ("T3.5",) if self.own_modules else ()
        effort = replace(effort, threats=(*effort.threats, *threats))
        config = replace(effort, **self.given())
        if "T3.5" in config.threats and not self.own_modules:
            raise ConfigError(
                "T3.5 is an attacker who trains modules of his own; name some: "
                "--own-modules A.safetensors,B.safetensors,C.safetensors."
            )
        return config

    def given(self) -> dict[str, Any]:
        """Return the fields of `EvaluationConfig` that the command line sets."""
        fields = {
            "threats": self.threat or None,
            "attacks": self.attacks,
            "eps_255": self.strength.eps,
            "steps": self.strength.attack_steps,
            "white_box_attacks": self.white_box_attacks or None,
            "white_box_steps": self.white_box_steps,
            "white_box_restarts": self.white_box_restarts,
            "adaptive": self.adaptive,
            "aims": self.aim.names,
            "aim_attacks": self.aim.aim_attacks or None,
            "attack_precision": self.attack_precision,
            "tile": self.tile,
            "seed": self.seed,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def rivals(self) -> tuple[str, ...]:
        """Names of other defences, or of sets of them."""
        return self.baselines or (("jpeg",) if self.quick else ("cheap",))

    @property
    def count(self) -> int | None:
        """At most this many images; None takes all."""
        return self.source.count or (16 if self.quick else None)


OPTIONS = EvaluateOptions


def run(options: EvaluateOptions) -> None:
    """Evaluate, show the table and say where the files are.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    from ansm_plugin.commands.placement import placed

    config = options.config()
    inside = options.ansm_precision
    precision = {"scores": config.precision, "attacks": config.attack_precision, "ANSM": inside}
    with placed(options.device, **precision) as device:
        _evaluate(options, config, device)


def _evaluate(options: EvaluateOptions, config: EvaluationConfig, device: torch.device) -> None:
    """Evaluate on a device, show the table and say where the files are."""
    from rich.console import Console

    from ansm_plugin.backbones.reference import crops_of
    from ansm_plugin.commands.loading import load_defended
    from ansm_plugin.commands.results import prepare_folders
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.evaluation.material import VALIDATION, read_material
    from ansm_plugin.evaluation.measure import Measured
    from ansm_plugin.evaluation.rivals import baseline_names
    from ansm_plugin.system.processes import processes

    names = baseline_names(options.rivals)
    among = processes()
    # Now, not after minutes of attacks.
    prepare_folders(options.output, options.json, force=options.force)
    crops = crops_of(options.model.localizer)
    if among.is_first and (forged := options.source.forged(options.count or crops.count)):
        say(forged)
    source, validation = options.source.source(options.count), VALIDATION if names else 0
    source = replace(source, crops=crops)
    with show_progress(Console(stderr=True)) as progress:
        material = read_material(source, validation, authentic=config.frames, progress=progress)
    defended = load_defended(
        options.model.localizer,
        options.model.ansm,
        facts=options.model.facts,
        may_be_untrained=True,
        precision=options.ansm_precision,
        gate=options.gate,
    )
    measured = Measured(defended.to(device), material, config)
    evaluation = _measure(options, measured, names, among)
    if among.is_first:
        _show(options, measured, evaluation)


def _measure(
    options: EvaluateOptions, measured: Measured, names: Sequence[str], among: Processes
) -> Evaluation:
    """Evaluate, with progress, and with records where the results have a folder."""
    from rich.console import Console

    from ansm_plugin.commands.results import RECORDS
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.evaluation.measure import Opponents, measure

    opponents = Opponents(
        baselines=tuple(names), surrogates=options.surrogate, own_modules=options.own_modules
    )
    with show_progress(Console(stderr=True)) as progress:
        return measure(
            measured,
            opponents,
            labels=_labels(options),
            records=options.output / RECORDS if options.output else None,
            cost_size=options.cost_size,
            progress=progress,
            among=among,
        )


def _labels(options: EvaluateOptions) -> Labels:
    """Return what a result says of how it was made."""
    from ansm_plugin.evaluation.labels import Labels

    model = options.model
    return Labels(
        localizer=model.localizer or "", ansm=str(model.ansm or ""), command=options.command_line
    )


def _show(options: EvaluateOptions, measured: Measured, evaluation: Evaluation) -> None:
    """Print the table, write what the options ask for, and say where it is."""
    from rich.console import Console

    from ansm_plugin.commands.results import REPORT, RESULT, write_report
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.report.panels import save_pictures
    from ansm_plugin.report.table import print_table

    # A log has room for names in one line; a terminal has the room that it has.
    print_table(evaluation, Console(width=None if sys.stdout.isatty() else 120))
    if options.json is not None:
        say(f"wrote {write_json(options.json, evaluation.as_json())}")
    output = options.output
    if output is not None:
        defended, material, config = measured
        with show_progress(Console(stderr=True)) as progress:
            pictures = save_pictures(
                defended, material.scored, evaluation, config, output, progress
            )
        write_report(evaluation, pictures, output)
        say(f"wrote {output / REPORT}, {output / RESULT} and {len(pictures)} pictures")
