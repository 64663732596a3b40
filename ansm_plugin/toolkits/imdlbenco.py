"""IMDLBenCo: every model `X` of its registry, also those registered later, as `ANSM_X`.

The host looks models up by name, reads the signature of what it finds, and makes command-line
options of it; so `ANSM_X` is a function with the signature of `X` and our options behind.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from torch import nn

from ansm_plugin.attacks import attack_spec
from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.toolkits.host_model import (
    DefendedHostModel,
    TrainingAttack,
    defend,
    let_us_warn,
)

PREFIX = "ANSM_"
OLDEST = (0, 1, 22)
# Its datasets normalise (transforms/iml_transforms.py), whatever the model was pretrained with.
SPEC = LocalizerSpec(
    family="imdlbenco",
    normalisation="IMDLBenCo's dataset transform",
    activation="sigmoid",
    mask_key="pred_mask",
)

Builder = Callable[..., nn.Module]

# Real types, not strings: the host's argparse calls them. The prefix keeps argparse from taking
# `weight` for the host's --weight_decay.
_OPTIONS = tuple(
    Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=type(default))
    for name, default in {
        "ansm_weights": "",
        "ansm_localizer": "",
        "ansm_preset": "",
        "ansm_attack": "",
        "ansm_eps_255": 8.0,
        "ansm_steps": 10,
    }.items()
)


def register() -> list[str]:
    """Let IMDLBenCo find `ANSM_X` for every model X; calling it again changes nothing.

    Returns the names `ANSM_X` of the models that are registered by now.

    Raises:
        ConfigError: IMDLBenCo is missing, too old, or its registry is not the one we know.
    """
    registry = _host_registry()
    let_us_warn()
    models = _with_table(registry.MODELS, _Models)
    _with_table(registry.POSTFUNCS, _PostFunctions)
    return [PREFIX + name for name, base in models.module_dict.items() if _takes_images(base)]


def defended_factory(name: str, base: Builder) -> Callable[..., DefendedHostModel]:
    """Return a function that builds the model of `base` and defends it.

    It has the parameters of `base`, and `ansm_weights` and `ansm_localizer` (safetensors files of
    the ANSM and of the localizer), `ansm_preset`, and `ansm_attack` with `ansm_eps_255` and
    `ansm_steps` (what the localizer is attacked with by the host's train.py; "": nothing).
    """
    signature = _with_options(inspect.signature(base))

    def build(*args: Any, **options: Any) -> DefendedHostModel:
        bound = signature.bind(*args, **options)
        ours = {o.name: bound.arguments.pop(o.name, o.default) for o in _OPTIONS}
        return defend(
            base(*bound.args, **bound.kwargs),
            SPEC,
            weights=ours["ansm_weights"],
            localizer_weights=ours["ansm_localizer"],
            preset=ours["ansm_preset"],
            training_attack=_training_attack(ours),
        )

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Build {name.removeprefix(PREFIX)} with an ANSM in front of it."
    build.__signature__ = signature  # type: ignore[attr-defined]
    return build


def _takes_images(base: Builder) -> bool:
    """Return whether it can be a model of the host: SparseViTBackbone is registered but is none.

    Of functions that build models only the call would tell.
    """
    if not inspect.isclass(base):
        return True
    forward = getattr(base, "forward", base)
    taken = inspect.signature(forward).parameters
    return "image" in taken or any(p.kind is Parameter.VAR_KEYWORD for p in taken.values())


def _training_attack(options: Mapping[str, Any]) -> TrainingAttack | None:
    if not options["ansm_attack"]:
        return None
    eps_255 = float(options["ansm_eps_255"])
    require_radii_255("ansm_eps_255", eps_255)
    return TrainingAttack(
        attack_spec(options["ansm_attack"], steps=int(options["ansm_steps"])), eps_255
    )


class _Models(dict[str, Builder]):
    """The host's table of models, which answers for `ANSM_X` where it holds X."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self._base(name) is not None

    def __missing__(self, name: str) -> Builder:
        base = self._base(name)
        if base is None:
            raise KeyError(name)
        return defended_factory(name, base)

    def _base(self, name: object) -> Builder | None:
        if not isinstance(name, str) or not name.startswith(PREFIX):
            return None
        base = self.get(name.removeprefix(PREFIX))
        return base if base is not None and _takes_images(base) else None


class _PostFunctions(dict[str, Builder]):
    """The host's table of post functions; each also under the name it has for `ANSM_X`.

    The host searches them by their names in lower case and goes through the keys, so these must
    be there.
    """

    def __init__(self, known: dict[str, Builder]) -> None:
        super().__init__()
        for name, function in known.items():
            self[name] = function

    def __setitem__(self, name: str, function: Builder) -> None:
        super().__setitem__(name, function)
        if not name.lower().startswith(PREFIX.lower()):
            super().__setitem__(PREFIX.lower() + name, function)


def _with_table(registry: Any, table: type[dict[str, Builder]]) -> Any:
    """Replace the table inside a registry by one of ours, once."""
    held = getattr(registry, "_module_dict", None)
    if not isinstance(held, dict):
        raise ConfigError(
            f"the registry {getattr(registry, 'name', registry)} of this IMDLBenCo keeps no "
            "_module_dict; ansm_plugin knows those of 0.1.22 to 0.1.45. Install one of these."
        )
    if not isinstance(held, table):
        registry._module_dict = table(held)
    return registry


def _with_options(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature with our options behind the others, before a `**kwargs`."""
    own = list(signature.parameters.values())
    rest = [p for p in own if p.kind is Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*own[: len(own) - len(rest)], *_OPTIONS, *rest])


def _host_registry() -> Any:
    try:
        host = importlib.import_module("IMDLBenCo")
        version = importlib.import_module("IMDLBenCo.version").__version__
        registry = importlib.import_module("IMDLBenCo.registry")
    except ImportError as error:
        raise ConfigError(
            f"IMDLBenCo cannot be imported ({error}); pip install 'ansm_plugin[imdlbenco]'."
        ) from error
    if not hasattr(registry, "POSTFUNCS") or _numbers(version) < OLDEST:
        raise ConfigError(
            f"IMDLBenCo {version} in {host.__path__[0]} is older than "
            f"{'.'.join(map(str, OLDEST))}; pip install --upgrade imdlbenco."
        )
    return registry


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
