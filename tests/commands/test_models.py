"""`ansm models`: what is there by short name, and all that the card of one says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.distributions import offer_weights

from ansm_plugin.backbones.reference import packaged_ansm, packaged_weights
from ansm_plugin.cli import main
from ansm_plugin.report.catalogue import ansm_in_words, card_lines, figure_lines, range_lines
from ansm_plugin.weights.catalogue import Listed, find
from ansm_plugin.weights.catalogue_card import CardFigure, TrainedRange, read_card

Capture = pytest.CaptureFixture[str]
NAME = "forensic-unet"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution whose pair has no ANSM, no figures and no known range."""
    folder = offer_weights(tmp_path, monkeypatch, "plain-unet")
    card = folder / "plain-unet.card.toml"
    head = card.read_text().partition("\n[trained_on]")[0]
    card.write_text(re.sub(r"(?m)^(ansm|does) = .*\n", "", head))
    return folder


def test_all_are_listed_with_what_they_score_and_where_from(shop: Path, capsys: Capture) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split() == ["name", "F1", "defended", "ANSM", "licence", "MB", "from"]
    (packaged,) = (line for line in lines if line.startswith(NAME))
    assert packaged.split()[1:3] == ["0.988", "0.986"]
    assert packaged.split()[3] == "yes"
    assert packaged.endswith("3.6  the package")
    (plain,) = (line for line in lines if line.startswith("plain-unet"))
    assert plain.split() == ["plain-unet", "-", "-", "no", "Apache-2.0", "2.5", "shop"]
    assert "overwrites: Its ANSM writes" not in out, "none of these does"
    assert out.endswith("Where no localizer is named, it is forensic-unet.\n")
    assert out.count("planted camera noise, not for photographs") == 2


def test_one_is_told_with_figures_data_terms_limits_files_and_use(capsys: Capture) -> None:
    assert main(["models", NAME]) == 0
    out = capsys.readouterr().out
    card = find(NAME)
    assert card is not None
    said = (*card.card.data, *card.card.limits, card.card.terms, *card.card.fails)
    assert all(sentence in out for sentence in said)
    assert f"localizer: {packaged_weights(NAME)} (2.5 MB)" in out
    assert f"ANSM: {packaged_ansm()} (1.1 MB)" in out
    assert f"ansm localize photo.jpg --output masks/ --localizer {NAME}\n" in out
    assert re.search(r"^0\.988  0\.986     0\.383        96  ", out, re.MULTILINE)
    assert "whose shorter side has 64 pixels" in out


def test_a_card_that_says_little_is_told_too(shop: Path, capsys: Capture) -> None:
    assert main(["models", "plain-unet"]) == 0
    out = capsys.readouterr().out
    assert "ANSM          no\n" in out
    assert "measured on" not in out
    assert "trained on" not in out


def test_a_hardened_ansm_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = offer_weights(tmp_path, monkeypatch, "hard-unet")
    file = folder / "hard-unet.card.toml"
    file.write_text('hardened = "hard-unet-ansm.safetensors"\n' + file.read_text())
    out = "\n".join(card_lines(Listed(read_card(file), folder, "shop")))
    path = folder / "hard-unet-ansm.safetensors"
    assert f"--localizer hard-unet --ansm {path}" in out
    assert f"hardened ANSM: {path}" in out


def test_ranges_and_figures_in_words() -> None:
    known = TrainedRange(sides=(200, 900), formats=("JPEG", "PNG"), jpeg_quality=(75, 95))
    assert list(range_lines(known)) == [
        "pictures whose shorter side has 200 to 900 pixels",
        "files: JPEG, PNG",
        "JPEG quality: 75 to 95",
    ]
    lines = list(figure_lines([CardFigure(set="a", f1=0.5), CardFigure(set="b", source="run c")]))
    assert lines[2].split() == ["0.500", "-", "-", "-", "a"]
    assert lines[4].index("run c") == lines[1].index("measured on")
    listed = find(NAME)
    assert listed is not None
    failing = replace(listed.card, does=("decodes", "overwrites"))
    assert ansm_in_words(failing) == "yes, but decodes and overwrites"


def test_the_json_has_the_card_with_whole_paths(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    assert main(["models", "--json", str(file)]) == 0
    ours, *_, plain = json.loads(file.read_text())
    assert (ours["name"], ours["origin"]) == (NAME, "the package")
    assert ours["ansm"] == str(packaged_ansm())
    assert ours["trained_on"] == {"sides": [64, 64], "formats": ["PNG"], "jpeg_quality": None}
    assert ours["figures"][0]["f1"] == 0.988
    assert (plain["ansm"], plain["figures"]) == (None, [])
    assert main(["models", NAME, "--json", str(file)]) == 0
    assert json.loads(file.read_text()) == ours


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("forensic-une", "unknown model 'forensic-une'. Nearest: forensic-unet"),
        ("casia1-cnn", "pip install ./recipes/lab/weights"),
        (f"{NAME}@x.safetensors", f"ask for {NAME}."),
    ],
)
def test_another_name_ends_with_2_and_says_what_to_do(
    name: str, said: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORENSICS_PLUGINS", "")
    assert main(["models", name]) == 2
    assert said in capsys.readouterr().err
