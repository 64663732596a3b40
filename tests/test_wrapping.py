"""Wrapping and unwrapping leave a localizer as it was, and mistakes are explained."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from support.thin_pairs import *  # noqa: F403 - fixtures, found by their names
from support.thin_pairs import PLAIN, thin
from torch import Tensor, nn

from ansm_plugin import ANSM, DefendedLocalizer, LocalizerSpec, unwrap, wrap_with_ansm
from ansm_plugin.errors import ConfigError, LocalizerError, WeightsError
from ansm_plugin.localizer.traits import fingerprint

# --- the localizer --------------------------------------------------------------------------------


def test_use_leaves_parameters_buffers_and_hooks_of_the_localizer_alone(
    tiny: nn.Module, pixels: Tensor
) -> None:
    before = fingerprint(tiny)
    defended = wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=PLAIN).train()
    defended(pixels).sum().backward()
    assert fingerprint(tiny) == before  # BatchNorm's running statistics too
    assert all(p.grad is None for p in tiny.parameters())
    assert all(bool(p.grad is not None) for p in defended.ansm.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.modules())


def test_training_mode_never_reaches_the_localizer(tiny: nn.Module, pixels: Tensor) -> None:
    defended = wrap_with_ansm(tiny, spec=PLAIN).train()
    assert defended.training
    assert defended.ansm.training
    assert not any(m.training for m in tiny.modules())
    assert torch.equal(defended(pixels), defended(pixels))  # no dropout at work


def test_the_dropout_of_smps_frozen_encoder_is_switched_off() -> None:
    """SMP's own eval() skips a frozen encoder and leaves its dropout running."""
    localizer = smp.Unet(
        "tu-regnetx_002", encoder_weights=None, encoder_depth=3, decoder_channels=(8, 8, 8)
    )
    localizer.encoder.add_module("extra", nn.Dropout(0.5))
    localizer.train()
    if not hasattr(localizer, "freeze_encoder"):
        pytest.skip("SMP 0.5 freezes no encoder")
    localizer.freeze_encoder()
    assert localizer.eval().encoder.extra.training
    defended = wrap_with_ansm(localizer)
    for mode in (True, False):
        defended.train(mode)
        assert not any(m.training for m in localizer.modules())


def test_unwrap_gives_back_the_very_localizer_as_it_was(tiny: nn.Module) -> None:
    features = tiny.get_submodule("features")
    features.eval()
    features.requires_grad_(False)
    modes = [m.training for m in tiny.modules()]
    flags = [p.requires_grad for p in tiny.parameters()]
    defended = wrap_with_ansm(tiny, spec=PLAIN)
    assert not any(p.requires_grad for p in tiny.parameters())
    defended.train()
    assert unwrap(defended) is tiny
    assert [m.training for m in tiny.modules()] == modes
    assert [p.requires_grad for p in tiny.parameters()] == flags
    assert True in modes
    assert False in modes


def test_an_unwrapped_localizer_can_be_wrapped_anew(tiny: nn.Module, pixels: Tensor) -> None:
    again = wrap_with_ansm(unwrap(wrap_with_ansm(tiny, spec=PLAIN)), spec=PLAIN)
    assert torch.equal(again(pixels), tiny(pixels))


def test_training_moves_the_ansm_and_nothing_of_the_localizer(
    tiny: nn.Module, pixels: Tensor
) -> None:
    before = fingerprint(tiny)
    defended = wrap_with_ansm(tiny, ansm=thin(), spec=PLAIN).train()
    optimiser = torch.optim.SGD(defended.ansm.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        defended(pixels).sum().backward()
        optimiser.step()
    assert fingerprint(tiny) == before
    assert isinstance(defended.ansm, ANSM)
    assert not defended.ansm.is_identity


# --- the pair -------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_does_the_same_on_its_own(
    twin: Callable[[Any], Any], unet: smp.Unet, pixels: Tensor
) -> None:
    defended = wrap_with_ansm(unet, ansm=thin(is_trained=True))
    copied = twin(defended)
    assert torch.equal(copied(pixels), defended(pixels))
    assert copied.localizer is not unet
    assert unwrap(copied).training
    assert not unet.training


def test_a_defended_localizer_is_moved_and_saved_as_one(tiny: nn.Module, pixels: Tensor) -> None:
    defended = wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=PLAIN)
    other = wrap_with_ansm(copy.deepcopy(tiny), ansm=thin(), spec=PLAIN)
    other.load_state_dict(defended.state_dict())
    assert torch.equal(other(pixels), defended(pixels))


def test_no_attribute_is_forwarded(unet: smp.Unet) -> None:
    defended = wrap_with_ansm(unet)
    assert defended.localizer.encoder is unet.encoder
    with pytest.raises(AttributeError):
        _ = defended.encoder


def test_a_module_of_the_users_own_serves_as_ansm(tiny: nn.Module, pixels: Tensor) -> None:
    class Brighten(nn.Module):
        """A defence without parameters."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.full_like(images, 0.1)

    defended = wrap_with_ansm(tiny, ansm=Brighten(), spec=PLAIN)
    torch.testing.assert_close(defended.suppress(pixels), (pixels + 0.1).clamp(max=1))


def test_a_preset_is_chosen_by_name(tiny: nn.Module) -> None:
    defended = wrap_with_ansm(tiny, ansm="small", spec=PLAIN)
    assert defended.ansm.architecture == ANSM("small").architecture


def test_the_repr_says_whether_the_defence_does_anything(tiny: nn.Module) -> None:
    assert "untrained: returns what" in repr(wrap_with_ansm(tiny, ansm=thin(), spec=PLAIN))
    trained = wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=PLAIN)
    assert "untrained" not in repr(trained)


def test_the_module_is_put_on_the_localizers_device(tiny: nn.Module) -> None:
    defended = wrap_with_ansm(tiny.to("meta"), spec=PLAIN)
    assert {p.device.type for p in defended.parameters()} == {"meta"}


def test_a_defended_localizer_is_generic_in_its_localizer(tiny: nn.Module) -> None:
    assert isinstance(wrap_with_ansm(tiny, spec=PLAIN), DefendedLocalizer)


# --- mistakes -------------------------------------------------------------------------------------


def test_a_defended_localizer_is_not_wrapped_twice(tiny: nn.Module) -> None:
    defended = wrap_with_ansm(tiny, spec=PLAIN)
    with pytest.raises(LocalizerError, match=r"already defended; pass unwrap\(defended\)"):
        wrap_with_ansm(defended)


@pytest.mark.parametrize("given", ["unet", None, torch.rand, torch.zeros(1)])
@pytest.mark.parametrize("spec", [None, PLAIN])
def test_only_torch_modules_are_wrapped(given: Any, spec: LocalizerSpec | None) -> None:
    with pytest.raises(LocalizerError, match=r"a localizer is a torch\.nn\.Module; given"):
        wrap_with_ansm(given, spec=spec)


def test_only_defended_localizers_are_unwrapped(tiny: nn.Module) -> None:
    with pytest.raises(LocalizerError, match="takes a defended localizer; given TinyLocalizer"):
        unwrap(tiny)  # type: ignore[arg-type]


def test_an_unknown_preset_offers_the_nearest(tiny: nn.Module) -> None:
    with pytest.raises(ConfigError, match="Nearest: small"):
        wrap_with_ansm(tiny, ansm="smal", spec=PLAIN)


@pytest.mark.parametrize("given", [3, ANSM])
def test_an_ansm_is_a_name_or_a_module(tiny: nn.Module, given: Any) -> None:
    with pytest.raises(ConfigError, match="allowed: a preset name or a torch module"):
        wrap_with_ansm(tiny, ansm=given, spec=PLAIN)


def test_a_failed_wrap_leaves_the_localizer_as_it_was(tiny: nn.Module) -> None:
    for bad in ({"ansm": "smal"}, {"weights": "missing.safetensors"}):
        with pytest.raises((ConfigError, WeightsError)):
            wrap_with_ansm(tiny, spec=PLAIN, **bad)
    assert tiny.training
    assert all(p.requires_grad for p in tiny.parameters())
