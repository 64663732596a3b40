"""photoholmes through test doubles of what it calls and is called by; the real one was not run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.toolkits.photoholmes import wrap_method


class MethodDouble(ABC, nn.Module):
    """Test double of BaseTorchMethod."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")

    @abstractmethod
    def benchmark(self, image: Tensor) -> dict[str, Any]: ...


class TruFor(MethodDouble):
    """Test double of a method whose `benchmark` calls its `predict`."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 1)
        self.seen: list[Tensor] = []

    def predict(self, image: Tensor) -> Tensor:
        self.seen.append(image)
        with torch.no_grad():
            return self.head(image[None])[0, 0].sigmoid()

    def benchmark(self, image: Tensor) -> dict[str, Any]:
        return {"heatmap": self.predict(image), "mask": None, "detection": None}


class Direct(TruFor):
    """Test double of a method whose `benchmark` does not call `predict`."""

    def benchmark(self, image: Tensor) -> dict[str, Any]:
        self.seen.append(image)
        return {"heatmap": image.mean(0), "mask": None, "detection": None}


class ZeroOneRange:
    """Test double of the preprocessing step that divides by 255."""


class Normalize:
    """Test double of a preprocessing step that leaves [0, 1]."""


def pipeline(*steps: object, keys: tuple[str, ...] = ("image",)) -> Any:
    """Return a test double of PreProcessingPipeline."""
    return SimpleNamespace(transforms=list(steps), inputs=list(keys), outputs_keys=list(keys))


def benchmark_double(method: Any, image: Tensor, folder: Path) -> Tensor:
    """Do as photoholmes' Benchmark: keep outputs by class name, and take those that are there."""
    kept = folder / f"{type(method).__name__.lower()}.pt"
    if not kept.exists():
        torch.save(method.benchmark(image=image)["heatmap"], kept)
    found: Tensor = torch.load(kept)
    return found


def active(method: Any) -> Any:
    """Let the ANSM change every pixel."""
    torch.nn.init.constant_(method.ansm.ansm.trunk.head.bias, 0.5)
    return method


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 19, 23)


@pytest.mark.parametrize("kind", [TruFor, Direct])
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_a_fresh_wrap_changes_no_bit(kind: type[TruFor], scale: float, image: Tensor) -> None:
    method = kind()
    wrapped = wrap_method(method, scale=scale)
    expected = method.benchmark(image=image * scale)["heatmap"]
    assert torch.equal(wrapped.benchmark(image=image * scale)["heatmap"], expected)
    assert torch.equal(wrapped.predict(image * scale), method.predict(image * scale))


@pytest.mark.parametrize("kind", [TruFor, Direct])
def test_the_image_is_suppressed_once(kind: type[TruFor], image: Tensor) -> None:
    wrapped = active(wrap_method(kind()))
    wrapped.benchmark(image=image)
    (seen,) = wrapped.seen
    expected = wrapped.ansm(image[None])[0].detach()
    assert torch.allclose(seen, expected, atol=1e-6)
    wrapped.predict(image)
    assert torch.allclose(wrapped.seen[-1], expected, atol=1e-6)


def test_outputs_of_the_bare_method_are_not_taken_for_ours(image: Tensor, tmp_path: Path) -> None:
    method = TruFor()
    bare = benchmark_double(method, image, tmp_path)
    wrapped = active(wrap_method(method))
    assert type(wrapped).__name__ == "ANSM_TruFor"
    assert not torch.equal(benchmark_double(wrapped, image, tmp_path), bare)
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["ansm_trufor", "trufor"]


def test_the_method_given_is_not_changed(image: Tensor) -> None:
    method = TruFor()
    wrapped = active(wrap_method(method))
    assert type(method) is TruFor
    assert not hasattr(method, "ansm")
    assert isinstance(wrapped, TruFor)
    assert wrapped.head is method.head
    assert wrapped.state_dict().keys() == method.state_dict().keys()


def test_grey_levels_are_told_by_the_pipeline(image: Tensor) -> None:
    wrapped = active(wrap_method(TruFor(), preprocessing=pipeline()))
    wrapped.predict(image * 255)
    change = (wrapped.seen[0] - image * 255).abs()
    assert 1 < float(change.max()) <= 16 + 1e-3
    assert wrap_method(TruFor(), preprocessing=pipeline(ZeroOneRange())).ansm_scale == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (pipeline(keys=("image", "dct_coefficients", "qtables")), "dct_coefficients, qtables"),
        (pipeline(keys=("noise",)), "takes noise; an ANSM needs 'image'"),
        (pipeline(ZeroOneRange(), Normalize()), "takes images after Normalize"),
    ],
)
def test_what_an_ansm_cannot_reach_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"TruFor .*{said}"):
        wrap_method(TruFor(), preprocessing=given)


def test_a_wrapped_method_is_not_wrapped_again() -> None:
    with pytest.raises(ConfigError, match="wrapped already: ANSM_TruFor"):
        wrap_method(wrap_method(TruFor()))


@pytest.mark.parametrize("wrong", [torch.rand(1, 8, 8), torch.rand(8, 8), "photo.jpg"])
def test_what_is_no_image_is_refused(wrong: Any) -> None:
    wrapped = wrap_method(TruFor())
    with pytest.raises(ImageError, match=r"takes an image \(3, H, W\)"):
        wrapped.predict(wrong)


def test_a_failure_inside_does_not_leave_the_defence_off(image: Tensor) -> None:
    wrapped = active(wrap_method(TruFor()))
    with pytest.raises(TypeError):
        wrapped.predict(image, "one argument too many")
    wrapped.predict(image)
    assert not torch.equal(wrapped.seen[-1], image)
