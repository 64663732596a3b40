"""What attacks are told: wrong masks, the way towards them, and noise of another image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ansm_plugin.attacks import ATTACKS, OBJECTIVES, attack_spec, objective, run_attack
from ansm_plugin.attacks.aims import AIMS, aimed, swapped, wrong_masks
from ansm_plugin.attacks.objectives import MASKLESS, f1, success, towards, value
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.errors import ConfigError, ImageError

TOLD = sorted(set(OBJECTIVES) - MASKLESS)


def squares(count: int, size: int = 32) -> Tensor:
    """Return masks with a square each, at places of their own, left of the middle."""
    masks = torch.zeros(count, 1, size, size)
    for index in range(count):
        top = index * (size - 8) // max(1, count - 1)
        masks[index, :, top : top + 8, 1 + index % 4 : 9 + index % 4] = 1
    return masks


def wrong(masks: Tensor, seed: int = 0, others: Tensor | None = None) -> Tensor:
    return wrong_masks(masks, attack_generator(seed, "wrong mask", 0, 0), others)


# --- wrong masks ----------------------------------------------------------------------------------


def test_a_wrong_mask_hardly_overlaps_the_truth() -> None:
    masks = squares(8)
    found = wrong(masks)
    assert found.shape == masks.shape
    assert found.dtype == masks.dtype
    assert set(found.unique().tolist()) == {0.0, 1.0}
    shared = (found * masks).sum((1, 2, 3)) / masks.sum((1, 2, 3))
    assert shared.max() <= 0.2
    assert (found.sum((1, 2, 3)) - masks.sum((1, 2, 3))).abs().max() <= 8


def test_half_of_the_wrong_masks_are_another_images_mirrored() -> None:
    masks = squares(8)
    mirrored = masks.flip(-1)
    borrowed = [bool((w == mirrored).flatten(1).all(1).any()) for w in wrong(masks)]
    assert sum(borrowed) == 4
    assert wrong(masks, 1).ne(wrong(masks)).any()


def test_wrong_masks_are_those_of_their_seed() -> None:
    masks = squares(6)
    assert torch.equal(wrong(masks), wrong(masks.bool()).float())
    assert torch.equal(wrong(masks), wrong(masks))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_wrong_masks_do_not_depend_on_the_device() -> None:
    masks = squares(6)
    assert torch.equal(wrong(masks.cuda()).cpu(), wrong(masks))


def test_one_image_alone_gets_a_blob() -> None:
    masks = squares(1)
    found = wrong(masks)
    assert not torch.equal(found, masks.flip(-1))
    assert float((found * masks).sum()) <= 0.2 * float(masks.sum())


def test_an_authentic_image_gets_a_mask_of_others_or_a_blob() -> None:
    empty, masks = torch.zeros(8, 1, 32, 32), squares(3)
    found = wrong(empty, others=masks)
    assert found.flatten(1).any(1).all()
    mirrored = masks.flip(-1)
    borrowed = [bool((w == mirrored).flatten(1).all(1).any()) for w in found]
    assert sum(borrowed) == 4
    alone = wrong(empty, others=masks[:0])
    assert alone.flatten(1).any(1).all()
    assert alone.mean((1, 2, 3)).max() <= 0.5


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 4),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    share=st.sampled_from([0.0, 0.02, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 99),
)
def test_any_masks_get_wrong_ones(
    count: int, height: int, width: int, share: float, seed: int
) -> None:
    """Never empty, never most of the image, and never the truth where anything else is possible."""
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(count, 1, height, width, generator=generator) < share).float()
    found = wrong(masks, seed)
    assert found.shape == masks.shape
    assert found.flatten(1).any(1).all()
    if height * width > 1:
        assert (found.mean((1, 2, 3)) <= 0.75).all()


# --- towards a mask -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOLD)
def test_towards_leads_towards_the_mask_under_every_objective(name: str) -> None:
    """Logits that are not there yet rise inside the mask and fall outside."""
    masks = squares(2)
    found = objective(towards(name))
    leaf = (0.3 * (1 - 2 * masks)).requires_grad_()
    (gradient,) = torch.autograd.grad(found(leaf, masks, 0.0).sum(), leaf)
    assert (gradient[masks > 0] > 0).all()
    assert (gradient[masks == 0] < 0).all()
    there, nowhere = 4 * (2 * masks - 1), torch.full_like(masks, -4.0)
    assert (value(towards(name), there, masks) > value(towards(name), nowhere, masks)).all()
    assert (success(towards(name), there, masks) == 1).all()
    assert (success(towards(name), nowhere, masks) == 0).all()


@pytest.mark.parametrize("name", TOLD)
def test_towards_is_the_same_objective_told_the_complement(name: str) -> None:
    logits = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = squares(2)
    found = objective(towards(name))(logits, masks, 0.3)
    torch.testing.assert_close(found, objective(name)(logits, 1 - masks, 0.3))


@pytest.mark.parametrize("name", sorted(MASKLESS))
def test_an_objective_without_a_mask_leads_towards_none(name: str) -> None:
    with pytest.raises(ConfigError, match="told no mask"):
        towards(name)
    with pytest.raises(ConfigError, match="unknown objective"):
        objective(f"towards {name}")


@pytest.mark.parametrize(
    "name",
    sorted(n for n, s in ATTACKS.items() if s.objective not in MASKLESS and s.region != "patch"),
)
def test_every_attack_can_be_led_towards_a_mask(name: str) -> None:
    """A localizer of grey levels that marks nothing ends up marking W better than before."""
    forward = lambda x: 40 * (x.mean(1, keepdim=True) - 0.51)  # noqa: E731
    images, masks = torch.full((2, 3, 32, 32), 0.5), squares(2)
    spec = aimed(attack_spec(name, steps=4), "mark")
    generator = attack_generator(0, name, 8, 0)
    found = run_attack(forward, images, masks, 8 / 255, spec, generator=generator)
    assert (f1(forward(found), masks) > 0.5).all()


def test_other_aims_leave_the_attack_as_it_is() -> None:
    spec = attack_spec("pgd")
    assert [aimed(spec, aim) is spec for aim in ("truth", *AIMS)] == [True, True, False, True]


# --- swapped noise --------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_everybody_gets_the_noise_of_another(norm: str) -> None:
    images = torch.full((3, 3, 8, 8), 100 / 255)
    images[1] = 3 / 255  # there is no room for all of the noise
    noise = torch.tensor([-6.0, 0.0, 6.0]).view(3, 1, 1, 1) / 255
    attacked = (images + noise).clamp(0, 1)
    found = swapped(images, attacked, 8 / 255, norm, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    change = ((found - images) * 255).round()
    assert torch.allclose(found * 255, (found * 255).round(), atol=1e-3)
    assert float(found.min()) >= 0
    assert change.abs().max() <= 8
    own = (noise * 255).flatten().tolist()
    got = change[:, 0, 0, 0].tolist()
    assert all(mine != his for mine, his in zip(own, got, strict=True))


def test_one_image_has_nobody_to_swap_with() -> None:
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ImageError, match="two or more"):
        swapped(image, image, 8 / 255, "linf", torch.Generator())
