"""Results that an output folder of `localize` holds: refused, replaced, or gone on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansm_plugin.commands.photographs import RESULTS, Photo
from ansm_plugin.data.listing import shortened
from ansm_plugin.errors import ConfigError
from ansm_plugin.metrics.regions import Region
from ansm_plugin.report.photographs import PAGE
from ansm_plugin.report.record import PhotographRecord, PhotographWarning
from ansm_plugin.system.differences import differences
from ansm_plugin.system.lines import append_line, read_lines
from ansm_plugin.system.text import one_line

RECORDS = "localized.jsonl"
_FIELDS = {field.name for field in dataclasses.fields(PhotographRecord)}


def require_free(photos: Sequence[Photo], output: Path) -> None:
    """Raise ConfigError where results would be replaced; what is there is named."""
    results = [photo.result(kind) for photo in photos for kind in RESULTS]
    names = [Path(PAGE), Path(RECORDS), *results]
    there = [one_line(name) for name in names if (output / name).exists()]
    if there:
        raise ConfigError(
            f"{output} holds earlier results: {shortened(there, 3)}. Pass --resume to keep what is "
            "finished and do the rest, --force to do all again and replace them, or name another "
            "folder."
        )


class Finished:
    """The records of an output folder, one line for each photograph that is done.

    Args:
        output: the folder.
        settings: model and options that decide a result, as JSON holds them.
        needs_page: whether the pictures of the page belong to what is finished.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any], *, needs_page: bool) -> None:
        self._output, self._settings, self._needs_page = output, dict(settings), needs_page
        self._records: dict[str, PhotographRecord] = {}

    def replace(self) -> None:
        """Forget the records of earlier runs."""
        (self._output / RECORDS).unlink(missing_ok=True)

    def go_on(self) -> None:
        """Read what earlier runs have finished.

        Raises:
            ConfigError: they had another model or other options, or the file cannot be read.
        """
        for line in read_lines(self._output / RECORDS):
            settings, record = line.get("settings"), _record(line.get("record"))
            if record is None:
                continue
            if settings != self._settings:
                raise ConfigError(
                    f"{self._output} holds results of another model or other options: "
                    f"{differences(settings, self._settings)}. Name another folder, or pass "
                    "--force to replace them."
                )
            self._records[record.file] = record

    def of(self, photo: Photo, sha256: str) -> PhotographRecord | None:
        """Return the record of a photograph whose file is as it was and whose results are there."""
        record = self._records.get(str(photo.file))
        if record is None or record.sha256 != sha256 or record.mask != _text(photo.result("mask")):
            return None
        files = [record.mask, record.probability, record.overlay]
        if self._needs_page:
            files += [record.preview, record.probability_preview]
        is_whole = all(file is not None and (self._output / file).is_file() for file in files)
        return record if is_whole else None

    def keep(self, record: PhotographRecord) -> None:
        """Write down that a photograph is done; its files have to be there."""
        line = {"settings": self._settings, "record": dataclasses.asdict(record)}
        append_line(self._output / RECORDS, line)


def _record(table: object) -> PhotographRecord | None:
    """Return the record of a line; None where it is damaged, or of another release."""
    if not isinstance(table, dict) or set(table) != _FIELDS:
        return None
    try:
        lists: dict[str, Callable[..., Any]] = {"regions": Region, "warnings": PhotographWarning}
        parts = {name: tuple(kind(**part) for part in table[name]) for name, kind in lists.items()}
        return PhotographRecord(**{**table, **parts})
    except TypeError:
        return None


def _text(path: Path) -> str:
    return path.as_posix()
