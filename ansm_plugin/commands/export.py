"""`ansm export`: a defended localizer becomes one ONNX graph."""

from __future__ import annotations

from pathlib import Path

from ansm_plugin.commands.models import load_defended
from ansm_plugin.errors import ConfigError
from ansm_plugin.export import INPUT, OUTPUT, TOLERANCE, export_onnx


def run(
    *, localizer: str | None, ansm: Path | None, output: Path, size: int | None, force: bool
) -> None:
    """Export, compare with torch, and say what goes in and comes out."""
    if output.suffix != ".onnx":
        raise ConfigError(f"--output is {output}; it must end in .onnx.")
    if output.exists() and not force:
        raise ConfigError(f"{output} exists; pass --force to replace it, or another --output.")
    done = export_onnx(load_defended(localizer, ansm), output, side=size)
    free = f"multiples of {done.multiple} from {done.smallest} up"
    height_width = f"{done.side} x {done.side}" if done.side else free
    compared = ", ".join(f"{height}x{width}" for height, width in done.sizes)
    print(f"input    {INPUT}: (batch, 3, height, width), float32 in [0, 1], not normalised")
    print(f"sizes    any batch; height and width: {height_width}")
    print(f"output   {OUTPUT}: (batch, 1, height, width), of tampering, in [0, 1]")
    print(f"compared with torch at {compared}")
    print(f"largest difference {done.max_difference:.2g} (allowed: {TOLERANCE:g})")
    print(f"wrote    {output}")
