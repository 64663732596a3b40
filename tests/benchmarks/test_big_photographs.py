"""Photographs of many megapixels: what tiles cost, what their seams change, what memory they take.

`python tests/benchmarks/test_big_photographs.py [--megapixels 24 100] [--side 2048]` prints two
tables for the embedded localizer and its ANSM: tiles beside the whole photograph, in turns in one
process, and `ansm localize` on large files, each in a process of its own. With `--evaluate` the
same for `ansm evaluate` (T0, and one step of PGD under T1; `--side 1536` fits into 8 GB).

The bounds: a command takes at most so many bytes per pixel of the photograph and for a tile of 1024
pixels (`BOUNDS`), beyond what a photograph of 64 pixels takes.
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
from ansm_plugin.cli import _keep_freed_memory
from ansm_plugin.data.forgeries import ForgeryConfig, forge
from ansm_plugin.data.photographs import packaged
from ansm_plugin.data.pixels import Pixels, to_tensor
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import OVERLAP, TILE
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.photograph import localize_image

CHANGED = 0.005  # share of pixels that seams may decide otherwise
THROUGHPUT = 0.8  # of the whole photograph's, at least
BOUNDS = {"localize": (24, 0.8e9), "evaluate": (64, 3.0e9)}  # bytes per pixel, and for a tile
ROUNDS = 3
BLOCK = 256  # large photographs are laid out of forged crops of this side
WORKER = r"""
import json, re, sys, time
from pathlib import Path
from ansm_plugin.cli import main
command, small, large, tile, *options = sys.argv[1:]
def arguments(photo):
    if command == "localize":
        return [command, photo, "--output", photo + "-out", *options]
    folder = Path(photo).parent
    pair = ["--images", str(folder), "--masks", str(folder / "masks")]
    effort = "--threat T0,T1 --attacks pgd --eps 8 --attack-steps 1 --baselines none".split()
    return [command, *pair, "--pattern", Path(photo).name, *effort, *options]
def peak():  # ru_maxrss would begin with what the parent process held
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
assert main(arguments(small)) == 0
before, start = peak(), time.process_time()
assert main([*arguments(large), "--tile", tile]) == 0
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


def evaluated(
    pair: DefendedLocalizer[nn.Module], side: int, tile: int, rounds: int = 1
) -> tuple[float, float]:
    """Return the largest difference of F1, and throughput, of an evaluation in tiles of one whole.

    Each beside the photograph in one piece: T0, and PGD of two steps under T1, in bf16.
    """
    pixels = photograph(side, side)
    masks = torch.zeros(1, 1, side, side)
    masks[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    samples = [Sample(to_tensor(pixels), masks, ("photograph",))]
    times: dict[int, list[float]] = {side: [], tile: []}
    f1: dict[int, list[float]] = {}
    for _ in range(rounds):
        for chosen in times:
            config = EvaluationConfig(
                threats=("T0", "T1"), attacks=("pgd",), eps_255=(8,), steps=2,
                attack_precision="bf16", tile=chosen,
            )  # fmt: skip
            start = time.process_time()
            f1[chosen] = [row.f1 for row in evaluate(pair, samples, config).rows]
            times[chosen].append(time.process_time() - start)
    change = max(abs(a - b) for a, b in zip(f1[side], f1[tile], strict=True))
    return change, median(times[side]) / median(times[tile])


# --- memory -------------------------------------------------------------------------------------


def run_alone(
    command: str, folder: Path, height: int, width: int, tile: int, *options: str
) -> dict[str, float]:
    """Return bytes and processor seconds that a command adds for one photograph."""
    files = [folder / "small.png", folder / "large.png"]
    (folder / "masks").mkdir()
    for file, (h, w) in zip(files, [(64, 64), (height, width)], strict=True):
        Image.fromarray(photograph(h, w)).save(file, compress_level=0)
        mask = np.zeros((h, w), np.uint8)
        mask[h // 4 : h // 2, w // 4 : w // 2] = 255
        Image.fromarray(mask).save(folder / "masks" / file.name)
    done = subprocess.run(
        [sys.executable, "-c", WORKER, command, *map(str, files), str(tile), *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def bound(command: str, pixels: int, tile: int = TILE) -> float:
    """Return the most bytes that a photograph may take."""
    per_pixel, for_a_tile = BOUNDS[command]
    return per_pixel * pixels + for_a_tile * (tile / TILE) ** 2


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
    used = run_alone("localize", tmp_path, 1600, 2000, 256)
    assert 0 < used["bytes"] <= bound("localize", 1600 * 2000, 256)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_of_an_evaluation_of_24_megapixels_stays_within_its_bound(tmp_path: Path) -> None:
    used = run_alone("evaluate", tmp_path, 4000, 6000, TILE)
    assert 0 < used["bytes"] <= bound("evaluate", 4000 * 6000)


@pytest.mark.slow
def test_tiles_cost_an_evaluation_little() -> None:
    change, throughput = evaluated(embedded(), 1536, 1024)
    assert change <= 0.02
    assert throughput >= THROUGHPUT


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both tables and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs="*", default=[24, 100])
    parser.add_argument("--side", type=int, default=2048, help="of the photograph in one piece")
    parser.add_argument("--tile", type=int, default=TILE)
    parser.add_argument("--evaluate", action="store_true", help="instead of `ansm localize`")
    given = parser.parse_args(argv)
    _keep_freed_memory()  # as `ansm` does; without it the whole photograph loses more
    command = "evaluate" if given.evaluate else "localize"
    _print_evaluation(given) if given.evaluate else _print_seams(given)
    _print_memory(command, given.megapixels, given.tile)


def _print_evaluation(given: argparse.Namespace) -> None:
    change, throughput = evaluated(embedded(), given.side, given.tile)
    print(
        f"{given.side}x{given.side} in tiles of {given.tile}: F1 differs by {change:.4f} at most,"
    )
    print(f"at {throughput:.2f} times the throughput (aim: {THROUGHPUT}).\n")


def _print_seams(given: argparse.Namespace) -> None:
    tiles = [(given.tile, OVERLAP), (768, OVERLAP), (512, OVERLAP), (given.tile, 32)]
    found = seams(embedded(), photograph(given.side, given.side), tiles)
    print(f"| tile | overlap | decisions changed, {given.side}x{given.side} | throughput x whole |")
    print("|---|---|---|---|")
    for (tile, overlap), (changed, speed) in found.items():
        print(f"| {tile} | {overlap} | {changed:.4%} | {speed:.2f} |", flush=True)
    print(f"\nAims: at most {CHANGED:.1%} and at least {THROUGHPUT}, of the first row.\n")


def _print_memory(command: str, megapixels: Sequence[float], tile: int) -> None:
    print("| megapixels | CPU seconds | MP per CPU second | peak GB beyond a tiny one | bound |")
    print("|---|---|---|---|---|")
    for count in megapixels:
        height = math.isqrt(round(count * 1e6 * 2 / 3))
        width = round(count * 1e6 / height)
        with tempfile.TemporaryDirectory() as folder:
            used = run_alone(command, Path(folder), height, width, tile)
        print(
            f"| {count:g} | {used['seconds']:.0f} | {count / used['seconds']:.2f} "
            f"| {used['bytes'] / 1e9:.2f} | {bound(command, height * width, tile) / 1e9:.2f} |",
            flush=True,
        )
    print(f"\n{torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()
