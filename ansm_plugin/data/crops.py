"""Crops of one size for training, cut from pairs or forged from photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ansm_plugin.data.forgeries import Forgeries, ForgeryConfig, synthesize
from ansm_plugin.data.labels import known_outlines
from ansm_plugin.data.lists import is_list, read_pair_list
from ansm_plugin.data.masks import Remarks
from ansm_plugin.data.pairs import Pair, each, find_pairs, list_images, read_pair
from ansm_plugin.data.photographic import PhotographicConfig, photographic
from ansm_plugin.data.photographs import halved, packaged, procedural
from ansm_plugin.data.pixels import Mask, Pixels, Rng
from ansm_plugin.data.read import read_image
from ansm_plugin.data.uploaded import uploaded
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.text import number_or_nan


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where crops come from.

    Attributes:
        images: folder of images; with `masks`, forged images; alone, photographs that synthetic
            forgeries are made of; or a list of pairs (`lists`). None: built-in photographs, of
            `split`.
        masks: folder of masks with the same stems (`_gt` and `_mask` endings count as the same).
        pattern: only images whose file name matches, such as "train_*".
        recursive: whether the folders in these are entered; a mask lies below `masks` as its image
            does below `images`.
        allow_outside: whether the paths of a list may lead out of its folder.
        count: number of crops.
        split: of the built-in photographs: "train" (with procedural scenes) or "test", which is
            JPEG files of ten cameras where the style is "photographic".
        seed: decides the crops.
        style: how forgeries are made of photographs: "planted" puts a trace and sensor noise into a
            region (`forgeries`); "photographic" forges as people do and saves as JPEG
            (`photographic`).
        forgeries: size of the crops, and what planted forgeries look like.
        photographic: size of the crops, and what photographic forgeries look like.
        mixed: further folders with `images` and `masks` in them, "FOLDER:SHARE": which share of all
            crops is cut from their pairs; the rest comes from the fields above.
        uploaded: share of finished crops that pass JPEG, WebP, resizing, blur or noise.
    """

    images: Path | None = None
    masks: Path | None = None
    pattern: str = "*"
    recursive: bool = False
    allow_outside: bool = False
    count: int = 16384
    split: str = "train"
    seed: int = 0
    style: Literal["planted", "photographic"] = "planted"
    forgeries: ForgeryConfig = field(default_factory=ForgeryConfig)
    photographic: PhotographicConfig = field(default_factory=PhotographicConfig)
    mixed: tuple[str, ...] = ()
    uploaded: float = 0.0

    def __post_init__(self) -> None:
        """Raise ConfigError where fields contradict each other."""
        if self.masks is not None and self.images is None:
            raise ConfigError("masks were given without images; name the folder of both.")
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; it must be 1 or more.")
        if self.split not in ("train", "test"):
            raise ConfigError(f"split is {self.split!r}; allowed: train, test.")
        if self.style not in ("planted", "photographic"):
            raise ConfigError(f"style is {self.style!r}; allowed: planted, photographic.")
        if not 0 <= self.uploaded <= 1:
            raise ConfigError(f"uploaded is {self.uploaded}; allowed: 0 to 1.")
        self.shares()

    @property
    def size(self) -> int:
        """Side of the crops in pixels."""
        return (self.forgeries if self.style == "planted" else self.photographic).size

    def shares(self) -> list[tuple[Path, float]]:
        """Return the folders of `mixed` with their shares; ConfigError where they are none."""
        found = []
        for text in self.mixed:
            folder, _, share = text.rpartition(":")
            if not folder or not 0 < (value := number_or_nan(share)) < 1:
                raise ConfigError(
                    f"mixed has {text!r}; write a folder and its share between 0 and 1, as in "
                    "beds/casia1:0.5."
                )
            found.append((Path(folder), value))
        if sum(share for _, share in found) >= 1:
            raise ConfigError("the shares of mixed reach 1; leave some for the other crops.")
        return found


def load_crops(config: DataConfig, progress: Progress = silent) -> Forgeries:
    """Return `config.count` crops with masks, decided by the config alone.

    Every file is decoded once.

    Args:
        config: where they come from; each source of `mixed` has its own phases.
        progress: called with the name of a phase, such as "reading photographs" or "forging crops",
            its finished and all parts, and no logs.

    Raises:
        ImageError: a folder or files cannot be used, or images are smaller than the crops; all
            such files are named.
    """
    shares = config.shares()
    counts = [round(share * config.count) for _, share in shares]
    parts = [_crops_of_one(replace(config, count=config.count - sum(counts), mixed=()), progress)]
    for (folder, _), count in zip(shares, counts, strict=True):
        images, masks = folder / "images", folder / "masks"
        of_folder = replace(config, images=images, masks=masks, pattern="*", count=count, mixed=())
        parts += [_crops_of_one(of_folder, progress)]
    crops = parts[0] if len(parts) == 1 else _joined(parts)
    passed = uploaded(crops.images, config.uploaded, seed=config.seed, progress=progress)
    return replace(crops, images=passed)


def _joined(parts: Sequence[Forgeries]) -> Forgeries:
    """Return the crops of several sources as one; no two share a host."""
    hosts, offset = [], 0
    for part in parts:
        assert part.hosts is not None
        hosts.append(part.hosts + offset)
        offset += int(part.hosts.max()) + 1
    images, masks = (torch.cat([getattr(p, name) for p in parts]) for name in ("images", "masks"))
    return Forgeries(images, masks, torch.cat(hosts))


def _crops_of_one(config: DataConfig, progress: Progress) -> Forgeries:
    """Return the crops of one source."""
    images, pattern, recursive = config.images, config.pattern, config.recursive
    if images is not None and config.masks is not None:
        pairs = find_pairs(images, config.masks, pattern, recursive=recursive)
        return _crop_pairs(pairs, config, progress)
    if images is not None and is_list(images):
        pairs = read_pair_list(images, allow_outside=config.allow_outside)
        return _crop_pairs(pairs, config, progress)
    if images is not None:
        files = list_images(images, pattern, recursive=recursive)
        photographs = each(
            files, lambda file, _: read_image(file), what="photographs", progress=progress
        )
        return _made_of(photographs, config, progress, files)
    if config.split == "train":
        return _forged_of_ours(config, progress)
    photographs = packaged("cameras" if config.style == "photographic" else "test")
    return _made_of(photographs, config, progress)


def _made_of(
    photographs: Sequence[Pixels],
    config: DataConfig,
    progress: Progress,
    files: Sequence[Path] = (),
) -> Forgeries:
    """Return forgeries of photographs, in the style that is asked for; `files` names them."""
    count, seed, style = config.count, config.seed, config.photographic
    if config.style == "planted":
        return synthesize(photographs, count, config.forgeries, seed=seed, progress=progress)
    known = known_outlines(photographs, files, style.labels, progress) if style.labels else {}
    return photographic(photographs, count, style, seed=seed, known=known, progress=progress)


def _forged_of_ours(config: DataConfig, progress: Progress) -> Forgeries:
    """Return forgeries of the built-in photographs to train on, and of procedural scenes."""
    own = packaged("train")
    # Half-size copies: the same few photographs seen from farther away.
    photographs = [*own, *map(halved, own), *procedural(120, seed=config.seed, progress=progress)]
    crops = _made_of(photographs, config, progress)
    assert crops.hosts is not None
    copied = (crops.hosts >= len(own)) & (crops.hosts < 2 * len(own))
    return replace(crops, hosts=torch.where(copied, crops.hosts - len(own), crops.hosts))


def _crop_pairs(pairs: Sequence[Pair], config: DataConfig, progress: Progress) -> Forgeries:
    """Cut `count` crops; each photograph is read once and gives an equal number."""
    shares = np.bincount(np.arange(config.count) % len(pairs), minlength=len(pairs))
    images, masks = [], []

    def cut(job: tuple[int, Pair], remarks: Remarks) -> None:
        """Add the crops of a pair; job is its number and the pair."""
        index, pair = job
        image, mask = read_pair(pair, remarks)
        _require_larger(mask, config.size, pair)
        rng = np.random.default_rng((config.seed, index))
        for _ in range(shares[index]):
            rows, columns = _window(mask, config.size, rng)
            # Copies: a view would keep the whole photograph until all are cut.
            images.append(image[rows, columns].copy().transpose(2, 0, 1))
            masks.append(mask[None, rows, columns].copy())

    each([job for job in enumerate(pairs) if shares[job[0]]], cut, progress=progress)
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
