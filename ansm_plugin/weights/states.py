"""Where the state of the model is inside a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.inert import Made

# Where trainers put the state of the model inside their checkpoint, most common first.
PLACES = (
    "state_dict", "model_state_dict", "model_state", "model_dict", "model", "net_state_dict",
    "net", "network_state_dict", "network", "weights", "model_weights", "params", "module",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema",
    "swa_state_dict", "swa_model", "averaged_model", "shadow", "student", "teacher", "generator",
    "net_g", "netG", "segmentor", "localizer", "detector", "best_state_dict", "best_model",
    "checkpoint", "state",
)  # fmt: skip
# What keeps tensors of its own beside the model, by how its name begins.
TRAINING = ("optim", "sched", "lr_sched", "scaler", "amp", "rng", "random", "loops", "callbacks")
_DEEPEST = 32  # checkpoints nest two or three levels


class State(NamedTuple):
    """A mapping of names to tensors inside a checkpoint.

    Attributes:
        place: path of keys to it; empty where it is the checkpoint itself.
        entries: names to tensors, and to whatever else stands among them.
        beside: names beside it and beside the mappings around it.
    """

    place: tuple[str, ...]
    entries: dict[str, Any]
    beside: tuple[str, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors among the entries."""
        return {name: value for name, value in self.entries.items() if isinstance(value, Tensor)}

    @property
    def is_usual(self) -> bool:
        """Whether it lies where trainers put the model."""
        return all(key in PLACES for key in self.place)

    def __str__(self) -> str:
        """Return the place in words."""
        return " > ".join(self.place) or "the file itself"


def find_state(loaded: Any, source: Path) -> State:
    """Return the state of the model, from the most usual place that holds one.

    Raises:
        WeightsError: no mapping of names to tensors, several under unusual names, or a model that
            was pickled whole.
    """
    found = list(states(loaded))
    usual = [state for state in found if state.is_usual]
    others = [state for state in found if not state.is_usual]
    # Beside a nested state the file itself may hold lone tensors, such as a step counter.
    is_lone = [s.place for s in usual] == [()] and not any("." in name for name in usual[0].tensors)
    if usual and not (is_lone and any("." in name for s in others for name in s.tensors)):
        return usual[0]
    if len(others) == 1:
        return others[0]
    if others:
        places = one_line(", ".join(map(str, others)), most=300)
        raise WeightsError(
            f"{source} holds several states of models ({places}) and does not say which is the "
            "localizer's; name the localizer: --for NAME."
        )
    raise WeightsError(_no_tensors(loaded, source))


def states(loaded: Any) -> list[State]:
    """Return every mapping that holds tensors under a name, the most usual place first."""
    return list(_inside(loaded, State((), {}, ()), set()))


def _inside(value: Any, above: State, seen: set[int]) -> Iterator[State]:
    """Yield the states inside a mapping: at usual places, itself, at other places."""
    if not isinstance(value, Mapping) or id(value) in seen or len(above.place) >= _DEEPEST:
        return
    seen.add(id(value))
    usual = [key for key in PLACES if key in value]
    other = [key for key in value if _may_hold_a_model(key)]

    def below(key: str) -> Iterator[State]:
        beside = tuple(str(k) for k in value if k != key)
        return _inside(value[key], State((*above.place, key), {}, above.beside + beside), seen)

    for key in usual:
        yield from below(key)
    if any(isinstance(v, Tensor) for v in value.values()):
        yield above._replace(entries={str(k): v for k, v in value.items()})
    for key in other:
        yield from below(key)


def _may_hold_a_model(key: Any) -> bool:
    return isinstance(key, str) and key not in PLACES and not key.lower().startswith(TRAINING)


def _no_tensors(loaded: Any, source: Path) -> str:
    """Say what a checkpoint holds in place of a state."""
    held = list(loaded.values()) if isinstance(loaded, Mapping) else []
    for value in [loaded, *held]:
        if isinstance(value, Made) and (value.is_module or value.is_tensor):
            return (
                f"{source} holds a whole object that was pickled, a {one_line(value.kind)}, which "
                "only its own code could make again; nothing of it was run. Load it where you "
                "trust it and save its tensors alone: torch.save(model.state_dict(), "
                "'tensors.pth')."
            )
    outline: Any = type(loaded).__name__
    if isinstance(loaded, Mapping) and not (isinstance(loaded, Made) and not loaded):
        outline = [str(key)[:40] for key in list(loaded)[:8]]
    elif isinstance(loaded, Made):
        outline = one_line(loaded.kind)
    arrays = [v for v in held if isinstance(v, Made) and v.kind == "numpy array"]
    hint = " Arrays of numpy are no tensors: save the state by torch.save." if arrays else ""
    return (
        f"no tensors found in {source}: it holds {outline}; looked for them in the file itself and "
        f"under {', '.join(PLACES[:14])} and the like.{hint}"
    )
