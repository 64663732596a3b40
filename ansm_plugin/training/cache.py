"""Attacked images for training, made once: attacks on the bare localizer depend on it alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import Forward, attack_spec, run_attack
from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.attacks.spec import require_attacks
from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.targets import ONLY_TRUTH, Teller, parse_targets, swapped
from ansm_plugin.weights.tensors import read_metadata, read_tensors, write_tensors

SHARD = 1024  # images per file: what a kill can lose
_BATCH = 64
# The truth for a third; for 58 % a mask that was drawn without looking at it.
DEFAULT_TARGETS = (
    "truth:0.3",
    "other:0.2",
    "blob:0.16",
    "mirror:0.08",
    "complement:0.04",
    "towards-other:0.07",
    "towards-blob:0.07",
    "empty:0.04",
    "full:0.04",
    "swap:0.05",
)


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
        targets: which mask an attack is told to go away from; one is drawn per image. Names:
            "truth"; "other" (another crop's mask), "blob" (a random shape), "empty" and "full",
            which know nothing of the truth; "mirror" (the truth, mirrored), "complement" (the
            truth, turned about: noise towards the truth), "own" (the localizer's own mask of the
            original), "swap" (the noise of another crop). "towards-NAME" goes towards that mask.
            "NAME:SHARE" says how often, beside the shares of the others; 1 where it is left out.
            `("truth",)` is the mixture of version 0.1, whose noise carries the answer. `hide` is
            told no mask at all.
    """

    attacks: tuple[str, ...] = ("mifgsm", "pgd", "cospgd", "hide")
    eps_255: tuple[float, ...] = (2.0, 4.0, 8.0)
    steps: int = 10
    step_shares: tuple[float, ...] = (0.1, 0.25)
    precision: Literal["fp32", "bf16"] = "bf16"
    targets: tuple[str, ...] = DEFAULT_TARGETS

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown attacks and targets, and for radii out of range."""
        require_attacks(self.attacks)
        require_radii_255("eps_255", self.eps_255)
        if not self.step_shares or not all(0 < s <= 1 for s in self.step_shares):
            raise ConfigError(
                f"step_shares {self.step_shares} needs one entry or more, each in (0, 1]."
            )
        parse_targets(self.targets)

    def identity(self) -> dict[str, Any]:
        """Return what decides attacked crops; without the targets where they are those of 0.1.

        So shards that version 0.1 wrote are taken.
        """
        table = asdict(self)
        if self.targets == ONLY_TRUTH:
            del table["targets"]
        return table


class Attacked(NamedTuple):
    """Attacked crops `(N, 3, S, S)` uint8, and the codes of their targets, `(N,)` uint8."""

    images: Tensor
    codes: Tensor


def attacked_crops(
    forward: Forward,
    crops: Forgeries,
    mixture: AttackMixture,
    *,
    seed: int,
    folder: Path,
    identity: dict[str, object],
    progress: Progress = silent,
    among: Processes = ALONE,
) -> Attacked:
    """Return attacked versions of all crops, from `folder` where they exist.

    A shard that does not fit the checksum in it is made again, with a warning.

    Args:
        forward: pixels -> mask logits of the bare localizer, in `mixture.precision`.
        crops: originals and masks.
        mixture: the attacks.
        seed: decides attacks, radii and random starts.
        folder: keeps finished shards, so that a killed run goes on.
        identity: JSON-ready values that decide localizer and crops; shards of another identity
            are made anew.
        progress: called with "attack", finished and all images.
        among: `processes()` where several processes call this alike: each makes its own of the
            shards, in a folder that all of them see.

    Raises:
        WeightsError: a shard cannot be written, or not be read by another process.
    """
    shards = _Shards.of(folder, [identity, mixture.identity(), seed])
    teller = Teller(parse_targets(mixture.targets), crops.masks)
    starts = range(0, len(crops), SHARD)
    own: dict[int, Attacked] = {}
    told = partial(_tell, progress, len(crops))
    for start in starts:
        if not among.owns(start // SHARD):
            continue
        shard = shards.read(start)
        if shard is None:
            images = crops.images[start : start + SHARD]
            shard = _attack_shard(forward, images, start, teller, mixture, seed, told)
            shard = shards.write(start, shard)
        else:
            told(start + len(shard.images))
        own[start] = shard
    among.wait()
    every = [own[s] if s in own else shards.required(s) for s in starts]
    device = crops.images.device
    return Attacked(*(torch.cat(parts).to(device) for parts in zip(*every, strict=True)))


def _tell(progress: Progress, count: int, done: int) -> None:
    """Say how far it is; shards of other processes, which are about as far, are finished."""
    progress("attack", done, count, {})


@dataclass(frozen=True)
class _Shards:
    """Files of attacked crops in a folder; `key` stands for all that decides what is in them."""

    folder: Path
    key: str

    @classmethod
    def of(cls, folder: Path, identity: list[object]) -> _Shards:
        """Return the shards of an identity, which is JSON-ready."""
        text = json.dumps(identity, sort_keys=True, default=str)
        return cls(folder, hashlib.sha256(text.encode()).hexdigest())

    def path(self, start: int) -> Path:
        """Return the file whose first crop has number `start`."""
        return self.folder / f"attacked-{start // SHARD:05d}.safetensors"

    def read(self, start: int) -> Attacked | None:
        """Return a shard; None where it is missing, damaged or of another identity."""
        path = self.path(start)
        if not path.exists():
            return None
        with contextlib.suppress(WeightsError, KeyError):
            metadata = read_metadata(path)
            if metadata.get("key") != self.key:
                return None
            tensors = read_tensors(path)
            images = tensors["attacked"]
            # Version 0.1 told the truth alone, and wrote neither codes nor checksum.
            codes = tensors.get("targets", torch.zeros(len(images), dtype=torch.uint8))
            shard = Attacked(images, codes)
            if metadata.get("sha256") in (None, _checksum(shard)):
                return shard
        warnings.warn(
            f"{path} is damaged: its attacked crops are not those that were written. They are made "
            "again; check the disk if this repeats.",
            stacklevel=3,
        )
        return None

    def write(self, start: int, attacked: Attacked) -> Attacked:
        """Write a shard and return it as it will be read: strides decide last bits."""
        shard = Attacked(*(tensor.cpu().contiguous() for tensor in attacked))
        metadata = {"key": self.key, "sha256": _checksum(shard)}
        tensors = {"attacked": shard.images, "targets": shard.codes}
        write_tensors(tensors, self.path(start), metadata)
        return shard

    def required(self, start: int) -> Attacked:
        """Return a shard that another process has made; raise WeightsError without it."""
        shard = self.read(start)
        if shard is None:
            raise WeightsError(
                f"{self.path(start)} should have come from another process, but is not there "
                "whole. All processes need one output folder: on several nodes, a shared file "
                "system."
            )
        return shard


def _checksum(shard: Attacked) -> str:
    digest = hashlib.sha256(shard.images.numpy().tobytes())
    if shard.codes.any():  # the truth alone: as version 0.1 counted it
        digest.update(shard.codes.numpy().tobytes())
    return digest.hexdigest()


def attack_batch(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    mixture: AttackMixture,
    generator: torch.Generator,
) -> Tensor:
    """Return images attacked by one draw from the mixture.

    Shape: images `(B, 3, H, W)` in [0, 1] and masks `(B, 1, H, W)`, to go away from -> images,
    rounded to 8 bit.
    """
    name = mixture.attacks[int(torch.randint(len(mixture.attacks), (), generator=generator))]
    share = int(torch.randint(len(mixture.step_shares), (), generator=generator))
    spec = attack_spec(name, steps=mixture.steps, step_share=mixture.step_shares[share])
    choice = torch.randint(len(mixture.eps_255), (len(images),), generator=generator)
    radii = torch.tensor(mixture.eps_255)[choice] / 255
    return run_attack(forward, images, masks, radii, spec, generator=generator)


def _attack_shard(
    forward: Forward,
    images: Tensor,
    start: int,
    teller: Teller,
    mixture: AttackMixture,
    seed: int,
    said: Callable[[int], None],
) -> Attacked:
    """Attack the crops from number `start` on, `(N, 3, S, S)` uint8; say which are."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
    done, codes = [], []
    numbers = torch.arange(start, start + len(images))
    for part, index in zip(torch.split(images, _BATCH), torch.split(numbers, _BATCH), strict=True):
        pixels = part.float().div(255)
        told = teller.tell(index, generator, partial(own_masks, forward, pixels))
        attacked = attack_batch(forward, pixels, told.masks, mixture, generator)
        attacked = swapped(attacked, pixels, told.codes)
        done.append(attacked.mul(255).round().to(torch.uint8))
        codes.append(told.codes)
        said(int(index[-1]) + 1)
    return Attacked(torch.cat(done), torch.cat(codes))


def own_masks(forward: Forward, pixels: Tensor) -> Tensor:
    """Return a localizer's masks. Shape: `(B, 3, H, W)` -> `(B, 1, H, W)` bool."""
    with torch.no_grad():
        return forward(pixels) > 0
