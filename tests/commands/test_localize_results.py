"""What `ansm localize` says of its photographs: maps, numbers, warnings, scores, the page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from support.bright import photograph, soft
from support.distributions import offer_weights
from support.localize_album import SOFT, localize, numbers

from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer, packaged_ansm
from ansm_plugin.cli import main
from ansm_plugin.commands.localized import Scoring
from ansm_plugin.data.probability import read_probabilities
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.tensors import sha256_of

Capture = pytest.CaptureFixture[str]


def test_the_map_of_probabilities_is_that_of_the_localizer(album: Path) -> None:
    localize(album)
    found = read_probabilities(album.parent / "out" / "a-probability.png")
    mask = np.asarray(Image.open(album.parent / "out" / "a-mask.png"))
    assert found.shape == (64, 96)
    assert found[10:30, 10:30] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-5)
    assert len(np.unique(found)) > 256  # more than 8 bits
    assert np.array_equal(found > 0.5, mask == 255)


def test_the_json_holds_all_that_is_known_of_each_photograph(album: Path) -> None:
    found = numbers(album)
    a, b, _ = found["photographs"]
    assert (a["file"], a["width"], a["height"]) == (str(album / "a.png"), 96, 64)
    assert (a["format"], a["bytes"]) == ("PNG", (album / "a.png").stat().st_size)
    assert len(a["sha256"]) == 64
    (region,) = a["regions"]
    assert [region[k] for k in ("x", "y", "width", "height", "area")] == [10, 10, 20, 20, 400]
    assert 0.95 < region["mean"] <= region["highest"] <= 1
    assert a["marked_share"] == pytest.approx(400 / (64 * 96))
    assert a["score"] > 0.95
    assert a["verdict"] == "bare"
    assert [w["kind"] for w in a["warnings"]] == ["too small"]
    assert b["jpeg_quality"] == 75
    assert b["subsampling"] == "4:2:0"
    assert b["seconds"] > 0
    assert found["about"]["localizer"] == SOFT[1]
    assert "support.bright:soft" in found["about"]["command"]


def test_the_model_is_named_with_sha256_and_licence(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(photograph(64, 96)).save(photo)
    file, output = tmp_path / "n.json", str(tmp_path / "out")
    assert main(["localize", str(photo), "--output", output, "--json", str(file)]) == 0
    about = json.loads(file.read_text())["about"]
    assert about["localizer"] == DEFAULT_LOCALIZER
    assert about["ansm"] == packaged_ansm().name
    assert about["ansm_sha256"] == sha256_of(packaged_ansm())
    assert about["localizer_sha256"] == fingerprint(build_localizer(DEFAULT_LOCALIZER))
    assert about["ansm_licence"] == about["localizer_licence"] == "Apache-2.0"


def test_what_the_card_says_decides_a_warning(packaged: Path, tmp_path: Path) -> None:
    photo, file = tmp_path / "a.jpg", tmp_path / "n.json"
    Image.fromarray(photograph(300, 300)).save(photo)
    options = ["--output", str(tmp_path / "out"), "--bare", "--json", str(file)]
    assert main(["localize", str(photo), *options]) == 0
    (found,) = json.loads(file.read_text())["photographs"]
    said = [w["text"] for w in found["warnings"] if w["kind"] == "outside the model's range"]
    assert said == [
        "The localizer was trained on pictures whose shorter side is 64 pixels; its shorter side "
        "is 300.",
        "The localizer was trained on PNG; this file is a JPEG.",
    ]


def test_what_the_weights_were_trained_on_decides_a_warning(tmp_path: Path) -> None:
    photo, weights, file = tmp_path / "a.png", tmp_path / "w.safetensors", tmp_path / "n.json"
    Image.fromarray(photograph(300, 300)).save(photo)
    known = {"trained_on": json.dumps({"sides": [200, 280]}), "licence": "CC0"}
    save_file(soft().state_dict(), weights, metadata=known)
    options = ["--localizer", f"{SOFT[1]}@{weights}", "--bare", "--json", str(file)]
    assert main(["localize", str(photo), "--output", str(tmp_path / "out"), *options]) == 0
    found = json.loads(file.read_text())
    (warning,) = found["photographs"][0]["warnings"]
    assert warning["kind"] == "outside the model's range"
    assert found["about"]["localizer_licence"] == "CC0"


def test_below_the_least_score_nothing_is_marked(album: Path, capsys: Capture) -> None:
    found = numbers(album, "--least-score", "0.99")
    for one in found["photographs"]:
        assert (one["verdict"], one["marked_share"], one["regions"]) == ("below", 0.0, [])
        assert one["score"] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-3)
    assert not np.asarray(Image.open(album.parent / "out" / "a-mask.png")).any()
    assert read_probabilities(album.parent / "out" / "a-probability.png").max() > 0.9
    assert "3 below --least-score" in capsys.readouterr().out


def test_from_the_least_score_on_marks_stay(album: Path) -> None:
    for one in numbers(album, "--least-score", "0.9")["photographs"]:
        assert one["verdict"] == "bare"
        assert one["marked_share"] > 0


def test_a_least_score_is_a_share(album: Path, capsys: Capture) -> None:
    assert localize(album, "--least-score", "98") == 2
    assert "--least-score is 98; it must be from 0 to 1." in capsys.readouterr().err


def test_noise_that_lowers_a_score_takes_no_marks_away() -> None:
    assert Scoring(least=0.9).judged(0.5, "defended")["verdict"] == "below"
    assert "verdict" not in Scoring(least=0.9).judged(0.5, "undecided")


def test_a_score_is_placed_among_those_of_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop = offer_weights(tmp_path, monkeypatch, "shop-unet")
    with (shop / "shop-unet.card.toml").open("a") as card:
        card.write('[[scores]]\nset = "bed"\nauthentic = [0.0, 1.0, 1.0]\nforged = [1.0, 0.0]\n')
    Image.fromarray(photograph(64, 96)).save(tmp_path / "a.png")
    file, names = (
        tmp_path / "n.json",
        ["--localizer", "shop-unet", "--json", str(tmp_path / "n.json")],
    )
    photo = str(tmp_path / "a.png")
    assert main(["localize", photo, "--output", str(tmp_path / "out"), *names]) == 0
    (one,) = json.loads(file.read_text())["photographs"]
    share = one["authentic_as_high"]
    assert share in (2 / 3, 1.0)
    words = f"as high or higher: {share:.0%} of 3 authentic photographs and "
    assert words in one["score_words"]
    assert one["score_words"].endswith("of 2 forged ones (bed)")
    # What the card has is of its ANSM: bare, it says nothing.
    assert main(["localize", photo, "--output", str(tmp_path / "bare"), "--bare", *names]) == 0
    (one,) = json.loads(file.read_text())["photographs"]
    assert one["authentic_as_high"] is None
    assert one["score_words"].endswith("proves nothing")


def test_failures_and_what_was_left_out_are_in_json_and_csv(album: Path) -> None:
    table = album.parent / "numbers.csv"
    found = numbers(album, "--csv", str(table))
    (failed,) = found["failed"]
    assert failed["file"] == str(album / "d.png")
    assert "not an image" in failed["error"]
    assert {Path(e["file"]).name for e in found["left_out"]} == {"d.png", "notes.txt"}
    rows = {Path(row["file"]).name: row for row in csv.DictReader(io.StringIO(table.read_text()))}
    assert list(rows) == ["a.png", "b.jpg", "c.png", "d.png", "notes.txt"]
    assert float(rows["a.png"]["score"]) == found["photographs"][0]["score"]
    assert json.loads(rows["a.png"]["regions"]) == found["photographs"][0]["regions"]
    assert "not an image" in rows["d.png"]["error"]
    assert rows["notes.txt"]["error"].startswith("left out: ")


def test_a_text_of_a_file_is_no_formula_in_the_csv(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0131] = "=HYPERLINK(1)"
    Image.fromarray(photograph(64, 96)).save(tmp_path / "photo.jpg", exif=exif)
    table = tmp_path / "t.csv"
    output = ["--output", str(tmp_path / "out"), "--csv", str(table)]
    assert main(["localize", str(tmp_path / "photo.jpg"), *output, *SOFT]) == 0
    (row,) = csv.DictReader(io.StringIO(table.read_text()))
    assert row["software"] == "'=HYPERLINK(1)"


def test_the_page_is_written_unless_it_is_not_wanted(album: Path) -> None:
    localize(album)
    text = (album.parent / "out" / "index.html").read_text("utf-8")
    assert all(name in text for name in ("a.png", "b.jpg", "c.png", "d.png", "notes.txt"))
    assert (album.parent / "out" / "previews").is_dir()
    assert main(["localize", str(album), "--output", str(album.parent / "bare"), *SOFT,
                 "--no-page"]) == 2  # fmt: skip
    assert not (album.parent / "bare" / "index.html").exists()
    assert not (album.parent / "bare" / "previews").exists()


def test_the_threshold_decides_the_mask_alone(album: Path, capsys: Capture) -> None:
    low, high = (
        numbers(album, "--force", "--threshold", t)["photographs"][0] for t in ("0.1", "0.9")
    )
    assert low["marked_share"] > high["marked_share"]
    assert low["score"] == high["score"]
    assert localize(album, "--threshold", "1.5") == 2
    assert "--threshold is 1.5; it must be between 0 and 1" in capsys.readouterr().err


def test_the_last_lines_say_how_many_and_where_to_look_first(album: Path, capsys: Capture) -> None:
    Image.new("RGB", (640, 480)).save(album / "dark.png")
    localize(album)
    said = capsys.readouterr().out
    assert "5 photographs: 3 with marks, 3 with warnings, 1 failed" in said
    first = said[said.index("look at these first") :]
    assert "  3. " in first
    assert "dark.png" not in first
    assert f"page: {album.parent / 'out' / 'index.html'}" in first
