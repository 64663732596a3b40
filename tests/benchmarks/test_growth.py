"""How time and memory grow with image size, batch and number of images, on a tiny localizer.

`python tests/benchmarks/test_growth.py [--output growth.png]` fits `cost = c * n ** exponent` to
processor time and peak memory of a defended forward pass, of one attack and of a whole evaluation,
prints the exponents and draws the points. Work is proportional to each variable, so an exponent of
1 is all there should be; fixed costs pull it below 1. Against processes (gloo, on this machine) the
same evaluation is shared: what the busiest of them takes should fall as 1 / n, its memory not grow.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.processes import ALONE, Processes, processes

LIMIT = 1.25  # exponent of anything
SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
PER_SAMPLE = 4  # images that `evaluate` works on at once
Job = Callable[[], object]


class Point(NamedTuple):
    """What one size of a job costs."""

    size: float
    seconds: float
    bytes: float


class Axis(NamedTuple):
    """A job, what it is measured against, sizes of that, and how to make the job of a size."""

    job: str
    variable: str
    sizes: tuple[int, ...]
    make: Callable[[int], Job]

    @property
    def label(self) -> str:
        """What the row is called."""
        return f"{self.job} | {self.variable}"


# --- jobs ---------------------------------------------------------------------------------------


def pair() -> DefendedLocalizer[nn.Module]:
    """Return a localizer of two convolutions behind the cheapest preset, with a head that acts."""
    torch.manual_seed(0)
    tiny: nn.Module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    defended = wrap_with_ansm(tiny, ansm="tiny", spec=SPEC)
    nn.init.normal_(defended.ansm.trunk.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    return defended


def forged(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Return random images and masks whose left half is forged."""
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(count, 1, side, side)
    masks[..., : side // 2] = 1
    return images, masks


def forward_job(count: int, side: int) -> Job:
    """Return a defended forward pass."""
    defended, (images, _) = pair(), forged(count, side)
    forward = mask_forward(defended, SPEC)
    return torch.no_grad()(lambda: forward(images))


def attack_job(count: int, side: int) -> Job:
    """Return PGD of three steps on the bare localizer."""
    bare, (images, masks) = mask_forward(pair().localizer, SPEC), forged(count, side)
    spec = attack_spec("pgd", steps=3)
    return lambda: run_attack(
        bare, images, masks, 8 / 255, spec, generator=torch.Generator().manual_seed(0)
    )


def evaluate_job(count: int, side: int, among: Processes = ALONE) -> Job:
    """Return an evaluation of `count` images, a few at a time."""
    defended, names = pair(), tuple(map(str, range(PER_SAMPLE)))
    samples = [Sample(*forged(PER_SAMPLE, side), names) for _ in range(count // PER_SAMPLE)]
    config = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=2, white_box_steps=0)
    return lambda: evaluate(defended, samples, config, among=among)


def axes(sides: tuple[int, ...], counts: tuple[int, ...], side: int) -> list[Axis]:
    """Return every job against pixels, batch or number of images."""
    batches = tuple(PER_SAMPLE * n for n in counts)
    return [
        Axis("forward", "pixels", sides, lambda s: forward_job(1, s)),
        Axis("forward", "batch", counts, lambda n: forward_job(n, side)),
        Axis("attack", "pixels", sides, lambda s: attack_job(1, s)),
        Axis("attack", "batch", counts, lambda n: attack_job(n, side)),
        Axis("evaluate", "pixels", sides, lambda s: evaluate_job(PER_SAMPLE, s)),
        Axis("evaluate", "images", batches, lambda n: evaluate_job(n, side)),
    ]


# --- measuring ----------------------------------------------------------------------------------


def measured(axis: Axis, rounds: int = 3) -> list[Point]:
    """Return the cost at each size; sizes take turns, the fastest round counts."""
    jobs = {size: axis.make(size) for size in axis.sizes}
    for job in jobs.values():
        job()  # warms up
    taken: dict[int, list[float]] = {size: [] for size in jobs}
    for _ in range(rounds):
        for size, job in jobs.items():
            taken[size].append(processor_seconds(job))
    power = 2 if axis.variable == "pixels" else 1
    return [Point(s**power, min(taken[s]), peak_bytes(job)) for s, job in jobs.items()]


def processor_seconds(job: Job) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    job()
    return time.process_time() - start


def peak_bytes(job: Job) -> float:
    """Return the most bytes that tensors held at once beyond those that were there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        job()
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return float(np.cumsum([change for _, change in sorted(changes)]).max())


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of log cost over log size by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0])


def exponents(points: Sequence[Point]) -> tuple[float, float]:
    """Return the exponents of time and of memory."""
    sizes, seconds, peaks = zip(*points, strict=True)
    return exponent(sizes, seconds), exponent(sizes, peaks)


# --- several processes --------------------------------------------------------------------------


def shared(counts: Sequence[int], images: int, side: int) -> list[Point]:
    """Return what the busiest process takes of one evaluation, by the number of processes."""
    found = []
    for count in counts:
        parts = _started(count, images, side)
        found.append(Point(count, *(max(part[i] for part in parts) for i in (0, 1))))
    return found


def _started(count: int, images: int, side: int) -> list[list[float]]:
    """Start the workers as torchrun does; return processor seconds and bytes of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, __file__, "--worker", str(images), str(side)]
    workers = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]  # fmt: skip
    said = [worker.communicate(timeout=300)[0] for worker in workers]
    assert not any(worker.returncode for worker in workers)
    return [json.loads(text.splitlines()[-1]) for text in said]


def work(images: int, side: int) -> None:
    """Be one of the processes; print processor seconds and bytes."""
    job = evaluate_job(images, side, processes())
    job()  # warms up
    print(json.dumps([min(processor_seconds(job) for _ in range(3)), peak_bytes(job)]))


def draw(curves: dict[str, list[Point]], path: Path) -> None:
    """Write a PNG: time beside memory, both axes logarithmic, relative to the smallest size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    for plot, field in zip(figure.subplots(1, 2), ("seconds", "bytes"), strict=True):
        for label, points in curves.items():
            first = points[0]
            x = [p.size / first.size for p in points]
            plot.loglog(
                x,
                [getattr(p, field) / getattr(first, field) for p in points],
                marker="o",
                label=label.replace(" | ", ", "),
            )
        widest = max(points[-1].size / points[0].size for points in curves.values())
        plot.loglog([1, widest], [1, widest], "k:", label="proportional")
        plot.set_xlabel("size, smallest = 1")
        plot.set_ylabel("processor time" if field == "seconds" else "peak memory")
    plot.legend()
    figure.savefig(path, dpi=120)


# --- pytest -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # the profiler speaks of its own threads
@pytest.mark.parametrize(
    "axis", axes(sides=(48, 96, 192), counts=(1, 2, 4), side=48), ids=lambda a: a.label
)
def test_nothing_grows_faster_than_its_work(axis: Axis) -> None:
    time_grows, memory_grows = exponents(measured(axis))
    if time_grows > LIMIT:  # another process may have taken the cache meanwhile
        time_grows = min(exponents(measured(axis))[0] for _ in range(2))
    assert time_grows <= LIMIT
    assert memory_grows <= LIMIT


def test_evaluation_keeps_no_images() -> None:
    """Its memory depends on what it works on at once, not on how many images there are."""
    few, many = (peak_bytes(evaluate_job(PER_SAMPLE * n, 48)) for n in (1, 4))
    assert many < 1.5 * few


def test_processes_share_time_and_need_no_more_memory() -> None:
    one, two = shared((1, 2), images=16, side=96)
    if two.seconds >= 0.8 * one.seconds:  # another process may have taken the cache meanwhile
        one, two = shared((1, 2), images=16, side=96)
    assert two.seconds < 0.8 * one.seconds  # half, and what each does for itself
    assert two.bytes < 1.1 * one.bytes


def test_exponents_are_slopes() -> None:
    sizes = [1.0, 2.0, 4.0]
    assert exponent(sizes, [3 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [7.0, 7.0, 7.0]) == pytest.approx(0)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all, print the exponents and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, metavar="FILE.png")
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.worker:
        work(*given.worker)
        return
    chosen = axes(sides=(64, 128, 256, 512), counts=(1, 2, 4, 8), side=128)
    curves = {axis.label: measured(axis) for axis in chosen}
    print("| job | against | sizes | exponent of time | exponent of memory |")
    print("|---|---|---|---|---|")
    for axis in chosen:
        in_time, in_memory = exponents(curves[axis.label])
        sizes = f"{axis.sizes[0]} to {axis.sizes[-1]}"
        sizes += " squared" if axis.variable == "pixels" else ""
        print(f"| {axis.label} | {sizes} | {in_time:.2f} | {in_memory:.2f} |")
    by_process = shared((1, 2), images=64, side=128)
    in_time, in_memory = exponents(by_process)
    print(f"| evaluate | processes | 1 to 2 | {in_time:.2f} (aim: -1) | {in_memory:.2f} (aim: 0) |")
    print(f"\nAim: at most {LIMIT}. Processor time, {torch.get_num_threads()} threads.")
    if given.output:
        draw(curves, given.output)


if __name__ == "__main__":
    main()
