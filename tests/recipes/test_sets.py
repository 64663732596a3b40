"""The table of `lab.sets` on planted localizers, whose figures are known."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ansm_plugin.data.samples import Sample
from ansm_plugin.system.typed import from_table
from ansm_plugin.weights.catalogue_card import CardScores
from lab import least_score
from lab.sets import Photograph, looked_at, rows_of, summary, table


def truth(images: Tensor) -> Tensor:
    """Mark what is red."""
    return 8 * (images[:, :1] - images[:, 1:2] - 0.5)


def everything(images: Tensor) -> Tensor:
    return torch.ones_like(images[:, :1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a set of two photographs: one with a red quarter, one authentic and grey."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name, red in (("forged", 16), ("authentic", 0)):
        picture, mask = np.full((32, 32, 3), 128, np.uint8), np.zeros((32, 32), np.uint8)
        picture[:red, :red], mask[:red, :red] = (255, 0, 0), 255
        Image.fromarray(picture).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_a_set_is_scored_as_it_is_and_processed(folder: Path) -> None:
    rows = list(rows_of("red", folder, {"bare": truth, "defended": everything}))
    assert [(row["way"], row["defence"]) for row in rows[:2]] == [
        ("as it is", "bare"),
        ("as it is", "defended"),
    ]
    assert len(rows) == 8
    bare, marks_all = rows[0], rows[1]
    assert bare["f1"] == pytest.approx(1)
    assert bare["marked"] == bare["authentic_marked"] == 0
    assert bare["photograph_auc"] == 1
    assert marks_all["f1"] == pytest.approx(bare["marking_everything"]) == pytest.approx(0.4)
    assert marks_all["marked"] == marks_all["authentic_marked"] == 1
    assert marks_all["photograph_auc"] == 0.5
    assert (bare["forged"], bare["authentic"]) == (1, 1)


def test_each_image_of_a_batch_is_looked_at() -> None:
    images, masks = torch.rand(3, 3, 16, 16), torch.zeros(3, 1, 16, 16)
    masks[1, :, :4] = 1
    found = looked_at(everything, images, Sample(images, masks, ("a", "b", "c")))
    assert [p.is_forged for p in found] == [False, True, False]


def test_what_is_not_there_has_no_figure() -> None:
    authentic = Photograph(False, 0, 0, float("nan"), 0, 0.02, 0.3)
    found = summary([authentic])
    assert found["f1"] is None
    assert found["photograph_auc"] is None
    assert found["authentic_marked"] == 1
    line = table([{"set": "a", "way": "as it is", "defence": "bare", **found}]).splitlines()[-1]
    assert line.startswith("| a | as it is | bare | 0 | - |")


def test_a_least_score_trades_f1_for_fewer_marks() -> None:
    def seen(is_forged: bool, score: float) -> Photograph:
        return Photograph(is_forged, 0.8, 0.8, 0.9, 0.3, 0.04, score)

    photographs = [seen(True, 0.99), seen(True, 0.93), seen(False, 0.96), seen(False, 0.2)]
    rows = {row["least_score"]: row for row in least_score.rows_of("bed", photographs)}
    for least, f1, marked, share in (
        (0.0, 0.8, 0.04, 1),
        (0.95, 0.4, 0.02, 0.5),
        (0.97, 0.4, 0, 0),
    ):
        found = [rows[least][name] for name in ("f1", "marked", "authentic_marked")]
        assert found == pytest.approx([f1, marked, share])
    block = least_score.scores_block("bed", photographs)
    assert from_table(CardScores, tomllib.loads(block)["scores"][0], "card") == CardScores(
        set="bed", authentic=(0.2, 0.96), forged=(0.93, 0.99)
    )
