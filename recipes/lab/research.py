"""Lay out what `photo-research` learns from: photographs with outlines, CASIA1's authentic ones.

    PYTHONPATH=recipes python -m lab.research DATA CAMERAS SPLITS.csv OUTPUT

DATA holds `bsds500`, `ccp` and `casia1`; CAMERAS is the train side of `lab.cameras split`, SPLITS
the list of `lab.splits`. `OUTPUT/photographs` receives photographs to make forgeries of and
`OUTPUT/labels` label maps and masks of things in them; `OUTPUT/authentic` pairs with empty masks of
CASIA1's authentic photographs, without those that an image of another split was made of.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

from PIL import Image

from ansm_plugin.data.pairs import list_images
from lab.splits import TRAIN, apart


def lay_out(data: Path, cameras: Path, splits: Path, output: Path) -> None:
    """Write the three folders."""
    for folder in ("photographs", "labels", "authentic/images", "authentic/masks"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for file in list_images(cameras):
        shutil.copyfile(file, output / "photographs" / file.name)
    sources = (("bsds500", "train_*", "masks"), ("ccp", "*", "person_masks"))
    for name, pattern, labels in sources:
        for file in list_images(data / name / "images", pattern):
            shutil.copyfile(file, output / "photographs" / f"{name}-{file.name}")
            label = data / name / labels / f"{file.stem}.png"
            shutil.copyfile(label, output / "labels" / f"{name}-{label.name}")
    for file in apart(data / "casia1" / "authentic", of_other_splits(splits)):
        shutil.copyfile(file, output / "authentic" / "images" / file.name)
        with Image.open(file) as picture:
            empty = Image.new("L", picture.size)
        empty.save(output / "authentic" / "masks" / f"{file.stem}.png")


def of_other_splits(splits: Path) -> list[str]:
    """Return the images that a list of `lab.splits` does not give to training."""
    with splits.open(encoding="utf-8", newline="") as stream:
        return [row["image"] for row in csv.DictReader(stream) if row["split"] != TRAIN]


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    lay_out(*map(Path, sys.argv[1:]))
