"""`ansm calibrate`: fit the attack score of an ANSM and keep it in its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.groups import ImageOptions, ModelOptions, device_option
from ansm_plugin.commands.options import REQUIRED, flag, group, option
from ansm_plugin.commands.values import path, positive
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
    size: int = option(
        64, parse=positive, metavar="PIXELS", help="of the crops (default: {default})"
    )
    seed: int = option(0, parse=int, help="of crops and attacks (default: {default})")
    output: Path = option(
        REQUIRED,
        parse=path,
        metavar="FILE.safetensors",
        help="receives a copy of the ANSM with its attack score; may be the file of --ansm",
    )
    force: bool = flag(help="replace an existing file")
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
    file = AnsmFile.read(options.model.ansm or reference.packaged_ansm())
    replace(file, score=score).write(output)
    say(f"wrote {output}")


def _fitted(options: CalibrateOptions, device: torch.device) -> AttackScore:
    """Return the attack score of the ANSM that the options name, fitted on a device."""
    from rich.console import Console

    from ansm_plugin.commands.models import load_defended, warn_if_untrained
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.data.crops import load_crops
    from ansm_plugin.evaluation.calibration import Calibration, calibrate
    from ansm_plugin.localizer.gradient import require_gradient

    model = options.model
    defended = load_defended(model.localizer, model.ansm, facts=model.facts).to(device)
    warn_if_untrained(defended.ansm)
    require_gradient(defended.localizer, defended.spec)  # now, not after crops were made
    crops = load_crops(_data(options))
    if crops.hosts is not None and len({*crops.hosts.tolist()}) < 2:
        say(
            "note: all crops are of one photograph, so the threshold holds for that one: give more "
            "photographs, or more images without attack than 1 in 100 may be above it"
        )
    with show_progress(Console(stderr=True)) as progress:
        return calibrate(defended, crops, Calibration(seed=options.seed), progress=progress)


def _data(options: CalibrateOptions) -> DataConfig:
    """Return the crops that the score is fitted on."""
    from ansm_plugin.data.crops import DataConfig
    from ansm_plugin.data.forgeries import ForgeryConfig

    source = options.source
    data = DataConfig(
        images=source.images,
        masks=source.masks,
        pattern=source.pattern,
        recursive=source.recursive,
        allow_outside=source.allow_outside,
        count=source.count or _CROPS,
        seed=options.seed,
    )
    return replace(data, forgeries=ForgeryConfig(size=options.size, authentic=_AUTHENTIC))
