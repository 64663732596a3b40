"""photoholmes through a test double with its signatures: an ANSM before its pipelines."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from host_models import active_weights
from torch import Tensor

from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.toolkits.photoholmes import wrap_method, wrap_pipeline

# Eight of its methods; the other two read what no change of the image reaches.
METHODS = ["trufor", "psccnet", "focal", "exif_as_language", "adaptive_cfa_net"]
METHODS += ["noisesniffer", "splicebuster", "zero"]


@pytest.fixture
def image() -> Tensor:
    """Return a raw image as photoholmes' `read_image` gives it."""
    return torch.randint(30, 225, (3, 19, 23)).to(torch.uint8)


def seen(method: Any, data: dict[str, Any]) -> Any:
    """Return the image that reaches a method, and forget it."""
    method.seen.clear()
    method.benchmark(**data)
    (image,) = method.seen
    return image


# --- before the pipeline --------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_an_untrained_ansm_changes_no_input_of_a_method(
    name: str, host: ModuleType, image: Tensor
) -> None:
    method, preprocessing = host.MethodFactory.load(name)
    wrapped, pipeline = wrap_pipeline(method, preprocessing)
    expected = seen(method, preprocessing(image=image))
    given = seen(wrapped, pipeline(image=image))
    assert given.dtype == expected.dtype
    assert np.array_equal(np.asarray(given), np.asarray(expected))


@pytest.mark.parametrize("name", METHODS)
def test_a_trained_ansm_moves_the_input_of_a_method_within_its_bound(
    name: str, host: ModuleType, image: Tensor, weights: str
) -> None:
    method, preprocessing = host.MethodFactory.load(name)
    wrapped, pipeline = wrap_pipeline(method, preprocessing, weights)
    expected = np.asarray(seen(method, preprocessing(image=image)), dtype=float)
    moved = np.asarray(seen(wrapped, pipeline(image=image)), dtype=float) - expected
    unit = {"focal": 255, "noisesniffer": 255, "zero": 255, "exif_as_language": 1 / 0.26}
    bound = 16 / 255 * unit.get(name, 1)
    assert bound / 4 < float(np.abs(moved).max()) <= bound * 1.05


@pytest.mark.parametrize(("name", "kind"), [("focal", "float32"), ("zero", "uint8")])
def test_images_are_rounded_only_for_steps_that_take_8_bit_alone(
    name: str, kind: str, host: ModuleType, image: Tensor, weights: str
) -> None:
    method, preprocessing = host.MethodFactory.load(name)
    step = wrap_pipeline(method, preprocessing, weights)[1].transforms[0]
    assert str(step(image=image)["image"].dtype).endswith(kind)
    rounding = wrap_pipeline(method, preprocessing, weights, to_8_bit=True)[1].transforms[0]
    assert rounding(image=image)["image"].dtype == torch.uint8


def test_arrays_keep_their_layout(host: ModuleType, image: Tensor, weights: str) -> None:
    method, preprocessing = host.MethodFactory.load("noisesniffer")
    _, pipeline = wrap_pipeline(method, preprocessing, weights)
    array = image.permute(1, 2, 0).numpy()[:, ::-1]
    flipped = pipeline(image=torch.from_numpy(array.copy()).permute(2, 0, 1))["image"]
    assert np.array_equal(pipeline(image=array)["image"], flipped)


def test_a_nearly_black_image_is_not_taken_for_one_in_0_1(host: ModuleType, tmp_path: Path) -> None:
    darkening = active_weights(tmp_path / "dark.safetensors", -0.01, spread=0)
    _, pipeline = wrap_pipeline(*host.MethodFactory.load("trufor"), darkening)
    black = torch.ones(3, 8, 8, dtype=torch.uint8)
    assert float(pipeline(image=black)["image"].max()) == pytest.approx(1 / 255)


def test_what_was_given_is_not_changed(host: ModuleType, image: Tensor, weights: str) -> None:
    method, preprocessing = host.MethodFactory.load("trufor")
    steps, before = list(preprocessing.transforms), image.clone()
    wrapped, pipeline = wrap_pipeline(method, preprocessing, weights)
    wrapped.benchmark(**pipeline(image=image))
    assert type(method).__name__ == "TruFor"
    assert preprocessing.transforms == steps
    assert preprocessing.outputs_keys == ["image"]
    assert wrapped.head is method.head
    assert wrapped.state_dict().keys() == method.state_dict().keys()
    assert torch.equal(image, before)


def test_method_and_pipeline_belong_together(host: ModuleType, image: Tensor, weights: str) -> None:
    method, preprocessing = host.MethodFactory.load("trufor")
    wrapped, pipeline = wrap_pipeline(method, preprocessing, weights)
    other, _ = wrap_pipeline(method, preprocessing)
    with pytest.raises(ConfigError, match="came past it"):
        wrapped.benchmark(**preprocessing(image=image))
    with pytest.raises(ConfigError, match="came past it"):
        wrapped.predict(preprocessing(image=image)["image"])
    with pytest.raises(ConfigError, match="came through that of ANSM_TruFor_"):
        other.benchmark(**pipeline(image=image))
    with pytest.raises(TypeError, match="ansm"):  # the bare method's own words
        method.benchmark(**pipeline(image=image))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.rand(3, 8, 8), r"values 0\.\d+ to 0\.\d+\. It stands first"),
        (torch.rand(3, 8, 8) * 400, "floats in grey levels 0 to 255"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), r"\(3, H, W\) or an array .*given Tensor"),
        (np.zeros((8, 8), np.uint8), r"given ndarray \(8, 8\) of uint8"),
        ("photo.jpg", "given str"),
    ],
)
def test_what_is_no_raw_image_is_refused(given: Any, said: str, host: ModuleType) -> None:
    _, pipeline = wrap_pipeline(*host.MethodFactory.load("focal"))
    with pytest.raises(ImageError, match=said):
        pipeline(image=given)


# --- inside the method ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trufor", "focal"])  # benchmark calls predict, or does not
def test_a_method_suppresses_its_image_once(
    name: str, host: ModuleType, image: Tensor, weights: str
) -> None:
    method, preprocessing = host.MethodFactory.load(name)
    wrapped = wrap_method(method, weights, preprocessing=preprocessing)
    data = preprocessing(image=image)
    scale = 255 if name == "focal" else 1
    found = seen(wrapped, {"image": data["image"].float()})
    expected = scale * wrapped.ansm(image[None].float() / 255)[0].detach()
    assert torch.allclose(found, expected, atol=1e-5 * scale)


def test_the_range_of_the_image_is_known_or_asked_for(host: ModuleType) -> None:
    method, preprocessing = host.MethodFactory.load("focal")
    with pytest.raises(
        ConfigError, match=r"range of the image that Focal takes is not known.*=255"
    ):
        wrap_method(method)
    assert wrap_method(method, preprocessing=preprocessing).ansm_scale == 255
    assert wrap_method(method, scale=1).ansm_scale == 1
    trufor, preprocessing = host.MethodFactory.load("trufor")
    assert wrap_method(trufor, preprocessing=preprocessing).ansm_scale == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exif_as_language", "after Normalize, neither in .* Use wrap_pipeline"),
        ("noisesniffer", "Noisesniffer takes its image as a numpy array.* Use wrap_pipeline"),
        ("splicebuster", "Splicebuster takes its image as a numpy array"),
        ("zero", "Zero takes its image as a numpy array"),
    ],
)
def test_what_it_cannot_serve_is_refused_when_wrapped(
    name: str, said: str, host: ModuleType
) -> None:
    method, preprocessing = host.MethodFactory.load(name)
    with pytest.raises(ConfigError, match=said):
        wrap_method(method, preprocessing=preprocessing)
    if "numpy" in said:
        with pytest.raises(ConfigError, match=said):
            wrap_method(method, scale=255)


@pytest.mark.parametrize("wrong", [torch.rand(1, 8, 8), torch.rand(8, 8), "photo.jpg"])
def test_what_is_no_image_is_refused(wrong: Any, host: ModuleType) -> None:
    wrapped = wrap_method(host.MethodFactory.load("trufor")[0], scale=1)
    with pytest.raises(ImageError, match=r"takes an image \(3, H, W\)"):
        wrapped.predict(wrong)


def test_a_failure_inside_does_not_leave_the_defence_off(
    host: ModuleType, image: Tensor, weights: str
) -> None:
    wrapped = wrap_method(host.MethodFactory.load("trufor")[0], weights, scale=1)
    with pytest.raises(TypeError):
        wrapped.predict(image / 255, "one argument too many")
    assert not torch.equal(seen(wrapped, {"image": image / 255}), image / 255)


# --- mistakes -------------------------------------------------------------------------------------


def test_inputs_beyond_the_image_are_refused(host: ModuleType) -> None:
    method, preprocessing = host.MethodFactory.load("catnet")
    for wrap in (wrap_pipeline, lambda m, p: wrap_method(m, preprocessing=p)):
        with pytest.raises(ConfigError, match="CatNet reads dct_coefficients, qtables"):
            wrap(method, preprocessing)
    preprocessing.inputs = preprocessing.outputs_keys = ["noise"]
    with pytest.raises(ConfigError, match="takes noise; an ANSM needs 'image'"):
        wrap_pipeline(method, preprocessing)


def test_nothing_is_wrapped_twice(host: ModuleType) -> None:
    method, preprocessing = host.MethodFactory.load("trufor")
    wrapped, pipeline = wrap_pipeline(method, preprocessing)
    with pytest.raises(ConfigError, match="method is wrapped already: ANSM_TruFor_"):
        wrap_pipeline(wrapped, preprocessing)
    with pytest.raises(ConfigError, match="pipeline of TruFor is wrapped already"):
        wrap_pipeline(method, pipeline)
    with pytest.raises(ConfigError, match="wrapped already"):
        wrap_method(wrap_method(method, scale=1), scale=1)


def test_what_is_no_pipeline_is_named(host: ModuleType) -> None:
    method, _ = host.MethodFactory.load("trufor")
    with pytest.raises(ConfigError, match="the preprocessing of TruFor is str; pass the Pre"):
        wrap_pipeline(method, "ansm.safetensors")
