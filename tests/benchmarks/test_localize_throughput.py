"""Reading and writing beside the computation: photographs per second of `ansm localize`.

`python tests/benchmarks/test_localize_throughput.py --base DIR [--photos 12] [--localizer NAME]
[--ansm FILE]` runs this tree and an older one (`git archive REVISION | tar -x -C DIR`) in turns,
each in a process of its own, on the same generated JPEG files of 12 megapixels, and prints the
ratio of wall time and of processor time. Masks must be equal in all bits.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from ansm_plugin.data.photographs import packaged
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.png import write_png
from ansm_plugin.system.ahead import overlapped

HEIGHT, WIDTH = 3000, 4000
ROOT = Path(__file__).parents[2]
GAIN = 1.3  # of throughput, the aim
PNG_GAIN = 1.5  # of a PNG file's time to Pillow's, at least, also with zlib
STEP = 0.05  # seconds
WORKER = r"""
import contextlib, io, json, sys, time
root, output, *arguments = sys.argv[1:]
sys.path[:0] = [root, root + "/tests"]
from ansm_plugin import cli
assert cli.__file__.startswith(root), cli.__file__
import ansm_plugin.commands.localize, ansm_plugin.commands.photographs
wall, processor = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(io.StringIO()):
    assert cli.main(["localize", *arguments, "--output", output]) == 0
print(json.dumps([time.perf_counter() - wall, time.process_time() - processor]))
"""


def photograph(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Return a packaged photograph laid side by side, with a camera's noise."""
    rng = np.random.default_rng(seed)
    pictures = packaged("test")
    tile = pictures[seed % len(pictures)]
    repeats = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
    laid = np.tile(tile, repeats)[:height, :width]
    noise = rng.integers(-4, 5, (height, width, 1), dtype=np.int16)
    return (laid + noise).clip(0, 255).astype(np.uint8)


def measure(root: Path, folder: Path, output: Path, options: Sequence[str]) -> tuple[float, float]:
    """Return wall and processor seconds of a run over a folder."""
    code = [sys.executable, "-c", WORKER, str(root), str(output), str(folder), *options]
    done = subprocess.run(code, capture_output=True, text=True, check=False, cwd=output.parent)
    assert done.returncode == 0, done.stderr
    wall, processor = json.loads(done.stdout.splitlines()[-1])
    return wall, processor


def masks(output: Path) -> dict[str, bytes]:
    """Return the pixels of each mask."""
    found = sorted(output.glob("*-mask.png"))
    return {p.name: np.asarray(Image.open(p)).tobytes() for p in found}


# --- pytest -------------------------------------------------------------------------------------


def shortest(step: Callable[[], object], rounds: int = 3) -> float:
    """Return the least processor time of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        step()
        times.append(time.thread_time() - start)
    return min(times)


def test_a_png_takes_less_than_pillow_s_time() -> None:
    pixels = photograph(0, 600, 800)
    picture = Image.fromarray(pixels)
    pillow = shortest(lambda: picture.save(io.BytesIO(), "PNG", compress_level=1))
    ours = shortest(lambda: write_png(io.BytesIO(), pixels))
    assert pillow / ours >= PNG_GAIN


def test_three_steps_take_little_more_than_one() -> None:
    def step(*_: int) -> int:
        time.sleep(STEP)
        return 0

    def gain() -> float:
        start = time.perf_counter()
        list(overlapped(range(10), step, step, step))
        return 30 * STEP / (time.perf_counter() - start)

    assert any(gain() >= 1.5 for _ in range(3))  # 2.5 without anything around it


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both trees and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="an older tree")
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--localizer", default="forensic-unet")
    parser.add_argument("--ansm", default="", help="weights of its ANSM; default: bare")
    given = parser.parse_args(argv)
    defence = ["--ansm", given.ansm] if given.ansm else ["--bare"]
    options = ["--localizer", given.localizer, *defence]
    trees = {"base": given.base.resolve(), "this": ROOT}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    found: dict[str, dict[str, bytes]] = {}
    with tempfile.TemporaryDirectory() as folder:
        album = Path(folder) / "album"
        album.mkdir()
        for seed in range(given.photos):
            Image.fromarray(photograph(seed)).save(album / f"{seed}.jpg", quality=92)
        for number in range(given.rounds):
            for name, root in trees.items():
                output = Path(folder) / f"{name}{number}"
                times[name].append(measure(root, album, output, options))
                found[name] = masks(output)
    assert found["base"] == found["this"], "the masks differ"
    for index, kind in enumerate(("wall", "processor")):
        base, this = (median(t[index] for t in times[name]) for name in trees)
        print(
            f"{kind}: {base:.1f} s, now {this:.1f} s; throughput x {base / this:.2f} (aim {GAIN})"
        )


if __name__ == "__main__":
    main()
