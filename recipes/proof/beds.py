"""Lay out the two beds of the proof as folders of pairs that every command reads.

    python recipes/proof/beds.py bsds BSDS500 beds/bsds     forgeries of its photographs
    python recipes/proof/beds.py casia1 CASIA1 beds/casia1  real forgeries, by split and kind

BSDS500 is a folder with `images/` (`train_*.jpg`, `val_*.jpg`, `test_*.jpg`) and `masks/` (label
maps of the same stems, 1 to K); CASIA1 has `images/`, `masks/`, `authentic/` and `pairs.csv`. Both
are research data of others and not part of this project.
"""

from __future__ import annotations

import csv
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data import list_images, read_image
from ansm_plugin.forgeries import TRACES, blurred

Pixels = NDArray[np.uint8]

SIZES = {"train": 256, "val": 128, "test": 128}  # side of an image of the BSDS bed
AREA = (0.05, 0.4)  # share of forged pixels
CAMERA_NOISE = (5.0, 14.0)  # grey levels; a spliced object comes from another camera
COUNTS = {"train": 2400, "val": 96, "test": 80}
AUTHENTIC = 30  # photographs that stay as they are, in the folder of the test pairs
SPLITS = [*COUNTS, "authentic"]


def bsds(source: Path, target: Path) -> None:
    """Write forged pairs of every split, and authentic crops of `test_` with empty masks."""
    jobs = [(split, index) for split, count in COUNTS.items() for index in range(count)]
    jobs += [("authentic", index) for index in range(AUTHENTIC)]
    for split in COUNTS:
        for kind in ("images", "masks"):
            (target / split / kind).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_write_forgery, source, target), jobs, chunksize=32))


def _write_forgery(source: Path, target: Path, job: tuple[str, int]) -> None:
    split, index = job
    rng = np.random.default_rng((SPLITS.index(split), index))
    folder = "test" if split == "authentic" else split
    photographs = list_images(source / "images", f"{folder}_*")
    host = _crop(read_image(_pick(photographs, rng)), SIZES[folder], rng)
    mask = np.zeros(host.shape[:2], bool)
    if split != "authentic":
        host, mask = _splice(host, photographs, source / "masks", rng)
    _write(target / folder, f"{split}-{index:04}.png", host, mask)


def _write(folder: Path, name: str, image: Pixels, mask: NDArray[np.bool_]) -> None:
    Image.fromarray(image).save(folder / "images" / name)
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / name)


def _splice(
    host: Pixels, photographs: list[Path], labels: Path, rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Put an object of another photograph, with a trace and its camera's noise, into `host`."""
    donor, mask = _object(photographs, labels, len(host), rng)
    traced = TRACES[list(TRACES)[rng.integers(len(TRACES))]](donor.astype(np.float32), rng)
    traced = traced + rng.normal(0, rng.uniform(*CAMERA_NOISE), donor.shape).astype(np.float32)
    edge = mask[..., None].astype(np.float32)
    if rng.random() < 0.5:  # a feathered edge, as a brush leaves it
        edge = blurred(edge, 0.6)
    mixed = host + edge * (traced - host)
    return np.rint(mixed).clip(0, 255).astype(np.uint8), mask


def _object(
    photographs: list[Path], labels: Path, size: int, rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return a crop around one labelled segment, and the segment's shape inside that crop."""
    while True:
        path = _pick(photographs, rng)
        segments = np.asarray(Image.open(labels / f"{path.stem}.png"))
        pixels = read_image(path)
        top, left = (int(rng.integers(length - size + 1)) for length in segments.shape)
        window = np.s_[top : top + size, left : left + size]
        inside = segments[window]
        names, counts = np.unique(inside, return_counts=True)
        fits = names[(counts >= AREA[0] * inside.size) & (counts <= AREA[1] * inside.size)]
        if len(fits):
            return pixels[window], inside == rng.choice(fits)


def _crop(photograph: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    top, left = (int(rng.integers(length - size + 1)) for length in photograph.shape[:2])
    return photograph[top : top + size, left : left + size]


def _pick(paths: list[Path], rng: np.random.Generator) -> Path:
    return paths[int(rng.integers(len(paths)))]


def casia1(source: Path, target: Path) -> None:
    """Copy pairs to `SPLIT-KIND` (kinds: splice, copymove, texture), or all kinds to `train`.

    `test-splice` holds authentic photographs too, with empty masks.
    """
    with (source / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        kind = "texture" if row["note"] == "texture" else row["gt_type"].replace("-", "")
        folder = target / (row["split"] if row["split"] == "train" else f"{row['split']}-{kind}")
        (mask,) = (source / "masks").glob(f"{Path(row['image']).stem}*")
        for part, path in (("images", source / "images" / row["image"]), ("masks", mask)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / part / path.name)
    photographs = list_images(source / "authentic")
    for path in photographs[:: max(1, len(photographs) // AUTHENTIC)][:AUTHENTIC]:
        shutil.copyfile(path, target / "test-splice" / "images" / path.name)
        empty = np.zeros(read_image(path).shape[:2], np.uint8)
        Image.fromarray(empty).save(target / "test-splice" / "masks" / f"{path.stem}.png")


if __name__ == "__main__":
    makers = {"bsds": bsds, "casia1": casia1}
    if len(sys.argv) != 4 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    makers[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
