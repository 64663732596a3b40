"""`ansm convert`: a .pth checkpoint becomes safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.groups import force_flag
from ansm_plugin.commands.options import option, positional
from ansm_plugin.commands.values import filled, path
from ansm_plugin.system.text import one_line, say

if TYPE_CHECKING:
    from ansm_plugin.weights.convert import Conversion, Wanted


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """From which file to which, and for which localizer."""

    source: Path = positional(parse=path, metavar="FILE.pth", help="never executed")
    target: Path = positional(parse=path, metavar="FILE.safetensors", help="")
    for_: str | None = option(
        None,
        parse=filled,
        metavar="NAME",
        help="localizer that the result must fit; nothing is downloaded",
    )
    force: bool = force_flag()


OPTIONS = ConvertOptions


def run(options: ConvertOptions) -> None:
    """Convert and say what was kept and dropped, and whether the result will load.

    Raises:
        AnsmError: the checkpoint cannot be read, holds no model or does not fit the localizer, or
            the target is there.
    """
    from ansm_plugin.weights.convert import convert_checkpoint

    wanted = _wanted(options.for_) if options.for_ else None
    done = convert_checkpoint(options.source, options.target, force=options.force, wanted=wanted)
    where = " > ".join(map(one_line, done.place)) or "the file itself"
    say(f"read     {options.source}, tensors of {where}")
    say(f"kept     {_counted(done.kept, 'tensors')}")
    _say_changes(done)
    if done.checked:
        say(f"checked  it loads into {done.checked}: every name and shape fits")
    else:
        say("checked  not checked against a localizer; add --for NAME")
    say(f"wrote    {options.target}")
    _say_use(options.target, done.checked)


def _say_use(target: Path, checked: str) -> None:
    """Say how the next command names the result; a guess is called one."""
    from ansm_plugin.commands.next_command import for_localizer

    said = for_localizer(target, checked)
    say(f"use      {said['localizer']}")
    if not checked and "known from" in said:
        say(f"         {said['known from']}")


def _wanted(name: str) -> Wanted:
    """Build the localizer of a name, without its weights."""
    from ansm_plugin.backbones.reference import build_architecture
    from ansm_plugin.weights.convert import Wanted

    base = name.partition("@")[0]
    return Wanted(build_architecture(base), base)


def _say_changes(done: Conversion) -> None:
    """Say what was stripped, added and left out, in this order."""
    if done.prefix:
        every = "the names" if done.foreign else "every name"
        say(f"stripped {one_line(done.prefix)!r} from the start of {every}")
    if done.filled:
        say(f"added    {_counted(done.filled, 'counters of BatchNorms, from 0')}")
    for names, what in (
        (done.foreign, "tensors that are not the model's"),
        (done.dropped, "values without a tensor"),
        (done.beside, "entries beside the model"),
        (done.made, "kinds of objects, none of them made"),
    ):
        if names:
            say(f"dropped  {_counted(names, what)}")
    if done.twins:
        say(f"not used {_counted(done.twins, 'other places that fit as well')}")


def _counted(names: Sequence[str], what: str) -> str:
    """Return "6 tensors: a, b, c, d, ..."."""
    return (
        f"{len(names)} {what}: {one_line(', '.join(names[:4]))}{', ...' if len(names) > 4 else ''}"
    )
