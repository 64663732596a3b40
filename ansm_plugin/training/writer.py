"""Checkpoints, written at once or behind a training that goes on meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from ansm_plugin.weights.tensors import write_tensors


class Writer:
    """Writes one file after the other; each appears whole or not at all.

    Args:
        is_behind: write in a thread, from a copy that is taken at once on the device; the next
            file, `wait` and `close` wait for the one before. Pays where the host has time while a
            device computes.
    """

    def __init__(self, *, is_behind: bool) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint") if is_behind else None
        self._last: Future[Path] | None = None

    def write(self, tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
        """Write tensors as they are now.

        Raises:
            WeightsError: this file, or the one before it, cannot be written.
        """
        self.wait()
        if self._pool is None:
            write_tensors(tensors, path, metadata)
            return
        # What is no tensor is left to `write_tensors` to refuse.
        copies = {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in tensors.items()}
        self._last = self._pool.submit(write_tensors, copies, path, metadata)

    def wait(self) -> None:
        """Return once the last file is on the disk.

        Raises:
            WeightsError: it cannot be written.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """End the thread, once its file is written; an error of that is `wait`'s to raise."""
        if self._pool is not None:
            self._pool.shutdown()
