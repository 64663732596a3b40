"""The page of `localize`: what it says, what it never says, and that nothing escapes from it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from support.image_files import photograph
from support.localized import ABOUT, BOX, HEIGHT, WIDTH, probabilities, record, records

from ansm_plugin.commands.localized_files import line_of, summary_lines
from ansm_plugin.errors import ConfigError
from ansm_plugin.report.localized_words import attack_words, verdict_words
from ansm_plugin.report.photographs import photographs_page, write_photographs_page
from ansm_plugin.report.previews import SIDES, embed, save_previews
from ansm_plugin.report.record import PhotographRecord


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the page without script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._skipped = ""
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._skipped = tag if tag in ("script", "style") else self._skipped

    def handle_endtag(self, tag: str) -> None:
        self._skipped = "" if tag == self._skipped else self._skipped

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def elements(found: list[PhotographRecord], folder: Path) -> Elements:
    return Elements(photographs_page(found, ABOUT, folder))


def test_specks_without_a_region_are_not_passed_over(tmp_path: Path) -> None:
    specks = replace(record(0, tmp_path), regions=(), marked_share=1e-5, other_regions=3)
    assert "No region above 0.5, but specks" in elements([specks], tmp_path).text
    nothing = replace(specks, marked_share=0.0, other_regions=0)
    assert "No region above 0.5." in elements([nothing], tmp_path).text
    assert "jpg: below 0.1% marked," in line_of(specks)
    assert "below 0.1% marked in specks that are no region" in summary_lines([specks], 0)[-1]


def test_everything_of_a_record_is_on_the_page(tmp_path: Path) -> None:
    text = elements([record(3, tmp_path)], tmp_path).text
    for said in (
        *("photos/photo-003.jpg", "undecided: the photograph looks attacked", "0.95 high"),
        *("recompressed It was saved as JPEG twice.", "40, 30", "48 \u00d7 36", "1,728"),
        *("Canon EOS 5D", "GIMP 2.10", "2020:05:06 07:08:09", "160 \u00d7 120", "JPEG quality 90"),
        *("standard tables", "4:2:0", f"{3:064x}", "9.0 % of its pixels", "+0.5"),
        *("smp:Unet", "12" * 32, "base.safetensors", "Its version 1", "Apache-2.0", "cpu"),
        *("2026-01-02T03:04:05+00:00", "ansm localize photos --output out", "0.2.0"),
        *("mean of the highest 1 %", "notes.txt : no image"),
    ):
        assert said in text, said


def test_a_record_of_nothing_but_a_name_makes_a_page(tmp_path: Path) -> None:
    page = elements([PhotographRecord(file="a.jpg")], tmp_path)
    assert "No picture here" in page.text
    assert "None" not in page.text
    assert not page.all("img")
    assert "No photograph was localized" in elements([], tmp_path).text


def test_the_highest_score_comes_first_and_failures_are_named(tmp_path: Path) -> None:
    found = records(4, tmp_path)
    failed = PhotographRecord(file="broken.jpg", error="it is truncated")
    unknown = replace(found[0], file="unknown.jpg", score=float("nan"))
    page = elements([unknown, failed, *reversed(found)], tmp_path)
    names = [article["data-name"] for article in page.all("article")]
    assert names == [*(r.file for r in found), "unknown.jpg"]
    assert "broken.jpg : it is truncated" in page.text
    assert "6 photographs: where" in page.text
    assert "1 failed , 1 left out" in page.text
    assert "Look first at: photos/photo-000.jpg (score 0.99)" in page.text


@pytest.mark.parametrize("score", [-30.0, -0.1, 0.0])
def test_a_low_attack_score_never_reads_as_no_attack(score: float, tmp_path: Path) -> None:
    one = replace(record(0, tmp_path), attack_score=score, attack_words=attack_words(score))
    text = elements([one], tmp_path).text.lower()
    assert "no sign of the attacks it was calibrated on; others exist" in text
    assert "not attacked" not in text
    assert "is genuine" not in text.replace("no proof that a photograph is genuine", "")
    assert "looks attacked; about 1 in 100" in attack_words(0.1, compressed=True)
    assert attack_words(score, compressed=True).startswith("cannot tell")


def test_gated_reads_as_what_was_done(tmp_path: Path) -> None:
    assert verdict_words("gated") == "bare mask kept: nothing looked wrong"
    one = replace(record(0, tmp_path), verdict="gated", verdict_words=verdict_words("gated"))
    assert "gated" not in elements([one], tmp_path).text


def test_without_an_attack_score_it_is_said_alone_how_to_get_one(tmp_path: Path) -> None:
    one = replace(record(0, tmp_path), attack_score=None, attack_words=attack_words(None))
    text = elements([one], tmp_path).text
    assert "No attack score was computed: --no-attack-score was given, or the ANSM was" in text
    assert text.count("ttack") == 2  # the other one is the option
    bare = photographs_page([one], replace(ABOUT, ansm=None), tmp_path)
    assert "ttack" not in Elements(bare).text


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>.jpg", "\"><img src=x onerror='alert(1)'>", "\u202egpj.exe"]
)
def test_names_are_text_and_nothing_else(name: str, tmp_path: Path) -> None:
    one = replace(record(0, tmp_path), file=name, mask=f"{name}-mask.png", camera=name)
    page = elements([one], tmp_path)
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == 2
    assert name.replace("\u202e", "\\u202e") in page.text
    assert not [a for _, attributes in page.found for a in attributes if a.startswith("on")]


def test_files_are_linked_by_relative_addresses(tmp_path: Path) -> None:
    one = replace(record(0, tmp_path), mask="a b/javascript:#?%-mask.png", overlay="\udcff.png")
    links = [a["href"] or "" for a in elements([one], tmp_path).all("a")]
    files = [link for link in links if not link.startswith("#")]
    assert unquote(files[0]) == "./a b/javascript:#?%-mask.png"
    assert files[1] == "./%FF.png"
    assert all(re.match(r"\./[^:#?]*$", link) for link in files)


def test_the_page_asks_for_nothing_and_runs_its_own_script_alone(tmp_path: Path) -> None:
    text = photographs_page(records(2, tmp_path), ABOUT, tmp_path)
    page = Elements(text)
    sources = [v or "" for _, a in page.found for k, v in a.items() if k in ("src", "srcset")]
    assert len(sources) == 4
    assert all(source.startswith("data:image/") for source in sources)
    assert not page.all("link")
    policy = next(m["content"] or "" for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'; img-src data:;" in policy
    for kind in ("script", "style"):
        inside = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert len(inside) == 1
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "style" not in {k for _, attributes in page.found for k in attributes}


def test_previews_are_small_and_means(tmp_path: Path) -> None:
    large = photograph(1000, 2000)
    chance = np.zeros((1000, 2000), np.float32)
    chance[:, 1000:] = 0.8
    preview, small = save_previews(large, chance, tmp_path, Path("below/a.jpg"))
    assert preview == "previews/below/a.jpg"
    with Image.open(tmp_path / preview) as picture, Image.open(tmp_path / small) as levels:
        assert picture.size == levels.size == (512, 256)
        assert (levels.getpixel((10, 9)), levels.getpixel((500, 9))) == (0, 204)
        shrunk = np.asarray(Image.fromarray(large).resize((512, 256), Image.Resampling.BOX))
        assert np.abs(np.asarray(picture).astype(int) - shrunk).mean() < 4


def test_many_pictures_become_smaller_until_they_fit(tmp_path: Path) -> None:
    """Each kept picture has the same longest side; the first ones stay where none is small."""
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    files = save_previews(noise, noise[..., 0] / np.float32(255), tmp_path, Path("a.jpg"))
    paths = (tmp_path / files[0], tmp_path / files[1])
    whole = embed([paths])[0]
    assert whole is not None
    assert whole.width == SIDES[0]
    half = embed([paths, None, paths], most_bytes=whole.bytes)
    assert half[1] is None
    assert [p and p.width for p in (half[0], half[2])] == [SIDES[2]] * 2
    assert sum(p.bytes for p in half if p) <= whole.bytes
    few = embed([paths] * 30, most_bytes=whole.bytes)
    kept = [p for p in few if p]
    assert 2 < len(kept) < 30
    assert kept == few[: len(kept)]
    assert {p.width for p in kept} == {SIDES[-1]}
    assert _size(kept[0].photograph) == _size(kept[0].probability) == (192, 192)


def _size(uri: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size


def test_a_missing_preview_is_said(tmp_path: Path) -> None:
    found = records(2, tmp_path)
    (tmp_path / str(found[0].preview)).unlink()
    page = elements(found, tmp_path)
    assert len(page.all("img")) == 2
    assert "1 of the photographs has no picture here" in page.text


def test_the_page_is_written_whole_into_the_folder(tmp_path: Path) -> None:
    path = write_photographs_page(records(1, tmp_path), ABOUT, tmp_path)
    assert path == tmp_path / "index.html"
    assert path.read_text("utf-8").endswith("</html>\n")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        write_photographs_page([], ABOUT, tmp_path / "file")


def test_the_synthetic_probabilities_are_what_the_records_say() -> None:
    left, top, width, height = BOX
    marked = probabilities(0.9) > 0.5
    assert marked.shape == (HEIGHT, WIDTH)
    assert marked.sum() == marked[top : top + height, left : left + width].sum() == width * height
