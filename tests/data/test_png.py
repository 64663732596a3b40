"""Our PNG files hold the pixels that they were given, as Pillow reads them."""

from __future__ import annotations

import io
import zlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data import png

CODECS = [png.codec, zlib]


def read(pixels: NDArray[Any]) -> tuple[NDArray[Any], bytes]:
    stream = io.BytesIO()
    png.write_png(stream, pixels)
    with Image.open(stream) as image:
        image.verify()  # the checksums
    return np.asarray(Image.open(stream)), stream.getvalue()


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (256, 3), (257, 9), (700, 31)])
def test_pixels_come_back(
    monkeypatch: pytest.MonkeyPatch, codec: ModuleType, shape: tuple[int, int]
) -> None:
    monkeypatch.setattr(png, "codec", codec)
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, shape).astype(np.uint8)
    deep = rng.integers(0, 65536, shape).astype(np.uint16)
    colour = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    for pixels in (grey, deep, colour):
        found, _ = read(pixels)
        assert np.array_equal(found, pixels)


def test_a_view_of_other_pixels_is_written_as_it_looks() -> None:
    pixels = np.arange(4000, dtype=np.uint16).reshape(40, 100)[::2, ::-3]
    assert np.array_equal(read(pixels)[0], pixels)


def test_files_are_hardly_larger_than_pillow_s() -> None:
    y, x = np.mgrid[:300, :400]
    smooth = (127 + 90 * np.sin(x / 40) * np.cos(y / 30)).astype(np.uint8)
    other = io.BytesIO()
    Image.fromarray(smooth).save(other, "PNG", compress_level=1)
    assert len(read(smooth)[1]) < 1.3 * len(other.getvalue())
