"""Which masks attacks of a training are told: by name, drawn, and whether they know the truth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ansm_plugin.errors import ConfigError
from ansm_plugin.training.cache import DEFAULT_TARGETS, AttackMixture
from ansm_plugin.training.targets import (
    INDEPENDENT,
    TARGETS,
    Target,
    Teller,
    independent,
    parse_target,
    parse_targets,
    swapped,
)

ALL = torch.arange(6)


def truths() -> Tensor:
    """Return six masks: four with a square of their own, two of authentic crops."""
    masks = torch.zeros(6, 1, 16, 16, dtype=torch.uint8)
    for index in range(4):
        masks[index, :, index : index + 6, 2 * index : 2 * index + 5] = 1
    return masks


def own() -> Tensor:
    return torch.ones(6, 1, 16, 16)


def never() -> Tensor:
    raise AssertionError("no attack is told the localizer's own mask")


def tell(*names: str, masks: Tensor | None = None, seed: int = 0, own: Callable[[], Tensor] = own):
    """Return what attacks on all six crops are told."""
    teller = Teller(parse_targets(names), truths() if masks is None else masks)
    return teller.tell(ALL, torch.Generator().manual_seed(seed), own)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("truth", Target("truth")),
        ("other:0.25", Target("other", share=0.25)),
        ("towards-blob:2", Target("blob", towards=True, share=2.0)),
        ("towards-own", Target("own", towards=True)),
    ],
)
def test_a_target_is_read(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ((), "no attack targets are named; known: truth"),
        (("trut",), "unknown attack target 'trut'. Nearest: truth"),
        (("towards-bolb",), "'bolb'. Nearest: blob"),
        (("TRUTH",), "unknown attack target"),
        (("away-other",), "unknown attack target"),
        (("other:0",), "'other:0' is not a number above 0"),
        (("other:-1",), "is not a number above 0"),
        (("other:nan",), "is not a number above 0"),
        (("other:1e999",), "is not a number above 0"),
        (("other:",), "is not a number above 0"),
        (("other:0.2:0.3",), "is not a number above 0"),
        (("towards-swap",), "write swap"),
    ],
)
def test_an_impossible_mixture_is_refused(targets: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AttackMixture(targets=targets)


@given(st.text(max_size=20) | st.sampled_from(TARGETS).flatmap(lambda n: st.text().map(n.__add__)))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        code = parse_target(text).code
    except ConfigError:  # and nothing else
        return
    assert 0 <= code < 256


def test_codes_are_those_that_files_hold() -> None:
    assert [Target(name).code for name in TARGETS] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert Target("other", towards=True).code == 3


def test_the_truth_alone_is_told_without_a_draw() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    for targets in (("truth",), ("truth:0.5", "truth:0.5")):
        told = Teller(parse_targets(targets), truths()).tell(ALL, generator, never)
        assert torch.equal(told.masks, truths().float())
        assert told.codes.tolist() == [0] * 6
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", TARGETS)
def test_towards_a_mask_is_away_from_its_complement(name: str) -> None:
    away = tell(name)
    assert away.masks.shape == (6, 1, 16, 16)
    assert set(away.masks.unique().tolist()) <= {0.0, 1.0}
    if name != "swap":
        towards = tell(f"towards-{name}")
        assert torch.equal(towards.masks, 1 - away.masks)
        assert torch.equal(towards.codes, away.codes + 1)


def test_each_name_is_the_mask_it_says() -> None:
    truth = truths().float()
    assert torch.equal(tell("complement").masks, 1 - truth)
    assert not tell("empty").masks.any()
    assert tell("full").masks.all()
    assert torch.equal(tell("own").masks, own())
    assert torch.equal(tell("swap").masks, truth)
    mirrored = tell("mirror").masks
    assert torch.equal(mirrored.sum((1, 2, 3)), truth.sum((1, 2, 3)))
    assert not torch.equal(mirrored, truth)


def test_only_a_drawn_own_mask_costs_a_pass() -> None:
    assert tell("other", "blob", "mirror", "swap", own=never).masks.shape == (6, 1, 16, 16)


@pytest.mark.parametrize("name", sorted(INDEPENDENT))
@pytest.mark.parametrize("prefix", ["", "towards-"])
def test_an_independent_mask_does_not_change_with_the_truth(name: str, prefix: str) -> None:
    """The truth of crop 0 grows: what the attack on crop 0 is told stays as it was."""
    changed = truths()
    changed[0, :, 4:] = 1
    for seed in range(10):
        first, second = (tell(prefix + name, masks=m, seed=seed) for m in (truths(), changed))
        assert torch.equal(first.masks[0], second.masks[0])
        assert independent(first.codes).all()


@pytest.mark.parametrize("name", sorted(set(TARGETS) - INDEPENDENT))
def test_every_other_mask_counts_as_knowing(name: str) -> None:
    assert not independent(tell(name).codes).any()


def test_another_crops_mask_is_never_the_own_one_and_never_empty() -> None:
    for seed in range(20):
        told = tell("other", seed=seed).masks
        assert told.flatten(1).any(1).all()
        assert not any(torch.equal(told[i], truths()[i].float()) for i in range(6))


@pytest.mark.parametrize("forged", [0, 1])
def test_without_another_forged_crop_a_blob_is_told(forged: int) -> None:
    masks = truths()
    masks[forged:] = 0
    told = tell("other", masks=masks).masks
    assert told.flatten(1).any(1).all()
    assert not torch.equal(told[0], masks[0].float())


def test_a_blob_fits_crops_that_are_not_square() -> None:
    masks = torch.zeros(2, 1, 16, 24, dtype=torch.uint8)
    told = Teller(parse_targets(["blob"]), masks).tell(torch.arange(2), torch.Generator(), never)
    assert told.masks.shape == masks.shape


def test_by_default_half_and_more_know_nothing_of_the_truth() -> None:
    targets = parse_targets(DEFAULT_TARGETS)
    known = sum(t.share for t in targets if t.name in INDEPENDENT)
    assert 0.5 <= known / sum(t.share for t in targets) <= 0.75
    teller = Teller(targets, truths()[torch.arange(1200) % 6])
    codes = teller.tell(torch.arange(1200), torch.Generator().manual_seed(0), never).codes
    assert 0.5 < float(independent(codes).float().mean()) < 0.65
    assert len(codes.unique()) == len(targets)


def test_a_swapped_crop_has_the_noise_of_the_one_before_it() -> None:
    originals = torch.tensor([0.2, 0.4, 0.99]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    attacked = originals + torch.tensor([0.02, -0.01, 0.01]).view(3, 1, 1, 1)
    codes = torch.tensor([Target("swap").code, 0, Target("swap").code], dtype=torch.uint8)
    found = swapped(attacked, originals, codes)[:, 0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0.21, 0.39, 0.98]))
    assert swapped(attacked, originals, torch.zeros(3, dtype=torch.uint8)) is attacked
