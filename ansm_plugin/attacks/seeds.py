"""Where the randomness of an attack comes from."""

from __future__ import annotations

import hashlib

import torch


def attack_generator(seed: int, attack: str, eps_255: float, batch: int) -> torch.Generator:
    """Return the source of the random start of one attack on one batch.

    It depends on its arguments alone, so neither the order nor the choice of other attacks
    changes a result.
    """
    text = f"{seed} {attack} {float(eps_255)} {batch}"
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))
