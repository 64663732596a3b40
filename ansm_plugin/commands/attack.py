"""`ansm attack`: an anti-forensics set, to test any localizer or defence with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansm_plugin.commands.fact_options import FactOptions
from ansm_plugin.commands.groups import (
    ImageOptions,
    StrengthOptions,
    attacks_option,
    device_option,
    force_flag,
    json_option,
    localizer_option,
    output_option,
    seed_option,
)
from ansm_plugin.commands.options import group, record
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.text import say

if TYPE_CHECKING:
    import torch

    from ansm_plugin.data.listing import LeftOut
    from ansm_plugin.evaluation.manifest import AttackPlan, Manifest
    from ansm_plugin.system.processes import Processes


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """What is attacked and how; what is None is decided by `AttackPlan`."""

    localizer: str | None = localizer_option()
    said: FactOptions = group(FactOptions)
    source: ImageOptions = group(ImageOptions)
    attacks: tuple[str, ...] | None = attacks_option("mifgsm")
    strength: StrengthOptions = group(StrengthOptions)
    seed: int = seed_option()
    output: Path = output_option("Tp/, Gt/ and lists")
    force: bool = force_flag()
    json: Path | None = json_option()
    device: str = device_option()
    command_line: str = record()

    def given(self) -> dict[str, Any]:
        """Return the fields of `AttackPlan` that the command line sets."""
        fields = {
            "attacks": self.attacks,
            "eps_255": self.strength.eps,
            "steps": self.strength.attack_steps,
            "seed": self.seed,
        }
        return {name: value for name, value in fields.items() if value is not None}


OPTIONS = AttackOptions


def run(options: AttackOptions) -> None:
    """Attack, and say what it did.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    from ansm_plugin.commands.placement import placed
    from ansm_plugin.evaluation.manifest import AttackPlan
    from ansm_plugin.system.processes import processes

    plan = AttackPlan(**options.given())
    if options.json is not None:
        make_folder(options.json.parent)
    with placed(options.device, attacks="fp32") as device:
        among = processes()
        if among.is_first:
            _announce(options, plan)
        made, left_out = _attack(options, plan, among, device)
    if among.is_first:
        _tell(options, made, left_out, device)


def _attack(
    options: AttackOptions, plan: AttackPlan, among: Processes, device: torch.device
) -> tuple[Manifest, Sequence[LeftOut]]:
    """Write the set with what the options name; return what it is and what was not used."""
    from rich.console import Console

    from ansm_plugin.attacks.captured import attack_forward
    from ansm_plugin.backbones.reference import crops_of
    from ansm_plugin.commands.loading import load_localizer
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.defended import unwrap, wrap_with_ansm
    from ansm_plugin.evaluation.attack_set import Victim, write_attacked
    from ansm_plugin.evaluation.material import read_material
    from ansm_plugin.localizer.gradient import require_gradient
    from ansm_plugin.weights.ansm_file import identify

    localizer = load_localizer(options.localizer, options.said.facts).to(device)
    wrapped = wrap_with_ansm(localizer)  # for its spec, and to freeze it
    spec = wrapped.spec
    require_gradient(localizer, spec)  # now, not after images were read
    with show_progress(Console(stderr=True)) as progress:
        source = replace(options.source.source(), crops=crops_of(options.localizer))
        material = read_material(source, 0, progress=progress)
        made = write_attacked(
            Victim(attack_forward(localizer, spec), identify(localizer, spec), device),
            material.scored,
            plan,
            options.output,
            force=options.force,
            progress=progress,
            among=among,
        )
    unwrap(wrapped)
    return made, material.left_out


def _announce(options: AttackOptions, plan: AttackPlan) -> None:
    """Say how many images come of photographs without masks, before they are made."""
    from ansm_plugin.backbones.reference import crops_of

    crops = crops_of(options.localizer).count
    forged = options.source.forged(crops)
    if forged:
        attacks, radii = len(plan.attacks), len(plan.eps_255)
        images = (options.source.count or crops) * attacks * radii
        say(f"{forged}; attacks {attacks} x radii {radii}: {images} images will be written")


def doubts(made: Manifest) -> Iterator[str]:
    """Yield why attacks that did nothing did nothing, as far as the set tells."""
    from ansm_plugin.evaluation.checks.alarms import blind_localizer
    from ansm_plugin.metrics.defence import FINDS_NOTHING

    idle = made.idle()
    clean = sum(record.f1_before for record in made.records) / max(1, len(made.records))
    if idle and clean < FINDS_NOTHING:
        yield blind_localizer(clean, idle)
    else:
        for key in idle:
            yield (
                f"{key} took no F1: its images are as good as the originals. Does a gradient reach "
                "the image, are eps and steps large enough?"
            )


def _tell(
    options: AttackOptions, made: Manifest, left_out: Sequence[LeftOut], device: torch.device
) -> None:
    """Say what was written and left out; warn of attacks that did nothing."""
    from ansm_plugin.evaluation.manifest import MANIFEST
    from ansm_plugin.system.device import computed

    for said in doubts(made):
        warnings.warn(said, stacklevel=2)
    if made.skipped:
        say(f"left out {len(made.skipped)} images without forged pixels")
    output = options.output
    say(f"wrote {len(made.records)} attacked images to {output}; see {output / MANIFEST}")
    if options.json is not None:
        files = [record.as_json() for record in made.records]
        fields: dict[str, Any] = {"command": options.command_line, "files": files}
        fields |= {"skipped": made.skipped}
        fields |= {"computed": asdict(computed(device, attacks="fp32"))}
        fields |= {"left_out": left_out} if left_out else {}
        say(f"wrote {write_json(options.json, fields)}")
