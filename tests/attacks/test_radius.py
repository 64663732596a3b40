"""One check of radii in grey levels, for every place where a user writes them."""

from __future__ import annotations

import math

import pytest

from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.attacks.spec import require_attacks
from ansm_plugin.errors import ConfigError


@pytest.mark.parametrize("radii", [8, 0.5, 255, (8,), [0.1, 255.0]])
def test_radii_in_range_are_taken(radii: float | list[float]) -> None:
    require_radii_255("eps", radii)


@pytest.mark.parametrize("radii", [0, -1.0, 255.5, math.nan, math.inf, (), (8, 0), [math.nan]])
def test_radii_out_of_range_are_refused_with_their_name(radii: float | list[float]) -> None:
    with pytest.raises(ConfigError, match=r"eps_255 is .*above 0 and at most 255 grey"):
        require_radii_255("eps_255", radii)


def test_attacks_are_named_and_known_and_have_steps() -> None:
    require_attacks(("pgd", "fgsm"), steps=3)
    with pytest.raises(ConfigError, match="Nearest: pgd"):
        require_attacks(("fgsm", "pdg"))
    with pytest.raises(ConfigError, match=r"attacks is .*; name one or more of: fgsm, pgd"):
        require_attacks(())
    with pytest.raises(ConfigError, match="steps is 0"):
        require_attacks(("pgd",), steps=0)
