"""One listing of folders for all commands: every entry is used, or named with its reason."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import features
from support.image_files import photograph, saved

from ansm_plugin.data import formats, listing
from ansm_plugin.data.formats import is_heif
from ansm_plugin.data.listing import Listing, list_folder, require_images, said_of
from ansm_plugin.errors import ImageError

HEIC = b"\x00\x00\x00\x18ftypheic" + bytes(64)


def reasons(found: Listing) -> dict[str, str]:
    return {entry["file"]: entry["reason"] for entry in found.left_out}


def names(found: Listing) -> list[str]:
    return [file.relative_to(found.folder).as_posix() for file in found.files]


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "a.JPEG", "a.jfif", "a.jpe", "a.Png", "a.tif", "a.bmp", "a.webp", "a.gif", ".a.jpg"],
)
def test_images_are_told_by_their_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert list_folder(tmp_path) == Listing(tmp_path, (tmp_path / name,), ())


LEFT_OUT = {
    "a.dng": (b"II*\0", "raw file; develop it"),
    "a.CR3": (b"", "raw file; develop it"),
    "a.heic": (HEIC, r"pip install 'ansm_plugin\[heic\]'"),
    "a.hif": (HEIC, r"pip install 'ansm_plugin\[heic\]'"),
    "scan.pdf": (b"%PDF-1.7", "a PDF"),
    "clip.MOV": (b"", "a video"),
    "all.zip": (b"PK", "an archive"),
    "a.jp2": (b"", "not read; save it as PNG"),
    "a.psd": (b"", "not read; save it as PNG"),
    "photo": (b"\xff\xd8\xff\xe0", "a JPEG by its content.* suffix .jpg"),
    "a.png.bak": (b"\x89PNG\r\n\x1a\n", "a PNG by its content.* suffix .png"),
    "a.jpg.part": (HEIC, "HEIC by its content"),
    "._a.x": (b"\x00\x05\x16\x07", "metadata of macOS"),
    ".DS_Store": (b"\x00\x00\x00\x01Bud1", "no image by its name"),
    "Thumbs.db": (b"", "no image by its name"),
    "notes.txt": (b"hello", "no image by its name"),
    "png": (b"", "no image by its name"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_whatever_is_no_image_is_named_with_its_reason(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "reads_heif", lambda: False)
    content, reason = LEFT_OUT[name]
    (tmp_path / name).write_bytes(content)
    found = list_folder(tmp_path)
    assert not found.files
    assert list(reasons(found)) == [name]
    with pytest.raises(ImageError, match=f"there is no image in .*left out 1 of 1 .*{reason}"):
        require_images(found)


def test_heic_is_used_where_a_reader_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "reads_heif", lambda: True)
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert names(list_folder(tmp_path)) == ["a.heic"]


def test_a_jpeg_that_calls_itself_heic_is_used_without_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "reads_heif", lambda: False)
    (tmp_path / "a.HEIC").write_bytes(b"\xff\xd8\xff\xe0" + bytes(8))
    assert names(list_folder(tmp_path)) == ["a.HEIC"]


@pytest.mark.parametrize("is_built", [True, False])
def test_avif_is_used_where_pillow_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_built: bool
) -> None:
    monkeypatch.setattr(features, "check", lambda name: is_built)
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif")
    assert bool(list_folder(tmp_path).files) == is_built


def test_avif_is_not_taken_for_heic() -> None:
    assert is_heif(b"\0\0\0\x1cftypmif1" + bytes(24))
    assert not is_heif(b"\0\0\0\x1cftypavif\0\0\0\0mif1" + bytes(12))
    assert not is_heif(b"\0\0\0\x1cftypmif1\0\0\0\0avif" + bytes(12))


def test_folders_links_and_pipes(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    saved(folder / "a.png", photograph())
    saved(folder / "day2" / "b.png", photograph())
    (folder / "x.png").mkdir()
    saved(tmp_path / "elsewhere" / "c.png", photograph())
    (folder / "link.png").symlink_to(tmp_path / "elsewhere" / "c.png")
    (folder / "nothing.png").symlink_to(tmp_path / "none.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "others").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.png")
    found = list_folder(folder)
    assert names(found) == ["a.png", "link.png"]
    assert reasons(found) == {
        "day2/": "a folder; name it, or pass --recursive",
        "loop.png": "a link to nothing",
        "nothing.png": "a link to nothing",
        "others/": "a folder; name it, or pass --recursive",
        "pipe.png": "no file, but a pipe, a socket or a device",
        "x.png/": "a folder; name it, or pass --recursive",
    }
    deep = list_folder(folder, recursive=True)
    assert names(deep) == ["a.png", "day2/b.png", "link.png"]
    assert set(reasons(deep)) == {"loop.png", "nothing.png", "others/", "pipe.png"}
    assert reasons(deep)["others/"] == "a link to a folder; name that folder"


def test_a_pattern_chooses_files_in_every_folder_and_hides_no_folder(tmp_path: Path) -> None:
    for name in ("train_1.png", "test_1.png", "deep/train_2.png", "deep/test_2.png"):
        saved(tmp_path / name, photograph())
    (tmp_path / "train_notes.txt").touch()
    flat = list_folder(tmp_path, "train_*")
    assert names(flat) == ["train_1.png"]
    assert set(reasons(flat)) == {"deep/", "train_notes.txt"}
    assert names(list_folder(tmp_path, "train_*", recursive=True)) == [
        "deep/train_2.png",
        "train_1.png",
    ]
    assert names(list_folder(tmp_path, "deep/t*")) == ["deep/test_2.png", "deep/train_2.png"]


def test_a_pattern_matches_names_in_any_normalisation(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café.png")
    saved(tmp_path / decomposed, photograph())
    assert len(list_folder(tmp_path, unicodedata.normalize("NFC", "café*")).files) == 1


@pytest.mark.parametrize("pattern", ["", "/*", "a\0"])
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ImageError, match="matches no file names"):
        list_folder(tmp_path, pattern)


def test_a_folder_that_cannot_be_opened_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "a.png", photograph())
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(listing.os, "scandir", scandir)
    found = list_folder(tmp_path, recursive=True)
    assert "Permission denied" in reasons(found)["closed/"]
    with pytest.raises(ImageError, match=r"cannot open the folder .*closed"):
        list_folder(tmp_path / "closed")


def test_a_folder_of_results_is_not_entered(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", photograph())
    saved(tmp_path / "out" / "a-mask.png", photograph())
    named = list_folder(tmp_path, recursive=True, skip={tmp_path / "out": "results"})
    assert (names(named), reasons(named)) == (["a.png"], {"out/": "results"})
    assert not list_folder(tmp_path, skip={tmp_path / "out": ""}).left_out


def test_many_names_are_shortened_and_counted() -> None:
    left_out = [listing.LeftOut(file=f"{n}.txt", reason="no image") for n in range(14)]
    said = said_of(left_out, 20, "in a")
    assert said.startswith("left out 14 of 20 entries in a: 0.txt, ")
    assert said.endswith("9.txt and 4 more (no image).")
    assert "13.txt" in said_of(left_out, 20, "in a", most=14)
    assert said_of([], 20, "in a") == ""


def test_names_that_steer_a_terminal_are_shown_as_text(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J\n.txt").touch()
    assert list_folder(tmp_path).said().isprintable()


def test_a_folder_that_vanishes_is_no_folder(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    with pytest.raises(ImageError, match="there is no folder"):
        list_folder(tmp_path)
