"""Forward cost of each ANSM preset beside localizers, side by side in one process.

`python tests/benchmarks/test_forward_cost.py` prints the table of recipes/README.md;
`pytest tests/benchmarks --benchmark-only` gives the statistics of each network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ansm_plugin.ansm import ANSM, PRESETS
from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_architecture

SIZE = 512  # pixels on each side
YARDSTICK = "smp:Unet?encoder_name=resnet34"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    YARDSTICK: lambda: build_architecture(YARDSTICK),
    DEFAULT_LOCALIZER: lambda: build_architecture(DEFAULT_LOCALIZER),
    **{f"ANSM {name}": (lambda name=name: ANSM(name)) for name in PRESETS},
}


def build(name: str) -> nn.Module:
    """Return a network in eval mode and channels_last."""
    return NETWORKS[name]().eval().to(memory_format=torch.channels_last)


def image() -> Tensor:
    """Return one image `(1, 3, SIZE, SIZE)` in [0, 1]."""
    return torch.rand(1, 3, SIZE, SIZE).to(memory_format=torch.channels_last)


def gmac(name: str) -> float:
    """Return 10^9 multiply-adds of one forward pass, counted without computing."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        NETWORKS[name]().eval()(torch.rand(1, 3, SIZE, SIZE))
    return float(counter.get_total_flops()) / 2e9


@pytest.mark.parametrize("name", NETWORKS)
def test_forward(benchmark: Any, name: str) -> None:
    """One forward pass of one image."""
    network, pixels = build(name), image()
    with torch.inference_mode():
        benchmark.pedantic(network, args=(pixels,), rounds=3, warmup_rounds=1)


def seconds(rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of each network; rounds are interleaved, so noise is shared."""
    networks, pixels = {name: build(name) for name in NETWORKS}, image()
    times: dict[str, list[float]] = {name: [] for name in NETWORKS}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, network in networks.items():
                start = time.perf_counter()
                network(pixels)
                times[name].append(time.perf_counter() - start)
    return {name: median(t[1:]) for name, t in times.items()}  # the first round warms up


def main() -> None:
    """Print a Markdown table of cost, each as a ratio to both localizers."""
    taken, counted = seconds(), {name: gmac(name) for name in NETWORKS}
    print("| network | GMAC | x Unet-R34 | time x Unet-R34 | time x embedded localizer |")
    print("|---|---|---|---|---|")
    for name in NETWORKS:
        print(
            f"| {name} | {counted[name]:.1f} | {counted[name] / counted[YARDSTICK]:.2f} "
            f"| {taken[name] / taken[YARDSTICK]:.2f} "
            f"| {taken[name] / taken[DEFAULT_LOCALIZER]:.2f} |"
        )


if __name__ == "__main__":
    main()
