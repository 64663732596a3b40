"""Lay out the two beds of the proof as folders of pairs that every command reads.

    PYTHONPATH=recipes python -m lab.beds bsds BSDS500 beds/bsds
    PYTHONPATH=recipes python -m lab.beds casia1 CASIA1 beds/casia1 [SPLITS.csv]

`bsds` makes forgeries of its photographs, `casia1` sorts real forgeries by split and kind: the
split that comes with CASIA1, or that of a list of `lab.splits`, whose splits share no photograph.

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

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.pairs import list_images
from ansm_plugin.data.read import read_image
from ansm_plugin.data.traces import TRACES
from lab.splits import AUTHENTIC_KIND, TRAIN, Member, apart, authentic_of, forgeries_of

Pixels = NDArray[np.uint8]

SIZES = {"train": 256, "val": 128, "test": 128}  # side of an image of the BSDS bed
AREA = (0.05, 0.4)  # share of forged pixels
CAMERA_NOISE = (5.0, 14.0)  # grey levels; a spliced object comes from another camera
COUNTS = {"train": 2400, "val": 96, "test": 80}
REMIXES = 1600  # forgeries made of those of CASIA1's `train`
AUTHENTIC = 30  # photographs that stay as they are, in the folder of the test pairs
TRAIN_AUTHENTIC = 600  # the same of the train photographs, in a folder of their own
SPLITS = [*COUNTS, "authentic", "train-authentic"]  # their places seed what is drawn
REMIXED = 4  # the place of remixed forgeries, which are of another bed


def bsds(source: Path, target: Path) -> None:
    """Write forged pairs of every split, and authentic crops with empty masks.

    Those of `test_` photographs join the forged ones in `test`, those of `train_` ones lie in
    `train-authentic`, for `--data.mixed`.
    """
    jobs = [(split, index) for split, count in COUNTS.items() for index in range(count)]
    jobs += [("authentic", index) for index in range(AUTHENTIC)]
    jobs += [("train-authentic", index) for index in range(TRAIN_AUTHENTIC)]
    for split in (*COUNTS, "train-authentic"):
        for kind in ("images", "masks"):
            (target / split / kind).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_write_forgery, source, target), jobs, chunksize=32))


def _write_forgery(source: Path, target: Path, job: tuple[str, int]) -> None:
    split, index = job
    rng = np.random.default_rng((SPLITS.index(split), index))
    folder = "test" if split == "authentic" else split
    side = folder.removesuffix("-authentic")  # of the photographs
    photographs = list_images(source / "images", f"{side}_*")
    host = _crop(read_image(_pick(photographs, rng)), SIZES[side], rng)
    mask = np.zeros(host.shape[:2], bool)
    if "authentic" not in split:
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


def casia1(source: Path, target: Path, listing: Path | None = None) -> None:
    """Copy pairs to `SPLIT-KIND` (kinds: splice, copymove, texture), or all kinds to `train`.

    `test-splice` and `val-splice` hold authentic photographs too, with empty masks;
    `train-authentic` those that no image of `test` or `val` was made of. `listing` is what
    `lab.splits` wrote; None takes the splits that come with CASIA1.
    """
    members = [*forgeries_of(source), *authentic_of(source)]
    if listing is not None:
        members = _listed(source, listing)
    for name, kind, split in members:
        if kind == AUTHENTIC_KIND:
            continue  # once the folder of the splices is there
        folder = target / (split if split == "train" else f"{split}-{kind}")
        (mask,) = (source / "masks").glob(f"{Path(name).stem}*")
        for part, path in (("images", source / "images" / name), ("masks", mask)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / part / path.name)
    untouched = [member for member in members if member.kind == AUTHENTIC_KIND]
    for name, _, split in untouched:
        _copy_authentic([source / "authentic" / name], target / f"{split}-splice")
    others = (member.name for member in members if member.split != TRAIN)
    _copy_authentic(apart(source / "authentic", others), target / "train-authentic")
    remix(target / "train")


def _listed(source: Path, listing: Path) -> list[Member]:
    """Return all that a list of `lab.splits` names, with the splits that it gives."""
    with listing.open(newline="") as stream:
        chosen = {row["image"]: row["split"] for row in csv.DictReader(stream)}
    kinds = {member.name: member.kind for member in forgeries_of(source)}
    return [Member(name, kinds.get(name, AUTHENTIC_KIND), split) for name, split in chosen.items()]


def _copy_authentic(photographs: list[Path], folder: Path) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for path in photographs:
        shutil.copyfile(path, folder / "images" / path.name)
        empty = np.zeros(read_image(path).shape[:2], np.uint8)
        Image.fromarray(empty).save(folder / "masks" / f"{path.stem}.png")


def remix(train: Path) -> None:
    """Add `REMIXES` pairs to real ones: a forged object of one is pasted into another as well.

    539 real forgeries are few, but their objects are cut as a forger cuts them.
    """
    images = list_images(train / "images")
    masks = {path.stem.removesuffix("_gt"): path for path in list_images(train / "masks")}
    jobs = [(train, images, masks, index) for index in range(REMIXES)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_remix, jobs, chunksize=32))


def _write_remix(job: tuple[Path, list[Path], dict[str, Path], int]) -> None:
    train, images, masks, index = job
    rng = np.random.default_rng((REMIXED, index))
    paths = [_pick(images, rng) for _ in range(2)]
    (host, forged), (donor, shape) = (
        (read_image(path), np.asarray(Image.open(masks[path.stem]).convert("L")) > 127)
        for path in paths
    )
    pixels, inside = _placed(donor, shape, host.shape[:2], rng)
    edge = blurred(inside[..., None].astype(np.float32), float(rng.uniform(0.3, 1.0)))
    mixed = np.rint(host + edge * (pixels - host)).clip(0, 255).astype(np.uint8)
    name = f"remix-{index:04}"
    quality = int(rng.integers(80, 99))
    Image.fromarray(mixed).save(train / "images" / f"{name}.jpg", quality=quality)
    Image.fromarray((forged | inside).astype(np.uint8) * 255).save(train / "masks" / f"{name}.png")


def _placed(
    donor: Pixels, shape: NDArray[np.bool_], size: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return an object, resized, turned over and brightened, on a canvas of a host's size."""
    rows, columns = np.nonzero(shape)
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = (len(range(*part.indices(10**6))) for part in window)
    scale = min(float(rng.uniform(0.6, 1.5)), size[0] / height, size[1] / width)
    new = max(1, int(width * scale)), max(1, int(height * scale))
    thing = np.asarray(Image.fromarray(donor[window]).resize(new, Image.Resampling.BICUBIC))
    cut = np.asarray(Image.fromarray(shape[window]).resize(new, Image.Resampling.NEAREST))
    if rng.random() < 0.5:
        thing, cut = thing[:, ::-1], cut[:, ::-1]
    canvas = np.zeros((*size, 3), np.float32)
    inside = np.zeros(size, bool)
    top, left = (int(rng.integers(a - b + 1)) for a, b in zip(size, cut.shape, strict=True))
    place = np.s_[top : top + new[1], left : left + new[0]]
    canvas[place] = (thing * rng.uniform(0.85, 1.15)).clip(0, 255)
    inside[place] = cut
    return canvas, inside


if __name__ == "__main__":
    makers = {"bsds": (bsds, 2), "casia1": (casia1, 3)}
    command, *paths = sys.argv[1:] or [""]
    if command not in makers or not 2 <= len(paths) <= makers[command][1]:
        sys.exit(__doc__)
    makers[command][0](*map(Path, paths))
