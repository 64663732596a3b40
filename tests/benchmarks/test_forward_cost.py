"""Forward cost of each ANSM preset and of rival defences before a localizer, in one process.

`python tests/benchmarks/test_forward_cost.py [--quick] [--compile] [--clock cpu] [--device cuda]`
prints the table of recipes/README.md: time as a ratio to `smp.Unet("resnet34")` under the same
conditions, networks taking turns, so that they share the noise of the machine.
`pytest tests/benchmarks --benchmark-only` gives the statistics of each light network.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ansm_plugin.ansm import ANSM, PRESETS
from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_architecture
from ansm_plugin.baselines.filters import Jpeg, Median
from ansm_plugin.defended import wrap_with_ansm

SIZE = 512  # pixels on each side
YARDSTICK = "smp:Unet?encoder_name=resnet34"
AIM = 0.12  # of the yardstick's time, by "small" or a cheaper way to compute it
ROUNDS = 7  # measured rounds of light networks
MEDIUM, HEAVY, HUGE = 50.0, 200.0, 1000.0  # GMAC, from which networks take part in fewer rounds
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Call = Callable[[Tensor], Any]


class Way(NamedTuple):
    """Under which conditions networks are compared."""

    precision: str
    is_channels_last: bool

    @property
    def label(self) -> str:
        """What the column is called."""
        return f"{self.precision} channels_last" if self.is_channels_last else self.precision


WAYS = tuple(Way(p, c) for p in ("fp32", "bf16") for c in (False, True))


# --- networks -----------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.body(x)
        return total


class Dense(nn.Module):
    """Five 3x3 convolutions, each of which sees the outputs of all before it."""

    def __init__(self, width: int = 64, growth: int = 32) -> None:
        super().__init__()
        ins = [width + i * growth for i in range(5)]
        self.convs = nn.ModuleList(conv(n, growth) for n in ins[:-1])
        self.last = conv(ins[-1], width)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.convs:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        out: Tensor = self.last(x)
        return out


def conv(ins: int, outs: int) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size."""
    return nn.Conv2d(ins, outs, 3, padding=1)


def dncnn() -> nn.Module:
    """Return DnCNN's shape: 17 layers of 64 channels (Zhang et al., TIP 2017)."""
    inner = [
        m for _ in range(15) for m in (conv(64, 64), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    ]
    return Residual(conv(3, 64), nn.ReLU(inplace=True), *inner, conv(64, 3))


def nrp_small() -> nn.Module:
    """Return a purifier as large as the smaller one of NRP (Naseer et al., CVPR 2020)."""
    blocks = [Residual(conv(64, 64), nn.ReLU(inplace=True), conv(64, 64)) for _ in range(23)]
    return nn.Sequential(conv(3, 64), *blocks, conv(64, 3))


def nrp() -> nn.Module:
    """Return a purifier as large as that of NRP: 23 groups of three dense blocks."""
    groups = [Residual(*(Residual(Dense()) for _ in range(3))) for _ in range(23)]
    return nn.Sequential(conv(3, 64), *groups, conv(64, 64), conv(64, 64), conv(64, 3))


def suppression() -> Call:
    """Return all that the pair does before its localizer: normalised input to normalised input."""
    return wrap_with_ansm(build_architecture(DEFAULT_LOCALIZER), ansm="small").suppress


NETWORKS: dict[str, Callable[[], Call]] = {
    YARDSTICK: lambda: build_architecture(YARDSTICK),
    DEFAULT_LOCALIZER: lambda: build_architecture(DEFAULT_LOCALIZER),
    **{f"ANSM {name}": partial(ANSM, name) for name in PRESETS},
    "ANSM small, bf16 inside": lambda: ANSM("small", precision="bf16"),
    "ANSM small, with clamp and normalisation": suppression,
    "DnCNN-17": dncnn,
    "smaller NRP size": nrp_small,
    "NRP size": nrp,
    "JPEG 90": lambda: Jpeg(90),
    "median 3x3": lambda: Median(3),
    "read and write the image once": lambda: torch.clone,
}


def compiled(name: str) -> Call:
    """Return a network behind torch.compile."""
    behind: Call = torch.compile(NETWORKS[name]())
    return behind


COMPILED: dict[str, Callable[[], Call]] = {
    f"{name}, torch.compile": partial(compiled, name)
    for name in (YARDSTICK, "ANSM small", "ANSM small, bf16 inside")
}
LIGHT = [n for n in NETWORKS if n not in ("ANSM hgd", "DnCNN-17", "smaller NRP size", "NRP size")]


def build(name: str, way: Way, device: str = "cpu") -> Call:
    """Return a network in eval mode; filters run in fp32, as they do before any localizer."""
    network = {**NETWORKS, **COMPILED}[name]()
    if isinstance(network, Jpeg | Median):
        in_fp32: Call = torch.autocast(device, enabled=False)(network)
        return in_fp32
    if not isinstance(network, nn.Module):
        return network
    placed: nn.Module = network.eval().to(device)
    return placed.to(memory_format=torch.channels_last) if way.is_channels_last else placed


def image(way: Way, size: int = SIZE, device: str = "cpu") -> Tensor:
    """Return one image `(1, 3, size, size)` in [0, 1]."""
    pixels = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    return pixels.to(memory_format=torch.channels_last) if way.is_channels_last else pixels


def gmac(name: str, size: int = SIZE) -> float:
    """Return 10^9 multiply-adds of one forward pass, counted without computing."""
    make = NETWORKS[name.partition(",")[0]]  # what follows a comma changes no multiply-add
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = make()
        if not isinstance(network, nn.Module):
            return 0.0
        network.eval()(torch.rand(1, 3, size, size))
    return float(counter.get_total_flops()) / 2e9


# --- measuring ----------------------------------------------------------------------------------


def turns(work: float, rounds: int = ROUNDS) -> int:
    """Return how many rounds a network of so many GMAC takes part in, the warming-up included."""
    if work > HEAVY:
        return 1  # seconds long: what warms up is lost in it
    return 3 if work > MEDIUM else rounds + 1


def seconds(
    names: Sequence[str],
    way: Way,
    work: dict[str, float],
    *,
    clock: str = "wall",
    size: int = SIZE,
    device: str = "cpu",
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Return the median seconds of each network; they take turns, so that noise is shared."""
    networks = {name: build(name, way, device) for name in names}
    pixels = image(way, size, device)
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=way.precision == "bf16"):
        for turn in range(rounds + 1):
            for name in names:
                if turn < turns(work[name], rounds):
                    times[name].append(_once(networks[name], pixels, CLOCKS[clock]))
    return {name: median(t[1:] or t) for name, t in times.items()}


def _once(network: Call, pixels: Tensor, clock: Callable[[], float]) -> float:
    start = clock()
    network(pixels)
    if pixels.is_cuda:
        torch.cuda.synchronize(pixels.device)  # kernels run behind the call
    return clock() - start


def is_measured(name: str, way: Way, work: dict[str, float]) -> bool:
    """Whether a network is run this way: the largest ones only the faster ways."""
    return way.is_channels_last or (work[name] <= HUGE and name not in COMPILED)


def table(
    names: Sequence[str], ways: Sequence[Way], taken: dict[Way, dict[str, float]]
) -> list[str]:
    """Return a Markdown table of cost as a ratio to the yardstick under the same conditions."""
    work = {name: gmac(name) for name in names}
    lines = [
        f"| network | GMAC | x | {' | '.join(f'time x, {way.label}' for way in ways)} |",
        "|---" * (3 + len(ways)) + "|",
    ]
    for name in names:
        cells = [
            f"{taken[way][name] / taken[way][YARDSTICK]:.3f}" if name in taken[way] else "-"
            for way in ways
        ]
        ratio = work[name] / work[YARDSTICK]
        lines.append(f"| {name} | {work[name]:.1f} | {ratio:.2f} | {' | '.join(cells)} |")
    return lines


# --- pytest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("NRP size",)])
def test_forward(benchmark: Any, name: str) -> None:
    """One forward pass of one image."""
    network, pixels = build(name, WAYS[1]), image(WAYS[1])
    with torch.inference_mode():
        benchmark.pedantic(network, args=(pixels,), rounds=3, warmup_rounds=1)


def test_the_table_has_a_row_per_network() -> None:
    names, way = [YARDSTICK, "ANSM tiny", "JPEG 90"], WAYS[1]
    taken = {way: seconds(names, way, dict.fromkeys(names, 1.0), size=32, rounds=1)}
    lines = table(names, [way], taken)
    assert len(lines) == 2 + len(names)
    assert lines[2].endswith("| 31.3 | 1.00 | 1.000 |")


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [("DnCNN-17", 0.56, 145.9), ("smaller NRP size", 1.7, 445), ("NRP size", 16.6, 4335)],
)
def test_rivals_have_the_size_of_the_published_ones(
    name: str, parameters: float, expected: float
) -> None:
    with torch.device("meta"):
        network = NETWORKS[name]()
    assert isinstance(network, nn.Module)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(parameters, rel=0.02)
    assert gmac(name) == pytest.approx(expected, rel=0.02)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out rivals above 50 GMAC")
    parser.add_argument("--compile", action="store_true", help="rows with torch.compile too")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for loaded machines")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(argv)
    names = [*(LIGHT if given.quick else NETWORKS), *(COMPILED if given.compile else ())]
    work = {name: gmac(name) for name in names}
    taken = {}
    for way in WAYS:
        chosen = [name for name in names if is_measured(name, way, work)]
        taken[way] = seconds(chosen, way, work, clock=given.clock, device=given.device)
    print("\n".join(table(names, WAYS, taken)))
    yardstick = ", ".join(f"{w.label} {taken[w][YARDSTICK] * 1e3:.1f} ms" for w in WAYS)
    print(f"\n{YARDSTICK}: {yardstick}; {given.clock} time, {torch.get_num_threads()} threads.")
    ratio = min(taken[WAYS[1]][n] for n in names if n.startswith("ANSM small"))
    print(f"Cheapest way to compute ANSM small: {ratio / taken[WAYS[1]][YARDSTICK]:.3f} x the fp32")
    print(f"localizer, channels_last (aim: {AIM}).")


if __name__ == "__main__":
    main()
