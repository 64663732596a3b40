"""`ansm localize`: masks and overlays of photographs; bad files get a word and lose no other."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image
from support.bright import photograph
from support.localize_folder import NAME, localize, results

from ansm_plugin.ansm import ANSM
from ansm_plugin.cli import main
from ansm_plugin.weights.ansm_file import save_ansm


def test_localize_writes_mask_and_overlay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert localize(folder, "photo.png") == 0
    mask = np.asarray(Image.open(folder / "out" / "photo-mask.png"))
    assert mask.shape == (64, 96)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[10:30, 10:30] == 255).all()
    assert np.asarray(Image.open(folder / "out" / "photo-overlay.png")).shape == (64, 96, 3)
    said = capsys.readouterr().out
    assert "6.5% marked" in said
    assert "no defence" in said


def test_exif_orientation_is_honoured(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to look at
    Image.fromarray(photograph(64, 96)).save(folder / "turned.png", exif=exif)
    assert localize(folder, "turned.png") == 0
    with Image.open(folder / "out" / "turned-mask.png") as mask:
        assert mask.size == (64, 96)


def test_16_bit_and_cmyk_photographs_work(folder: Path) -> None:
    deep = photograph(64, 96)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(photograph(64, 96)).convert("CMYK").save(folder / "print.jpg")
    assert localize(folder, "deep.png", "print.jpg") == 0
    assert len(results(folder)) == 6


def test_one_bad_photograph_does_not_lose_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "photo.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image")
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    bad = ("truncated.png", "empty.jpg", "text.jpg", "moving.gif", "missing.png")
    assert localize(folder, *bad, "photo.png") == 2
    said = capsys.readouterr().err
    assert "5 of 6 photographs failed" in said
    assert all(said.count(name) == 1 for name in bad)
    assert "Traceback" not in said
    assert results(folder) == ["photo-mask.png", "photo-overlay.png", "photo-probability.png"]


def test_a_wrong_path_leaves_no_folder_of_results(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert localize(folder, "phtoo.png") == 2
    assert "there is no file" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(stream: BinaryIO, pixels: object) -> None:
        stream.write(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ansm_plugin.data.paint.write_png", write)
    assert localize(folder, "photo.png") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [p.name for p in (folder / "out").iterdir()] == ["index.html"]


def test_an_output_that_is_a_file_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").write_text("in the way")
    assert localize(folder, "photo.png") == 2
    assert "cannot write" in capsys.readouterr().err


def test_two_photographs_of_one_stem_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert localize(folder, "photo.png", "photo.jpg") == 2
    assert "would both write" in capsys.readouterr().err


def test_a_photograph_named_twice_is_told_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["localize", str(folder), str(folder / "photo.png"), "--output", "out"]) == 2
    assert "is named twice; name it once" in capsys.readouterr().err


def test_a_result_never_replaces_a_photograph(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "photo.png").rename(folder / "out" / "a.png")
    Image.new("RGB", (8, 8)).save(folder / "out" / "a-mask.png")
    before = (folder / "out" / "a-mask.png").read_bytes()
    assert localize(folder, "out/a.png", "out/a-mask.png") == 2
    assert "would replace a photograph" in capsys.readouterr().err
    assert (folder / "out" / "a-mask.png").read_bytes() == before


def test_a_folder_stands_for_its_photographs(folder: Path) -> None:
    (folder / "album").mkdir()
    for name in ("one", "two"):
        Image.fromarray(photograph(40, 40)).save(folder / "album" / f"{name}.png")
    assert localize(folder, "album") == 0
    assert len(results(folder)) == 6


def test_another_localizer_needs_its_ansm_or_bare(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["localize", str(folder / "photo.png"), "--output", str(folder / "out")]
    assert main([*arguments, "--localizer", NAME]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("--ansm", "ansm train two-stage", "--bare"))


def test_an_untrained_ansm_is_said_to_be_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = save_ansm(ANSM("small"), folder / "fresh.safetensors")
    arguments = ["localize", str(folder / "photo.png"), "--output", str(folder / "out")]
    options = ["--localizer", NAME, "--ansm", str(fresh)]
    assert main([*arguments, *options]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: the ANSM")
    assert "untrained" in said
    assert said.count("\n") == 1


def test_a_photograph_of_ten_megapixels_is_done_in_tiles(folder: Path) -> None:
    Image.fromarray(photograph(2500, 4000)).save(folder / "large.png", compress_level=0)
    assert localize(folder, "large.png") == 0
    with Image.open(folder / "out" / "large-mask.png") as mask:
        assert mask.size == (4000, 2500)


def test_the_ansm_may_compute_in_bf16(folder: Path) -> None:
    masks = []
    for precision in ("fp32", "bf16"):
        output = folder / precision
        arguments = ["localize", str(folder / "photo.png"), "--output", str(output)]
        assert main([*arguments, "--ansm-precision", precision]) == 0
        masks.append(np.asarray(Image.open(output / "photo-mask.png")))
    assert (masks[0] != masks[1]).mean() < 0.05


def test_the_precision_of_an_ansm_that_is_not_used_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["localize", str(folder / "photo.png"), "--output", str(folder / "out"), "--bare"]
    assert main([*arguments, "--ansm-precision", "bf16"]) == 2
    assert "--bare and --ansm-precision were both given" in capsys.readouterr().err
