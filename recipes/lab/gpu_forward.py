"""Rows of `lab.gpu`: what ANSM `small` costs beside `smp.Unet("resnet34")`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer.quick import LAYOUTS, fastest
from ansm_plugin.system.device import tf32
from lab.gpu_attacks import UNET
from lab.gpu_clock import Row, Scale, seconds, seconds_by_turns

Call = Callable[[], Tensor]
Way = Callable[[nn.Module, Tensor, Scale], Call]


def small(batch: int) -> Callable[[Scale], str]:
    """Return what measures the row of a batch: eager and as a graph in tf32, as a graph in bf16.

    Each network is in the memory layout that is faster for it in that way; bf16 is that of weights
    that were cast once.
    """

    def measure(scale: Scale) -> str:
        ways: dict[str, Way] = {
            "eager tf32": eager, "graph tf32": graph, "graph bf16": in_bf16
        }  # fmt: skip
        return "; ".join(f"{name} {ratio(batch, scale, way):.3f}" for name, way in ways.items())

    return measure


ROWS = (
    Row(
        "ANSM `small` over that U-Net, 512x512, batch 1: eager tf32 / as one CUDA graph tf32 / "
        "graph bf16",
        "0.45 / 0.113 / 0.213",
        "0.15 / 0.08 / 0.10",
        small(1),
    ),
    Row("the same, batch 8, tf32 / bf16", "0.203 / 0.223", "0.10 / 0.12", small(8)),
)


def ratio(batch: int, scale: Scale, way: Way) -> float:
    """Return the seconds of the module over those of the localizer, both run in one way."""
    side = scale.forward_side
    pixels = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    networks = {"ansm": ANSM("small"), "localizer": build_architecture(UNET)}
    with torch.no_grad(), tf32(scale.device, on=True):
        runs = {
            name: laid_out(network.eval().to(scale.device), pixels.to(scale.device), scale, way)
            for name, network in networks.items()
        }
        taken = seconds_by_turns(runs, scale)
    return taken["ansm"] / taken["localizer"]


def laid_out(network: nn.Module, pixels: Tensor, scale: Scale, way: Way) -> Call:
    """Return the run of a network in the memory layout in which it is faster."""

    def run(layout: torch.memory_format) -> Call:
        placed = copy.deepcopy(network).to(memory_format=layout)
        return way(placed, pixels.to(memory_format=layout), scale)

    return run(fastest(LAYOUTS, lambda layout: seconds(run(layout), scale)))


def eager(network: nn.Module, pixels: Tensor, scale: Scale) -> Call:
    """Return the run of a network as it is."""
    return partial(network, pixels)


def in_bf16(network: nn.Module, pixels: Tensor, scale: Scale) -> Call:
    """Return the run of a network whose weights are bf16, as a graph."""
    return graph(network.to(torch.bfloat16), pixels.to(torch.bfloat16), scale)


def graph(network: nn.Module, pixels: Tensor, scale: Scale) -> Call:
    """Return the run of a network as one CUDA graph; on another device as it is."""
    if scale.device.type != "cuda":
        return eager(network, pixels, scale)
    aside = torch.cuda.Stream(scale.device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(scale.device))
    with torch.cuda.stream(aside):
        for _ in range(3):
            network(pixels)
    torch.cuda.current_stream(scale.device).wait_stream(aside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        made = network(pixels)

    def replay() -> Tensor:
        captured.replay()
        return made  # type: ignore[no-any-return]

    return replay
