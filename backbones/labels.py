"""Which label of a segmentation model means forged."""

from __future__ import annotations

from collections.abc import Mapping

from ansm_plugin.errors import LocalizerError

FORGED = "forged"  # the option of a name, and the attribute of a model or its config that says it


def forged_class(owner: str, count: int, said: object, names: Mapping[int, str]) -> int:
    """Return the index of the forged class, as `LocalizerSpec.tamper_class` has it.

    Args:
        owner: of the labels, for messages.
        count: of the model's labels. One label is the forged one; of two, the second.
        said: what the user said of it; None where nothing.
        names: of the labels, where the model has some.

    Raises:
        LocalizerError: there are more than two labels and nobody says which; or no such label.
    """
    if said is None:
        if count <= 2:
            return 1
        some = ", ".join(f"{index} {name}" for index, name in list(names.items())[:4])
        raise LocalizerError(
            f"{owner} has {count} labels{f' ({some}, ...)' if some else ''}, and does not say "
            "which of them means forged. Allowed: one label, or two of which the second means "
            f"forged. Say which it is: ...?{FORGED}=INDEX behind its name, or in Python "
            f"localizer.{FORGED} = INDEX or spec=LocalizerSpec(tamper_class=INDEX, ...)."
        )
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said < count:
        raise LocalizerError(
            f"{FORGED} of {owner} is {said!r}; allowed: the index of a label, 0 to {count - 1}."
        )
    return 1 if count == 1 else said
