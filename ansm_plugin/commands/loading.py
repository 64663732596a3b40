"""The localizer and the ANSM that a command's options name."""

from __future__ import annotations

import warnings
from pathlib import Path

from torch import nn

from ansm_plugin.ansm import ANSM, Precision
from ansm_plugin.backbones import reference
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.facts import Facts
from ansm_plugin.localizer.families import family_names


def load_defended(
    localizer: str | None,
    ansm: Path | None,
    *,
    facts: Facts | None = None,
    may_be_untrained: bool = False,
    precision: Precision = "fp32",
    gate: bool = False,
) -> DefendedLocalizer[nn.Module]:
    """Build a localizer and put its ANSM in front of it.

    Args:
        localizer: its name; None is the default.
        ansm: weights; None takes those that come with a name of the catalogue.
        facts: what the user says of the localizer; None where he says nothing.
        may_be_untrained: whether another localizer may go without weights; it gets a fresh ANSM.
        precision: of the convolutions inside the ANSM.
        gate: whether it leaves alone what its attack score calls unattacked.

    Raises:
        ConfigError: another localizer without weights.
        AnsmError: a name or a file cannot be used.
    """
    name = localizer or reference.DEFAULT_LOCALIZER
    weights = ansm or reference.ansm_of(name)
    if weights is None and not may_be_untrained:
        reference.build_localizer(name)  # a name that is misspelt is told first
        raise ConfigError(
            f"no ANSM is known for {name}: pass --ansm FILE, or train one with `ansm train "
            f"two-stage --localizer {name} --output DIR`. `ansm localize --bare` uses no defence."
        )
    defended = wrap_with_ansm(
        load_localizer(name, facts), None if weights is None else str(weights), gate=gate
    )
    if isinstance(defended.ansm, ANSM):
        defended.ansm.precision = precision
    return defended


def warn_if_untrained(ansm: nn.Module) -> None:
    """Warn when an ANSM changes nothing yet."""
    if isinstance(ansm, ANSM) and ansm.is_identity:
        warnings.warn(
            "the ANSM is untrained: it changes nothing, and the localizer is not defended. Train "
            "one with `ansm train two-stage`.",
            stacklevel=2,
        )


def load_localizer(name: str | None, facts: Facts | None = None) -> nn.Module:
    """Build a localizer by name; None is the default. Warn where its weights are random.

    Args:
        name: as `build_localizer` reads it.
        facts: what the user says of it; None where he says nothing.

    Raises:
        LocalizerError: the user's own code left its weights without values.
        AnsmError: as in `build_localizer`.
    """
    name = name or reference.DEFAULT_LOCALIZER
    localizer = reference.build_localizer(name)
    if any(parameter.is_meta for parameter in localizer.parameters()):
        raise LocalizerError(
            f"the weights of {name} have no values: they are on the meta device. Let its function "
            "load them."
        )
    base, _, weights = name.partition("@")
    in_folder = bool(getattr(localizer, "name_or_path", ""))  # of transformers: with its weights
    if base.partition(":")[0] in set(family_names()) - {"plain"} and not (weights or in_folder):
        warnings.warn(
            f"{name} has random weights, so its masks mean nothing; name its weights: "
            f"{name}@weights.safetensors.",
            stacklevel=2,
        )
    if facts is not None:
        facts.state(localizer)
    return localizer
