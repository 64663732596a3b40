"""A checkpoint as localizers are shipped today becomes safetensors; its code is never run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.checkpoint import read_checkpoint, read_tensors_only, require_modest
from ansm_plugin.weights.inert import Made
from ansm_plugin.weights.matching import Match, matched, stripped
from ansm_plugin.weights.states import TRAINING, State, find_state
from ansm_plugin.weights.tensors import STRIPPED, write_tensors

__all__ = ["Conversion", "Wanted", "convert_checkpoint", "find_state", "read_tensors_only"]


class Wanted(NamedTuple):
    """The localizer that a checkpoint is for: built, and as it was named."""

    localizer: nn.Module
    name: str


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a checkpoint.

    Attributes:
        place: path of keys to the state inside the checkpoint; empty where it is the file itself.
        prefix: what was stripped from the start of the names.
        kept: names of the tensors that were kept, as written.
        dropped: names inside the state that hold no tensor.
        beside: names beside the state in the checkpoint, such as an optimiser's.
        foreign: tensors inside the state that are a trainer's, not the model's.
        filled: counters of BatchNorms that the state lacked and the localizer has; all 0.
        made: kinds of objects that were left out and never made, such as "numpy scalar".
        twins: other places whose tensors fit the localizer as well.
        checked: name of the localizer that the result is known to fit; "" where none was named.
    """

    place: tuple[str, ...]
    prefix: str
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    beside: tuple[str, ...]
    foreign: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    checked: str = ""


def convert_checkpoint(
    source: Path, target: Path, *, force: bool = False, wanted: Wanted | None = None
) -> Conversion:
    """Write the model's tensors of a checkpoint as safetensors.

    The checkpoint is read as data: nothing that it names is imported or called. What is not a
    tensor is left out; a file that calls functions is refused as a whole.

    Args:
        source: a file written by `torch.save`.
        target: ends in .safetensors; appears whole or not at all.
        force: replace an existing target.
        wanted: the localizer that the result must fit; it is loaded with it. None takes the most
            usual place and prefix, and checks nothing.

    Raises:
        WeightsError: the checkpoint cannot be read without running code, holds no tensors or does
            not fit the localizer, or the target exists or cannot be written.
    """
    if target.suffix != ".safetensors":
        raise WeightsError(f"the target is {target}; its name must end in .safetensors.")
    if target.exists() and not force:
        raise WeightsError(f"{target} exists; pass --force to replace it, or choose another name.")
    value, made = read_checkpoint(source)
    twins: list[State] = []
    if wanted is None:
        match = stripped(_plain(find_state(value, source), source))
    else:
        match, twins = matched(value, wanted.localizer, str(source), wanted.name)
    require_modest(sum(t.numel() * t.element_size() for t in match.tensors.values()), source)
    # write_tensors clones each tensor, so tensors that share memory may be written.
    write_tensors(match.tensors, target, _metadata(match, source, wanted))
    return Conversion(
        place=match.state.place,
        prefix=match.prefix,
        kept=tuple(name for name in match.tensors if name not in match.filled),
        dropped=tuple(sorted(match.state.entries.keys() - match.state.tensors.keys())),
        beside=match.state.beside,
        foreign=match.foreign,
        filled=match.filled,
        made=made,
        twins=tuple(map(str, twins)),
        checked=wanted.name if wanted else "",
    )


def _metadata(match: Match, source: Path, wanted: Wanted | None) -> dict[str, str]:
    found = {"format": "localizer", "source": source.name}
    # Unchecked, the prefix may be the localizer's own after all: loading puts it back if need be.
    return found | ({STRIPPED: match.prefix} if match.prefix and wanted is None else {})


def _plain(state: State, source: Path) -> State:
    """Refuse a state whose tensors need code; what torch calls extra state is no tensor."""
    for name, value in state.entries.items():
        is_beside = name.endswith("_extra_state") or name.lower().startswith(TRAINING)
        if isinstance(value, Made) and value.is_tensor and not is_beside:
            raise WeightsError(
                f"{source} keeps {one_line(name, most=100)} as a {one_line(value.kind)}, which "
                "needs code to become a tensor; it was refused and nothing of it was run. Load it "
                "where you trust it and save plain tensors: torch.save({k: v.detach().clone() for "
                "k, v in model.state_dict().items()}, 'tensors.pth')."
            )
    return state
