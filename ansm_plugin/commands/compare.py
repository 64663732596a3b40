"""`ansm compare`: the figures of two or more evaluations side by side, and what differs in them."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.groups import force_flag, json_option, output_option
from ansm_plugin.commands.options import positional
from ansm_plugin.commands.values import path
from ansm_plugin.errors import ConfigError
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.text import say

if TYPE_CHECKING:
    from ansm_plugin.evaluation.results import Evaluation
    from ansm_plugin.report.compared import Run

PAGE = "comparison.html"


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Which results are compared, and where the comparison goes."""

    runs: tuple[Path, ...] = positional(
        parse=path,
        metavar="RUN",
        several=True,
        help="two or more: a folder that `ansm evaluate --output` wrote, or the file of its "
        "--json; the first is the reference",
    )
    output: Path | None = output_option(f"{PAGE}, a page to look at", None)
    force: bool = force_flag()
    json: Path | None = json_option()


OPTIONS = CompareOptions


def run(options: CompareOptions) -> None:
    """Compare, show the table and say where the files are.

    Raises:
        ConfigError: less than two results, one that cannot be read, or a folder in the way.
    """
    from rich.console import Console

    from ansm_plugin.report.compared import compare
    from ansm_plugin.report.comparison_table import print_comparison
    from ansm_plugin.report.comparison_words import MOST_RUNS

    if not 2 <= len(options.runs) <= MOST_RUNS:
        raise ConfigError(
            f"results given: {len(options.runs)}; name 2 to {MOST_RUNS}: ansm compare FIRST SECOND."
        )
    page = None if options.output is None else options.output / PAGE
    if page is not None and page.exists() and not options.force:
        raise ConfigError(
            f"{page} is there already; name another folder, or pass --force to replace it."
        )
    comparison = compare([_read(given) for given in options.runs])
    # A log has room for names in one line; a terminal has the room that it has.
    print_comparison(comparison, Console(width=None if sys.stdout.isatty() else 120))
    if options.json is not None:
        make_folder(options.json.parent)
        say(f"wrote {write_json(options.json, comparison.as_json())}")
    if page is not None:
        from ansm_plugin.report.comparison_page import write_comparison

        say(f"wrote {write_comparison(comparison, page)}")


def _read(given: Path) -> Run:
    """Return the evaluation of a folder or file, with the records beside it.

    Raises:
        ConfigError: there is none, or it is none.
    """
    from ansm_plugin.commands.results import RECORDS, RESULT
    from ansm_plugin.report.compared import Run
    from ansm_plugin.report.per_photograph import PerPhotograph

    file = given / RESULT if given.is_dir() else given
    evaluation = _evaluation(file, given)
    # Records that lie beside a copy of the numbers under another name may be of another run.
    records = file.with_name(RECORDS) if file.name == RESULT else None
    return Run(name=str(given), evaluation=evaluation, values=PerPhotograph(records))


def _evaluation(file: Path, given: Path) -> Evaluation:
    from ansm_plugin.evaluation.results import Evaluation

    try:
        fields = json_format.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        if given.is_dir():
            raise ConfigError(
                f"{given} holds no {file.name}; name a folder that `ansm evaluate --output` "
                "finished, or the file of its --json."
            ) from error
        raise ConfigError(f"{given} does not exist; name a result of `ansm evaluate`.") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{file} is no JSON; name the evaluation.json or the --json of `ansm evaluate`."
        ) from error
    return Evaluation.from_json(fields, str(file))
