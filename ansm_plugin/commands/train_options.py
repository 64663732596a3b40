"""The short words of `ansm train`, which mean the same as on other commands, and their fields.

A recipe has a field for each of its choices, such as `mgr.fit.steps`, and each field an option of
its name. What people type is here: one word, whatever the recipe, for all fields that it sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.fact_options import FactOptions
from ansm_plugin.commands.groups import (
    ImageOptions,
    StrengthOptions,
    ansm_option,
    attack_precision_option,
    attacks_option,
    crop_size_option,
    device_option,
    localizer_option,
    output_option,
    seed_option,
)
from ansm_plugin.commands.options import group, option
from ansm_plugin.commands.values import filled, path, positive

if TYPE_CHECKING:
    from ansm_plugin.ansm import Precision


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What most trainings are told; what is left out is decided by the recipe."""

    localizer: str | None = localizer_option("forensic-unet, which trains in minutes")
    ansm: Path | None = ansm_option()
    preset: str | None = option(
        None,
        parse=filled,
        metavar="NAME",
        help="shape of a fresh ANSM: tiny, small, base or hgd, as it is or as small?norm=batch",
    )
    said: FactOptions = group(FactOptions)
    source: ImageOptions = group(ImageOptions)
    crop_size: int | None = crop_size_option("64, of photographic forgeries 224")
    attacks: tuple[str, ...] | None = attacks_option("mifgsm,pgd,cospgd,hide")
    strength: StrengthOptions = group(StrengthOptions)
    attack_precision: Precision | None = attack_precision_option()
    steps: int | None = option(
        None, parse=positive, metavar="N", help="training steps of each stage"
    )
    batch_size: int | None = option(
        None, parse=positive, metavar="N", help="images per training step, all processes together"
    )
    precision: Precision | None = option(
        None,
        choices=("fp32", "bf16"),
        help="of convolutions in training; losses stay fp32 (default: bf16)",
    )
    seed: int | None = seed_option(None)
    config: Path | None = option(
        None,
        parse=path,
        metavar="FILE.toml",
        help="a config as an earlier run wrote it; options override its fields",
    )
    output: Path = output_option(
        "the weights, the full config, and checkpoints to go on from: the same command goes on"
    )
    device: str = device_option()


# Those that are no field of a recipe.
OF_THE_RUN = ("config", "output", "device")

# Short word -> ends of the paths of fields that it sets, in every stage that has them. A word that
# is not here sets the field of its own name.
FIELDS: dict[str, tuple[str, ...]] = {
    "ansm": ("start",),
    "preset": ("ansm",),
    "images": ("data.images",),
    "masks": ("data.masks",),
    "pattern": ("data.pattern",),
    "recursive": ("data.recursive",),
    "allow_outside": ("data.allow_outside",),
    "count": ("data.count",),
    "crop_size": ("data.forgeries.size", "data.photographic.size"),
    "attacks": ("attacks.attacks", "hardened.attacks"),
    "eps": ("attacks.eps_255", "hardened.eps_255"),
    "attack_steps": ("attacks.steps", "hardened.attack_steps"),
    "attack_precision": ("attacks.precision",),
    "steps": ("fit.steps",),
    "batch_size": ("fit.batch_size",),
    "precision": ("fit.precision",),
    # Not of the crops: an ANSM is trained on others than its localizer was, which had seed 0.
    "seed": ("fit.seed",),
}


def fields_of(word: str, paths: Sequence[str]) -> list[str]:
    """Return the fields of a recipe that a short word sets, in its order.

    Args:
        word: the name of a field of `TrainOptions`.
        paths: dotted paths of all fields of the recipe.
    """
    if word == "ansm" and not any(path.startswith("attacks.") for path in paths):
        return []  # what `start` names there is no ANSM
    ends = FIELDS.get(word, (word,))
    return [p for p in paths if any(p == end or p.endswith(f".{end}") for end in ends)]
