"""`ansm localize` on folders as they are found: every entry is used, or named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from support.bright import photograph
from support.localize_folder import BRIGHT, localize

from ansm_plugin.cli import main


@pytest.fixture
def evidence(folder: Path) -> Path:
    """Return a folder of photographs and of much else."""
    made = folder / "evidence"
    for name in ("a.jpg", "day2/a.jpg", "day2/deep/b.png"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(40, 40)).save(made / name)
    Image.fromarray(photograph(40, 40)).save(made / "b.jfif", "JPEG")
    (made / "c.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    (made / "d.dng").write_bytes(b"II*\0" + bytes(64))
    (made / ".hidden.txt").touch()
    (made / "x.png").mkdir()
    (made / "gone.png").symlink_to(made / "none.png")
    os.mkfifo(made / "pipe.png")
    return made


LEFT_OUT = ("c.heic", "d.dng", ".hidden.txt", "gone.png", "pipe.png")


def in_json(folder: Path, *options: str) -> tuple[int, list[str], dict[str, str]]:
    """Localize the evidence; return exit code, photographs, and reasons by name of the rest."""
    numbers = folder / "found.json"
    arguments = ["localize", str(folder / "evidence"), "--output", str(folder / "out"), *BRIGHT]
    code = main([*arguments, *options, "--json", str(numbers)])
    found = json.loads(numbers.read_text())
    root = folder / "evidence"

    def below(path: str) -> str:
        return Path(path).relative_to(root).as_posix()

    used = [below(entry["photograph"]) for entry in found["photographs"]]
    return code, used, {below(entry["file"]): entry["reason"] for entry in found["left_out"]}


def test_every_entry_of_a_folder_is_used_or_named(
    folder: Path, evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, used, left_out = in_json(folder)
    assert (code, used) == (0, ["a.jpg", "b.jfif"])
    assert set(left_out) == {*LEFT_OUT, "day2", "x.png"}
    said = capsys.readouterr().err
    assert f"left out 7 of 9 entries in {evidence}: " in said
    assert all(name in said for name in (*LEFT_OUT, "day2/", "x.png/"))
    assert all(reason in said for reason in left_out.values())


def test_recursive_enters_folders_and_keeps_names_apart(folder: Path, evidence: Path) -> None:
    code, used, left_out = in_json(folder, "--recursive")
    assert (code, used) == (0, ["a.jpg", "b.jfif", "day2/a.jpg", "day2/deep/b.png"])
    assert set(left_out) == set(LEFT_OUT)
    masks = {p.relative_to(folder / "out").as_posix() for p in (folder / "out").rglob("*mask.png")}
    assert masks == {
        "a-mask.png", "b-mask.png", "day2/a-mask.png", "day2/deep/b-mask.png"
    }  # fmt: skip


def test_results_inside_the_folder_are_not_localized_again(folder: Path) -> None:
    (folder / "album").mkdir()
    (folder / "photo.png").rename(folder / "album" / "photo.png")
    output = folder / "album" / "out"
    arguments = ["localize", str(folder / "album"), *BRIGHT, "--recursive", "--no-page", "--force"]
    for _ in range(2):
        assert main([*arguments, "--output", str(output)]) == 0
    assert len(list(output.rglob("*.png"))) == 3


def test_results_do_not_lie_between_the_photographs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run would take its masks for photographs."""
    assert main(["localize", str(folder), "--output", f"{folder}/../{folder.name}", *BRIGHT]) == 2
    assert "is the folder of photographs and of results" in capsys.readouterr().err
    assert sorted(p.suffix for p in folder.iterdir() if not p.name.startswith(".")) == [".png"]


def test_two_photographs_of_one_stem_in_a_folder_keep_their_suffixes(folder: Path) -> None:
    (folder / "album").mkdir()
    for name in ("a.png", "a.bmp", "b.png"):
        Image.fromarray(photograph(40, 40)).save(folder / "album" / name)
    assert localize(folder, "album") == 0
    masks = sorted(p.name for p in (folder / "out").glob("*-mask.png"))
    assert masks == ["a.bmp-mask.png", "a.png-mask.png", "b-mask.png"]


def test_a_folder_of_which_nothing_can_be_used_is_an_error_that_names_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "album" / "day1").mkdir(parents=True)
    (folder / "album" / "notes.txt").touch()
    assert localize(folder, "album") == 2
    said = capsys.readouterr().err
    assert "there is no image in" in said
    assert "left out 2 of 2 entries" in said
    assert "day1/" in said
    assert "notes.txt" in said


def test_photographs_that_fail_are_in_the_json_too(folder: Path, evidence: Path) -> None:
    (evidence / "bad.png").write_text("no image")
    (evidence / "empty.jpg").touch()
    code, used, left_out = in_json(folder)
    assert (code, used) == (2, ["a.jpg", "b.jfif"])
    assert "not an image" in left_out["bad.png"]
    assert "0 bytes" in left_out["empty.jpg"]
