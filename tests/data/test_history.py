"""What a photograph's file says of itself, and which tables it was compressed with."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.image_files import photograph, saved

from ansm_plugin.data.history import FileHistory, history_of, identity_of
from ansm_plugin.data.quantisation import standard
from ansm_plugin.data.read import read_upright
from ansm_plugin.errors import ImageError

MAKE, MODEL, SOFTWARE, TIME, TAKEN = 0x010F, 0x0110, 0x0131, 0x0132, 0x9003


def said(path: Path) -> FileHistory:
    return history_of(read_upright(path).source)


def exif(tags: dict[int, object], taken: str | None = None) -> Image.Exif:
    """Return EXIF of these tags; `taken` stands in its inner block."""
    made = Image.Exif()
    for tag, value in tags.items():
        made[tag] = value
    if taken is not None:
        made.get_ifd(0x8769)[TAKEN] = taken
    return made


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_camera_software_and_time_are_read(tmp_path: Path, suffix: str) -> None:
    tags = {MAKE: "Canon", MODEL: "Canon EOS 20D", SOFTWARE: "Firmware 2.0", TIME: "2020:01:01 0:0"}
    path = saved(tmp_path / f"a{suffix}", photograph(), exif=exif(tags, "2019:05:06 07:08:09"))
    found = said(path)
    assert found.camera == "Canon EOS 20D"
    assert found.software == "Firmware 2.0"
    assert found.taken == "2019:05:06 07:08:09"


def test_a_tiff_says_so_in_its_own_tags(tmp_path: Path) -> None:
    tags = {MAKE: "Nikon", MODEL: "D60", SOFTWARE: "scan"}
    path = saved(tmp_path / "a.tif", photograph(), tiffinfo=tags)
    found = said(path)
    assert (found.camera, found.software, found.format) == ("Nikon D60", "scan", "TIFF")


def test_a_photograph_that_is_turned_keeps_what_its_file_says(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", photograph(), exif=exif({0x0112: 6, MODEL: "Phone"}))
    found = said(path)
    assert found.camera == "Phone"
    assert found.quantisation is not None


def test_a_file_that_says_nothing_has_no_camera(tmp_path: Path) -> None:
    found = said(saved(tmp_path / "a.png", photograph()))
    assert found == FileHistory(format="PNG")


def test_broken_or_hostile_text_is_harmless(tmp_path: Path) -> None:
    tags = {MODEL: "a\x1b[2Jb\n" + "x" * 5000, SOFTWARE: "\0 \0"}
    found = said(saved(tmp_path / "a.jpg", photograph(), exif=exif(tags)))
    assert found.camera is not None
    assert found.camera.isprintable()
    assert len(found.camera) < 300
    assert found.software is None
    path = saved(tmp_path / "b.jpg", photograph(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert said(path).camera is None


def test_identity_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert identity_of(tmp_path / "a") == (hashlib.sha256(b"abc").hexdigest(), 3)
    with pytest.raises(ImageError, match="cannot read"):
        identity_of(tmp_path / "b")


# --- quantisation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [1, 30, 49, 50, 75, 92, 100])
def test_the_quality_of_standard_tables_is_exact(tmp_path: Path, quality: int) -> None:
    found = said(saved(tmp_path / "a.jpg", photograph(), quality=quality)).quantisation
    assert found is not None
    assert (found.quality, found.is_standard) == (quality, True)
    assert found.words.startswith(f"standard tables of quality {quality}, luma steps ")


def test_other_tables_are_called_so_and_compared(tmp_path: Path) -> None:
    luma, chroma = (table.tolist() for table in standard(85))
    luma[1] += 1
    path = saved(tmp_path / "a.jpg", photograph(), qtables=[luma, chroma])
    found = said(path).quantisation
    assert found is not None
    assert (found.quality, found.is_standard) == (85, False)
    assert "not standard tables, about as strong as quality 85" in found.words


def test_a_luma_table_with_another_quality_s_chroma_is_not_standard(tmp_path: Path) -> None:
    tables = [standard(85)[0].tolist(), standard(60)[1].tolist()]
    found = said(saved(tmp_path / "a.jpg", photograph(), qtables=tables)).quantisation
    assert found is not None
    assert not found.is_standard


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_subsampling_is_named(tmp_path: Path, sampling: str) -> None:
    path = saved(tmp_path / "a.jpg", photograph(), subsampling=sampling)
    assert said(path).subsampling == sampling
    grey = saved(tmp_path / "b.jpg", np.zeros((16, 16), np.uint8))
    assert said(grey).subsampling is None
