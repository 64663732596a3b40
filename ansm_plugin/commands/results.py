"""Where the results of an evaluation lie: a folder with the page, its numbers and its records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.results import Evaluation
from ansm_plugin.report.page import write_html
from ansm_plugin.system.files import make_folder, write_json

RESULT, RECORDS, REPORT = "evaluation.json", "records.jsonl", "report.html"


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
    write_html(evaluation, [(path.stem, path) for path in pictures], output / REPORT)
    write_json(output / RESULT, evaluation.as_json())
