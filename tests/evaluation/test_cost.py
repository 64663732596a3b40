"""What a defence costs beside its localizer."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.baselines.base import Baseline, filtering
from ansm_plugin.baselines.geometry import ShiftAverage
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import cost
from ansm_plugin.evaluation.cost import baseline_cost, measure_cost

SIZE = (10, 12)


class Clock:
    """A clock that modules push forward: measured times become exact."""

    def __init__(self) -> None:
        """Start at 0."""
        self.now = 0.0

    def perf_counter(self) -> float:
        """Return the seconds so far."""
        return self.now


class Timed(nn.Module):
    """A 3x3 convolution that takes the given seconds, one after the other."""

    def __init__(self, clock: Clock, outs: int, *seconds: float) -> None:
        """Keep what each call takes; the last one holds on."""
        super().__init__()
        self.conv = nn.Conv2d(3, outs, 3, padding=1)
        self.clock = clock
        self.seconds = list(seconds)

    def forward(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> `(B, outs, H, W)`."""
        self.clock.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        outcome: Tensor = self.conv(pixels)
        return outcome


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    return clock


def test_parameters_and_multiply_adds_are_counted_exactly(clock: Clock) -> None:
    """A 3x3 convolution from 3 to 4 channels is 27 * 4 multiply-adds per pixel."""
    found = measure_cost(Timed(clock, 4, 1.0), Timed(clock, 1, 2.0), size=SIZE)
    assert found.parameters == 4 * 27 + 4
    assert found.gmac == pytest.approx(27 * 4 * 120 / 1e9)
    assert found.gmac_ratio == pytest.approx(4)
    assert found.size == SIZE


def test_time_is_the_ratio_of_the_fastest_rounds(clock: Clock) -> None:
    """Counting and warming up do not count, nor does a slow round."""
    defence = Timed(clock, 1, 9.0, 0.1, 3.0, 1.0, 2.0)
    found = measure_cost(defence, Timed(clock, 1, 9.0, 0.1, 8.0, 4.0), size=SIZE, rounds=3)
    assert found.time_ratio == pytest.approx(1.0 / 4.0)


def test_calls_take_turns(clock: Clock) -> None:
    """Both share the noise of the machine: never one block after the other."""
    order: list[str] = []

    def tell(name: str) -> None:
        order.append(name)
        clock.now += 1

    measure_cost(lambda _: tell("defence"), lambda _: tell("localizer"), size=SIZE, rounds=2)
    assert order == ["defence", "localizer"] * 4


def test_the_localizer_is_taken_off_where_the_defence_runs_it(clock: Clock) -> None:
    """Averaging four shifts adds three passes of slightly larger images."""
    localizer = Timed(clock, 1, 2.0)
    shift = Baseline(name="shift", label="shift", wrap=ShiftAverage(1))
    found = baseline_cost(shift, localizer, size=SIZE)
    views = 10 * 12 + 10 * 13 + 11 * 12 + 11 * 13
    assert found.time_ratio == pytest.approx(3)
    assert found.gmac_ratio == pytest.approx(views / 120 - 1)
    assert found.parameters == 0


def test_a_denoiser_is_measured_alone(clock: Clock) -> None:
    """Its own parameters and time count, whatever the localizer takes."""
    network, localizer = Timed(clock, 3, 1.0), Timed(clock, 1, 4.0)
    denoiser = Baseline(
        name="hgd", label="", wrap=filtering(network), filter=network, module=network
    )
    found = baseline_cost(denoiser, localizer, size=SIZE)
    assert found.parameters == 3 * 27 + 3
    assert found.time_ratio == pytest.approx(0.25)


def test_modes_are_restored_and_no_gradient_is_left(clock: Clock) -> None:
    """A module in train mode is measured in eval mode and given back as it was."""
    network = nn.Sequential(Timed(clock, 3, 1.0), nn.BatchNorm2d(3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure_cost(network, Timed(clock, 1, 1.0), size=SIZE, rounds=1)
    assert network.training
    assert network[1].training
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())


def test_a_real_clock_gives_a_finite_ratio() -> None:
    """Nothing is faked here: the module that sleeps costs more."""

    def slow(pixels: Tensor) -> Tensor:
        time.sleep(0.02)
        return pixels

    found = measure_cost(slow, nn.Conv2d(3, 1, 1), size=SIZE, rounds=2)
    assert found.time_ratio > 1


@pytest.mark.parametrize(("size", "rounds"), [((0, 8), 1), ((8, 8), 0)])
def test_senseless_options_are_refused(size: tuple[int, int], rounds: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        measure_cost(nn.Identity(), nn.Identity(), size=size, rounds=rounds)
