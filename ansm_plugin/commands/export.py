"""`ansm export`: a defended localizer becomes one ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansm_plugin.commands.groups import ModelOptions
from ansm_plugin.commands.options import REQUIRED, flag, group, option
from ansm_plugin.commands.values import path, positive
from ansm_plugin.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and where to."""

    model: ModelOptions = group(ModelOptions)
    output: Path = option(REQUIRED, parse=path, metavar="FILE.onnx", help="")
    size: int | None = option(
        None,
        parse=positive,
        metavar="PIXELS",
        help="fix height and width (default: free where the localizer allows it)",
    )
    force: bool = flag(help="replace an existing file")


OPTIONS = ExportOptions


def run(options: ExportOptions) -> None:
    """Export, compare with torch, and say what goes in and comes out.

    Raises:
        AnsmError: a name or a file cannot be used, or the graph differs from torch.
    """
    from ansm_plugin.commands.models import load_defended
    from ansm_plugin.export import INPUT, OUTPUT, TOLERANCE, export_onnx

    output = options.output
    if output.suffix != ".onnx":
        raise ConfigError(f"--output is {output}; it must end in .onnx.")
    if output.exists() and not options.force:
        raise ConfigError(f"{output} exists; pass --force to replace it, or another --output.")
    defended = load_defended(options.model.localizer, options.model.ansm)
    done = export_onnx(defended, output, side=options.size)
    free = f"multiples of {done.multiple} from {done.smallest} up"
    height_width = f"{done.side} x {done.side}" if done.side else free
    compared = ", ".join(f"{height}x{width}" for height, width in done.sizes)
    print(f"input    {INPUT}: (batch, 3, height, width), float32 in [0, 1], not normalised")
    print(f"sizes    any batch; height and width: {height_width}")
    print(f"output   {OUTPUT}: (batch, 1, height, width), of tampering, in [0, 1]")
    print(f"compared with torch at {compared}")
    print(f"largest difference {done.max_difference:.2g} (allowed: {TOLERANCE:g})")
    print(f"wrote    {output}")
