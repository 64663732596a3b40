"""The page of `localize` in a browser: what its sliders, filter, sorting and keys do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.browsing import MANY, every, one, requests, until
from support.localized import BOX

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

INSIDE = (BOX[0] + BOX[2] // 2, BOX[1] + BOX[3] // 2)  # marked
RIM = (BOX[0] - 5, INSIDE[1])  # half the probability
OUTSIDE = (5, 5)
LEFT, RIGHT, HOME, END, ESCAPE = "\ue012", "\ue014", "\ue011", "\ue010", "\ue00c"
"""Keys as the WebDriver standard numbers them."""


@pytest.fixture
def page(browser: WebDriver, few: Path) -> Iterator[WebDriver]:
    """Open the page of few photographs; afterwards the browser has nothing to complain of."""
    complaints(browser)
    browser.get(few.as_uri())
    until(lambda: pixel(browser, 0, OUTSIDE)[3] == 255)
    yield browser
    assert complaints(browser) == []


def complaints(browser: WebDriver) -> list[str]:
    """Return errors of script and policy since the last call."""
    return [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def pixel(browser: WebDriver, number: int, at: tuple[int, int]) -> list[int]:
    """Return red, green, blue and alpha of the picture of an article."""
    read = (
        "const c = document.querySelectorAll('article canvas')[arguments[0]].getContext('2d');"
        "return [...c.getImageData(arguments[1], arguments[2], 1, 1).data]"
    )
    return list(browser.execute_script(read, number, *at))


def shown(browser: WebDriver) -> list[str]:
    return [title.text for title in every(browser, "article h2") if title.is_displayed()]


def press(browser: WebDriver, keys: str) -> None:
    """Press keys where the focus is."""
    browser.switch_to.active_element.send_keys(keys)


def test_the_view_goes_from_heat_map_over_photograph_to_mask(page: WebDriver) -> None:
    slider, said = one(page, ".view"), one(page, ".controls output")
    slider.send_keys(HOME)
    assert said.text == "heat map 100 %"
    hot, cold = pixel(page, 0, INSIDE)[:3], pixel(page, 0, OUTSIDE)[:3]
    assert min(hot) > 100
    assert sum(hot) > 3 * 150 > 3 * 40 > sum(cold)
    before = one(page, "canvas").screenshot_as_png
    slider.send_keys(END)
    assert said.text == "mask 100 %"
    assert pixel(page, 0, INSIDE) == [255, 255, 255, 255]
    assert pixel(page, 0, OUTSIDE) == [0, 0, 0, 255]
    assert one(page, "canvas").screenshot_as_png != before
    slider.send_keys(20 * LEFT)
    assert said.text == "photograph"
    assert pixel(page, 0, INSIDE) == _of_image(page, INSIDE)
    assert slider.get_attribute("aria-valuetext") == "photograph"


def _of_image(browser: WebDriver, at: tuple[int, int]) -> list[int]:
    """Return a pixel of the first photograph as the browser decodes it."""
    read = (
        "const c = new OffscreenCanvas(160, 120).getContext('2d');"
        "c.drawImage(document.querySelector('img.photograph'), 0, 0);"
        "return [...c.getImageData(arguments[0], arguments[1], 1, 1).data]"
    )
    return list(browser.execute_script(read, *at))


def test_the_threshold_redraws_the_mask_from_the_probabilities(page: WebDriver) -> None:
    """The rim has half of 0.95: it joins the mask below 0.475 and leaves it above."""
    one(page, ".view").send_keys(END)
    slider, said = one(page, ".threshold"), every(page, ".controls output")[1]
    assert said.text == "0.50: 9.0 % marked"
    assert pixel(page, 0, RIM)[:3] == [0, 0, 0]
    slider.send_keys(3 * LEFT)
    assert said.text.startswith("0.47: 17.3 %")
    assert pixel(page, 0, RIM)[:3] != [0, 0, 0]
    assert slider.get_attribute("aria-valuetext") == "0.47, 17.3 % marked"
    slider.send_keys(END)
    assert said.text == "0.99: 0.0 % marked"
    assert pixel(page, 0, INSIDE)[:3] == [0, 0, 0]
    assert pixel(page, 1, INSIDE)[:3] != [0, 0, 0], "another photograph keeps its own"


def test_one_threshold_for_all(page: WebDriver) -> None:
    one(page, "#threshold-of-all").send_keys(END)
    said = [output.text for output in every(page, ".controls output:last-of-type")]
    assert said[:2] == ["0.99: 0.0 % marked"] * 2
    assert [slider.get_property("value") for slider in every(page, ".threshold")] == ["0.99"] * 6


def test_the_mask_is_outlined_so_that_it_shows_on_any_colour(page: WebDriver) -> None:
    left, y = BOX[0], INSIDE[1]
    across = [pixel(page, 0, (x, y))[:3] for x in range(left, left + 4)]
    assert across == [[0, 229, 255], [0, 229, 255], [16, 0, 32], [255, 255, 255]]


def test_a_region_is_shown_where_it_lies(page: WebDriver) -> None:
    one(page, ".view").send_keys(20 * LEFT)
    button, corner = one(page, "article button"), (BOX[0] - 3, BOX[1] - 3)
    before = pixel(page, 0, corner)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert pixel(page, 0, corner)[:3] == [255, 255, 255]
    button.click()
    assert pixel(page, 0, corner) == before


def test_the_filter_looks_into_names_cameras_and_warnings(page: WebDriver) -> None:
    field, count = one(page, "#filter"), one(page, "#count")
    assert count.text == "6 of 6 shown"
    field.send_keys("nikon RECOMP")
    assert shown(page) == ["photos/photo-000.jpg"]
    assert count.text == "1 of 6 shown"
    field.send_keys("x")
    assert shown(page) == []
    assert one(page, "#nothing").is_displayed()
    field.clear()
    field.send_keys("photo-004")
    assert shown(page) == ["photos/photo-004.jpg"]


def test_only_marked_and_only_with_warnings(page: WebDriver) -> None:
    one(page, "#only-warned").click()
    assert shown(page) == ["photos/photo-000.jpg", "photos/photo-003.jpg"]
    one(page, "#only-warned").click()
    one(page, "#only-marked").click()
    assert len(shown(page)) == 5


def test_it_sorts_by_what_was_chosen(page: WebDriver) -> None:
    def sort(by: str) -> list[str]:
        one(page, f"#sort option[value={by}]").click()
        return [name.removeprefix("photos/photo-00")[0] for name in shown(page)]

    assert sort("attack") == ["4", "3", "2", "1", "0", "5"]
    assert one(page, "main").get_attribute("aria-label").endswith("highest attack score first")
    assert sort("warnings") == ["0", "3", "1", "2", "4", "5"]
    assert sort("marked") == ["0", "1", "2", "3", "4", "5"]
    assert sort("attack") != sort("name") == sort("score") == ["0", "1", "2", "3", "4", "5"]


def test_keys_step_slide_and_search(page: WebDriver) -> None:
    def focused() -> str:
        return str(page.switch_to.active_element.get_attribute("id"))

    press(page, "j")
    assert focused() == "photograph-1"
    press(page, "j")
    press(page, "j")
    assert focused() == "photograph-3"
    press(page, "k")
    assert focused() == "photograph-2"
    said = every(page, ".view + output")[1]
    press(page, RIGHT)
    assert said.text == "mask 50 %"
    press(page, 2 * LEFT)
    assert said.text == "mask 40 %"
    press(page, "/")
    assert focused() == "filter"
    press(page, "jk/")  # now they are text
    assert one(page, "#filter").get_property("value") == "jk/"
    press(page, ESCAPE)
    assert focused() != "filter"


def test_keys_can_be_turned_off(page: WebDriver) -> None:
    """Who speaks to a computer says letters: WCAG 2.1.4."""
    one(page, "#keys").click()
    press(page, "j")
    assert page.switch_to.active_element.get_attribute("id") == "keys"


def test_a_key_steps_over_what_the_filter_hides(page: WebDriver) -> None:
    one(page, "#only-warned").click()
    press(page, "j")
    press(page, "j")
    assert page.switch_to.active_element.get_attribute("id") == "photograph-4"
    assert shown(page)[1] == "photos/photo-003.jpg"


def test_nothing_outside_is_asked_for(browser: WebDriver, few: Path, tmp_path: Path) -> None:
    """Of the page nothing but itself; a page that does ask shows that it would be seen."""
    requests(browser)
    browser.get(few.as_uri())
    until(lambda: pixel(browser, 0, OUTSIDE)[3] == 255)
    assert requests(browser) == [few.as_uri()]
    asking = tmp_path / "asking.html"
    asking.write_text("<!doctype html><img src='http://127.0.0.1:9/spy.png'>")
    browser.get(asking.as_uri())
    until(lambda: "http://127.0.0.1:9/spy.png" in requests(browser))


def test_what_is_smuggled_in_neither_asks_nor_runs(browser: WebDriver, few: Path) -> None:
    """The policy of the page stops both, should a template ever fail to escape."""
    browser.get(few.as_uri())
    browser.execute_script(
        "window.broken = [];"
        "addEventListener('securitypolicyviolation', e => broken.push(e.violatedDirective));"
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/spy.png'}));"
        "const script = document.createElement('script');"
        "script.textContent = 'window.ran = true';"
        "document.body.append(script)"
    )
    until(lambda: len(browser.execute_script("return broken")) == 2)
    assert sorted(browser.execute_script("return broken")) == ["img-src", "script-src-elem"]
    assert not browser.execute_script("return window.ran")


def test_500_photographs(browser: WebDriver, many: Path) -> None:
    """They load in seconds, and pixels are kept of what is near the window alone."""
    assert many.stat().st_size < 50 * 2**20
    complaints(browser)
    start = time.monotonic()
    browser.get(many.as_uri())
    until(lambda: pixel(browser, 0, OUTSIDE)[3] == 255)
    assert time.monotonic() - start < 20
    assert one(browser, "#count").text == f"{MANY} of {MANY} shown"
    start = time.monotonic()
    one(browser, "#filter").send_keys("0499")
    assert shown_alone(browser) == "0499.jpg"
    assert time.monotonic() - start < 5
    one(browser, "#filter").clear()
    browser.execute_script("articles.at(-1).scrollIntoView()")
    until(lambda: pixel(browser, MANY - 1, OUTSIDE)[3] == 255)
    until(lambda: browser.execute_script("return !drawn.has(articles[0])"))
    assert pixel(browser, 0, OUTSIDE)[3] == 0, "its pixels are given back"
    assert browser.execute_script("return drawn.size") < 30
    assert complaints(browser) == []


def shown_alone(browser: WebDriver) -> str:
    seen = browser.execute_script("return articles.filter(a => !a.hidden).map(a => a.dataset.name)")
    assert len(seen) == 1
    return str(seen[0])
