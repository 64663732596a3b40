"""What `localize` found as CSV and JSON, and in a few lines on the terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansm_plugin.data.listing import LeftOut
from ansm_plugin.report.photographs import look_first
from ansm_plugin.report.record import About, PhotographRecord
from ansm_plugin.system.files import write_whole
from ansm_plugin.system.text import one_line

_FIRST = 3  # photographs that the last lines name
_FORMULA = ("=", "+", "-", "@", "\t")  # what spreadsheets take for one at the start of a text
_NAMES = [field.name for field in dataclasses.fields(PhotographRecord)]


def json_tables(
    records: Sequence[PhotographRecord], about: About, left_out: Sequence[LeftOut]
) -> dict[str, Any]:
    """Return all that is known, as JSON holds it: `about`, `photographs`, `failed`, `left_out`.

    `left_out` names failures too, as it did in 0.1; of a photograph `photograph`, `tampered`,
    `gated` and `undecided` are what 0.1 called `file`, `marked_share` and two of the verdicts.
    """
    failed = [record for record in records if record.error is not None]
    failures = [{"file": record.file, "reason": record.error} for record in failed]
    return {
        "about": dataclasses.asdict(about),
        "photographs": [_table(record) for record in records if record.error is None],
        "failed": [dataclasses.asdict(record) for record in failed],
        "left_out": [*left_out, *failures],
    }


def _table(record: PhotographRecord) -> dict[str, Any]:
    is_scored = record.attack_score is not None
    older = {
        "photograph": record.file,
        "tampered": record.marked_share,
        "gated": record.verdict == "gated" if is_scored else None,
        "undecided": record.verdict == "undecided" if is_scored else None,
    }
    return {**older, **dataclasses.asdict(record)}


def write_records_csv(
    path: Path, records: Sequence[PhotographRecord], left_out: Sequence[LeftOut]
) -> Path:
    """Write one line for each photograph, failed ones and entries left out with their `error`.

    The columns are the fields of a record; lists stand there as JSON. A text that a spreadsheet
    would take for a formula has an apostrophe before it.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    rows = [dataclasses.asdict(record) for record in records]
    rows += [{"file": entry["file"], "error": f"left out: {entry['reason']}"} for entry in left_out]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _NAMES, restval="")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    content = stream.getvalue().encode("utf-8", "backslashreplace")
    return write_whole(path, lambda file: file.write(content))


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return json.dumps(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def line_of(record: PhotographRecord) -> str:
    """Return one line on a photograph that is done."""
    score = record.attack_score
    attack = "" if score is None else f", attack score {score:+.1f} ({record.attack_words})"
    words = record.verdict_words.replace("undecided", "UNDECIDED", 1)
    kept = f", {words}" if record.verdict in ("gated", "undecided", "below") else ""
    return f"{one_line(record.file)}: {_marked(record)}{attack}{kept}"


def _marked(record: PhotographRecord) -> str:
    """Return the marked share in words; one above 0 is never said to be 0, as on the page."""
    share = record.marked_share or 0.0
    return "below 0.1% marked" if 0 < share < 0.001 else f"{share:.1%} marked"


def summary_lines(records: Sequence[PhotographRecord], left_out: int) -> list[str]:
    """Return how many photographs there are of each sort, and which to look at first, and why.

    Args:
        records: of all photographs, failed ones too.
        left_out: number of entries of folders that were no photographs.
    """
    done = [record for record in records if record.error is None]
    counts = {
        "with marks": sum(bool(record.marked_share) for record in done),
        "that look attacked": sum((record.attack_score or 0) > 0 for record in done),
        "below --least-score": sum(record.verdict == "below" for record in done),
        "undecided": sum(record.verdict == "undecided" for record in done),
        "with warnings": sum(bool(record.warnings) for record in done),
        "failed": len(records) - len(done),
    }
    named = [f"{count} {words}" for words, count in counts.items() if count]
    plural = "" if len(records) == 1 else "s"
    lines = [f"{len(records)} photograph{plural}: {', '.join(named) or 'none with marks'}"]
    if left_out:
        what = "1 entry" if left_out == 1 else f"{left_out} entries"
        lines.append(f"left out of the folders: {what}, named below")
    first = [record for record in sorted(done, key=look_first) if record.marked_share][:_FIRST]
    if first:
        lines.append("look at these first (no order proves anything):")
    return lines + [f"  {n}. {_why_first(record)}" for n, record in enumerate(first, start=1)]


def _regions(record: PhotographRecord) -> str:
    count = len(record.regions)
    if not count:
        return "specks that are no region"
    return f"{count} region{'' if count == 1 else 's'}"


def _why_first(record: PhotographRecord) -> str:
    assert record.score is not None
    as_high = record.authentic_as_high
    parts = [
        f"score {record.score:.2f}"
        + ("" if as_high is None else f" ({as_high:.0%} of authentic ones score as high)"),
        f"{_marked(record)} in {_regions(record)}",
    ]
    if record.verdict == "undecided":
        parts.append(record.verdict_words)
    kinds = list(dict.fromkeys(warning.kind for warning in record.warnings))
    if kinds:
        parts.append(f"warnings: {', '.join(kinds)}")
    return f"{one_line(record.file)}: {', '.join(parts)}"
