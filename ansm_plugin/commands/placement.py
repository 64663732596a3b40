"""Where a command computes: as its options say, and said before anything is computed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from ansm_plugin.system.device import computed, computing_on
from ansm_plugin.system.text import say


@contextlib.contextmanager
def placed(name: str, **precision: str) -> Iterator[torch.device]:
    """Compute on the device of the options inside the block; say first which one that is.

    Args:
        name: what `--device` was given.
        precision: "fp32" or "bf16" of each part that is computed, by its name.

    Raises:
        ConfigError: there is no such device here; the message says which there are.
    """
    with computing_on(name) as device:
        if os.environ.get("RANK", "0") == "0":  # one of many processes speaks
            say(f"computes on {computed(device, **precision)}")
        yield device
