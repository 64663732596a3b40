"""The quick copy: the same answers, by the way that a probe finds, and the user's own untouched."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer import quick as quick_module
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.folding import folded
from ansm_plugin.localizer.quick import LAYOUTS, cast_copy, fastest, quick, quick_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import fingerprint

SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
CONTIGUOUS = torch.contiguous_format


class Net(nn.Module):
    """A convolution with BatchNorm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        mask: Tensor = self.head(self.stem(images))
        return mask


class Cancelling(nn.Module):
    """Says little numbers as a difference of large ones, which bf16 has not the digits for."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        mask: Tensor = self.head(images).float() if images.dtype is torch.float32 else images[:, :1]
        return (mask + 1000) - 1000


@pytest.fixture
def as_device(monkeypatch: pytest.MonkeyPatch) -> dict[torch.memory_format, float]:
    """Treat the CPU as a device that computes by itself; return seconds for the probe to find."""
    seconds = dict.fromkeys(LAYOUTS, 1.0)
    monkeypatch.setattr(quick_module, "_PLAIN", ())

    def measured(forward: object, device: torch.device) -> float:
        probes.append(device)
        return seconds[LAYOUTS[(len(probes) - 1) % len(LAYOUTS)]]

    probes: list[torch.device] = []
    monkeypatch.setattr(quick_module, "_seconds", measured)
    return seconds


def test_the_fastest_way_is_taken_and_what_fails_is_not() -> None:
    taken = {"a": 2.0, "b": 1.0, "c": 1.0}
    assert fastest("abc", taken.__getitem__) == "b"

    def seconds(way: str) -> float:
        if way == "b":
            raise LocalizerError("it takes other sizes")
        return taken[way]

    assert fastest("abc", seconds) == "c"
    assert fastest("bb", seconds) == "b"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_copy_runs_as_the_probe_says_and_answers_the_same(
    as_device: dict[torch.memory_format, float], layout: torch.memory_format, precision: str
) -> None:
    as_device[layout] = 0.5
    localizer = Net().eval()
    before, pixels = fingerprint(localizer), torch.rand(2, 3, 20, 24)
    made = quick(localizer, SPEC, precision=precision)
    weight = made.localizer.stem[0].weight  # type: ignore[union-attr, index]
    assert (made.layout, made.precision) == (layout, "fp32")
    assert weight.is_contiguous(memory_format=layout)  # type: ignore[operator]
    assert weight.dtype is (torch.bfloat16 if precision == "bf16" else torch.float32)
    with torch.no_grad():
        found = quick_forward(localizer, SPEC, precision=precision)(pixels)
        expected = mask_forward(localizer, SPEC)(pixels)
    coarse = 2e-2 if precision == "bf16" else 1e-5
    torch.testing.assert_close(found, expected, rtol=0, atol=coarse * float(expected.abs().max()))
    assert found.dtype is torch.float32
    assert fingerprint(localizer) == before
    assert localizer.head.weight.requires_grad
    assert not any(parameter.requires_grad for parameter in made.localizer.parameters())


def test_the_probe_runs_once_for_each_localizer_and_precision(
    as_device: dict[torch.memory_format, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(quick_module, "_seconds", lambda *_: asked.append(1) or 1.0)
    localizer = Net().eval()
    for precision, probes in (("fp32", 2), ("fp32", 2), ("bf16", 4), ("bf16", 4)):
        quick(localizer, SPEC, precision=precision)
        assert len(asked) == probes
    gone = weakref.ref(localizer)
    assert localizer in quick_module._FOUND
    del localizer
    gc.collect()
    assert gone() is None  # what was found keeps nothing alive


def test_a_localizer_with_nothing_to_fold_is_copied_before_it_is_laid_out(
    as_device: dict[torch.memory_format, float],
) -> None:
    localizer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 3)).eval()
    assert folded(localizer, SPEC) is localizer
    assert quick(localizer, SPEC).localizer is not localizer
    assert not localizer[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_copy_in_bf16_is_refused_where_autocast_answers_better() -> None:
    assert cast_copy(Net().eval(), SPEC) is not None
    assert cast_copy(Cancelling().eval(), SPEC) is None


def test_the_embedded_localizer_is_cast() -> None:
    localizer = build_localizer("forensic-unet")
    spec = describe(localizer)
    made = cast_copy(folded(localizer, spec), spec)
    assert made is not None
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact, coarse, found = (
            forward(pixels)
            for forward in (
                mask_forward(localizer, spec),
                mask_forward(localizer, spec, precision="bf16"),
                mask_forward(made, spec),
            )
        )
    assert (found - exact).square().mean() <= 4 * (coarse - exact).square().mean()


def test_on_the_cpu_it_is_the_folded_copy_bit_for_bit() -> None:
    localizer, pixels = Net().eval(), torch.rand(1, 3, 20, 24)
    made = quick(localizer, SPEC, precision="bf16")
    assert (made.precision, made.layout) == ("bf16", torch.channels_last)
    with torch.no_grad():
        found = quick_forward(localizer, SPEC)(pixels)
        assert torch.equal(found, mask_forward(folded(localizer, SPEC), SPEC)(pixels))
