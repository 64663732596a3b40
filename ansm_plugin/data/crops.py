"""Crops of one size for training, cut from pairs or forged from photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ansm_plugin.data.forgeries import Forgeries, ForgeryConfig, synthesize
from ansm_plugin.data.masks import Remarks
from ansm_plugin.data.pairs import Pair, each, find_pairs, list_images, read_pair
from ansm_plugin.data.photographs import halved, packaged, procedural
from ansm_plugin.data.pixels import Mask, Rng
from ansm_plugin.data.read import read_image
from ansm_plugin.errors import ConfigError, ImageError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where crops come from.

    Attributes:
        images: folder of images; with `masks`, forged images; alone, photographs that synthetic
            forgeries are made of. None: built-in photographs, of `split`.
        masks: folder of masks with the same stems (`_gt` and `_mask` endings count as the same).
        pattern: only images whose file name matches, such as "train_*".
        recursive: whether the folders in these are entered; a mask lies below `masks` as its image
            does below `images`.
        count: number of crops.
        split: of the built-in photographs: "train" (with procedural scenes) or "test".
        seed: decides the crops.
        forgeries: size of the crops, and what synthetic forgeries look like.
    """

    images: Path | None = None
    masks: Path | None = None
    pattern: str = "*"
    recursive: bool = False
    count: int = 16384
    split: str = "train"
    seed: int = 0
    forgeries: ForgeryConfig = field(default_factory=ForgeryConfig)

    def __post_init__(self) -> None:
        """Raise ConfigError where fields contradict each other."""
        if self.masks is not None and self.images is None:
            raise ConfigError("masks were given without images; name the folder of both.")
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; it must be 1 or more.")
        if self.split not in ("train", "test"):
            raise ConfigError(f"split is {self.split!r}; allowed: train, test.")


def load_crops(config: DataConfig) -> Forgeries:
    """Return `config.count` crops with masks, decided by the config alone.

    Every file is decoded once.

    Raises:
        ImageError: a folder or files cannot be used, or images are smaller than the crops; all
            such files are named.
    """
    images, pattern, recursive = config.images, config.pattern, config.recursive
    if images is not None and config.masks is not None:
        pairs = find_pairs(images, config.masks, pattern, recursive=recursive)
        return _crop_pairs(pairs, config)
    if images is not None:
        files = list_images(images, pattern, recursive=recursive)
        photographs = each(files, lambda file, _: read_image(file), what="photographs")
    elif config.split == "train":
        return _forged_of_ours(config)
    else:
        photographs = packaged("test")
    return synthesize(photographs, config.count, config.forgeries, seed=config.seed)


def _forged_of_ours(config: DataConfig) -> Forgeries:
    """Return forgeries of the built-in photographs to train on, and of procedural scenes."""
    own = packaged("train")
    # Half-size copies: the same few photographs seen from farther away.
    photographs = [*own, *map(halved, own), *procedural(120, seed=config.seed)]
    crops = synthesize(photographs, config.count, config.forgeries, seed=config.seed)
    assert crops.hosts is not None
    copied = (crops.hosts >= len(own)) & (crops.hosts < 2 * len(own))
    return replace(crops, hosts=torch.where(copied, crops.hosts - len(own), crops.hosts))


def _crop_pairs(pairs: Sequence[Pair], config: DataConfig) -> Forgeries:
    """Cut `count` crops; each photograph is read once and gives an equal number."""
    shares = np.bincount(np.arange(config.count) % len(pairs), minlength=len(pairs))
    images, masks = [], []

    def cut(job: tuple[int, Pair], remarks: Remarks) -> None:
        """Add the crops of a pair; job is its number and the pair."""
        index, pair = job
        image, mask = read_pair(pair, remarks)
        _require_larger(mask, config.forgeries.size, pair)
        rng = np.random.default_rng((config.seed, index))
        for _ in range(shares[index]):
            rows, columns = _window(mask, config.forgeries.size, rng)
            # Copies: a view would keep the whole photograph until all are cut.
            images.append(image[rows, columns].copy().transpose(2, 0, 1))
            masks.append(mask[None, rows, columns].copy())

    each([(index, pair) for index, pair in enumerate(pairs) if shares[index]], cut)
    hosts = torch.arange(len(pairs)).repeat_interleave(torch.from_numpy(shares))
    return Forgeries(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)), hosts)


def _require_larger(mask: Mask, size: int, pair: Pair) -> None:
    if min(mask.shape) < size:
        raise ImageError(
            f"{pair.image} is {mask.shape[1]}x{mask.shape[0]}; crops of {size} need more. "
            "Lower the crop size."
        )


def _window(mask: Mask, size: int, rng: Rng) -> tuple[slice, slice]:
    """Return rows and columns of a random crop."""
    top, left = _corner(mask, size, rng)
    return slice(top, top + size), slice(left, left + size)


def _corner(mask: Mask, size: int, rng: Rng) -> tuple[int, int]:
    """Draw a crop corner, up to ten times until the crop holds forged pixels."""
    for _ in range(10):
        top = int(rng.integers(mask.shape[0] - size + 1))
        left = int(rng.integers(mask.shape[1] - size + 1))
        if mask[top : top + size, left : left + size].any():
            break
    return top, left
