"""Attacked images for training, made once: attacks on the bare localizer depend on it alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from ansm_plugin.attacks import Forward, attack_spec, run_attack
from ansm_plugin.errors import ConfigError
from ansm_plugin.forgeries import Forgeries
from ansm_plugin.training import Report, silent
from ansm_plugin.weights import read_metadata, write_tensors

SHARD = 1024  # images per file: what a kill can lose
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class AttackMixture:
    """The attacks that training images meet.

    Attributes:
        attacks: names in `attacks.ATTACKS`; one is drawn per batch.
        eps_255: radii in grey levels; one is drawn per image.
        steps: gradient steps.
        step_shares: step sizes as shares of eps; one is drawn per batch. A module that met a single
            step size fails against others.
        precision: of the localizer while it is attacked; bf16 is enough for a sign of a gradient.
    """

    attacks: tuple[str, ...] = ("mifgsm", "pgd", "cospgd", "hide")
    eps_255: tuple[float, ...] = (2.0, 4.0, 8.0)
    steps: int = 10
    step_shares: tuple[float, ...] = (0.1, 0.25)
    precision: Literal["fp32", "bf16"] = "bf16"

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown attacks and radii out of range."""
        for name in self.attacks:
            attack_spec(name)
        if not self.attacks or not self.eps_255 or not all(0 < e <= 255 for e in self.eps_255):
            raise ConfigError(
                f"attacks {self.attacks} and eps_255 {self.eps_255} need one entry each or more, "
                "eps_255 in (0, 255]."
            )
        if not self.step_shares or not all(0 < s <= 1 for s in self.step_shares):
            raise ConfigError(
                f"step_shares {self.step_shares} needs one entry or more, each in (0, 1]."
            )


def attacked_crops(
    forward: Forward,
    crops: Forgeries,
    mixture: AttackMixture,
    *,
    seed: int,
    folder: Path,
    identity: dict[str, object],
    report: Report = silent,
) -> Tensor:
    """Return attacked versions of all crops, `(N, 3, S, S)` uint8, from `folder` where they exist.

    Args:
        forward: pixels -> mask logits of the bare localizer, in `mixture.precision`.
        crops: originals and masks.
        mixture: the attacks.
        seed: decides attacks, radii and random starts.
        folder: keeps finished shards, so that a killed run goes on.
        identity: JSON-ready values that decide localizer and crops; shards of another identity
            are made anew.
        report: called with "attack", finished and all images.
    """
    key = hashlib.sha256(
        json.dumps([identity, asdict(mixture), seed], sort_keys=True, default=str).encode()
    ).hexdigest()
    shards = []
    for start in range(0, len(crops), SHARD):
        part = Forgeries(crops.images[start : start + SHARD], crops.masks[start : start + SHARD])
        path = folder / f"attacked-{start // SHARD:05d}.safetensors"
        if not (path.exists() and read_metadata(path).get("key") == key):
            attacked = _attack_shard(forward, part, mixture, seed * 1_000_003 + start)
            write_tensors({"attacked": attacked}, path, {"key": key})
        shards.append(load_file(str(path))["attacked"].to(crops.images.device))
        report("attack", min(start + SHARD, len(crops)), len(crops), {})
    return torch.cat(shards)


def _attack_shard(forward: Forward, crops: Forgeries, mixture: AttackMixture, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    done = []
    batches = zip(torch.split(crops.images, _BATCH), torch.split(crops.masks, _BATCH), strict=True)
    for images, masks in batches:
        name = mixture.attacks[int(torch.randint(len(mixture.attacks), (), generator=generator))]
        share = int(torch.randint(len(mixture.step_shares), (), generator=generator))
        spec = attack_spec(name, steps=mixture.steps, step_share=mixture.step_shares[share])
        choice = torch.randint(len(mixture.eps_255), (len(images),), generator=generator)
        attacked = run_attack(
            forward,
            images.float().div(255),
            masks.float(),
            torch.tensor(mixture.eps_255)[choice] / 255,
            spec,
            generator=generator,
        )
        done.append(attacked.mul(255).round().to(torch.uint8))
    return torch.cat(done)
