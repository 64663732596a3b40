"""How many images fit into the memory of a device at once: found by trying, never guessed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.device import CPU


class Capacity:
    """Does work on as many images at once as fit; remembers how many those were.

    What is done for an image must not depend on the others beside it, so that the numbers are those
    of any memory.
    """

    def __init__(self) -> None:
        self._most: dict[Hashable, int] = {}

    def run(
        self,
        work: Callable[[slice], Tensor],
        count: int,
        key: Hashable,
        *,
        most: int | None = None,
    ) -> Tensor:
        """Return what `work` makes of `count` images, `(count, ...)`.

        All of them at once, unless memory runs out: then half as many, from there on.

        Args:
            work: a slice of the images -> `(B, ...)`; asked again for images that did not fit, so
                it must begin anew each time.
            count: number of images.
            key: what the memory depends on: images of equal size, under the same work.
            most: images at once, to begin with; None is all.

        Raises:
            ConfigError: not even one image fits.
        """
        parts: list[Tensor] = []
        done = 0
        while done < count or not parts:
            tried = min(self._most.get(key, most or count), count - done)
            part = _tried(work, slice(done, done + tried))
            if part is None:
                self._most[key] = (tried + 1) // 2
                continue
            parts.append(part)
            done += tried
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def bounded(
        self, forward: Callable[[Tensor], Tensor], key: Hashable
    ) -> Callable[[Tensor], Tensor]:
        """Return a forward that takes as many images at once as fit.

        Args:
            forward: `(B, ...)` -> `(B, ...)`, image by image.
            key: what tells it from other forwards.
        """

        def parted(images: Tensor) -> Tensor:
            return self.run(
                lambda rows: forward(images[rows]), len(images), (key, images.shape[1:])
            )

        return parted


def _tried(work: Callable[[slice], Tensor], rows: slice) -> Tensor | None:
    """Return what `work` makes of some images; None where memory ran out, which is freed again."""
    try:
        return work(rows)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if rows.stop - rows.start < 2:
            raise ConfigError(
                f"one image does not fit into the memory of the device ({error}). Give a smaller "
                "--tile, free its memory, or compute on another device: --device cpu."
            ) from error
    free_memory()  # here: the frames that held the tensors are gone with the error
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of an accelerator is used up."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()  # MPS, XPU


def free_memory() -> None:
    """Give back what the allocator of the accelerator keeps for later."""
    gc.collect()
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else CPU
    empty = getattr(torch.get_device_module(found), "empty_cache", None)
    if empty is not None:
        empty()
