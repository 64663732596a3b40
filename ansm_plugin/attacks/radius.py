"""The radius of an attack in grey levels, as users write it."""

from __future__ import annotations

from collections.abc import Sequence

from ansm_plugin.errors import ConfigError

# Less of a change is no attack on pixels of 8 bits, but a share of 255 such as 8/255 = 0.03.
_LEAST = 0.1


def require_radii_255(name: str, radii: float | Sequence[float]) -> None:
    """Raise ConfigError unless a radius, or each of one or more, is in [0.1, 255] grey levels.

    `name` is what the user calls it. NaN is refused, and so are shares of 255.
    """
    several = isinstance(radii, Sequence)
    each = radii if isinstance(radii, Sequence) else (radii,)
    if not each or not all(0 < radius <= 255 for radius in each):
        raise ConfigError(
            f"{name} is {radii}; allowed: {'one radius or more, each ' if several else ''}"
            "above 0 and at most 255 grey levels."
        )
    if min(each) < _LEAST:
        raise ConfigError(
            f"{name} is {radii}; it counts grey levels of 255, so that 8/255 = 0.03 is written 8. "
            f"Allowed: {_LEAST} to 255."
        )
