"""`ansm convert`: a .pth checkpoint becomes safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansm_plugin.commands.options import flag, positional
from ansm_plugin.system.text import one_line, say

SUMMARY = "turn a .pth checkpoint into safetensors"


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """From which file to which."""

    source: Path = positional(parse=Path, metavar="FILE.pth", help="never executed")
    target: Path = positional(parse=Path, metavar="FILE.safetensors", help="")
    force: bool = flag(help="replace an existing target")


OPTIONS = ConvertOptions


def run(options: ConvertOptions) -> None:
    """Convert and say what was kept and dropped.

    Raises:
        AnsmError: the checkpoint cannot be read or holds no model, or the target is there.
    """
    from ansm_plugin.weights.convert import convert_checkpoint

    done = convert_checkpoint(options.source, options.target, force=options.force)
    where = " > ".join(done.place) or "the file itself"
    say(f"read     {options.source}, tensors of {where}")
    say(f"kept     {_counted(done.kept, 'tensors')}")
    if done.prefix:
        say(f"stripped {done.prefix!r} from the start of every name")
    if done.dropped:
        say(f"dropped  {_counted(done.dropped, 'values without a tensor')}")
    if done.beside:
        say(f"dropped  {_counted(done.beside, 'entries beside the model')}")
    say(f"wrote    {options.target}")


def _counted(names: Sequence[str], what: str) -> str:
    """Return "6 tensors: a, b, c, d, ..."."""
    return (
        f"{len(names)} {what}: {one_line(', '.join(names[:4]))}{', ...' if len(names) > 4 else ''}"
    )
