"""Crops that took long to make, kept beside what is trained with them: a resumed run reads them."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.data.listing import list_folder
from ansm_plugin.data.lists import is_list, read_pair_list
from ansm_plugin.errors import WeightsError
from ansm_plugin.system.processes import processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.weights.tensors import read_file, write_tensors

KEPT = "crops"  # folder in the output of a training
WORTHWHILE = 30.0  # seconds: what is made sooner is made again, and takes no room on the disk
MOST = 4 * 2**30  # bytes that are kept at most
_SHARD = 1024  # crops per file
_DECIDE = ("ansm_plugin", "numpy", "pillow", "scikit-image")  # packages that crops depend on


def kept_crops(config: DataConfig, output: Path, progress: Progress = silent) -> Forgeries:
    """Return `load_crops(config)`, from `output/crops` where an earlier run has kept them.

    Kept is what takes `WORTHWHILE` or longer and is not larger than `MOST`. Another config, files
    of another size or time, or other versions of packages have it made again. Of several processes
    the first one makes it, and the others read what it kept.

    Args:
        config: where they come from.
        output: folder of the training.
        progress: as of `load_crops`; called with "keeping crops" or "reading kept crops" too.

    Raises:
        ImageError: as `load_crops` raises it.
    """
    kept = _Kept(config, output / KEPT, progress)
    first: list[Forgeries] = []
    processes().once(lambda: first.append(kept.read() or kept.made()))
    return first[0] if first else kept.read() or load_crops(config, progress)


@dataclass(frozen=True)
class _Kept:
    """The files of crops in a folder."""

    config: DataConfig
    folder: Path
    progress: Progress

    @cached_property
    def key(self) -> str:
        """What stands for all that decides the crops."""
        files = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in sources(self.config)]
        decided = [asdict(self.config), files, [_version(name) for name in _DECIDE]]
        return hashlib.sha256(json.dumps(decided, default=str).encode()).hexdigest()

    @property
    def paths(self) -> list[Path]:
        """The files, as many as the crops fill."""
        starts = range(0, self.config.count, _SHARD)
        return [self.folder / f"crops-{start // _SHARD:05d}.safetensors" for start in starts]

    def read(self) -> Forgeries | None:
        """Return the crops; None where some are missing, damaged or others."""
        parts: list[tuple[Tensor, ...]] = []
        while len(parts) < len(self.paths):
            part = self._part(self.paths[len(parts)])
            if part is None:
                return None
            parts.append(part)
            self.progress("reading kept crops", len(parts), len(self.paths), {})
        return Forgeries(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _part(self, path: Path) -> tuple[Tensor, ...] | None:
        if not path.exists():
            return None
        try:
            metadata, tensors = read_file(path)
        except WeightsError:
            metadata, tensors = {"key": self.key}, {}
        if metadata.get("key") != self.key:
            return None
        if metadata.get("sha256") != _checksum(tensors):
            _warn(f"{path} is damaged; all crops are made again. Check the disk if this repeats.")
            return None
        if metadata["order"] == "channels_last":  # as they were made: it decides last bits
            tensors["images"] = tensors["images"].contiguous(memory_format=torch.channels_last)
        return tensors["images"], tensors["masks"], tensors["hosts"]

    def made(self) -> Forgeries:
        """Make the crops, and keep them where that is worthwhile."""
        began, _ = time.monotonic(), self.key  # of the files as they are before they are read
        crops = load_crops(self.config, self.progress)
        is_small = crops.images.nbytes + crops.masks.nbytes <= MOST
        if is_small and time.monotonic() - began >= WORTHWHILE:
            self._forget()
            try:
                self._keep(crops)
            except WeightsError as error:
                self._forget()
                _warn(f"crops were not kept; a run that goes on makes them again. {error}")
        return crops

    def _keep(self, crops: Forgeries) -> None:
        assert crops.hosts is not None  # `load_crops` knows them
        columns = {"images": crops.images, "masks": crops.masks, "hosts": crops.hosts}
        order = "rows" if crops.images.is_contiguous() else "channels_last"
        for number, path in enumerate(self.paths):
            rows = slice(number * _SHARD, (number + 1) * _SHARD)
            tensors = {name: column[rows].contiguous() for name, column in columns.items()}
            written = {"key": self.key, "sha256": _checksum(tensors), "order": order}
            write_tensors(tensors, path, written)
            self.progress("keeping crops", number + 1, len(self.paths), {})

    def _forget(self) -> None:
        for path in self.folder.glob("crops-*.safetensors"):
            path.unlink(missing_ok=True)


def sources(config: DataConfig) -> Iterator[Path]:
    """Yield the files that crops are made of; of the built-in photographs there are none.

    Raises:
        ImageError: a folder or a list cannot be used.
    """
    mixed = (folder / name for folder, _ in config.shares() for name in ("images", "masks"))
    labels = config.photographic.labels if config.style == "photographic" else None
    for path in (config.images, config.masks, labels, *mixed):
        if path is not None and is_list(path):
            pairs = read_pair_list(path, allow_outside=config.allow_outside)
            yield from (file for pair in pairs for file in pair if file is not None)
        elif path is not None:
            yield from list_folder(path, recursive=config.recursive).files


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that was never installed
        return ""


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
