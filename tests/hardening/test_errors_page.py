"""docs/errors.md says what the code says."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for errors_page

import errors_page


def test_the_page_of_errors_is_that_of_the_code() -> None:
    written = errors_page.PAGE.read_text(encoding="utf-8")
    assert written == errors_page.page(), "run python tests/hardening/errors_page.py"


def test_every_error_has_a_cause_and_a_remedy() -> None:
    rows = [errors_page.row(kind) for kind in errors_page.classes()]
    assert len(rows) == 8
    assert all(len(cell.strip()) > 5 for row in rows for cell in row.strip("|").split("|"))
