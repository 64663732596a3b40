"""Ways to compute ANSM `small` in fp32, beside smp.Unet resnet34 in the same process.

`python tests/benchmarks/test_forward_ways.py [--clock cpu] [--kept] [--size 512]` prints the table
of recipes/README.md: time as a multiple of the localizer's, with and without channels_last, and the
largest difference from the plain path, in grey levels. `--kept` keeps freed memory as `ansm` does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.reference import build_architecture, packaged_ansm
from ansm_plugin.cli import _keep_freed_memory
from ansm_plugin.weights.ansm_file import load_ansm

YARDSTICK = "smp:Unet?encoder_name=resnet34"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TOLERANCE = 1e-3  # grey levels
Call = Callable[[Tensor], Tensor]
Layer = Callable[[nn.Conv2d, Tensor], Tensor]


def packaged() -> ANSM:
    """Return the packaged module."""
    return load_ansm(packaged_ansm()).eval()


# --- ways ---------------------------------------------------------------------------------------


def with_layers(ansm: ANSM, layer: Layer, images: Tensor) -> Tensor:
    """Run the module with `layer` for a convolution and its ReLU, upsampled maps as they are."""
    trunk, x, skips = ansm.trunk, ansm.trunk.fold(images - 0.5), []  # type: ignore[misc]
    for stage in trunk.down:
        x = _stage(stage, layer, x)
        skips.append(x)
    for level in reversed(range(len(trunk.up))):
        low = functional.interpolate(trunk.lateral[level](x), scale_factor=2.0, mode="nearest")
        x = _stage(trunk.up[level], layer, low + skips[level])
    out: Tensor = ansm.bounded(trunk.unfold(trunk.head(x)))  # type: ignore[misc]
    return out


def _stage(stage: nn.Module, layer: Layer, x: Tensor) -> Tensor:
    for conv in stage.children():
        x = layer(conv, x) if isinstance(conv, nn.Conv2d) else x
    return x


def separate(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolution, then ReLU into a map of its own."""
    return torch.relu(conv(x))


def fused(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolution and ReLU in one kernel of oneDNN, behind a name that is private to torch."""
    once: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, 1, "relu", [], ""
    )
    return once


def winograd(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """F(2x2, 3x3) of Lavin and Gray (CVPR 2016): 16 products for 4 pixels instead of 36."""
    if conv.stride != (1, 1) or conv.bias is None:
        return separate(conv, x)
    left = x.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    weight = torch.einsum("ai,ocij,bj->abco", left, conv.weight, left)
    batch, _, height, width = x.shape
    rows = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    parts = [rows[:, i : i + height - 1 : 2] for i in range(4)]
    parts = _crossed(parts)
    tiles = [[part[:, :, i : i + width - 1 : 2] for i in range(4)] for part in parts]
    spread = torch.stack([t for row in tiles for t in _crossed(row)])
    products = torch.bmm(spread.flatten(1, 3), weight.flatten(0, 1))
    m = products.view(4, 4, batch, height // 2, width // 2, -1)
    halves = [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
    columns = [torch.stack([h[0] + h[1] + h[2], h[1] - h[2] - h[3]], 3) for h in halves]
    out = torch.stack(columns, 2).reshape(batch, height, width, -1)
    return torch.relu_(out + conv.bias).permute(0, 3, 1, 2)


def _crossed(parts: list[Tensor]) -> list[Tensor]:
    first, second, third, fourth = parts
    return [first - third, second + third, third - second, second - fourth]


def in_strips(ansm: ANSM, rows: int, images: Tensor) -> Tensor:
    """Run the module with its finest level depth first, so that maps stay in the cache."""
    trunk, r = ansm.trunk, ansm.architecture.unshuffle
    fine = _strips(trunk.down[0], trunk.fold(images - 0.5), rows)  # type: ignore[misc]
    x, skips = fine, [fine]
    for stage in trunk.down[1:]:
        x = stage(x)
        skips.append(x)
    for level in reversed(range(len(trunk.up))):
        low = functional.interpolate(trunk.lateral[level](x), scale_factor=2.0, mode="nearest")
        x = low.add_(skips[level])
        x = trunk.up[level](x) if level else _strips(trunk.up[0], x, rows)
    return ansm.bounded(functional.pixel_shuffle(trunk.head(x), r))


def _strips(stage: nn.Module, x: Tensor, rows: int) -> Tensor:
    height = x.shape[2]
    convs = [m for m in stage.children() if isinstance(m, nn.Conv2d)]
    parts = []
    for top in range(0, height, rows):
        first, last = max(0, top - len(convs)), min(height, top + rows + len(convs))
        part, begin = x[:, :, first:last], first
        for conv in convs:  # every layer uses up a row on each side that is not the image's edge
            edges = (int(begin == 0), int(last == height))
            part = functional.pad(part, (0, 0, *edges)) if any(edges) else part
            part = functional.conv2d(part, conv.weight, conv.bias, padding=(0, 1)).relu_()
            begin, last = begin + 1 - edges[0], last - 1 + edges[1]
        parts.append(part[:, :, top - begin : top - begin + rows])
    return torch.cat(parts, 2)


def compiled(freezing: bool) -> Call:
    """Return the module behind torch.compile, its weights constants where `freezing`."""
    import torch._inductor.config as inductor

    with inductor.patch(freezing=freezing):
        made: Call = torch.compile(packaged())
        with torch.no_grad():
            made(torch.rand(1, 3, 512, 512))  # compiles now, under this choice
    return made


def onnx_runtime() -> Call:
    """Return the module as ONNX Runtime computes it."""
    import onnxruntime

    example = torch.rand(1, 3, 512, 512)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/ansm.onnx"
        torch.onnx.export(
            packaged(), (example,), file, dynamo=False, dynamic_axes={"x": [2, 3]},
            input_names=["x"],
        )  # fmt: skip
        graph = Path(file).read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"x": images.numpy()})[0])


WAYS: dict[str, Callable[[], Call]] = {
    "plain: a map for each operation": lambda: partial(with_layers, packaged(), separate),
    "as it is": packaged,
    "convolution and ReLU fused": lambda: partial(with_layers, packaged(), fused),
    "finest level in strips of 64 rows": lambda: partial(in_strips, packaged(), 64),
    "Winograd F(2x2, 3x3)": lambda: partial(with_layers, packaged(), winograd),
}
SLOW_TO_BUILD: dict[str, Callable[[], Call]] = {
    "torch.compile": lambda: compiled(False),
    "torch.compile, weights frozen": lambda: compiled(True),
    "ONNX Runtime": onnx_runtime,
}


def bf16_inside() -> Call:
    """Return the module as `--ansm-precision bf16` has it: not fp32, for comparison."""
    ansm = packaged()
    ansm.precision = "bf16"
    return ansm


# --- measuring ----------------------------------------------------------------------------------


def measure(
    calls: dict[str, Callable[[], object]], clock: Callable[[], float], rounds: int
) -> dict[str, float]:
    """Return median seconds; calls take turns, so that they share the noise of the machine."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = clock()
            call()
            taken[name].append(clock() - start)
    return {name: median(times[1:]) for name, times in taken.items()}


@pytest.mark.parametrize("name", [n for n in WAYS if n != "convolution and ReLU fused"])
def test_every_way_computes_the_same(name: str) -> None:
    images = torch.rand(1, 3, 160, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = WAYS[name]()(images) - WAYS["plain: a map for each operation"]()(images)
    assert 255 * float(difference.abs().max()) < TOLERANCE


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure all ways and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for loaded machines")
    parser.add_argument("--kept", action="store_true", help="keep freed memory, as `ansm` does")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args(argv)
    if given.kept:
        _keep_freed_memory()
    images = torch.rand(1, 3, given.size, given.size, generator=torch.Generator().manual_seed(0))
    last = images.to(memory_format=torch.channels_last)
    bare, quick = (build_architecture(YARDSTICK).eval() for _ in range(2))
    quick = quick.to(memory_format=torch.channels_last)
    made = {name: make() for name, make in {**WAYS, **SLOW_TO_BUILD}.items()}
    made["bf16 inside"] = bf16_inside()
    calls: dict[str, Callable[[], object]] = {
        "contiguous": lambda: bare(images), "channels_last": lambda: quick(last)
    }  # fmt: skip
    calls |= {name: partial(way, images) for name, way in made.items()}
    expected = made["plain: a map for each operation"](images)
    taken = measure(calls, CLOCKS[given.clock], given.rounds)
    print("| way | time x localizer | x localizer, channels_last | grey levels from plain |")
    print("|---|---|---|---|")
    for name, way in made.items():
        off = 255 * float((way(images) - expected).abs().max())
        ratios = [
            f"{taken[name] / taken[layout]:.3f}" for layout in ("contiguous", "channels_last")
        ]
        print(f"| {name} | {' | '.join(ratios)} | {off:.0e} |")
    layouts = ", ".join(f"{n} {1e3 * taken[n]:.0f} ms" for n in ("contiguous", "channels_last"))
    print(f"\n{YARDSTICK}: {layouts}; {given.clock} time, {torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()
