"""What a defence costs beside its localizer: parameters, multiply-adds, time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ansm_plugin.attacks import Forward
from ansm_plugin.baselines.base import Baseline
from ansm_plugin.baselines.second_localizer import NAME as SECOND_LOCALIZER
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.modes import frozen_eval

Call = Callable[[Tensor], Any]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a defence adds to one image, and how much of the localizer that is.

    Attributes:
        parameters: numbers it brings along.
        gmac: 10^9 multiply-adds of its convolutions and matrix products.
        gmac_ratio: as a share of the localizer's; None where that has none.
        time_ratio: seconds as a share of the localizer's.
        size: height and width of the image in pixels.
    """

    parameters: int
    gmac: float
    gmac_ratio: float | None
    time_ratio: float
    size: tuple[int, int]

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def measure_cost(
    defence: Call,
    localizer: Call,
    *,
    size: tuple[int, int],
    rounds: int = 7,
    includes_localizer: bool = False,
    parameters: int | None = None,
    device: torch.device | str = "cpu",
) -> Cost:
    """Measure a defence beside its localizer on one image of random pixels.

    Both are called in turn, so that they share the noise of the machine; the fastest round counts.
    Modules are put in eval mode meanwhile.

    Args:
        defence: pixels `(1, 3, H, W)` -> anything: an ANSM, or a whole defended forward.
        localizer: pixels -> anything, such as a `mask_forward`.
        size: height and width in pixels.
        rounds: measured rounds; one more warms up.
        includes_localizer: whether `defence` runs the localizer too; its cost is then taken off.
        parameters: of the defence; by default counted, where it is a module.
        device: where to measure; both must be there.

    Raises:
        ConfigError: rounds or size below 1.
    """
    if rounds < 1 or min(size) < 1:
        raise ConfigError(f"rounds is {rounds} and size {size}; each must be at least 1.")
    seed = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, *size, generator=seed).to(device)
    modules = [call for call in (defence, localizer) if isinstance(call, nn.Module)]
    with frozen_eval(*modules), torch.no_grad():
        added, base = (_gmac(call, pixels) for call in (defence, localizer))
        seconds, base_seconds = _fastest((defence, localizer), pixels, rounds)
    if includes_localizer:
        added, seconds = added - base, max(0.0, seconds - base_seconds)
    return Cost(
        parameters=_parameters(defence) if parameters is None else parameters,
        gmac=added,
        gmac_ratio=added / base if base else None,
        time_ratio=seconds / base_seconds,
        size=size,
    )


def baseline_cost(
    baseline: Baseline,
    forward: Forward,
    *,
    size: tuple[int, int],
    rounds: int = 7,
    device: torch.device | str = "cpu",
) -> Cost:
    """Measure what a fitted baseline adds to the forward pass of the bare localizer.

    A fine-tuned localizer replaces the other one and adds nothing but noise of the clock; a second
    localizer replaces it, too, and may take less.
    """
    change = baseline.filter
    is_new = change is not None or baseline.name == SECOND_LOCALIZER
    return measure_cost(
        baseline(forward) if change is None else change,
        forward,
        size=size,
        rounds=rounds,
        includes_localizer=change is None,
        parameters=_parameters(baseline.module) if is_new else 0,
        device=device,
    )


def _gmac(call: Call, pixels: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        call(pixels)
    return float(counter.get_total_flops()) / 2e9


def _fastest(calls: tuple[Call, Call], pixels: Tensor, rounds: int) -> tuple[float, float]:
    times = [[_seconds(call, pixels) for call in calls] for _ in range(rounds + 1)]
    first, second = (min(column) for column in zip(*times[1:], strict=True))
    return first, second


def _seconds(call: Call, pixels: Tensor) -> float:
    start = time.perf_counter()
    call(pixels)
    if pixels.is_cuda:
        torch.cuda.synchronize(pixels.device)  # kernels run behind the call
    return time.perf_counter() - start


def _parameters(call: object) -> int:
    return sum(p.numel() for p in call.parameters()) if isinstance(call, nn.Module) else 0
