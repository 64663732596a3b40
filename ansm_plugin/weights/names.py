"""Names of tensors: what wrappers put before them, and how a checkpoint is told from a pair's."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from torch import nn

V = TypeVar("V")

# What is put before every name by DataParallel and DistributedDataParallel, and by torch.compile.
WRAPPERS = ("module.", "_orig_mod.")
TRAINERS = (*WRAPPERS, "model.")  # Lightning and its kin, which keep the model as an attribute

# What trainers call the attribute that holds the model, and what averages and sharding put there.
ATTRIBUTES = (
    *TRAINERS, "net.", "network.", "ema_model.", "model_ema.", "ema.", "shadow.", "swa_model.",
    "averaged_model.", "student.", "teacher.", "_forward_module.", "_fsdp_wrapped_module.",
)  # fmt: skip
# Put before single parts of a model, so anywhere in a name; no attribute is called so.
_INSIDE = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Words of names that stand beside a model in whatever trained it: losses, metrics, normalisation.
_BESIDE = frozenset({
    "loss", "losses", "criterion", "criteria", "bce", "metric", "metrics", "acc", "accuracy",
    "f1", "iou", "miou", "auc", "auroc", "dice", "jaccard", "precision", "recall", "confmat",
    "ema", "swa", "normalize", "normalise", "normalizer", "normaliser", "normalization",
    "normalisation", "preprocess", "preprocessing", "transforms", "augment", "augmentation",
    "augmentations", "lpips", "perceptual", "discriminator",
})  # fmt: skip
_COUNTER = "num_batches_tracked"
_LOCALIZER = "localizer."  # what a pair puts before the names of its localizer


def common_prefix(names: Collection[str], wrappers: Collection[str] = TRAINERS) -> str:
    """Return the wrappers' prefix that all names carry, e.g. "module.model."; "" if none does.

    Args:
        names: of a state dict.
        wrappers: single prefixes, each with its dot; any number of them may stand in a row.
    """
    prefix = ""
    while names:
        rest = [name.removeprefix(prefix) for name in names]
        found = next((w for w in wrappers if all(name.startswith(w) for name in rest)), "")
        if not found:
            break
        prefix += found
    return prefix


def unwrapped(state: Mapping[str, V], wrappers: Collection[str] = TRAINERS) -> dict[str, V]:
    """Return a state without the prefix that wrappers have put before all of its names."""
    prefix = common_prefix(state, wrappers)
    return {name.removeprefix(prefix): value for name, value in state.items()}


def main_prefix(names: Collection[str]) -> str:
    """Return what wrappers and trainers put before the model's names, e.g. "model.module.".

    Not all names need carry it: beside the model there may be buffers of the trainer, its loss or
    its metrics, or an average of the model. "" where other layers stand beside it: these are part
    of the model.

    Args:
        names: of the tensors in a state dict.
    """
    prefix, carried = "", list(names)
    while carried:
        counts = {a: sum(name.startswith(a) for name in carried) for a in ATTRIBUTES}
        most = max(counts, key=lambda attribute: counts[attribute])
        others = [name for name in carried if not name.startswith(most)]
        if not counts[most] or not all(map(is_beside, others)):
            break
        prefix += most
        carried = [name.removeprefix(most) for name in carried if name.startswith(most)]
    return prefix


def is_beside(name: str) -> bool:
    """Return whether a tensor is a trainer's rather than the model's, as far as its name tells."""
    first, _, rest = name.partition(".")
    if not rest:  # a buffer of the trainer itself, such as mean, std or n_averaged
        return first not in ("weight", "bias")
    words = first.lower().split("_")
    return name.startswith(ATTRIBUTES) or any(
        word in _BESIDE or word.endswith(("loss", "metric", "metrics")) for word in words
    )


def without_inner_wrappers(name: str) -> str:
    """Return a name without what torch.compile, sharding and checkpointing put inside it."""
    return _INSIDE.sub("", name)


def missing_counters(own: Collection[str], given: Collection[str]) -> list[str]:
    """Return the `num_batches_tracked` of BatchNorms that are given without one.

    torch before 0.4.1 had none, and some trainers drop them; in eval mode nothing reads them.

    Args:
        own: names of the module's state.
        given: names that are to be loaded into it.
    """
    return [
        name
        for name in own
        if name.rpartition(".")[2] == _COUNTER
        and name not in given
        and name.removesuffix(_COUNTER) + "running_mean" in given
    ]


def accept_bare_state(
    localizer: nn.Module, ansm: nn.Module, state: dict[str, Any], prefix: str
) -> None:
    """Give the names in a state dict the form that a pair has, before torch compares them.

    The state of the pair and that of the bare localizer are both taken, with or without what
    wrappers put before all names; the latter leaves the ANSM as it is.

    Args:
        localizer: of the pair, under the name "localizer".
        ansm: of the pair, under the name "ansm".
        state: the state dict, which is changed in place; other modules' names are left alone.
        prefix: what stands before the pair's names in a larger module, or "".
    """
    names = [name for name in state if name.startswith(prefix)]
    given = unwrapped({name.removeprefix(prefix): state.pop(name) for name in names}, WRAPPERS)
    own = localizer.state_dict()
    around = common_prefix(own, WRAPPERS)  # the localizer of the pair may be in a wrapper itself
    is_pair = any(name.startswith(("ansm.", _LOCALIZER)) for name in given)
    is_bare = own.keys() == {around + name for name in given} or not is_pair
    if is_bare:
        bare, rest = given, {f"ansm.{name}": value for name, value in ansm.state_dict().items()}
    else:
        parts = {
            n.removeprefix(_LOCALIZER): v for n, v in given.items() if n.startswith(_LOCALIZER)
        }
        bare = unwrapped(parts, WRAPPERS)
        rest = {name: value for name, value in given.items() if not name.startswith(_LOCALIZER)}
    rest |= {f"{_LOCALIZER}{around}{name}": value for name, value in bare.items()}
    state.update({prefix + name: value for name, value in rest.items()})
