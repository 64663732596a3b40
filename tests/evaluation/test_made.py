"""Forged crops that are made follow the card of the localizer."""

from __future__ import annotations

from typing import Any

import pytest

from ansm_plugin.api.given import suited as suited_images
from ansm_plugin.backbones import reference
from ansm_plugin.commands.calibrate import CalibrateOptions, _data
from ansm_plugin.commands.groups import ModelOptions
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.data.photographic import PhotographicConfig
from ansm_plugin.evaluation.made import all_authentic, suited
from ansm_plugin.evaluation.material import Source, demo_data
from ansm_plugin.weights.catalogue_card import MadeCrops

PHOTOGRAPHIC = MadeCrops(style="photographic", size=96)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the card of "photo" ask for photographic crops."""
    ours = MadeCrops()
    monkeypatch.setattr(
        reference, "crops_of", lambda name: PHOTOGRAPHIC if name == "photo" else ours
    )
    monkeypatch.setattr("ansm_plugin.api.given.crops_of", reference.crops_of)


def test_planted_crops_of_64_pixels_are_those_of_the_recipes() -> None:
    assert suited(DataConfig(), MadeCrops(), authentic=0.0) == DataConfig()
    assert demo_data(5) == DataConfig(split="test", count=5, seed=1)


def test_photographic_crops_have_size_style_and_share_of_the_card() -> None:
    data = suited(DataConfig(), PHOTOGRAPHIC, authentic=0.25)
    assert (data.style, data.size) == ("photographic", 96)
    assert data.photographic == PhotographicConfig(size=96, authentic=0.25)
    assert demo_data(5, PHOTOGRAPHIC).photographic.authentic == 0


@pytest.mark.parametrize("crops", [MadeCrops(), PHOTOGRAPHIC])
def test_all_may_be_authentic(crops: MadeCrops) -> None:
    data = all_authentic(demo_data(5, crops))
    made: Any = data.forgeries if crops.style == "planted" else data.photographic
    assert made.authentic == 1
    back = suited(data, crops, authentic=0.0)
    assert back == demo_data(5, crops)


def test_a_source_makes_what_suits_its_localizer() -> None:
    assert Source(crops=PHOTOGRAPHIC).data() == demo_data(None, PHOTOGRAPHIC)
    assert Source(count=7).data() == demo_data(7)


def test_a_name_in_python_decides_what_is_made(card: None) -> None:
    assert suited_images("photo", None, None) == (Source(crops=PHOTOGRAPHIC), None)
    assert suited_images("photo+a.safetensors", "dir", None)[0].crops == PHOTOGRAPHIC  # type: ignore[union-attr]
    assert suited_images(object(), None, None) == (None, None)
    assert suited_images("photo", [1], None) == ([1], None)


def test_a_score_is_fitted_on_what_the_card_says(card: None) -> None:
    options = CalibrateOptions(model=ModelOptions(localizer="photo"), output="x")  # type: ignore[arg-type]
    data = _data(options)
    assert (data.style, data.size, data.photographic.authentic) == ("photographic", 96, 0.25)
    data = _data(CalibrateOptions(output="x"))  # type: ignore[arg-type]
    assert (data.style, data.size, data.forgeries.authentic) == ("planted", 64, 0.25)
