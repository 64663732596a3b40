"""How often a photograph is called recompressed or resized: rightly, and wrongly.

`python tests/benchmarks/test_file_history.py --images DIR [--most 175]` prints both rates for
photographs that a camera wrote or that were saved once; what they are turned into is made of them.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from ansm_plugin.data.cautions import luma_of
from ansm_plugin.data.photographs import procedural
from ansm_plugin.data.quantisation import quantisation_of
from ansm_plugin.data.read import read_upright
from ansm_plugin.data.recompression import was_coarser
from ansm_plugin.data.resampling import was_enlarged

FALSE_ALARMS = 0.02  # share of photographs, at most
SAVED_TWICE = ((70, 85), (75, 90), (85, 95), (90, 95), (90, 80))
FACTORS = (0.7, 0.9, 1.1, 1.2, 1.3, 1.5, 2.0)
SIDE = 700  # pixels that are left of a photograph before it is changed


def is_recompressed(picture: Image.Image) -> bool:
    tables = quantisation_of(picture)
    luma = luma_of(picture)
    return luma is not None and bool(was_coarser(luma, None if tables is None else tables.luma))


def is_resized(picture: Image.Image) -> bool:
    luma = luma_of(picture)
    return luma is not None and bool(was_enlarged(luma))


def saved(picture: Image.Image, *qualities: int) -> Image.Image:
    """Return a picture through JPEG files, one after the other."""
    for quality in qualities:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        picture = Image.open(stream)
    return picture


def never_saved(picture: Image.Image) -> Image.Image:
    """Return a picture at half its size: no trace of an earlier file is left."""
    return picture.convert("RGB").reduce(2)


def enlarged(picture: Image.Image, factor: float) -> Image.Image:
    part = picture.convert("RGB").crop((0, 0, min(SIDE, picture.width), min(SIDE, picture.height)))
    size = round(part.width * factor), round(part.height * factor)
    return part.resize(size, Image.Resampling.BICUBIC)


def share(found: Callable[[Image.Image], bool], pictures: Sequence[Image.Image]) -> float:
    """Return the share of pictures that something is said of."""
    return sum(map(found, pictures)) / len(pictures)


def test_false_alarms_on_procedural_photographs_are_few() -> None:
    pictures = [never_saved(Image.fromarray(p)) for p in procedural(16, seed=21, size=560)]
    assert share(is_resized, pictures) <= FALSE_ALARMS
    assert share(is_recompressed, pictures) <= FALSE_ALARMS
    assert share(is_recompressed, [saved(p, 90) for p in pictures]) <= FALSE_ALARMS
    assert share(is_recompressed, [saved(p, 70, 85) for p in pictures]) >= 0.8
    assert share(is_resized, [enlarged(p, 1.3) for p in pictures]) >= 0.8


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--most", type=int, default=175)
    given = parser.parse_args(argv)
    files = sorted(f for f in given.images.iterdir() if f.is_file())[: given.most]
    originals = [read_upright(file).source for file in files]
    fresh = [never_saved(picture) for picture in originals]
    print(f"{len(files)} photographs as they are: "
          f"recompressed {share(is_recompressed, originals):.1%}, "
          f"resized {share(is_resized, originals):.1%}")  # fmt: skip
    for qualities in SAVED_TWICE:
        twice = share(is_recompressed, [saved(p, *qualities) for p in fresh])
        once = share(is_recompressed, [saved(p, qualities[1]) for p in fresh])
        print(f"saved at {qualities}: recompressed {twice:.0%}; once alone {once:.1%}")
    for quality in (60, 75, 90, 95):
        found = share(is_recompressed, [saved(p, quality).convert("RGB") for p in fresh])
        print(f"PNG of a JPEG at {quality}: recompressed {found:.0%}")
    for factor in FACTORS:
        larger = [enlarged(p, factor) for p in originals]
        then = [share(is_resized, [saved(p, q) for p in larger]) for q in (95, 85)]
        print(f"resized by {factor}: {share(is_resized, larger):.0%}; "
              f"then JPEG 95: {then[0]:.0%}, JPEG 85: {then[1]:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
