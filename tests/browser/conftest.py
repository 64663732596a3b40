"""A real browser: Debian's chromium without a window, driven by Selenium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from support.browsing import MANY
from support.localized import ABOUT, record

from ansm_plugin.report.photographs import write_photographs_page
from ansm_plugin.report.previews import save_previews

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1300,1000", "--host-resolver-rules=MAP * ~NOTFOUND"),
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Start chromium with a profile of its own, and end it."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        pytest.skip(f"no {missing[0]}: apt-get install chromium chromium-driver (Debian)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: it is in [test]")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(programs["chromedriver"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "localhost,127.0.0.1")  # chromedriver listens there
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of six photographs, scores 0.95, 0.85, ... 0.45, and one that failed."""
    folder = tmp_path_factory.mktemp("few")
    found = [record(i, folder, highest=0.95 - 0.1 * i) for i in range(6)]
    failed = replace(found[0], file="broken.jpg", error="it is truncated")
    return write_photographs_page([*found, failed], ABOUT, folder)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of 500 photographs, their previews as large as those of real ones."""
    folder = tmp_path_factory.mktemp("many")
    one = record(0, folder)
    scene = np.random.default_rng(0).normal(128, 12, (384, 512, 3)).clip(0, 255).astype(np.uint8)
    levels = Image.fromarray(scene[..., 0]).resize((64, 48)).resize((512, 384))
    chance = np.asarray(levels, np.float32) / 255
    preview, small = save_previews(scene, chance, folder, Path("large.jpg"))
    found = [
        replace(
            one, file=f"{i:04d}.jpg", score=1 - i / MANY, preview=preview, probability_preview=small
        )
        for i in range(MANY)
    ]
    return write_photographs_page(found, ABOUT, folder)
