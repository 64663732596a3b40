"""The catalogue: weights by short name, of the package and of installed distributions.

A distribution offers a folder of cards by the entry-point group `ansm_plugin.weights`: name -> a
path. Nothing of theirs is imported before a name is asked for that the package does not have. One
that fails is named and left out. Nothing here imports torch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansm_plugin.errors import AnsmError, nearest, unknown_name
from ansm_plugin.plugins import PluginError, discover, load, origin
from ansm_plugin.weights.catalogue_card import CARD, Card, is_short_name, read_card

WEIGHTS_GROUP = "ansm_plugin.weights"
ASSETS = Path(__file__).parents[1] / "assets"
PACKAGE = "the package"
SMALL_LOCALIZER = "forensic-unet"  # trains in minutes: what recipes and tests begin with
# Where a command is told no other; the environment may name another, as on the command line.
_VARIABLE = "ANSM_LOCALIZER"
DEFAULT_LOCALIZER = os.environ.get(_VARIABLE) or "photo"
# Weights whose data allow research alone, so that they are no part of the package.
RESEARCH = ("bsds-cnn", "bsds-transformer", "casia1-cnn", "photo-research")
_INSTALL = "pip install ./recipes/lab/weights"


@dataclass(frozen=True)
class Listed:
    """A card, and where it was found.

    Attributes:
        card: what it says.
        folder: that it lies in, with its weights.
        origin: `PACKAGE`, or the distribution that brought it.
    """

    card: Card
    folder: Path
    origin: str

    @property
    def weights(self) -> Path:
        """File of the localizer."""
        return self.folder / self.card.weights

    @property
    def ansm(self) -> Path | None:
        """File of its ANSM; None where it has none."""
        return None if self.card.ansm is None else self.folder / self.card.ansm

    @property
    def hardened(self) -> Path | None:
        """File of an ANSM that knows attackers who know it; None where there is none."""
        return None if self.card.hardened is None else self.folder / self.card.hardened

    @property
    def bytes(self) -> int:
        """Size of the localizer and its ANSM together."""
        return sum(file.stat().st_size for file in (self.weights, self.ansm) if file is not None)


def find(name: str) -> Listed | None:
    """Return what the catalogue has under a name; None for any other name of a localizer.

    Raises:
        AnsmError: the card of the package cannot be used.
    """
    if not is_short_name(name):
        return None
    if (ASSETS / f"{name}{CARD}").is_file():
        return _listed(ASSETS / f"{name}{CARD}", PACKAGE)
    return next((listed for listed in _installed() if listed.card.name == name), None)


def packaged() -> dict[str, Listed]:
    """Return what the package has, by name, the default first.

    Raises:
        AnsmError: a card cannot be used.
    """
    files = sorted(ASSETS.glob(f"*{CARD}"), key=lambda f: (f.name != DEFAULT_LOCALIZER + CARD, f))
    return {(listed := _listed(file, PACKAGE)).card.name: listed for file in files}


def catalogue() -> dict[str, Listed]:
    """Return all that there is, by name, the package first.

    Of two with one name the first is used, and a warning names the other with its distribution.
    """
    found = packaged()
    for listed in _installed():
        first = found.setdefault(listed.card.name, listed)
        if first is not listed:
            warnings.warn(
                f"{listed.origin} has weights named {listed.card.name!r} as {first.origin} has; "
                f"those of {first.origin} are used. Uninstall the other, or ask it for a new name.",
                stacklevel=2,
            )
    return found


def not_installed(name: str) -> str:
    """Return how to install weights of this name that are known and not there; else ""."""
    if name not in RESEARCH:
        return ""
    return (
        f"{name} is one of the weights for research, which are not installed: run `{_INSTALL}` "
        "from a checkout."
    )


def unknown(name: str, others: list[str]) -> str:
    """Return a message for a name that no localizer has, with the nearest of all that there are.

    Args:
        name: as it was given.
        others: names, or forms of names, beside those of the catalogue.
    """
    named = f" The environment variable {_VARIABLE} names it."
    end = named if name == os.environ.get(_VARIABLE) else ""
    if how := not_installed(name):
        return how + end
    known = catalogue()
    localizer, plus, weights = name.partition("+")
    if plus and localizer in known:
        how = f" Here the name is {localizer!r}; commands that use an ANSM take `--ansm {weights}`."
        end = how + end
    near = [n for n in nearest(name, [*known, *RESEARCH]) if n not in known]
    said = f" {not_installed(near[0])}" if near else ""
    return unknown_name("localizer", name, [*known, *others]) + said + end


def _installed() -> Iterator[Listed]:
    """Yield what installed distributions offer; what fails is named and left out."""
    for name, entry in discover(WEIGHTS_GROUP).items():
        try:
            folder = load(WEIGHTS_GROUP, name)
        except PluginError as error:
            _leave_out(str(error))
            continue
        if not isinstance(folder, str | Path) or not Path(folder).is_dir():
            _leave_out(f"{origin(entry)} offers {folder} as weights, which is no folder.")
            continue
        by = entry.dist.name if entry.dist else "an unknown distribution"
        for file in sorted(Path(folder).glob(f"*{CARD}")):
            try:
                yield _listed(file, by)
            except AnsmError as error:
                _leave_out(f"{by}: {error}")


def _listed(file: Path, by: str) -> Listed:
    return Listed(read_card(file), file.parent, by)


def _leave_out(reason: str) -> None:
    warnings.warn(f"{reason} It is left out of the catalogue of weights.", stacklevel=4)
