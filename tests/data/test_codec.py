"""One way through an image file in memory, for training, baselines and channels alike."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import photograph

from ansm_plugin.baselines import filters
from ansm_plugin.data import codec
from ansm_plugin.data.codec import jpeg, through_file, to_8_bit
from ansm_plugin.data.pixels import to_tensor
from ansm_plugin.evaluation import channels

CODECS: list[codec.Codec] = ["JPEG", "WEBP"]


def stored(pixels: Any, name: str, quality: int) -> bytes:
    """Return the file that Pillow writes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, quality=quality)
    return file.getvalue()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("quality", [20, 95])
def test_a_file_is_written_and_read_back(name: codec.Codec, quality: int) -> None:
    pixels = photograph(33, 41)
    decoded = through_file(pixels, name, quality)
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    assert np.array_equal(decoded, Image.open(io.BytesIO(stored(pixels, name, quality))))


def test_floats_are_rounded_and_cut_before_they_are_compressed() -> None:
    pixels = photograph().astype(np.float32) * 1.5 - 40.25
    assert np.array_equal(to_8_bit(np.float32([[[-3, 1.5, 255.6]]])), [[[0, 2, 255]]])
    compressed = jpeg(pixels, 80)
    assert compressed.dtype == np.float32
    assert np.array_equal(compressed, through_file(to_8_bit(pixels), "JPEG", 80))


def test_baselines_and_channels_use_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def noted(pixels: Any, name: codec.Codec, quality: int) -> Any:
        asked.append((name, quality))
        return through_file(pixels, name, quality)

    monkeypatch.setattr(filters, "through_file", noted)
    monkeypatch.setattr(channels, "through_file", noted)
    pixels = to_tensor(photograph())
    masks = torch.zeros_like(pixels[:, :1])
    of_baseline = filters.Jpeg(70)(pixels)
    of_channel = channels.channel("jpeg-70")(pixels, masks).images
    channels.channel("webp-60")(pixels, masks)
    assert torch.equal(of_baseline, of_channel)
    assert asked == [("JPEG", 70), ("JPEG", 70), ("WEBP", 60)]
