"""The page of `localize` for everyone: screen readers, any eyes, the keyboard, paper, no script."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.browsing import every, one, until

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

TAB, ENTER = "\ue004", "\ue007"
NAMED = {
    *("button", "checkbox", "combobox", "searchbox", "slider", "link", "image", "img", "article"),
    *("table", "search", "main", "region"),
}
# WCAG 2.1: lightness of a colour, and by how much two differ. Yields [ratio, needed, text].
_CONTRAST = """
const light = (colour) => {
  const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return colour;
  }
  return "rgb(255, 255, 255)";
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const [a, b] = [style.color, ground(element)].map(light).sort((x, y) => y - x);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  found.push([(a + 0.05) / (b + 0.05), large ? 3 : 4.5, texts.currentNode.data.trim()]);
}
return found;
"""


@pytest.fixture
def page(browser: WebDriver, few: Path) -> Iterator[WebDriver]:
    """Open the page of few photographs, in light colours and on a screen."""
    browser.get(few.as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def tree(browser: WebDriver) -> list[tuple[str, str, dict[str, Any]]]:
    """Return role, name and properties of everything that a screen reader meets."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [
        (
            node["role"]["value"],
            node.get("name", {}).get("value", ""),
            {p["name"]: p["value"].get("value") for p in node.get("properties", [])},
        )
        for node in nodes
        if not node["ignored"]
    ]


def test_whatever_has_a_role_has_a_name(page: WebDriver) -> None:
    found = [(role, name) for role, name, _ in tree(page) if role in NAMED]
    assert [role for role, name in found if not name.strip()] == []
    roles = {role for role, _ in found}
    assert {"slider", "searchbox", "checkbox", "combobox", "button", "article", "link"} <= roles
    assert ("article", "photos/photo-000.jpg") in found


def test_landmarks_headings_and_language(page: WebDriver) -> None:
    seen = tree(page)
    roles = [role for role, *_ in seen]
    assert [roles.count(role) for role in ("banner", "search", "main", "contentinfo")] == [1] * 4
    levels = [properties["level"] for role, _, properties in seen if role == "heading"]
    assert levels == [1, *[2] * 8]  # six photographs, what failed, what was left out
    assert one(page, "html").get_attribute("lang") == "en"
    assert page.title.startswith("7 photographs")


def test_what_is_referred_to_is_there_once(page: WebDriver) -> None:
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    meant = page.execute_script(
        "return [...document.querySelectorAll('[for], [aria-labelledby], a[href^=\"#\"]')].map(e =>"
        " e.htmlFor?.toString() || e.getAttribute('aria-labelledby') || e.hash.slice(1))"
    )
    assert len(meant) > 20
    assert set(meant) <= set(ids)


def test_changes_are_said(page: WebDriver) -> None:
    """A live region counts what the filter leaves; sliders say words, pictures what they show."""
    seen = {name: properties for role, name, properties in tree(page) if role == "status"}
    assert len(seen) == 1
    assert one(page, "#count").get_attribute("role") == "status"
    picture = one(page, "canvas")
    until(lambda: picture.get_attribute("aria-label").endswith("mask 45 %, 9.0 % marked"))
    said = [p for role, name, p in tree(page) if (role, name) == ("slider", "View")]
    assert len(said) == 6
    assert one(page, ".view").get_attribute("aria-valuetext") == "mask 45 %"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: WebDriver, scheme: str) -> None:
    """WCAG AA: 4.5 to 1, large text 3 to 1; also of a pressed button."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    one(page, "summary").click()
    one(page, "article button").click()
    measured = page.execute_script(_CONTRAST)
    assert len(measured) > 100
    assert [(ratio, text) for ratio, needed, text in measured if ratio < needed] == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: WebDriver) -> None:
    reached = []
    for _ in range(26):
        page.switch_to.active_element.send_keys(TAB)
        reached.append(page.switch_to.active_element)
    assert reached[0].get_attribute("class") == "skip"
    names = {e.get_attribute("id") or e.get_attribute("class") or e.tag_name for e in reached}
    assert {"filter", "sort", "only-warned", "photograph-1-view", "photograph-1-threshold"} <= names
    assert reached[-1].value_of_css_property("outline-style") == "solid"


def test_the_link_at_the_top_skips_to_the_photographs(page: WebDriver) -> None:
    page.switch_to.active_element.send_keys(TAB)
    page.switch_to.active_element.send_keys(ENTER)
    assert page.switch_to.active_element.get_attribute("id") == "photographs"


def test_on_paper_are_pictures_and_words_without_tools(page: WebDriver) -> None:
    for selector in (".bar", ".controls", "canvas"):
        assert one(page, selector).is_displayed(), selector
    assert not one(page, "img.probability").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    for selector in (".bar", ".controls", "canvas", ".files"):
        assert not one(page, selector).is_displayed(), selector
    assert all(e.is_displayed() for e in every(page, "img, figcaption, .said table"))
    measured = page.execute_script(_CONTRAST)
    assert min(ratio for ratio, *_ in measured) >= 4.5


def test_printing_opens_what_is_folded_and_folds_it_again(page: WebDriver) -> None:
    page.execute_script(
        "const folded = document.querySelector('details');"
        "addEventListener('beforeprint', () => { window.was = folded.open })"
    )
    printed = page.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")
    assert page.execute_script("return window.was") is True
    assert one(page, "details").get_property("open") is False


def test_without_script_the_pictures_and_words_are_there(page: WebDriver, few: Path) -> None:
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.get(few.as_uri())
        assert all(e.is_displayed() for e in every(page, "img, figcaption, .said"))
        assert not one(page, ".bar").is_displayed()
        assert not one(page, "canvas").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_narrow_window_needs_no_sideways_scrolling(page: WebDriver) -> None:
    """As on a phone, or at 400 % zoom: WCAG 1.4.10."""
    narrow = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    try:
        width = page.execute_script("return document.documentElement.scrollWidth")
        assert width <= 320
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
