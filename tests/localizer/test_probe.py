"""What a localizer's mask holds is seen where nobody says it; looking leaves no trace."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, wrap_with_ansm
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.probe import activation_of, probed_mask
from ansm_plugin.localizer.traits import fingerprint

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


class Mine(nn.Module):
    """A localizer of the user's own: some channels, and something behind them."""

    def __init__(self, end: Callable[[Tensor], Any], channels: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, channels, 1)
        self.end = end
        self.pretrained_cfg = HALF

    def forward(self, images: Tensor) -> Any:
        return self.end(self.head(self.body(images)))


def described(model: nn.Module) -> tuple[LocalizerSpec, str]:
    """Return the spec of a model, and all warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        spec = describe(model)
    return spec, " ".join(str(w.message) for w in said)


ENDS: dict[str, tuple[Callable[[Tensor], Any], int, str]] = {
    "tensor": (torch.sigmoid, 1, "sigmoid"),
    "far from half": (lambda x: torch.sigmoid(x - 8), 1, "sigmoid"),
    "without channels": (lambda x: torch.sigmoid(x)[:, 0], 1, "sigmoid"),
    "in a dict": (lambda x: {"loss": x.mean(), "pred_mask": x.sigmoid()}, 1, "sigmoid"),
    "first of several": (lambda x: (x.sigmoid(), x.mean((2, 3))), 1, "sigmoid"),
    "smaller": (lambda x: nn.functional.avg_pool2d(x, 4).sigmoid(), 1, "sigmoid"),
    "softmax": (lambda x: x.softmax(1), 2, "softmax"),
    "softmax of three": (lambda x: x.softmax(1), 3, "softmax"),
    "in half precision": (lambda x: x.softmax(1).half(), 2, "softmax"),
    "two labels": (torch.sigmoid, 2, "sigmoid"),
    "hardsigmoid": (nn.functional.hardsigmoid, 1, "sigmoid"),
    "classes": (lambda x: x.argmax(1), 2, "sigmoid"),
    "a yes or no": (lambda x: x > 0, 1, "sigmoid"),
    "clamped": (lambda x: x.clamp(0, 1), 1, "sigmoid"),
    "logits": (lambda x: x, 1, "logits"),
    "logits of two": (lambda x: x, 2, "logits"),
    "small logits": (lambda x: 0.1 * x + 0.5, 1, "logits"),
    "log-probabilities": (lambda x: x.log_softmax(1), 2, "logits"),
    "between -1 and 1": (torch.tanh, 1, "logits"),
    "grey levels": (lambda x: 255 * x.sigmoid(), 1, "logits"),
    "a constant": (lambda x: 0 * x + 0.5, 1, "logits"),
    "no number": (lambda x: x * float("nan"), 1, "logits"),
    "no mask": (lambda x: x.mean((1, 2, 3)), 1, "logits"),
    "nothing": (lambda x: None, 1, "logits"),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_a_mask_holds_is_seen_and_said(end: str) -> None:
    function, channels, activation = ENDS[end]
    spec, said = described(Mine(function, channels))
    assert spec.activation == activation
    assert bool(said) == (activation != "logits")
    if said:
        assert f"spec=LocalizerSpec(activation={activation!r})" in said


@pytest.mark.parametrize("end", ["tensor", "far from half", "softmax", "hardsigmoid"])
def test_probabilities_are_those_of_the_localizer_itself(end: str) -> None:
    function, channels, _ = ENDS[end]
    model = Mine(function, channels).eval()
    spec, _ = described(model)
    pixels = torch.rand(2, 3, 40, 33)
    with torch.no_grad():
        found = mask_forward(model, spec)(pixels).sigmoid()
        expected = model(spec.normalise(pixels))[:, -1:]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_a_forward_of_the_users_own_on_a_known_model_is_seen() -> None:
    class Mine(smp.FPN):
        """Ends in a sigmoid that its head knows nothing of."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.sigmoid(super().forward(images))

    spec, said = described(Mine("resnet18", encoder_weights=None))
    assert (spec.family, spec.activation) == ("smp", "sigmoid")
    assert "probabilities" in said


@pytest.mark.parametrize("name", ["smp:FPN?encoder_name=resnet18", "timm:test_resnet"])
def test_known_families_are_not_tried(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_architecture(name)
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("it was called"))
    if name.startswith("timm"):
        describe(model)


def test_a_given_spec_is_taken_as_it_is() -> None:
    model = Mine(lambda _: pytest.fail("it was called"))
    assert wrap_with_ansm(model, spec=LocalizerSpec()).spec.activation == "logits"


# --- no trace -------------------------------------------------------------------------------------


class Restless(Mine):
    """Counts, learns and draws at each call, in eval mode too."""

    def __init__(self) -> None:
        super().__init__(torch.sigmoid)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(1))
        self.momentum = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, images: Tensor) -> Any:
        self.calls += 1
        self.last = images.mean().view(1)
        self.body[1].running_mean.add_(1)
        torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
        warnings.warn("a stranger's", stacklevel=1)
        return super().forward(self.momentum(images))


def test_looking_leaves_no_trace() -> None:
    model = Restless()
    model.head.eval().requires_grad_(False)
    buffers = {name: (id(b), b.clone()) for name, b in model.named_buffers()}
    modes = [m.training for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    before = fingerprint(model)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    spec, said = described(model)
    assert spec.activation == "sigmoid"
    assert "a stranger's" not in said
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert (np.random.get_state()[1] == state[2]).all()  # noqa: NPY002
    assert fingerprint(model) == before
    assert {n: id(b) for n, b in model.named_buffers()} == {n: i for n, (i, _) in buffers.items()}
    assert modes == [m.training for m in model.modules()]
    assert flags == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "failure",
    [RuntimeError("x"), ValueError(), KeyError(3), AssertionError(), NotImplementedError(),
     ZeroDivisionError(), SystemExit(1), MemoryError()],
)  # fmt: skip
def test_a_localizer_that_fails_is_wrapped_all_the_same(failure: BaseException) -> None:
    def fail(_: Tensor) -> None:
        raise failure

    model = Mine(fail)
    modes = [m.training for m in model.modules()]
    assert described(model) == (describe(model), "")
    assert modes == [m.training for m in model.modules()]


def test_more_arguments_than_the_image_are_not_guessed() -> None:
    class Two(nn.Module):
        """Takes the DCT of the image too."""

        pretrained_cfg = HALF

        def forward(self, images: Tensor, dct: Tensor) -> Tensor:
            return images + dct

    assert described(Two())[0].activation == "logits"


def test_parameters_without_a_shape_stay_so() -> None:
    model = nn.Sequential(nn.LazyConv2d(1, 1), nn.Sigmoid())
    assert probed_mask(model) is None
    assert nn.parameter.is_lazy(model[0].weight)
    assert probed_mask(nn.Conv2d(3, 1, 1, device="meta")) is None


def test_a_size_that_is_not_taken_is_followed_by_a_larger_one() -> None:
    seen = []

    def picky(mask: Tensor) -> Tensor:
        seen.append(mask.shape[-1])
        assert mask.shape[-1] >= 128
        return mask.sigmoid()

    assert described(Mine(picky))[0].activation == "sigmoid"
    assert seen == [64, 256, 259]  # the last one for the stride


def test_a_localizer_of_single_images_is_seen() -> None:
    def one(mask: Tensor) -> Tensor:
        assert len(mask) == 1
        return mask.sigmoid()

    spec, said = described(Mine(one))
    assert (spec.activation, spec.stride) == ("sigmoid", 1)
    assert "taken for probabilities" in said


def test_two_small_calls_are_all() -> None:
    seen: list[tuple[int, ...]] = []
    model = Mine(lambda x: seen.append(tuple(x.shape)) or x)  # type: ignore[func-returns-value]
    describe(model)
    assert seen == [(2, 1, 64, 64), (1, 1, 65, 67)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_localizers_of_other_dtypes_are_seen(dtype: torch.dtype) -> None:
    assert described(Mine(torch.sigmoid).to(dtype))[0].activation == "sigmoid"


def test_a_mask_of_zero_and_one_alone_is_no_constant() -> None:
    assert activation_of(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)) == "sigmoid"
    assert activation_of(torch.zeros(2, 1, 4, 4)) == "logits"
