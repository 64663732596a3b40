"""`ansm convert`: a .pth checkpoint becomes safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansm_plugin.system.text import one_line, say
from ansm_plugin.weights.convert import convert_checkpoint


def run(*, source: Path, target: Path, force: bool) -> None:
    """Convert and say what was kept and dropped."""
    done = convert_checkpoint(source, target, force=force)
    where = " > ".join(done.place) or "the file itself"
    say(f"read     {source}, tensors of {where}")
    say(f"kept     {_counted(done.kept, 'tensors')}")
    if done.prefix:
        say(f"stripped {done.prefix!r} from the start of every name")
    if done.dropped:
        say(f"dropped  {_counted(done.dropped, 'values without a tensor')}")
    if done.beside:
        say(f"dropped  {_counted(done.beside, 'entries beside the model')}")
    say(f"wrote    {target}")


def _counted(names: Sequence[str], what: str) -> str:
    """Return "6 tensors: a, b, c, d, ..."."""
    return (
        f"{len(names)} {what}: {one_line(', '.join(names[:4]))}{', ...' if len(names) > 4 else ''}"
    )
