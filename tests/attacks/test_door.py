"""The door of the attacks: images, masks, radii and generators that cannot be used are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.door import require_generator
from ansm_plugin.attacks.engines import EngineAttack, engine_attack
from ansm_plugin.attacks.features import FEATURE_ATTACK, feature_forward
from ansm_plugin.errors import AnsmError, ConfigError, ImageError, LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec

EPS = 8 / 255
SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), taps=("0",))
Attack = Callable[..., Tensor]


def localizer() -> nn.Sequential:
    """Return a localizer with everything that depends on the mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 1, 1)
        ).eval()


def case() -> tuple[Tensor, Tensor]:
    """Return two images and their masks."""
    images = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, 1, 8, 10)
    masks[..., 2:6, 3:7] = 1
    return images, masks


FORWARD = mask_forward(localizer(), SPEC)


def by_gradient(images: Any, masks: Any, eps: Any = EPS, **options: Any) -> Tensor:
    return run_attack(FORWARD, images, masks, eps, attack_spec("pgd", steps=2), **options)


def by_apgd(images: Any, masks: Any, eps: Any = EPS, **options: Any) -> Tensor:
    return run_attack(FORWARD, images, masks, eps, attack_spec("apgd", steps=2), **options)


def by_scores(images: Any, masks: Any, eps: Any = EPS, **options: Any) -> Tensor:
    return square_attack(FORWARD, images, masks, eps, queries=2, **options)


def by_library(images: Any, masks: Any, eps: Any = EPS) -> Tensor:
    return engine_attack(localizer(), SPEC, images, masks, eps, EngineAttack("PGD", steps=1))


ATTACKS = pytest.mark.parametrize("attack", [by_gradient, by_apgd, by_scores, by_library])
SEEDED = pytest.mark.parametrize("attack", [by_gradient, by_apgd, by_scores])

BAD_IMAGES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "0..255": (lambda x: x * 255, "Divide 8-bit pixels by 255"),
    "-1..1": (lambda x: 2 * x - 1, "look normalised.*denormalise"),
    "ImageNet's": (lambda x: (x - 0.45) / 0.225, "look normalised.*denormalise"),
    "uint8": (lambda x: (x * 255).to(torch.uint8), r"images.float\(\) / 255"),
    "int64": (lambda x: (x * 255).long(), r"images.float\(\) / 255"),
    "bool": (lambda x: x > 0.5, r"images.float\(\) / 255"),
    "16 bit": (lambda x: x * 65535, "allowed: \\[0, 1\\]"),
    "half of 0..255": (lambda x: (x * 255).half(), "Divide"),
    "NaN": (lambda x: x.clone().index_fill_(0, torch.tensor([1]), float("nan")), "NaN"),
    "infinite": (lambda x: x / 0, "NaN or infinite"),
    "no batch": (lambda x: x[0], r"images\[None\]"),
    "grey": (lambda x: x[:, :1], "allowed: \\(B, 3, H, W\\)"),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), "allowed: \\(B, 3, H, W\\)"),
    "an array": (lambda x: x.numpy(), "ndarray"),
}
BAD_MASKS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "0/255": (lambda m: m * 255, r"from 0 to 255. Give \(masks > 0\)"),
    "uint8 0/255": (lambda m: (m * 255).to(torch.uint8), r"Give \(masks > 0\)"),
    "labels": (lambda m: m * 2, r"Give \(masks > 0\)"),
    "soft": (lambda m: m * 0.7, r"Give \(masks > 0.5\)"),
    "signs": (lambda m: 2 * m - 1, "from -1 to 1"),
    "NaN": (lambda m: m * float("nan"), "other values"),
    "no channel": (lambda m: m[:, 0], r"unsqueeze\(1\)"),
    "two channels": (lambda m: torch.cat([1 - m, m], 1), r"masks\[:, 1:2\]"),
    "one for all": (lambda m: m[:1], r"need \(2, 1, 8, 10\)"),
    "too many": (lambda m: torch.cat([m, m]), r"need \(2, 1, 8, 10\)"),
    "half the size": (lambda m: m[..., ::2, ::2], r"need \(2, 1, 8, 10\)"),
    "turned": (lambda m: m.mT, r"need \(2, 1, 8, 10\)"),
    "an array": (lambda m: m.numpy(), "ndarray"),
}
BAD_RADII: dict[str, tuple[Any, str]] = {
    "grey levels": (8, "Divide grey levels by 255"),
    "grey levels of each": (torch.tensor([4.0, 8.0]), "Divide grey levels by 255"),
    "negative": (-0.1, "allowed: 0 to 1"),
    "NaN": (float("nan"), "allowed: 0 to 1"),
    "too many": (torch.full((3,), EPS), r"shape \(3,\) and there are 2 images"),
    "of each value": (torch.full((2, 3), EPS), r"shape \(2, 3\)"),
    "none": (torch.zeros(0), r"shape \(0,\)"),
    "a word": ("8/255", "a number in pixel units"),
    "nothing": (None, "a number in pixel units"),
}


@ATTACKS
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_images_that_are_no_pixels_are_refused_with_the_remedy(attack: Attack, name: str) -> None:
    images, masks = case()
    change, remedy = BAD_IMAGES[name]
    with pytest.raises(ImageError, match=remedy):
        attack(change(images), masks)


@ATTACKS
@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_of_other_values_or_shapes_are_refused_with_the_remedy(
    attack: Attack, name: str
) -> None:
    images, masks = case()
    change, remedy = BAD_MASKS[name]
    with pytest.raises(ImageError, match=remedy):
        attack(images, change(masks))


@SEEDED
@pytest.mark.parametrize("name", BAD_RADII)
def test_radii_that_are_none_are_refused(attack: Attack, name: str) -> None:
    eps, remedy = BAD_RADII[name]
    with pytest.raises(ConfigError, match=remedy):
        attack(*case(), eps)


def test_one_image_takes_no_radii_of_three() -> None:
    """They would have made three attacked images of it."""
    images, masks = case()
    with pytest.raises(ConfigError, match="there are 1 images"):
        by_gradient(images[:1], masks[:1], torch.full((3,), EPS))


@SEEDED
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_masks_of_any_type_are_the_same_masks(attack: Attack, kind: torch.dtype) -> None:
    images, masks = case()
    expected = attack(images, masks, generator=torch.Generator().manual_seed(2))
    found = attack(images, masks.to(kind), generator=torch.Generator().manual_seed(2))
    assert torch.equal(found, expected)


@SEEDED
def test_rounding_outside_the_range_is_no_reason(attack: Attack) -> None:
    """Normalising and back leads a little outside."""
    images, masks = case()
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 1 + 2e-7, -2e-7
    attacked = attack(images, masks)
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1


@SEEDED
def test_no_image_makes_no_image(attack: Attack) -> None:
    images, masks = case()
    with pytest.raises(AnsmError):
        attack(images[:0], masks)
    assert attack(images[:0], masks[:0]).shape == (0, 3, 8, 10)


@SEEDED
@pytest.mark.parametrize("generator", [0, "seed", torch.get_rng_state()])
def test_what_is_no_generator_is_refused(attack: Attack, generator: Any) -> None:
    with pytest.raises(ConfigError, match="manual_seed"):
        attack(*case(), generator=generator)


def test_a_generator_of_another_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Generator:
        device = torch.device("cuda:0")

    monkeypatch.setattr(torch, "Generator", Generator)
    with pytest.raises(ConfigError, match="on cuda:0; attacks draw on the CPU"):
        require_generator(Generator())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x * 255, "start spans"),
        (lambda x: (x * 255).to(torch.uint8), "torch.uint8"),
        (lambda x: x * float("nan"), "start spans"),
        (lambda x: x[:1], "start has shape"),
        (lambda x: x.numpy(), "ndarray"),
    ],
)
def test_bad_starts_are_refused(change: Callable[[Tensor], Any], said: str) -> None:
    images, masks = case()
    with pytest.raises(ImageError, match=said):
        by_gradient(images, masks, start=change(images))


def test_features_are_taken_of_pixels_alone() -> None:
    for name in ("0..255", "-1..1", "uint8", "NaN", "grey"):
        change, remedy = BAD_IMAGES[name]
        with pytest.raises(ImageError, match=remedy):
            feature_forward(localizer(), SPEC, change(case()[0]))


# --- modes ----------------------------------------------------------------------------------------


class Holder:
    """An object of the user's own that calls a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.score(pixels)

    def score(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.model(pixels)
        return found


def _ensemble(model: nn.Module) -> Callable[[Tensor], Tensor]:
    models = [model]
    return lambda x: torch.stack([m(x) for m in models]).mean(0)


def _through_a_holder(model: nn.Module) -> Callable[[Tensor], Tensor]:
    holder = Holder(model)
    return lambda x: holder.model(x)


def _wrapped(model: nn.Module) -> Callable[[Tensor], Tensor]:
    inner = mask_forward(model, SPEC)
    return lambda x: 2 * inner(x)


SHOWN: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "itself": lambda model: model,
    "mask_forward": lambda model: mask_forward(model, SPEC),
    "lambda": lambda model: lambda x: model(x),
    "method": lambda model: model.forward,
    "default": lambda model: lambda x, m=model: m(x),
    "holder": Holder,
    "method of a holder": lambda model: Holder(model).score,
    "lambda around a holder": _through_a_holder,
    "ensemble": _ensemble,
    "around mask_forward": _wrapped,
    "parallel": lambda model: nn.DataParallel(model),
    "compiled": lambda model: torch.compile(model, backend="eager"),
}


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("run", [run_attack, square_attack])
def test_a_localizer_in_train_mode_is_attacked_in_eval_mode(shown: str, run: Any) -> None:
    """Its statistics stay, its mode comes back, and the attack is that on the eval mode."""
    images, masks = case()
    model = localizer().train()
    model[2].eval()
    model[0].weight.requires_grad_(False)
    forward = SHOWN[shown](model)
    modes = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    spec = [] if run is square_attack else [attack_spec("pgd", steps=2)]
    short = {"queries": 3} if run is square_attack else {}
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    with pytest.warns(UserWarning, match=r"train mode.*call \.eval\(\) first") as said:
        found = run(forward, images, masks, EPS, *spec, generator=generators[0], **short)
    assert {warning.filename for warning in said} == {__file__}
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model[0].parameters()] == [False, True]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    for m in model.modules():
        m.training = False
    again = run(forward, images, masks, EPS, *spec, generator=generators[1], **short)
    assert torch.equal(found, again)


def test_a_mode_that_changes_nothing_is_not_worth_a_word() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_attack(plain, *case(), EPS, attack_spec("pgd", steps=1))
    assert plain.training


def test_a_module_of_ones_own_that_asks_its_mode_is_named() -> None:
    class Noisy(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            assert not self.training
            return pixels.sum(1, keepdim=True)

    with pytest.warns(UserWarning, match="Noisy is in train mode"):
        run_attack(Noisy(), *case(), EPS, attack_spec("pgd", steps=1))


def test_modes_come_back_where_the_attack_fails() -> None:
    class Failing(nn.Dropout):
        def forward(self, pixels: Tensor) -> Tensor:
            raise KeyError("weights")

    model = Failing()
    with pytest.warns(UserWarning, match="train mode"), pytest.raises(KeyError):
        run_attack(model, *case(), EPS, attack_spec("pgd", steps=1))
    assert model.training


def test_features_of_a_localizer_in_train_mode_leave_its_statistics() -> None:
    model = localizer().train()
    before = model[1].running_mean.clone()
    with pytest.warns(UserWarning, match="train mode"):
        forward = feature_forward(model, SPEC, case()[0])
    with pytest.warns(UserWarning, match="train mode"):
        run_attack(forward, *case(), EPS, FEATURE_ATTACK)
    assert torch.equal(model[1].running_mean, before)


# --- inference mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("images_inside", [False, True])
def test_attacks_work_whatever_mode_of_gradients_is_around(
    around: Any, images_inside: bool
) -> None:
    images, masks = case()

    def run(attack: Attack, *data: Tensor) -> Tensor:
        return attack(*data, generator=torch.Generator().manual_seed(3))

    radii = torch.tensor([EPS, EPS / 2])
    for attack in (by_gradient, by_apgd, by_scores):
        expected = run(attack, images, masks, radii)
        with around():
            data = [t.clone() if images_inside else t for t in (images, masks, radii)]
            inside = run(attack, *data)
            assert torch.equal(inside, expected)
            by_gradient(*data, start=inside)
        assert torch.equal(run(attack, *data), expected)
        FORWARD(inside.requires_grad_(True)).sum().backward()  # an ordinary tensor came out


@pytest.mark.parametrize("images_inside", [False, True])
def test_features_are_attacked_under_inference_mode(images_inside: bool) -> None:
    model, (images, masks) = localizer(), case()
    with torch.inference_mode():
        data = [t.clone() if images_inside else t for t in (images, masks)]
        forward = feature_forward(model, SPEC, data[0])
    attacked = run_attack(forward, *data, EPS, FEATURE_ATTACK)
    assert not torch.equal(attacked, images)


def test_a_localizer_that_cuts_gradients_off_is_blamed_itself() -> None:
    model = localizer()

    @torch.inference_mode()
    def inference(pixels: Tensor) -> Tensor:
        found: Tensor = model(pixels)
        return found

    def detached(pixels: Tensor) -> Tensor:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        found: Tensor = model(pixels.detach())
        return found

    spec = attack_spec("pgd", steps=1)
    with pytest.raises(LocalizerError, match=r"no gradient reaches .* torch.inference_mode"):
        run_attack(inference, *case(), EPS, spec)
    with pytest.raises(LocalizerError, match=r"no gradient reaches .* detaches its output"):
        run_attack(detached, *case(), EPS, spec)


@pytest.mark.parametrize("through", [lambda m: m, lambda m: mask_forward(m, SPEC)])
def test_weights_made_under_inference_mode_are_named(through: Any) -> None:
    with torch.inference_mode():
        model = localizer()
    with pytest.raises(LocalizerError, match=r"Sequential was made under torch.inference_mode"):
        run_attack(through(model), *case(), EPS, attack_spec("pgd", steps=1))
