"""Attacks and objectives of other packages, by name: found, run, and held against what they owe.

The name of an attack is that of an entry point of the group `ansm_plugin.attacks`, or
`module:name`. Behind it is one of two:

- a function that attacks, `AttackFunction`;
- an `AttackSpec`, such as PGD with an objective of one's own.

An objective, of an `AttackSpec`, is `module:function`: one like those in `objectives`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ansm_plugin import plugins
from ansm_plugin.attacks.behind import modules_behind
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.localizer.modes import frozen_eval
from ansm_plugin.system.blame import culprit
from ansm_plugin.system.named import import_object

ATTACK_GROUP = "ansm_plugin.attacks"
_ROUNDING = 1e-5  # how far outside of ball and range floats may lie


class AttackFunction(Protocol):
    """What another package's attack is: a function of these arguments, by position.

    It runs with gradients on, the modules behind `forward` frozen and in eval mode; the global
    generator is seeded by `generator`. Whatever it does to its arguments stays without effect. One
    that has a parameter `steps` is handed the number of gradient steps by that name.
    """

    def __call__(
        self,
        pixels: Tensor,
        masks: Tensor,
        eps: Tensor,
        forward: Forward,
        generator: torch.Generator,
        /,
    ) -> Tensor:
        """Return attacked pixels.

        Args:
            pixels: `(B, 3, H, W)` in [0, 1], fp32.
            masks: `(B, 1, H, W)` in {0, 1}: where the images are forged, or what the attacker takes
                for that.
            eps: `(B, 1, 1, 1)`, radius in pixel units; no value may change by more.
            forward: pixels -> mask logits `(B, 1, H, W)`.
            generator: of the CPU; decides all that is random.
        """


class Foreign(NamedTuple):
    """Something of another package.

    Attributes:
        made: the thing itself.
        origin: whose it is, for messages.
        code: first digits of the sha256 of its file, "" where it has none: results of other code
            are other results.
    """

    made: object
    origin: str
    code: str


def is_foreign(name: str) -> bool:
    """Return whether this is written as a name of another package's; it need not exist."""
    return ":" in name or name in plugins.discover(ATTACK_GROUP)


def foreign_names() -> list[str]:
    """Return the names of all entry points."""
    return list(plugins.discover(ATTACK_GROUP))


@functools.cache
def find(name: str) -> Foreign:
    """Return what a name stands for; its module is imported, once.

    Raises:
        ConfigError: there is none, or it cannot be loaded.
        Exception: whatever the module raises when it is imported.
    """
    try:
        if ":" in name:
            made, origin = import_object(name), name
        else:
            made = plugins.load(ATTACK_GROUP, name)
            origin = f"{name} of {plugins.origin(plugins.discover(ATTACK_GROUP)[name])}"
    except plugins.PluginError as error:
        if error.__cause__ is not None and culprit(error.__cause__) is not None:
            raise error.__cause__ from None  # by the user's own code: that is what he needs
        raise ConfigError(f"attack or objective {name!r}: {error}") from error
    return Foreign(made, origin, _code_of(made, name))


def name_of(function: object) -> str:
    """Return the name by which a function or a spec of the caller's own is found again.

    Raises:
        ConfigError: it lies in no module under its own name, as a lambda.
    """
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    if "<" not in name and callable(function) and find(name).made is function:
        return name
    raise ConfigError(
        f"{function!r} cannot be found by its name; define the attack as a function at the top of "
        "a module, or name it as module:function."
    )


def _code_of(made: object, name: str) -> str:
    home = getattr(made, "__module__", None) if callable(made) else name.partition(":")[0]
    file = getattr(sys.modules.get(str(home)), "__file__", None)
    if file is None or not Path(file).is_file():
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]


def foreign_objective(name: str) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return another package's objective; its answers are held against `(B,)`.

    Raises:
        ConfigError: there is none of this name, or it is no function.
    """
    found = find(name)
    made = found.made
    if not callable(made):
        raise ConfigError(
            f"objective {found.origin} is {type(made).__name__}; allowed: a function of logits "
            "(B, 1, H, W), masks (B, 1, H, W) and the elapsed share of the steps, which returns "
            "(B,)."
        )

    def held(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
        values: object = made(logits, masks, elapsed)
        if not isinstance(values, Tensor) or values.shape != (len(logits),):
            raise ConfigError(
                f"objective {found.origin} returned {_said(values)}; it must return one value per "
                f"image, ({len(logits)},), summed over pixels."
            )
        if logits.requires_grad and not values.requires_grad:
            raise ConfigError(
                f"objective {found.origin} returned values without a gradient; it must not detach "
                "the logits, nor leave torch."
            )
        return values

    return held


def takes_steps(function: object) -> bool:
    """Return whether an attack has a parameter `steps`."""
    try:
        return "steps" in inspect.signature(function).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):  # no callable, or one that shows no signature
        return False


class Call(NamedTuple):
    """What an attack of another package is called with, see `AttackFunction`; `eps` as there."""

    pixels: Tensor
    masks: Tensor
    eps: Tensor
    forward: Forward
    generator: torch.Generator | None


def call_attack(
    function: Callable[..., object], origin: str, call: Call, steps: int | None
) -> Tensor:
    """Return what a function answers, once it is known to be images in the ball.

    Args:
        function: an `AttackFunction`.
        origin: whose it is, for messages.
        call: its arguments; copies are handed over.
        steps: handed over by name; None is not.

    Raises:
        ConfigError: it takes other arguments or returned something else; the message says whose
            mistake that is.
        Exception: whatever the function raises.
    """
    _require_arguments(function, origin)
    pixels, masks, eps, forward, generator = call
    seed = int(torch.randint(2**62, (), generator=generator))
    devices = [pixels.device] if pixels.device.type == "cuda" else []
    named = {} if steps is None else {"steps": steps}
    with torch.random.fork_rng(devices=devices), frozen_eval(*modules_behind(forward)):
        torch.manual_seed(seed)
        own = torch.Generator().manual_seed(seed)
        with torch.enable_grad():
            radii = eps.expand(len(pixels), 1, 1, 1).clone()
            made = function(pixels.clone(), masks.clone(), radii, forward, own, **named)
    return _in_ball(made, origin, pixels, eps)


def _require_arguments(function: Callable[..., object], origin: str) -> None:
    """Raise ConfigError where a function cannot be called as an attack is."""
    try:
        parameters = inspect.signature(function)
    except (TypeError, ValueError):  # one that shows no signature
        return
    try:
        parameters.bind(*Call._fields, **({"steps": 1} if takes_steps(function) else {}))
    except TypeError as error:
        raise ConfigError(
            f"attack {origin} cannot be called ({error}); it takes {', '.join(Call._fields)} in "
            "this order, and `steps` where it wants them."
        ) from error


def _in_ball(made: object, origin: str, pixels: Tensor, eps: Tensor) -> Tensor:
    if not isinstance(made, Tensor) or made.shape != pixels.shape or not made.is_floating_point():
        raise ConfigError(
            f"attack {origin} returned {_said(made)}; it must return float pixels of the shape "
            f"that it was given, {tuple(pixels.shape)}."
        )
    points = made.detach().to(pixels)
    if not points.numel():
        return points
    low, high = torch.stack(points.aminmax()).tolist()
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # true for NaN
        what = "NaN" if low != low else f"pixels from {low:g} to {high:g}"
        raise ConfigError(
            f"attack {origin} returned {what}; it must return finite pixels in [0, 1]: clamp them."
        )
    excess = float(((points - pixels).abs() - eps).amax())
    if excess > _ROUNDING:
        raise ConfigError(
            f"attack {origin} changed a pixel by {255 * excess:.3g}/255 more than its radius "
            "allows; it must stay in the ball: clamp its noise to [-eps, eps], which is in pixel "
            "units."
        )
    return points


def _said(made: object) -> str:
    if isinstance(made, Tensor):
        return f"{made.dtype} of shape {tuple(made.shape)}"
    return type(made).__name__
