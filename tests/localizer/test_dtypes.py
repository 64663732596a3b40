"""Every dtype, device and kind of state: it works as the bare localizer does, or words say why."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.ao.quantization import quantize_dynamic

from ansm_plugin import ANSM, LocalizerSpec, unwrap, wrap_with_ansm
from ansm_plugin.ansm import PRESETS
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ImageError, LocalizerError, WeightsError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.adapters import apply_adapter, save_adapter
from ansm_plugin.weights.ansm_file import Provenance, identify, load_ansm, save_ansm
from ansm_plugin.weights.tensors import load_localizer_weights, read_tensors, write_tensors

SPEC = LocalizerSpec()
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
BOUND = torch.tensor(16 / 255)
SCORE = AttackScore(weights=(0.1,) * len(FEATURES), bias=1.0)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def localizer() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1)
    )


def strong(preset: str = "tiny", scale: float = 10.0) -> ANSM:
    """Return a module whose perturbation is at its bound almost everywhere."""
    torch.manual_seed(1)
    ansm = ANSM(preset)
    nn.init.normal_(ansm.trunk.head.weight, std=scale)
    return ansm


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))


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


# --- state ----------------------------------------------------------------------------------------


class Stateful(nn.Module):
    """Keeps something beside its tensors, as layers of TransformerEngine do."""

    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.head, self.extra = nn.Conv2d(3, 1, 1), extra

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(images)
        return out

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


EXTRA = [{"scale": [1.0, torch.ones(2)], "name": "a"}, b"bytes", io.BytesIO(b"x"), torch.ones(3), 7]


@pytest.mark.parametrize("extra", EXTRA, ids=lambda e: type(e).__name__)
def test_state_beside_the_tensors_is_kept_or_named(
    extra: Any, images: Tensor, tmp_path: Path
) -> None:
    model = Stateful(extra)
    assert fingerprint(model) == fingerprint(copy.deepcopy(model))
    assert fingerprint(model) != fingerprint(Stateful("another"))
    path = save_ansm(
        ANSM("tiny"), tmp_path / "a.safetensors", Provenance(localizer=identify(model, SPEC))
    )
    defended = wrap_with_ansm(model, str(path), spec=SPEC)
    again = wrap_with_ansm(Stateful(extra), ansm="tiny", spec=SPEC)
    again.load_state_dict(defended.state_dict())
    assert torch.equal(again(images), defended(images))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        weights = write_tensors(unwrap(defended).state_dict(), tmp_path / "w.safetensors", {})
    assert [str(w.message) for w in said if "leaves out" in str(w.message)] or torch.is_tensor(
        extra
    )
    other = Stateful(extra)
    load_localizer_weights(other, weights)
    assert fingerprint(other) == fingerprint(model)
    tuned = copy.deepcopy(model)
    nn.init.ones_(tuned.head.weight)
    adapter = save_adapter(tuned, model, tmp_path / "adapter.safetensors")
    assert fingerprint(apply_adapter(model, adapter)) == fingerprint(tuned)


class Mixing(nn.Module):
    """A localizer with a linear layer, which is what dynamic quantisation quantises."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mix = nn.Conv2d(3, 8, 1), nn.Linear(8, 1)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.mix(self.body(images).movedim(1, -1))
        return out.movedim(-1, 1)


@pytest.mark.filterwarnings("ignore:.*")  # torch.ao is on its way out
def test_quantised_localizers_are_wrapped_and_told_apart(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Mixing().eval()
    quantised = quantize_dynamic(model, {nn.Linear})
    assert fingerprint(quantised) == fingerprint(copy.deepcopy(quantised)) != fingerprint(model)
    assert torch.equal(wrap_with_ansm(quantised, spec=SPEC)(images), quantised(images))
    pair = quantize_dynamic(wrap_with_ansm(model, ansm=strong(), spec=SPEC), {nn.Linear})
    assert pair(images).shape == (2, 1, 33, 40)
    assert not any(m.training for m in pair.modules())
    with pytest.raises(WeightsError, match=r"mix\..* no tensor, as in quantised modules"):
        write_tensors(quantised.state_dict(), tmp_path / "q.safetensors", {})


def test_tensors_of_every_layout_are_written(tmp_path: Path) -> None:
    base = torch.rand(4, 4)
    tensors = {
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "one_channel": torch.rand(2, 1, 4, 5).to(memory_format=torch.channels_last),
        "transposed": base.t(), "shared": base, "view": base[1:], "strided": base[::2, ::2],
        "expanded": torch.rand(3, 1).expand(3, 4), "scalar": torch.tensor(3.0),
        "conjugated": torch.rand(3, dtype=torch.complex64).conj(), "empty": torch.empty(0, 3),
    }  # fmt: skip
    found = read_tensors(write_tensors(tensors, tmp_path / "t.safetensors", {}))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


UNWRITABLE = {
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.ones(2, device="meta"),
}


@pytest.mark.parametrize("kind", UNWRITABLE)
@pytest.mark.filterwarnings("ignore:.*quantize")  # torch.ao is on its way out
def test_tensors_without_a_form_are_refused_in_words(kind: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot write .*no form for"):
        write_tensors({"x": UNWRITABLE[kind]()}, tmp_path / "t.safetensors", {})


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_an_ansm_of_any_layout_is_saved_and_read(layout: Any, tmp_path: Path) -> None:
    ansm = strong().to(memory_format=layout)
    found = load_ansm(save_ansm(ansm, tmp_path / "a.safetensors"))
    assert fingerprint(found) == fingerprint(ansm)
