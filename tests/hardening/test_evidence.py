"""Masks and folders by chance: what is read is right, what is not is said."""

from __future__ import annotations

import string
import tempfile
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data.formats import SUFFIXES
from ansm_plugin.data.listing import list_folder
from ansm_plugin.data.pairs import Pair, find_pairs, read_pair
from ansm_plugin.data.read import read_mask
from ansm_plugin.errors import ImageError

LOSSLESS = {"png": {}, "tif": {}, "bmp": {}, "gif": {}, "ppm": {}}
ALIKE = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
_SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def said_or_refused(path: Path, size: tuple[int, int]) -> tuple[NDArray[Any] | None, list[str]]:
    """Return the mask, None where it is refused, and the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = read_mask(path, size)
        except ImageError:
            return None, []
    return found, [str(one.message) for one in said]


@st.composite
def label_masks(draw: st.DrawFn) -> NDArray[Any]:
    """Draw a mask of up to eight levels, 0 among them, of any type that files have."""
    kind = draw(st.sampled_from([np.uint8, np.uint16, np.float32]))
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 255}[kind]
    levels = draw(st.lists(st.integers(1, top), min_size=1, max_size=7, unique=True))
    indices = draw(arrays.arrays(np.uint8, _SHAPES, elements=st.integers(0, len(levels))))
    indices.flat[0] = 0
    return np.array([0, *levels]).astype(kind)[indices]


@ALIKE
@given(mask=label_masks(), suffix=st.sampled_from(sorted(LOSSLESS)))
def test_every_label_is_forged(mask: NDArray[Any], suffix: str) -> None:
    suffix = {np.uint8: suffix, np.uint16: "png", np.float32: "tif"}[mask.dtype.type]
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(mask).save(path := Path(folder) / f"m.{suffix}")
        found, _ = said_or_refused(path, mask.shape)
    assert found is not None
    assert np.array_equal(found, mask != 0)


@ALIKE
@given(pixels=arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 2, st.just(4))))
def test_any_picture_with_alpha_is_read_in_one_way_or_refused(pixels: NDArray[Any]) -> None:
    """A mask that is read is that of the colours, or that of the transparency and said."""
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(pixels).save(path := Path(folder) / "m.png")
        found, said = said_or_refused(path, pixels.shape[:2])
    if found is None:
        return
    colours, alpha = pixels[..., :3].max(2), pixels[..., 3]
    by_alpha = any("transparency" in text for text in said)
    is_soft = any("soft" in text for text in said)
    read = alpha if by_alpha else colours
    assert is_soft or np.array_equal(found, read > 0)


@ALIKE
@given(
    mask=arrays.arrays(np.bool_, st.tuples(st.integers(2, 7), st.integers(2, 7))),
    orientation=st.integers(1, 8),
    of_mask=st.sampled_from([None, 1]),
)
def test_a_pair_is_aligned_said_or_refused(
    mask: NDArray[np.bool_], orientation: int, of_mask: int | None
) -> None:
    """The picture is bright where the mask is drawn, before EXIF turns it."""
    exif, none = Image.Exif(), Image.Exif()
    exif[0x0112] = orientation
    if of_mask is not None:
        none[0x0112] = of_mask
    grey = np.where(mask, 200, 20).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = Pair(Path(folder) / "a.png", Path(folder) / "m.png")
        Image.fromarray(grey).save(pair.image, exif=exif)
        Image.fromarray(mask.astype(np.uint8) * 255).save(pair.mask, exif=none)
        try:
            pixels, found = read_pair(pair)
        except ImageError:
            return
    assert np.array_equal(pixels[..., 0] > 100, found > 0)


_STEMS = st.text(string.ascii_letters + "éÅß한 _.-", min_size=1, max_size=6)
_SUFFIXES = st.sampled_from([*sorted(SUFFIXES), ".JPG", ".heic", ".dng", ".txt", ".pdf", ""])
_ENTRIES = st.lists(
    st.tuples(_STEMS, _SUFFIXES, st.sampled_from(["file", "empty", "folder", "link", "dangling"])),
    max_size=8,
)


def fill(folder: Path, entries: Iterable[tuple[str, str, str]]) -> set[str]:
    """Make entries; return the names of those that could be made."""
    made = set()
    for stem, suffix, kind in entries:
        path = folder / f"{stem}{suffix}"
        if path.name in (".", "..") or path.is_symlink() or path.exists():
            continue
        if kind == "folder":
            path.mkdir()
            (path / "inside.png").touch()
        elif kind in ("link", "dangling"):
            path.symlink_to(folder.parent / ("target.png" if kind == "link" else "none"))
        else:
            path.write_bytes(b"" if kind == "empty" else b"\xff\xd8\xff")
        made.add(path.name)
    return made


@ALIKE
@given(entries=_ENTRIES, recursive=st.booleans())
def test_every_entry_is_used_or_named(entries: list[tuple[str, str, str]], recursive: bool) -> None:
    with tempfile.TemporaryDirectory() as above:
        (Path(above) / "target.png").touch()
        folder = Path(above) / "folder"
        folder.mkdir()
        made = fill(folder, entries)
        found = list_folder(folder, recursive=recursive)
    used = [path.relative_to(folder).parts[0] for path in found.files]
    left_out = [entry["file"].rstrip("/") for entry in found.left_out]
    assert {*used, *left_out} == made
    assert len(used) + len(left_out) == len(made)
    assert all(entry["reason"] for entry in found.left_out)
    assert found.said().isprintable()


@ALIKE
@given(stem=_STEMS, form=st.sampled_from(["NFC", "NFD"]), lower=st.booleans())
def test_a_mask_is_found_under_its_name_in_any_form(stem: str, form: Any, lower: bool) -> None:
    name = unicodedata.normalize(form, stem.lower() if lower else stem)
    with tempfile.TemporaryDirectory() as above:
        images, masks = Path(above, "i"), Path(above, "m")
        for folder, entry in ((images, stem), (masks, name)):
            folder.mkdir()
            (folder / f"{entry}.png").touch()
        assert len(find_pairs(images, masks)) == 1
