"""The results of `localize` as one self-contained page, for the analyst: no request to outside.

Pictures lie inside the page as text, at most 48 MiB of them: with many photographs they become
smaller, and where even the smallest are too many, the photographs with the lowest scores have none.
What the page says lies in its templates; they escape all that comes from outside. A policy inside
the page lets nothing run but its own script, whose hash it names.
"""

from __future__ import annotations

import functools
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from ansm_plugin.report.localized_words import ATTACK_MEANING
from ansm_plugin.report.policy import policy
from ansm_plugin.report.previews import Embedded, embed
from ansm_plugin.report.record import About, PhotographRecord
from ansm_plugin.system.files import write_whole
from ansm_plugin.system.text import one_line

PAGE = "index.html"
MOST_REGIONS = 12  # that the page lists of one photograph
_FIRST = 3  # photographs that are named above all


class Entry(NamedTuple):
    """One photograph of the page.

    Attributes:
        number: from 1 on, highest score first.
        record: what is said of it.
        picture: None where there is none, or no room for it.
        searched: text that the filter looks into.
    """

    number: int
    record: PhotographRecord
    picture: Embedded | None
    searched: str


def write_photographs_page(records: Sequence[PhotographRecord], about: About, folder: Path) -> Path:
    """Write `index.html` into the folder of results; it appears whole or not at all.

    Args:
        records: in any order, failed ones included; previews are read from `folder`.
        about: what they have in common.
        folder: of results.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    text = photographs_page(records, about, folder)
    return write_whole(folder / PAGE, lambda stream: stream.write(text.encode()))


def photographs_page(records: Sequence[PhotographRecord], about: About, folder: Path) -> str:
    """Return the page as text; see `write_photographs_page`."""
    environment = _environment()
    script = environment.get_template("photographs.js").render()
    style = environment.get_template("photographs.css").render()
    entries = _entries(records, folder)
    return environment.get_template("photographs.html.j2").render(
        about=about,
        entries=entries,
        failed=[record for record in records if record.error is not None],
        counts=_counts(records),
        first=entries[:_FIRST],
        without_picture=sum(entry.picture is None for entry in entries),
        attack_meaning=ATTACK_MEANING if any(r.attack_score is not None for r in records) else "",
        most_regions=MOST_REGIONS,
        script=script,
        style=style,
        policy=policy(style, script),
    )


def look_first(record: PhotographRecord) -> tuple[float, str]:
    """Return the key that sorts photographs: highest score first, then by name."""
    score = -1.0 if record.score is None or math.isnan(record.score) else record.score
    return -score, record.file


def _entries(records: Sequence[PhotographRecord], folder: Path) -> list[Entry]:
    done = sorted((record for record in records if record.error is None), key=look_first)
    pictures = embed([_previews(record, folder) for record in done])
    pairs = enumerate(zip(done, pictures, strict=True), start=1)
    return [
        Entry(number, record, picture, _searched(record)) for number, (record, picture) in pairs
    ]


def _previews(record: PhotographRecord, folder: Path) -> tuple[Path, Path] | None:
    if record.preview is None or record.probability_preview is None:
        return None
    return folder / record.preview, folder / record.probability_preview


def _searched(record: PhotographRecord) -> str:
    kinds = [warning.kind for warning in record.warnings]
    known = (record.camera, record.software, record.taken, record.verdict, record.sha256)
    return " ".join(one_line(text) for text in (record.file, *kinds, *known) if text).lower()


def _counts(records: Sequence[PhotographRecord]) -> Counter[str]:
    """Return how many photographs there are of each sort that the page's first lines name."""
    counts: Counter[str] = Counter()
    for record in records:
        counts["all"] += 1
        counts["failed"] += record.error is not None
        counts["marked"] += bool(record.marked_share)
        counts["warned"] += bool(record.warnings)
        counts["undecided"] += record.verdict == "undecided"
        counts["attacked"] += record.attack_score is not None and record.attack_score > 0
    return counts


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ansm_plugin.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(shown=one_line, link=_link, percent=_percent)
    return environment


def _link(path: str) -> str:
    """Return a path below the page as a relative address; bytes that no text has are kept."""
    return "./" + quote(os.fsencode(path))


def _percent(share: float) -> str:
    """Return a share in percent; one above 0 is never shown as 0."""
    return "below 0.1 %" if 0 < share < 0.001 else f"{share:.1%}".replace("%", " %")
