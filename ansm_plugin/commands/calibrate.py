"""`ansm calibrate`: fit the attack score of an ANSM and keep it in its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ansm_plugin.backbones import reference
from ansm_plugin.commands.models import load_defended, warn_if_untrained
from ansm_plugin.commands.terminal import show_progress
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.calibration import Calibration, calibrate
from ansm_plugin.system.files import make_folder
from ansm_plugin.system.text import say
from ansm_plugin.weights.ansm_file import save_score

_AUTHENTIC = 0.25  # share of crops without a forgery, which a score must not take for attacked


def run(
    *,
    localizer: str | None,
    ansm: Path | None,
    images: Path | None,
    masks: Path | None,
    pattern: str,
    count: int | None,
    size: int,
    seed: int,
    output: Path,
    force: bool,
) -> None:
    """Fit, write a copy of the ANSM with its score, and say where.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    if output.exists() and not force:
        raise ConfigError(f"{output} is there already; name another file, or pass --force.")
    make_folder(output.parent)
    defended = load_defended(localizer, ansm)
    warn_if_untrained(defended.ansm)
    data = DataConfig(images=images, masks=masks, pattern=pattern, count=count or 256, seed=seed)
    forgeries = ForgeryConfig(size=size, authentic=_AUTHENTIC)
    crops = load_crops(replace(data, forgeries=forgeries))
    with show_progress(Console(stderr=True)) as progress:
        score = calibrate(defended, crops, Calibration(seed=seed), progress=progress)
    save_score(score, ansm or reference.packaged_ansm(), output)
    say(f"wrote {output}")
