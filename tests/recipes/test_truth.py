"""The table of what modules really do, from the published evaluations; camera splits of a bed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ansm_plugin.data.photographs import procedural
from lab import cameras
from lab.publish import RESULTS
from lab.tables import Result
from lab.truth import ROWS, framing, joined, left, recovered, table


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [Result(RESULTS / f"{name}.json") for name in ("independent-before", "independent")]


def test_the_table_says_what_the_evaluations_hold(results: list[Result]) -> None:
    lines = list(table(results))
    assert lines[0] == "| | aim | independent-before | independent |"
    assert len(lines) == 2 + len(ROWS) + 1
    transplant = json.loads((RESULTS / "independent.json").read_text())["transplant"]
    excess = transplant["f1"] - transplant["control_f1"]
    assert any(line.endswith(f"| {excess:.3f} |") for line in lines if "above control" in line)
    assert "leak, decodes, overwrites, unconverged | unconverged |" in lines[-1]


def test_what_was_not_measured_is_a_dash(results: list[Result]) -> None:
    assert recovered(16.0)(results[0]) is None
    assert left("T3.5", 4.0)(results[0]) is None
    assert framing(16.0)(results[0]) is None
    assert any(line.count("| - ") == 2 for line in table(results))


def test_a_joined_evaluation_brings_its_threats_and_leaves_originals(tmp_path: Path) -> None:
    first, fields = (json.loads((RESULTS / "independent.json").read_text()) for _ in range(2))
    kept = [row for row in fields["rows"] if row["threat"] in ("T0", "T4")]
    fields["rows"] = [{**row, "f1": 0.125} for row in kept]
    fields["alarm_names"] = ["search"]
    fields["alarms"] = fields["alarms"][:1]
    (tmp_path / "more.json").write_text(json.dumps(fields))
    both = joined(f"{RESULTS / 'independent.json'},{tmp_path / 'more.json'}")
    alone = Result(RESULTS / "independent.json")
    assert left("T4", 2.0)(both) == 0.125
    assert both.clean() == alone.clean() != 0.125
    assert recovered(4.0)(both) == recovered(4.0)(alone)
    # That the old T4 was not done says nothing of the new one.
    assert first["alarm_names"] == ["unconverged"]
    assert both.alarms == ("search",)


def test_the_old_module_fails_where_the_new_one_does_not(results: list[Result]) -> None:
    before, after = (framing(8.0)(result) for result in results)
    assert before is not None
    assert after is not None
    assert before > 5 * after


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        ("Canon_EOS_20D_(2)", "Canon_EOS_20D"),
        ("Canon_EOS_20D", "Canon_EOS_20D"),
        ("Nikon_E995_(iptc)", "Nikon_E995"),
    ],
)
def test_numbers_in_names_are_no_other_camera(name: str, camera: str) -> None:
    assert cameras.camera_of(name) == camera
    assert cameras.is_test(name) == cameras.is_test(camera)


def test_photographs_are_split_by_camera_and_forged_into_a_bed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, scene in enumerate(procedural(12, seed=2, size=64)):
        Image.fromarray(scene).save(source / f"Make_{number // 2}_({number % 2}).jpg", quality=95)
    Image.new("RGB", (64, 64)).save(source / "FLIR.jpg")
    cameras.split(source, tmp_path / "out")
    sides = {
        side: {cameras.camera_of(path.stem) for path in (tmp_path / "out" / side).iterdir()}
        for side in ("train", "test")
    }
    assert sides["train"].isdisjoint(sides["test"])
    assert len(sides["train"] | sides["test"]) == 6
    assert "FLIR" not in sides["train"] | sides["test"]


def test_a_bed_holds_jpeg_files_with_their_masks(tmp_path: Path) -> None:
    for number, scene in enumerate(procedural(3, seed=5, size=128)):
        Image.fromarray(scene).save(tmp_path / f"{number}.png")
    cameras.bed(tmp_path, tmp_path / "bed", 12, 96)
    images = sorted((tmp_path / "bed" / "images").iterdir())
    assert {path.suffix for path in images} == {".jpg"}
    for path in images:
        mask = np.asarray(Image.open(tmp_path / "bed" / "masks" / f"{path.stem}.png"))
        assert mask.shape == (96, 96)
        assert mask.any() == path.name.startswith("forged")
    assert 1 <= sum(path.name.startswith("authentic") for path in images) <= 8


def test_densities_keep_the_pixels_and_leave_out_what_is_too_small(tmp_path: Path) -> None:
    pixels = procedural(1, seed=3, size=400)[0]
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "Maker_One.png")
    cameras.densities(tmp_path / "in", tmp_path / "out")
    found = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "out").iterdir()}
    assert set(found) == {"Maker_One-full.png", "Maker_One-half.png"}
    assert np.array_equal(found["Maker_One-full.png"], pixels)
    assert found["Maker_One-half.png"].shape == (pixels.shape[0] // 2, pixels.shape[1] // 2, 3)
