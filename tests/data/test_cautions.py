"""Each reason for care: where it is said, and where it must not be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from ansm_plugin.data.cautions import Caution, TrainedOn, cautions_of
from ansm_plugin.data.history import history_of
from ansm_plugin.data.photographs import procedural
from ansm_plugin.data.read import read_upright

SIDE = 384


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """Return a photograph that was never compressed: reduced, as that leaves no levels out."""
    (pixels,) = procedural(1, seed=5, size=2 * SIDE)
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    """Return a picture through a JPEG file."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def found(
    folder: Path, picture: Image.Image, name: str = "a.png", *, known: TrainedOn | None = None,
    **options: Any,
) -> list[Caution]:  # fmt: skip
    """Save a picture and return the cautions of its file."""
    picture.save(folder / name, **options)
    upright = read_upright(folder / name)
    return cautions_of(history_of(upright.source), upright, known or TrainedOn())


def kinds(cautions: list[Caution]) -> set[str]:
    assert all(caution.text.endswith(".") for caution in cautions)
    return {caution.kind for caution in cautions}


# --- recompressed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(70, 85), (75, 90), (60, 95)])
def test_a_second_finer_compression_is_told(
    tmp_path: Path, scene: Image.Image, first: int, second: int
) -> None:
    cautions = found(tmp_path, compressed(scene, first), "a.jpg", quality=second)
    assert "recompressed" in kinds(cautions)
    assert f"quality {second}" in cautions[0].text


@pytest.mark.parametrize("quality", [60, 75, 90, 98])
def test_one_compression_is_none_too_many(tmp_path: Path, scene: Image.Image, quality: int) -> None:
    assert "recompressed" not in kinds(found(tmp_path, scene, "a.jpg", quality=quality))


def test_a_png_of_a_jpeg_is_told_and_of_pixels_is_not(tmp_path: Path, scene: Image.Image) -> None:
    assert "recompressed" in kinds(found(tmp_path, compressed(scene, 75)))
    assert "recompressed" not in kinds(found(tmp_path, scene))


def test_a_photograph_that_its_exif_turns_is_told_on_the_grid_of_its_file(
    tmp_path: Path, scene: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    odd = scene.crop((0, 0, SIDE - 3, SIDE - 5))
    cautions = found(tmp_path, compressed(odd, 70), "a.jpg", quality=85, exif=exif)
    assert "recompressed" in kinds(cautions)


def test_of_a_drawing_nothing_is_claimed(tmp_path: Path) -> None:
    page = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(page)
    for line in range(6):
        pen.text((20, 20 * line), "the quick brown fox " * 2, fill="black")
    assert "recompressed" not in kinds(found(tmp_path, page))


# --- resized --------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.2, 1.5])
def test_an_enlarged_photograph_is_told(tmp_path: Path, scene: Image.Image, factor: float) -> None:
    side = round(SIDE * factor)
    assert "resized" in kinds(found(tmp_path, scene.resize((side, side), Image.Resampling.BICUBIC)))
    assert "resized" not in kinds(found(tmp_path, scene))


def test_of_a_photograph_too_small_for_a_period_nothing_is_claimed(
    tmp_path: Path, scene: Image.Image
) -> None:
    small = scene.crop((0, 0, 128, 128)).resize((192, 192), Image.Resampling.BICUBIC)
    assert "resized" not in kinds(found(tmp_path, small))


def test_few_procedural_photographs_are_called_resized(tmp_path: Path) -> None:
    pictures = [Image.fromarray(p) for p in procedural(8, seed=11, size=320)]
    assert not any("resized" in kinds(found(tmp_path, picture)) for picture in pictures)


# --- what the file says ---------------------------------------------------------------------------


def test_a_png_of_the_size_of_a_screen_without_a_camera_is_a_screenshot(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Phone"
    screen, other = Image.new("RGB", (1170, 2532)), Image.new("RGB", (1170, 2531))
    assert "screenshot" in kinds(found(tmp_path, screen))
    assert "screenshot" not in kinds(found(tmp_path, other))
    assert "screenshot" not in kinds(found(tmp_path, screen, exif=exif))
    assert "screenshot" not in kinds(found(tmp_path, screen, "a.jpg"))


def test_a_small_photograph_is_called_so(tmp_path: Path) -> None:
    assert "too small" in kinds(found(tmp_path, Image.new("RGB", (255, 900))))
    assert "too small" not in kinds(found(tmp_path, Image.new("RGB", (256, 900))))


def test_an_editor_s_name_is_told_and_a_firmware_is_not(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0131] = "Adobe Photoshop CS5 Windows"
    (caution,) = found(tmp_path, Image.new("RGB", (300, 300)), "a.jpg", exif=exif)
    assert caution.kind == "edited"
    assert "Adobe Photoshop CS5 Windows" in caution.text
    exif[0x0131] = "Ver.1.00"
    assert not found(tmp_path, Image.new("RGB", (300, 300)), "a.jpg", exif=exif)


def test_strong_compression_is_told(tmp_path: Path, scene: Image.Image) -> None:
    assert "strong compression" in kinds(found(tmp_path, scene, "a.jpg", quality=69))
    assert "strong compression" not in kinds(found(tmp_path, scene, "a.jpg", quality=70))


# --- what the localizer was trained on ------------------------------------------------------------

KNOWN = TrainedOn(sides=(300, 500), formats=("JPEG",), jpeg_quality=(80, 95))
OUTSIDE = "outside the model's range"


@pytest.mark.parametrize(
    ("name", "size", "options", "part"),
    [
        ("a.png", (400, 400), {}, "trained on JPEG; this file is a PNG"),
        ("a.jpg", (400, 299), {"quality": 90}, "its shorter side is 299"),
        ("a.jpg", (600, 501), {"quality": 90}, "shorter side is 300 to 500 pixels"),
        ("a.jpg", (400, 400), {"quality": 79}, "its JPEG quality is 79"),
    ],
)
def test_what_the_localizer_was_not_trained_on_is_told(
    tmp_path: Path, name: str, size: tuple[int, int], options: dict[str, Any], part: str
) -> None:
    cautions = found(tmp_path, Image.new("RGB", size), name, known=KNOWN, **options)
    (said,) = [c for c in cautions if c.kind == OUTSIDE]
    assert part in said.text


def test_what_it_was_trained_on_is_not_told(tmp_path: Path) -> None:
    picture = Image.new("RGB", (400, 300))
    assert not found(tmp_path, picture, "a.jpg", known=KNOWN, quality=95)
    assert OUTSIDE not in kinds(found(tmp_path, picture, "a.png"))


def test_the_table_of_weights_is_read_and_nonsense_in_it_is_not() -> None:
    table = {"sides": [300, 500], "formats": ["JPEG"], "jpeg_quality": [80, 95]}
    assert TrainedOn.from_table(table) == KNOWN
    nonsense = {"sides": [5], "formats": "JPEG", "jpeg_quality": ["a", None]}
    assert TrainedOn.from_table(nonsense) == TrainedOn()
    assert TrainedOn.from_table({"sides": [9, 3]}) == TrainedOn()
