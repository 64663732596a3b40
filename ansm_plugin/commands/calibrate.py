"""`ansm calibrate`: fit the attack score of an ANSM and keep it in its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.groups import (
    ImageOptions,
    ModelOptions,
    crop_size_option,
    device_option,
    force_flag,
    output_option,
    seed_option,
)
from ansm_plugin.commands.options import group
from ansm_plugin.errors import ConfigError
from ansm_plugin.system.files import make_folder
from ansm_plugin.system.text import say

if TYPE_CHECKING:
    import torch

    from ansm_plugin.attack_score import AttackScore
    from ansm_plugin.data.crops import DataConfig

_CROPS = 256  # that the score is fitted on where no number is given
_AUTHENTIC = 0.25  # share of crops without a forgery, which a score must not take for attacked


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Whose score is fitted, and on what."""

    model: ModelOptions = group(ModelOptions)
    source: ImageOptions = group(ImageOptions)
    crop_size: int | None = crop_size_option("that of the localizer's card")
    seed: int = seed_option()
    output: Path = output_option(
        "a copy of the ANSM with its attack score; may be the file of --ansm",
        metavar="FILE.safetensors",
    )
    force: bool = force_flag()
    device: str = device_option()


OPTIONS = CalibrateOptions


def run(options: CalibrateOptions) -> None:
    """Fit, write a copy of the ANSM with its score, and say where.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    from ansm_plugin.backbones import reference
    from ansm_plugin.commands.placement import placed
    from ansm_plugin.weights.ansm_file import AnsmFile

    output = options.output
    if output.exists() and not options.force:
        raise ConfigError(f"{output} is there already; name another file, or pass --force.")
    make_folder(output.parent)
    with placed(options.device, scores="fp32", attacks="fp32") as device:
        score = _fitted(options, device)
    weights = options.model.ansm or reference.ansm_of(options.model.localizer)
    assert weights is not None  # else there was none to calibrate
    replace(AnsmFile.read(weights), score=score).write(output)
    say(f"wrote {output}")


def _fitted(options: CalibrateOptions, device: torch.device) -> AttackScore:
    """Return the attack score of the ANSM that the options name, fitted on a device."""
    from rich.console import Console

    from ansm_plugin.commands.loading import load_defended, warn_if_untrained
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.data.crops import load_crops
    from ansm_plugin.evaluation.calibration import Calibration, calibrate
    from ansm_plugin.localizer.gradient import require_gradient

    model = options.model
    defended = load_defended(model.localizer, model.ansm, facts=model.facts).to(device)
    warn_if_untrained(defended.ansm)
    require_gradient(defended.localizer, defended.spec)  # now, not after crops were made
    with show_progress(Console(stderr=True)) as progress:
        crops = load_crops(_data(options), progress)
    if crops.hosts is not None and len({*crops.hosts.tolist()}) < 2:
        say(
            "note: all crops are of one photograph, so the threshold holds for that one: give more "
            "photographs, or more images without attack than 1 in 100 may be above it"
        )
    with show_progress(Console(stderr=True)) as progress:
        return calibrate(defended, crops, Calibration(seed=options.seed), progress=progress)


def _data(options: CalibrateOptions) -> DataConfig:
    """Return the crops that the score is fitted on."""
    from ansm_plugin.backbones.reference import crops_of
    from ansm_plugin.data.crops import DataConfig
    from ansm_plugin.evaluation.made import suited

    source, crops = options.source, crops_of(options.model.localizer)
    data = DataConfig(
        images=source.images,
        masks=source.masks,
        pattern=source.pattern,
        recursive=source.recursive,
        allow_outside=source.allow_outside,
        count=source.count or _CROPS,
        seed=options.seed,
    )
    return suited(data, crops, authentic=_AUTHENTIC, size=options.crop_size)
