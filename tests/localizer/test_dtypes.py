"""Every dtype and device: it works as the bare localizer does, or words say why."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from support.strong import *  # noqa: F403 - fixtures, found by their names
from support.strong import SPEC, strong
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ansm_plugin import ANSM, wrap_with_ansm
from ansm_plugin.ansm import PRESETS
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ImageError, LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.ansm_file import Provenance, identify, load_ansm, save_ansm

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
BOUND = torch.tensor(16 / 255)
SCORE = AttackScore(weights=(0.1,) * len(FEATURES), bias=1.0)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def localizer() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1)
    )


@pytest.fixture
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --- dtypes ---------------------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("preset", PRESETS)
def test_a_fresh_pair_is_the_bare_localizer_in_every_dtype(
    dtype: torch.dtype, preset: str, images: Tensor
) -> None:
    model = localizer().eval().to(dtype)
    inputs = images.to(dtype)
    defended = wrap_with_ansm(model, ansm=preset, spec=SPEC).to(dtype)
    with torch.no_grad():
        assert not defended.perturbation(inputs).any()
        assert torch.equal(defended.suppress(inputs), inputs)
        assert torch.equal(defended(inputs), model(inputs))


@every_dtype
@pytest.mark.parametrize("of_images", DTYPES, ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("scale", [10.0, 6e4])
def test_the_perturbation_is_bounded_in_every_dtype(
    dtype: torch.dtype, of_images: torch.dtype, precision: Any, scale: float, images: Tensor
) -> None:
    """With weights that overflow in half precision too."""
    ansm = strong(scale=scale).to(dtype)
    ansm.precision = precision
    with torch.no_grad():
        delta = ansm(images.clamp(0, 1).to(of_images))
    assert delta.dtype is torch.float32
    assert bool(delta.any()) or scale > 10  # all of it may overflow, to nothing
    assert bool((delta.abs() <= BOUND).all())


@every_dtype
def test_gate_and_score_run_in_every_dtype(dtype: torch.dtype, images: Tensor) -> None:
    defended = DefendedLocalizer(localizer(), strong(), SPEC, score=SCORE, gate=True).eval()
    expected = defended.attack_score(images)
    moved = copy.deepcopy(defended).to(dtype)
    found = moved.attack_score(images.to(dtype))
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, expected, rtol=0.2, atol=0.5)
    assert moved(images.to(dtype)).dtype is dtype


@every_dtype
def test_pixels_of_any_dtype_become_logits_of_a_localizer_of_any(
    dtype: torch.dtype, images: Tensor
) -> None:
    model = localizer().eval()
    expected = mask_forward(model, SPEC)(images)
    found = mask_forward(model.to(dtype), SPEC)(images.requires_grad_(True))
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)
    assert torch.autograd.grad(found.sum(), images)[0].isfinite().all()


@every_dtype
def test_a_defence_of_the_users_own_is_given_its_dtype(dtype: torch.dtype, images: Tensor) -> None:
    own = nn.Conv2d(3, 3, 3, padding=1)
    defended = wrap_with_ansm(localizer(), ansm=own, spec=SPEC).to(dtype)
    assert defended(images.to(dtype)).dtype is dtype


@pytest.mark.usefixtures("_double")
def test_a_default_dtype_of_double_runs(images: Tensor, tmp_path: Path) -> None:
    model = localizer().eval()
    defended = DefendedLocalizer(model, strong(), SPEC, score=SCORE, gate=True).eval()
    assert defended(images.double()).dtype is torch.float64
    assert defended.attack_score(images.double()).isfinite().all()
    assert mask_forward(defended, SPEC)(images.sigmoid()).dtype is torch.float32
    path = save_ansm(strong(), tmp_path / "a.safetensors")
    assert torch.equal(wrap_with_ansm(model, spec=SPEC)(images.double()), model(images.double()))
    assert bool((load_ansm(path)(images.sigmoid()).abs() <= BOUND).all())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_images_that_are_no_floats_are_refused_in_words(dtype: torch.dtype, images: Tensor) -> None:
    with pytest.raises(ImageError, match=r"was given torch\..*takes floating-point numbers"):
        wrap_with_ansm(localizer(), spec=SPEC)(images.to(dtype))


def test_the_same_localizer_in_double_is_no_foreign_one(tmp_path: Path) -> None:
    model = localizer()
    origin = Provenance(localizer=identify(model, SPEC))
    path = str(save_ansm(ANSM("tiny"), tmp_path / "a.safetensors", origin))
    wrap_with_ansm(copy.deepcopy(model).double(), path, spec=SPEC)
    with pytest.warns(UserWarning, match=r"was trained for Sequential.*in torch\.float16, which"):
        wrap_with_ansm(copy.deepcopy(model).half(), path, spec=SPEC)


# --- devices --------------------------------------------------------------------------------------


def test_the_meta_device_gives_shapes(images: Tensor) -> None:
    defended = DefendedLocalizer(localizer(), strong(), SPEC, score=SCORE, gate=True).eval()
    moved = defended.to("meta")
    assert moved(images.to("meta")).shape == (2, 1, 33, 40)
    assert moved.attack_score(images.to("meta")).shape == (2,)
    assert "DefendedLocalizer" in repr(moved)
    with pytest.raises(LocalizerError, match="have no values"):
        fingerprint(moved)


def test_fake_tensors_give_shapes(images: Tensor) -> None:
    defended = wrap_with_ansm(localizer(), spec=SPEC)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert defended(mode.from_tensor(images)).shape == (2, 1, 33, 40)


@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # torch's own, of jvp
def test_transforms_of_functions_pass(is_fresh: bool, images: Tensor) -> None:
    defended = wrap_with_ansm(localizer(), ansm=ANSM("tiny") if is_fresh else strong(), spec=SPEC)
    with torch.no_grad():
        found = torch.func.vmap(lambda x: defended(x[None])[0])(images)
        torch.testing.assert_close(found, defended(images))
    slope = torch.func.grad(lambda x: defended(x).sum())(images)
    assert slope.shape == images.shape
    each = torch.func.vmap(torch.func.grad(lambda x: defended(x[None]).sum()))(images)
    torch.testing.assert_close(each, slope)
    assert torch.func.jvp(defended, (images,), (images,))[1].shape == (2, 1, 33, 40)


def offloaded(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # accelerate's own
        return accelerate.cpu_offload(module, execution_device="cpu")


@pytest.mark.parametrize("when", ["pair", "localizer before", "localizer after"])
def test_offloaded_weights_do_the_same(when: str, images: Tensor) -> None:
    ansm, model = strong(), localizer().eval()
    with torch.no_grad():
        expected = wrap_with_ansm(copy.deepcopy(model), ansm=copy.deepcopy(ansm), spec=SPEC)(images)
        if when == "localizer before":
            offloaded(model)
            assert next(wrap_with_ansm(model, spec=SPEC).ansm.parameters()).device.type == "cpu"
        defended = wrap_with_ansm(model, ansm=ansm, spec=SPEC)
        if when != "localizer before":
            offloaded(defended if when == "pair" else model)
        assert torch.equal(defended(images), expected)


def test_of_an_offloaded_localizer_it_is_said_that_nobody_can_tell(tmp_path: Path) -> None:
    model = localizer()
    origin = Provenance(localizer=identify(model, SPEC))
    path = str(save_ansm(ANSM("tiny"), tmp_path / "a.safetensors", origin))
    with pytest.warns(UserWarning, match="state that cannot be told: the weights"):
        wrap_with_ansm(offloaded(model), path, spec=SPEC)
