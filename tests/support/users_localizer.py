"""A localizer of a user's own code, and three photographs whose forged square is brighter."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

MODULE = "localizer_of_a_user"
LOCALIZER = f"{MODULE}:build"
_CODE = """
    import torch
    from torch import nn


    class Localizer(nn.Module):
        pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Conv2d(6, 1, 3, padding=1)

        def forward(self, images):
            return self.head(self.dropout(torch.relu(self.stem(images))))


    def build():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return Localizer()
"""


def write_code(folder: Path) -> None:
    """Write the module `MODULE`, whose `build` returns the localizer, to a new folder."""
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(textwrap.dedent(_CODE))


def write_pairs(folder: Path) -> None:
    """Write three pictures of 40x48 pixels to `images`, and their masks to `masks`."""
    rng = np.random.default_rng(0)
    for index in range(3):
        mask = np.zeros((40, 48), np.uint8)
        mask[8:28, 10:34] = 255
        image = rng.normal(110, 8, (40, 48, 3)) + 60 * (mask[..., None] > 0)
        for kind, pixels in (("images", image), ("masks", mask)):
            path = folder / kind / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(path)
