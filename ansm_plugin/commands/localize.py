"""`ansm localize`: which photograph, where, how sure: mask, probabilities, overlay and a page."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING

from ansm_plugin.commands.localize_options import LocalizeOptions
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.text import one_line, say

if TYPE_CHECKING:
    import torch

    from ansm_plugin.commands.localized_model import LocalizedModel
    from ansm_plugin.commands.photographs import Photo, Photos
    from ansm_plugin.report.record import About, PhotographRecord
    from ansm_plugin.system.device import Computed


OPTIONS = LocalizeOptions


def run(options: LocalizeOptions) -> None:
    """Localize each photograph; one that fails does not lose the others, one left out is named.

    Raises:
        AnsmError: nothing can be done at all, or some photographs failed (they are named).
        KeyboardInterrupt: it was told to stop; what is finished is kept.
    """
    from ansm_plugin.commands.finished import require_free
    from ansm_plugin.commands.photographs import expand, require_separate_outputs
    from ansm_plugin.commands.placement import placed
    from ansm_plugin.system.device import computed, tf32

    _require_consistent(options)
    photos = expand(options.photos, recursive=options.recursive, output=options.output)
    require_separate_outputs(photos.used, options.output)
    if not (options.resume or options.force):
        require_free(photos.used, options.output)
    precision = {"masks": "fp32", "ANSM": "none" if options.bare else options.ansm_precision}
    with placed(options.device, **precision) as device, tf32(device, on=False):
        model = _model(options, device)
        make_folder(options.output)
        try:
            records = _localized(options, photos.used, model)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(
                "interrupted; what is finished is kept. Run the same command with --resume to go "
                "on."
            ) from stop
    about = model.about(photos.left_out, device)
    _write(options, photos, records, about, computed(device, **precision))
    for line in photos.said:  # last, where it is seen
        warnings.warn(line, stacklevel=2)
    _require_all_done(records)


def _require_consistent(options: LocalizeOptions) -> None:
    """Raise ConfigError where options exclude one another, or a tile is too small."""
    from ansm_plugin.data.tiles import OVERLAP

    if not 0 < options.threshold < 1:
        raise ConfigError(f"--threshold is {options.threshold:g}; it must be between 0 and 1.")
    if options.least_score is not None and not 0 <= options.least_score <= 1:
        raise ConfigError(f"--least-score is {options.least_score:g}; it must be from 0 to 1.")
    if options.resume and options.force:
        raise ConfigError("--resume and --force were both given; choose one.")
    if options.bare and (options.gate or options.abstain is not None):
        raise ConfigError("--bare has no attack score; leave out --gate and --abstain.")
    if options.no_attack_score and (options.gate or options.abstain is not None):
        raise ConfigError("--gate and --abstain need the attack score: drop --no-attack-score.")
    if options.bare and options.model.ansm is not None:
        raise ConfigError("--bare and --ansm were both given; choose one.")
    if options.bare and options.ansm_precision != "fp32":
        raise ConfigError("--bare and --ansm-precision were both given; choose one.")
    if options.tile is not None and options.tile < 2 * OVERLAP:
        raise ConfigError(f"--tile is {options.tile}; it must be {2 * OVERLAP} or more.")


def _model(options: LocalizeOptions, device: torch.device) -> LocalizedModel:
    """Return the defended localizer, or the bare one where that is asked for."""
    from ansm_plugin.commands.loading import load_defended, load_localizer, warn_if_untrained
    from ansm_plugin.commands.localized_model import LocalizedModel
    from ansm_plugin.localizer.families import describe

    localizer, ansm, facts = options.model.localizer, options.model.ansm, options.model.facts
    if not options.bare:
        defended = load_defended(localizer, ansm, facts=facts, precision=options.ansm_precision)
        warn_if_untrained(defended.ansm)
        return LocalizedModel(defended.to(device), defended.spec, options)
    print("bare localizer: no defence against adversarial noise is used")
    model = load_localizer(localizer, facts)
    return LocalizedModel(model.to(device), describe(model), options)


def _localized(
    options: LocalizeOptions, photos: list[Photo], model: LocalizedModel
) -> list[PhotographRecord]:
    """Localize each photograph and say so; return the records in the order of the photographs."""
    from rich.console import Console

    from ansm_plugin.commands.finished import Finished
    from ansm_plugin.commands.localized import Steps
    from ansm_plugin.commands.localized_files import line_of
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.system.ahead import overlapped

    finished = Finished(options.output, model.settings(), needs_page=not options.no_page)
    finished.replace() if options.force else finished.go_on()
    steps = Steps(
        output=options.output,
        localize=model.localizing(),
        threshold=options.threshold,
        finished=finished,
        trained_on=model.trained_on(),
        scoring=model.scoring(),
        with_previews=not options.no_page,
    )
    records: list[PhotographRecord] = []
    with show_progress(Console(stderr=True)) as progress:
        for found in overlapped(photos, steps.read, steps.work, steps.write):
            records.append(found)
            if found.error is None:
                say(f"{line_of(found)} -> {one_line(options.output / str(found.mask))}")
            if len(photos) > 1:
                progress("photographs", len(records), len(photos), {})
    return records


def _write(
    options: LocalizeOptions,
    photos: Photos,
    records: list[PhotographRecord],
    about: About,
    where: Computed,
) -> None:
    """Write page, CSV and JSON where they are wanted; say what was found and where it is."""
    from ansm_plugin.commands.localized_files import (
        json_tables,
        summary_lines,
        write_records_csv,
    )
    from ansm_plugin.report.photographs import write_photographs_page

    for line in summary_lines(records, len(photos.left_out)):
        say(line)
    if not options.no_page:
        say(f"page: {write_photographs_page(records, about, options.output)}")
    if options.csv is not None:
        say(f"wrote {write_records_csv(options.csv, records, photos.left_out)}")
    if options.json is not None:
        tables = json_tables(records, about, photos.left_out)
        tables["computed"] = asdict(where)
        say(f"wrote {write_json(options.json, tables)}")


def _require_all_done(records: list[PhotographRecord]) -> None:
    """Raise ImageError where photographs failed, with their reasons."""
    failed = [record for record in records if record.error is not None]
    if failed:
        lines = [_failure(record) for record in failed]
        raise ImageError(
            f"{len(failed)} of {len(records)} photographs failed:\n  " + "\n  ".join(lines)
        )


def _failure(record: PhotographRecord) -> str:
    """Return a photograph and what is wrong with it; its name once where the error has it."""
    error = str(record.error)
    return error if record.file in error else f"{one_line(record.file)}: {error}"
