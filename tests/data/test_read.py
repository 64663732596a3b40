"""Images from files: right where possible, one clear message where not."""

from __future__ import annotations

import io
import os
import struct
import sys
import types
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, PngImagePlugin
from support.image_files import photograph, saved

from ansm_plugin.data import formats, read
from ansm_plugin.data.pixels import to_tensor
from ansm_plugin.data.read import read_image
from ansm_plugin.errors import ImageError


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_images_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    pixels = photograph()
    assert np.array_equal(read_image(saved(tmp_path / f"a.{suffix}", pixels)), pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photograph()).convert(mode).save(path)
    if mode == "YCbCr" and int(PIL.__version__.partition(".")[0]) < 13:
        with pytest.raises(ImageError):  # Pillow 12 cannot read what it wrote
            read_image(path)
        return
    pixels = read_image(path)
    assert pixels.shape == (40, 50, 3)
    assert pixels.dtype == np.uint8
    if mode not in ("1", "P"):
        grey = np.asarray(Image.fromarray(photograph()).convert("L")).astype(float)
        found = np.asarray(Image.fromarray(pixels).convert("L")).astype(float)
        assert np.abs(found - grey).max() <= 4


def test_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (220, 30, 40))
    red.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg")[8, 8].astype(int) - (220, 30, 40)).max() <= 6


def test_sixteen_bit_grey_is_reduced_to_eight(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    pixels = read_image(saved(tmp_path / "a.png", levels))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_levels_beyond_sixteen_bit_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", np.full((4, 4), -1.0, np.float32))
    with pytest.raises(ImageError, match="outside 0 to 65535"):
        read_image(path)


@pytest.mark.parametrize(("orientation", "corner"), [(1, 0), (3, 2), (6, 1), (8, 3)])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, corner: int) -> None:
    """The white corner of the stored picture lands where the camera saw it."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:10, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = read_image(saved(tmp_path / "a.jpg", pixels, exif=exif, quality=95))
    corners = [upright[5, 5], upright[5, -5], upright[-5, -5], upright[-5, 5]]
    assert int(np.argmax([c.mean() for c in corners])) == corner


BROKEN = {
    "no header": b"Exif\0\0no tiff header here",
    "junk": b"junk",
    "nothing": b"",
    "cut": b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    "no directory": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "huge count": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0",
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
@pytest.mark.parametrize("name", BROKEN)
def test_sound_pixels_with_broken_exif_are_read_as_upright(
    tmp_path: Path, suffix: str, name: str
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = saved(tmp_path / f"a.{suffix}", photograph(), exif=BROKEN[name])
    except SyntaxError:
        pytest.skip("Pillow refuses to write it")
    assert read_image(path).shape == (40, 50, 3)


@pytest.mark.parametrize("tag", [0x8769, 0x8825])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_whose_exif_leads_nowhere_is_read(
    tmp_path: Path, tag: int, compression: str
) -> None:
    path = tmp_path / "a.tif"
    options = {"tiffinfo": {0x0112: 1}, "compression": compression}
    saved(path, photograph(), **options)
    content = path.read_bytes()
    place = content.index(struct.pack("<HHI", 0x0112, 3, 1))
    entry = struct.pack("<HHII", tag, 4, 1, 0x7FFFFFF0)
    path.write_bytes(content[:place] + entry + content[place + 12 :])
    assert np.array_equal(read_image(path), photograph())


@pytest.mark.parametrize("name", ["a.dng", "a.NEF", "a.cr2"])
def test_the_preview_in_a_raw_file_is_not_taken_for_the_photograph(
    tmp_path: Path, name: str
) -> None:
    Image.fromarray(photograph()).save(tmp_path / name, "TIFF")
    with pytest.raises(ImageError, match="raw file; develop it"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_heic_says_what_to_install(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "reads_heif", lambda: False)
    (tmp_path / name).write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    with pytest.raises(ImageError, match=r"is HEIC.*ansm_plugin\[heic\]"):
        read_image(tmp_path / name)


def test_heic_is_read_by_the_plugin_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double of pillow-heif, which registers a reader of the format HEIF."""
    double = types.ModuleType("pillow_heif")

    class Reader(PngImagePlugin.PngImageFile):
        format = "HEIF"

        def _open(self) -> None:
            file, self.fp = self.fp, io.BytesIO(self.fp.read()[32:])
            file.close()
            super()._open()

    def register() -> None:
        Image.register_open("HEIF", Reader, lambda head: head[4:8] == b"ftyp")

    double.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", double)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    formats._heif_reader.cache_clear()
    stream = io.BytesIO()
    Image.fromarray(photograph()).save(stream, "PNG")
    head = b"\x00\x00\x00\x20ftypheic" + bytes(20)
    (tmp_path / "a.heic").write_bytes(head + stream.getvalue())
    try:
        assert np.array_equal(read_image(tmp_path / "a.heic"), photograph())
    finally:
        formats._heif_reader.cache_clear()


def test_a_pipe_and_a_folder_are_no_files_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="a pipe, a socket or a device"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)


def test_an_image_in_lab_is_read(tmp_path: Path) -> None:
    planes = [Image.new("L", (8, 8), level) for level in (255, 128, 128)]
    Image.merge("LAB", planes).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").min() > 240


def test_a_missing_and_an_empty_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no file .*a\.png"):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    with pytest.raises(ImageError, match=r"b\.png is empty \(0 bytes\)"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = saved(tmp_path / f"a.{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ImageError, match=r"truncated or damaged|not an image"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "gif", "webp"])
def test_damaged_files_give_pixels_or_our_error_and_nothing_else(
    tmp_path: Path, suffix: str
) -> None:
    path = saved(tmp_path / f"a.{suffix}", photograph())
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, min(200, len(content)), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).dtype == np.uint8
        except ImageError:
            refused += 1
    assert refused > 0


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"not an image that Pillow knows; allowed: .*png"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_several_frames_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(photograph(seed=i)) for i in range(3)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="has 3 frames; save the one you mean"):
        read_image(path)


def test_the_first_picture_of_a_phones_mpo_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(photograph(seed=i)) for i in range(2)]
    path = tmp_path / "a.jpg"
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:], quality=95)
    found = read_image(path).astype(int)
    assert np.abs(found - photograph(seed=0)).mean() < 5 < np.abs(found - photograph(seed=1)).mean()


def test_a_photograph_of_100_megapixels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("L", (12000, 8400), 77).save(path, quality=30)
    pixels = read_image(path)
    assert pixels.shape == (8400, 12000, 3)
    assert pixels[4000, 4000].tolist() == [77, 77, 77]


def test_more_than_pillow_takes_is_refused_without_reading_it(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    path = tmp_path / "a.png"  # its header claims 400 megapixels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")))
    with pytest.raises(ImageError, match="more than 178,000,000 pixels"):
        read_image(path)


def test_to_tensor_scales_and_copies() -> None:
    pixels = np.full((2, 3, 3), 51, np.uint8)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 2, 3)
    assert torch.equal(tensor, torch.full((1, 3, 2, 3), 0.2))
