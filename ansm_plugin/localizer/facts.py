"""What a user says of a localizer; the rest is found out."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.guesses import Guess
from ansm_plugin.localizer.spec import Activation, LocalizerSpec, Triple
from ansm_plugin.localizer.stated import state


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Fields of `LocalizerSpec` as somebody says them; None where he says nothing."""

    mean: Triple | None = None
    std: Triple | None = None
    activation: Activation | None = None
    stride: int | None = None
    taps: tuple[str, ...] | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields that are said."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def state(self, localizer: nn.Module) -> None:
        """Let `describe` say this of a localizer from now on, and find out the rest now.

        What is said here is not guessed, so no warning speaks of it.

        Raises:
            ConfigError: a value is out of its range.
        """
        if not self.given():
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            spec = describe(localizer)
        for warning in caught:
            if not self.overrules(warning.message):
                category, place = warning.category, (warning.filename, warning.lineno)
                warnings.warn_explicit(warning.message, category, *place)
        state(localizer, self.applied(spec))

    def overrules(self, message: Warning | str) -> bool:
        """Return whether a warning is of a guess about nothing but what is said here."""
        return isinstance(message, Guess) and set(message.fields) <= self.given().keys()

    def applied(self, spec: LocalizerSpec) -> LocalizerSpec:
        """Return a spec with what is said in place of what was found.

        Raises:
            ConfigError: a value is out of its range.
        """
        said = self.given()
        sources = {True: "explicit", False: spec.normalisation}
        mean, std = (sources[name in said] for name in ("mean", "std"))
        source = mean if mean == std else f"mean {mean}, std {std}"
        return replace(spec, **said, normalisation=source)
