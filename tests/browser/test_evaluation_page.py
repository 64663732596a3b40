"""The pages of `evaluate` and `compare` in a browser: sorting, filter, copies, what may run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.browsing import every, one, requests, until
from support.colour_blinded import *  # noqa: F403 - fixtures, found by their names

from ansm_plugin.evaluation import Evaluation
from ansm_plugin.report.page import rendered, write_html
from ansm_plugin.report.tables import Cell, Line, Table

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

ENTER = "\ue007"  # as the WebDriver standard numbers it
FIGURES = ("0.900", "-", "0.100", "10.5")


def _table(title: str) -> Table:
    lines = (Line((Cell(f"attack {i}"), Cell(f1))) for i, f1 in enumerate(FIGURES))
    return Table(title, ("attack", "F1"), tuple(lines))


@pytest.fixture
def page(browser: WebDriver, tmp_path: Path) -> Iterator[WebDriver]:
    """Open a page of two tables; afterwards the browser has nothing to complain of."""
    nothing = Table("", (), ())
    text = rendered(
        "compare.html.j2",
        title="two", legend=[], warnings=(), notes=[],
        shared=_table("one"), partial=_table("other"), settings=nothing,
        findings=[], missing=[], alarms=[],
    )  # fmt: skip
    file = tmp_path / "page.html"
    file.write_text(text, "utf-8")
    browser.get_log("browser")
    requests(browser)
    browser.get(file.as_uri())
    yield browser
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    # The browser's own first tab may still be loading.
    assert {u for u in requests(browser) if not u.startswith("chrome://")} == {file.as_uri()}


def _column(browser: WebDriver) -> list[str]:
    cells = every(browser, "tbody tr td:nth-child(2)")
    return [cell.text for cell in cells if cell.is_displayed()]


def test_a_press_on_a_head_sorts_and_another_turns_it(page: WebDriver) -> None:
    """By keyboard, by number, with what was not measured last; the other table stays."""
    button = every(page, "th .sort")[1]
    head = every(page, "th")[1]
    assert head.get_attribute("aria-sort") is None
    button.send_keys(ENTER)
    assert _column(page) == ["0.100", "0.900", "10.5", "-", *FIGURES]
    assert head.get_attribute("aria-sort") == "ascending"
    button.send_keys(ENTER)
    assert _column(page)[:4] == ["10.5", "0.900", "0.100", "-"]
    assert head.get_attribute("aria-sort") == "descending"


def test_the_filter_shows_lines_with_all_words(page: WebDriver) -> None:
    """Words of the title count; the number of lines is said."""
    field = one(page, "#filter")
    field.send_keys("OTHER attack 0.9")
    assert _column(page) == ["0.900"]
    assert one(page, "output").text == "1 of 8 lines"
    page.execute_script("arguments[0].value = ''", field)
    field.send_keys(" ")
    assert len(_column(page)) == 8


@pytest.mark.parametrize("kind", ["markdown", "latex"])
def test_a_table_is_copied(page: WebDriver, kind: str) -> None:
    """What lies in the clipboard is the table, pasted by hand into the filter's neighbour."""
    button = every(page, ".copies button")[kind == "latex"]
    button.send_keys(ENTER)
    until(lambda: one(page, "output").text.startswith("Copied as"))
    page.execute_script(
        "const a = document.createElement('textarea'); a.id = 'pasted';"
        "document.body.append(a); a.focus()"
    )
    one(page, "#pasted").send_keys("\ue009", "v")  # Control
    expected = getattr(_table("one"), kind)
    until(lambda: one(page, "#pasted").get_property("value") == expected)


def test_a_report_is_drawn_and_runs_its_own_script_alone(
    browser: WebDriver, evaluation: Evaluation, tmp_path: Path
) -> None:
    """The policy lets style, script, pictures and colours of the legend be, and nothing else."""
    picture = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(picture)
    file = write_html(evaluation, [("a picture", picture)], tmp_path / "r.html")
    browser.get_log("browser")
    browser.get(file.as_uri())
    assert one(browser, "figure img").get_property("naturalWidth") == 4
    assert every(browser, "th .sort")
    key = one(browser, ".legend .key")
    assert 8 < key.size["width"] < 20
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    browser.execute_script(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.smuggled = 1'}))"
    )
    assert browser.execute_script("return window.smuggled") is None
    assert any("Content Security Policy" in e["message"] for e in browser.get_log("browser"))
