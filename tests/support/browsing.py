"""Looking at a page in a browser, for tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

MANY = 500  # photographs of the large page


def one(browser: WebDriver, selector: str) -> WebElement:
    return browser.find_element("css selector", selector)


def every(browser: WebDriver, selector: str) -> list[WebElement]:
    return browser.find_elements("css selector", selector)


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds; fail where it does not come to it."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the page does not come to it"
        time.sleep(0.02)


def requests(browser: WebDriver) -> list[str]:
    """Return the addresses that were asked for since the last call, without data inside a page."""
    entries = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in entries if e["method"].endswith("WillBeSent")]
    return [url for url in urls if not url.startswith("data:")]
