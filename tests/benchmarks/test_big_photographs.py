"""Photographs of many megapixels: what tiles cost, what their seams change, what memory they take.

`python tests/benchmarks/test_big_photographs.py [--megapixels 24 100] [--side 2048]` prints two
tables for the embedded localizer and its ANSM: tiles beside the whole photograph, in turns in one
process, and `ansm localize` on large files, each in a process of its own.

The bound: `ansm localize` takes at most `BYTES_PER_PIXEL` bytes per pixel of the photograph and
`TILE_BYTES` for a tile of 1024 pixels, beyond what a photograph of 64 pixels takes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer, packaged_ansm
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.forgeries import ForgeryConfig, Pixels, forge
from ansm_plugin.localize import OVERLAP, TILE, localize_image
from ansm_plugin.photographs import packaged

CHANGED = 0.005  # share of pixels that seams may decide otherwise
THROUGHPUT = 0.8  # of the whole photograph's, at least
BYTES_PER_PIXEL = 16
TILE_BYTES = 0.8e9
ROUNDS = 3
BLOCK = 256  # large photographs are laid out of forged crops of this side
WORKER = r"""
import json, re, sys, time
from pathlib import Path
from ansm_plugin.cli import main
small, large, tile, *options = sys.argv[1:]
def peak():  # ru_maxrss would begin with what the parent process held
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
assert main(["localize", small, "--output", small + "-out", *options]) == 0
before, start = peak(), time.process_time()
assert main(["localize", large, "--output", large + "-out", "--tile", tile, *options]) == 0
print(json.dumps({"bytes": peak() - before, "seconds": time.process_time() - start}))
"""


def photograph(height: int, width: int, seed: int = 0) -> Pixels:
    """Return forged crops of packaged photographs beside each other, `(height, width, 3)`."""
    rng = np.random.default_rng(seed)
    hosts = [p for p in packaged("test") if min(p.shape[:2]) >= BLOCK]
    crops = [forge(hosts, ForgeryConfig(size=BLOCK), rng)[0] for _ in range(12)]
    laid = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            hole = laid[top : top + BLOCK, left : left + BLOCK]
            hole[:] = crops[rng.integers(len(crops))][: hole.shape[0], : hole.shape[1]]
    return laid


def embedded() -> DefendedLocalizer[nn.Module]:
    """Return the embedded pair."""
    return wrap_with_ansm(build_localizer(DEFAULT_LOCALIZER), str(packaged_ansm()))


# --- seams and throughput -----------------------------------------------------------------------


def seams(
    pair: DefendedLocalizer[nn.Module],
    pixels: Pixels,
    tiles: Sequence[tuple[int, int]],
    rounds: int = ROUNDS,
) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the share of changed decisions and the throughput, each beside the whole.

    Args:
        pair: a defended localizer.
        pixels: a photograph that fits in one piece.
        tiles: (tile, overlap) to compare.
        rounds: measured rounds, in turns; processor time counts.
    """
    whole_side = max(2 * OVERLAP, *pixels.shape[:2])
    choices = [(whole_side, OVERLAP), *tiles]
    times: dict[tuple[int, int], list[float]] = {choice: [] for choice in choices}
    decided: dict[tuple[int, int], Any] = {}
    for _ in range(rounds):
        for tile, overlap in choices:
            start = time.process_time()
            found = localize_image(pair, pair.spec, pixels, tile=tile, overlap=overlap)
            times[tile, overlap].append(time.process_time() - start)
            decided[tile, overlap] = found > 0.5
    first = choices[0]
    return {
        c: (float((decided[c] != decided[first]).mean()), median(times[first]) / median(times[c]))
        for c in tiles
    }


# --- memory -------------------------------------------------------------------------------------


def run_alone(folder: Path, height: int, width: int, tile: int, *options: str) -> dict[str, float]:
    """Return bytes and processor seconds that `ansm localize` adds for one photograph."""
    files = [folder / "small.png", folder / "large.png"]
    for file, (h, w) in zip(files, [(64, 64), (height, width)], strict=True):
        Image.fromarray(photograph(h, w)).save(file, compress_level=0)
    done = subprocess.run(
        [sys.executable, "-c", WORKER, *map(str, files), str(tile), *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def bound(pixels: int, tile: int = TILE) -> float:
    """Return the most bytes that a photograph may take."""
    return BYTES_PER_PIXEL * pixels + TILE_BYTES * (tile / TILE) ** 2


# --- pytest -------------------------------------------------------------------------------------


def test_seams_change_few_decisions() -> None:
    pair = embedded()
    found = seams(pair, photograph(384, 512), [(256, 96)], rounds=1)
    assert found[256, 96][0] <= CHANGED


def test_default_tiles_compute_few_pixels_twice() -> None:
    """So that throughput holds where a large map costs no more per pixel than a small one."""
    assert (TILE / (TILE - OVERLAP)) ** 2 <= 1 / THROUGHPUT


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_stays_within_its_bound(tmp_path: Path) -> None:
    used = run_alone(tmp_path, 1600, 2000, 256)
    assert 0 < used["bytes"] <= bound(1600 * 2000, 256)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both tables and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs="*", default=[24, 100])
    parser.add_argument("--side", type=int, default=2048, help="of the photograph in one piece")
    parser.add_argument("--tile", type=int, default=TILE)
    given = parser.parse_args(argv)
    tiles = [(given.tile, OVERLAP), (768, OVERLAP), (512, OVERLAP), (given.tile, 32)]
    found = seams(embedded(), photograph(given.side, given.side), tiles)
    print(f"| tile | overlap | decisions changed, {given.side}x{given.side} | throughput x whole |")
    print("|---|---|---|---|")
    for (tile, overlap), (changed, speed) in found.items():
        print(f"| {tile} | {overlap} | {changed:.4%} | {speed:.2f} |", flush=True)
    print(f"\nAims: at most {CHANGED:.1%} and at least {THROUGHPUT}, of the first row.\n")
    print("| megapixels | CPU seconds | MP per CPU second | peak GB beyond a tiny one | bound |")
    print("|---|---|---|---|---|")
    for megapixels in given.megapixels:
        height = math.isqrt(round(megapixels * 1e6 * 2 / 3))
        width = round(megapixels * 1e6 / height)
        with tempfile.TemporaryDirectory() as folder:
            used = run_alone(Path(folder), height, width, given.tile)
        print(
            f"| {megapixels:g} | {used['seconds']:.0f} | {megapixels / used['seconds']:.2f} "
            f"| {used['bytes'] / 1e9:.2f} | {bound(height * width, given.tile) / 1e9:.2f} |",
            flush=True,
        )
    print(f"\n{torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()
