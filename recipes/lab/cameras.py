"""Sort photographs by camera into those to train on and those to measure on, and forge test beds.

    PYTHONPATH=recipes python -m lab.cameras split PHOTOGRAPHS OUTPUT
    PYTHONPATH=recipes python -m lab.cameras bed OUTPUT/test BED [COUNT [SIDE]]
    PYTHONPATH=recipes python -m lab.cameras densities OUTPUT/train FOLDER

`split` copies files to `OUTPUT/train` and `OUTPUT/test`; the files of one camera, whose names
differ in a number at most, come to the same side, and no photograph of the test side is host or
donor of anything in training. `bed` writes forged JPEG files at the qualities that evidence has (75
to 95), with masks, and a quarter authentic ones with empty masks. `densities` writes photographs as
they are, at half and at about a third of their size: pictures of the web are as fine as that.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ansm_plugin.data.montage import Source
from ansm_plugin.data.pairs import list_images
from ansm_plugin.data.photographic import PhotographicConfig, compose
from ansm_plugin.data.read import read_image

TEST_SHARE = 0.2
NO_CAMERA = ("FLIR", "Kodak_CLAS", "VTech")  # thermal, film scanner, toy
SIDE = 512
QUALITIES = (75, 96)
DENSITIES = {"full": 1.0, "half": 0.5, "third": 0.36}
SMALLEST = 160  # pixels of the shorter side, below which no smaller copy is written


def camera_of(name: str) -> str:
    """Return the camera that a file's stem names: "Canon_EOS_20D_(2)" is "Canon_EOS_20D"."""
    return re.sub(r"_?\([^)]*\)", "", name).strip("_")


def is_test(name: str) -> bool:
    """Return whether a camera's photographs are measured on; its name alone decides."""
    digest = hashlib.sha256(camera_of(name).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < TEST_SHARE


def split(photographs: Path, output: Path) -> None:
    """Copy photographs to the side that their camera has; what is no camera's is left out."""
    for side in ("train", "test"):
        (output / side).mkdir(parents=True, exist_ok=True)
    for file in list_images(photographs):
        if not file.name.startswith(NO_CAMERA):
            shutil.copyfile(file, output / ("test" if is_test(file.stem) else "train") / file.name)


def bed(photographs: Path, output: Path, count: int = 96, side: int = SIDE) -> None:
    """Write `count` forged or authentic JPEG files of `side` pixels, and their masks as PNG."""
    pictures = [read_image(file) for file in list_images(photographs)]
    source = Source([p for p in pictures if min(p.shape[:2]) >= side + 8])
    config = PhotographicConfig(size=side, area=(0.02, 0.35), authentic=0.25)
    for kind in ("images", "masks"):
        (output / kind).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        rng = np.random.default_rng((2023, index))
        forged = compose(source, config, rng)
        name = f"{'forged' if forged.mask.any() else 'authentic'}-{index:04d}"
        quality = int(rng.integers(*QUALITIES))
        chroma = "4:2:0" if rng.random() < 0.6 else "4:4:4"
        Image.fromarray(forged.image).save(
            output / "images" / f"{name}.jpg", quality=quality, subsampling=chroma
        )
        Image.fromarray(forged.mask * 255).save(output / "masks" / f"{name}.png")


def densities(photographs: Path, output: Path) -> None:
    """Write photographs at several sizes, as PNG: what is saved again on the way here stays out."""
    output.mkdir(parents=True, exist_ok=True)
    for file in list_images(photographs):
        picture = Image.fromarray(read_image(file))
        for name, share in DENSITIES.items():
            size = (round(picture.width * share), round(picture.height * share))
            if share == 1 or min(size) >= SMALLEST:
                smaller = picture.resize(size, Image.Resampling.LANCZOS)
                smaller.save(output / f"{file.stem}-{name}.png", compress_level=1)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["split", photographs, output]:
            split(Path(photographs), Path(output))
        case ["densities", photographs, output]:
            densities(Path(photographs), Path(output))
        case ["bed", photographs, output, *numbers] if len(numbers) < 3 and all(
            map(str.isdecimal, numbers)
        ):
            bed(Path(photographs), Path(output), *map(int, numbers))
        case _:
            sys.exit(__doc__)
