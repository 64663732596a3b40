"""What `photo-research` learns from holds no photograph that it is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lab.research import lay_out


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((12, 10, 3), 90, np.uint8)).save(path)


def test_photographs_of_other_splits_are_left_out(tmp_path: Path) -> None:
    data, cameras = tmp_path / "data", tmp_path / "cameras"
    picture(cameras / "Maker_1.jpg")
    for name, stems, labels in (
        ("bsds500", ("train_1", "test_2"), "masks"),
        ("ccp", ("0001",), "person_masks"),
    ):
        for stem in stems:
            picture(data / name / "images" / f"{stem}.jpg")
            picture(data / name / labels / f"{stem}.png")
    for number in ("0001", "0002", "0003"):
        picture(data / "casia1" / "authentic" / f"Au_ani_{number}.jpg")
    splits = tmp_path / "splits.csv"
    forged = {"train": "ani0001_ani0001", "test": "pla0007_ani0002", "val": "ani0009_ani0009"}
    rows = [f"Sp_S_NRN_A_{names}_0001.jpg,{split}" for split, names in forged.items()]
    splits.write_text("\n".join(["image,split", *rows]))
    lay_out(data, cameras, splits, tmp_path / "out")
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert files == {
        "photographs/Maker_1.jpg",
        "photographs/bsds500-train_1.jpg",
        "photographs/ccp-0001.jpg",
        "labels/bsds500-train_1.png",
        "labels/ccp-0001.png",
        "authentic/images/Au_ani_0001.jpg",
        "authentic/images/Au_ani_0003.jpg",
        "authentic/masks/Au_ani_0001.png",
        "authentic/masks/Au_ani_0003.png",
    }
    empty = np.asarray(Image.open(tmp_path / "out" / "authentic/masks/Au_ani_0001.png"))
    assert empty.shape == (12, 10)
    assert not empty.any()
