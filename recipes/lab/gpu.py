"""The table of a GPU: attacks, module and training beside what they were and what they shall be.

    bash recipes/lab/gpu.sh [--dry] [--json FILE]
    PYTHONPATH=recipes python -m lab.gpu [--dry] [--json FILE]

The first runs the tests of `tests/gpu` before.
`--dry` runs every row at the smallest size on the CPU, so that each is known to work, and prints
the table with "not measured" in place of figures, as wherever there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ansm_plugin.system.device import hardware
from lab import gpu_attacks, gpu_forward, gpu_training
from lab.gpu_clock import NOT_MEASURED, Row, Scale, dry, full

ROWS = (*gpu_attacks.ROWS, *gpu_forward.ROWS, *gpu_training.ROWS)
Say = Callable[[str], None]


def measured(rows: Sequence[Row], scale: Scale, say: Say) -> list[str]:
    """Return the figures of each row; one that fails says why, and the others go on."""
    figures = []
    for row in rows:
        began = time.perf_counter()
        try:
            found = row.measure(scale)
        except Exception as error:
            say(f"failed: {row.what}: {type(error).__name__}: {error}")
            found = f"failed: {type(error).__name__}"
        say(f"{row.what}: {found} (in {time.perf_counter() - began:.0f} s)")
        figures.append(found)
    return figures


def table(rows: Sequence[Row], figures: Sequence[str], device: str) -> str:
    """Return the table in Markdown."""
    lines = [f"| measured on {device} | before (H100) | goal | now |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.before} | {row.goal} | {found} |"
        for row, found in zip(rows, figures, strict=True)
    ]
    return "\n".join(lines)


def shown(figures: Sequence[str], device: torch.device) -> list[str]:
    """Return figures as the table has them: those of a CPU say nothing of a GPU."""
    if device.type != "cpu":
        return list(figures)
    return [f if f.startswith("failed") else NOT_MEASURED for f in figures]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 where a row failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="smallest sizes on the CPU, no figures")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args(argv)
    scale = dry() if given.dry else full()
    if scale.device.type == "cpu" and not given.dry:
        print("there is no GPU here; --dry runs every row at the smallest size on the CPU.")
        return 2
    figures = measured(ROWS, scale, lambda text: print(text, file=sys.stderr, flush=True))
    cells, device = shown(figures, scale.device), hardware(scale.device)
    print(table(ROWS, cells, f"{device}, torch {torch.__version__}"))
    if given.json is not None:
        found = {row.what: cell for row, cell in zip(ROWS, cells, strict=True)}
        text = json.dumps({"device": device, "torch": str(torch.__version__), "now": found})
        given.json.write_text(text)
    return int(any(figure.startswith("failed") for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
