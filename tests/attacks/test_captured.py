"""Captured passes: the same noise as plain ones, on the CPU with a double that records."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.attacks import ATTACKS, Expectation, attack_spec, run_attack
from ansm_plugin.attacks.captured import Capture, Captured, Pass, Run, attack_forward
from ansm_plugin.attacks.spec import AttackSpec
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import Forward, mask_forward

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py
PLAIN = ("difgsm", "fgsm")  # one draws a view at each step, the other has a single one


class Recorder:
    """Captures on the CPU: a replay runs again, into the memory that the last one filled."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, run: Run, device: torch.device) -> Run:
        """Return the replay of a run."""
        self.captures += 1
        made = run()

        def replay() -> Pass:
            self.replays += 1
            for kept, new in zip(made, run(), strict=True):
                kept.copy_(new)
            return made

        return replay


def refusing(error: RuntimeError) -> Capture:
    """Return a capture that fails."""

    def capture(run: Run, device: torch.device) -> Run:
        raise error

    return capture


def noise(victim: Victim, forward: Forward, spec: AttackSpec, **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    images, masks = options.pop("images", victim.images), options.pop("masks", victim.masks)
    return run_attack(forward, images, masks, EPS, spec, generator=generator, **options)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_captured_passes_make_the_noise_of_plain_ones(victim: Victim, name: str) -> None:
    recorder, spec = Recorder(), attack_spec(name, steps=6)
    expected = noise(victim, victim.forward, spec)
    found = noise(victim, Captured(victim.forward, recorder), spec)
    torch.testing.assert_close(found, expected, rtol=0, atol=0 if "seg" not in name else 1 / 255)
    assert (found != expected).float().mean() < 1e-3  # elapsed is a float32 there, in segpgd
    assert recorder.captures == (name not in PLAIN)
    # One pass looked at, one replay held against another pass, the others replayed.
    assert recorder.replays == (spec.gradients if name not in PLAIN else 0)


def test_a_graph_serves_other_images_and_masks_of_its_shape(victim: Victim) -> None:
    recorder, spec = Recorder(), attack_spec("mifgsm", steps=4)
    captured = Captured(victim.forward, recorder)
    first = noise(victim, captured, spec)
    kept = first.clone()
    others = {"images": victim.images.flip(0, -1), "masks": victim.masks.flip(0, -1)}
    second = noise(victim, captured, spec, **others)
    assert recorder.captures == 1
    assert torch.equal(first, kept)
    assert torch.equal(second, noise(victim, victim.forward, spec, **others))


def test_what_a_replay_returned_stays_as_it_was(victim: Victim) -> None:
    captured = Captured(victim.forward, Recorder())
    points = [victim.images, victim.images, victim.images.flip(-1), victim.images]
    state = captured.state()
    found = [captured.gradient(state, "bce", x, victim.masks, 0.0) for x in points]
    assert found[0] is None
    assert found[1] is not None
    assert found[2] is not None
    assert found[3] is not None
    assert torch.equal(found[1].gradient, found[3].gradient)
    assert not torch.equal(found[1].gradient, found[2].gradient)


def test_every_objective_and_shape_is_captured_for_itself_and_few_are_kept(
    victim: Victim,
) -> None:
    recorder = Recorder()
    captured = Captured(victim.forward, recorder)
    shapes = [slice(0, count) for count in (1, 2, 3, 4, 5)]
    for rows in (*shapes, shapes[-1], shapes[0]):
        options = {"images": victim.images[rows], "masks": victim.masks[rows]}
        noise(victim, captured, attack_spec("pgd", steps=3), **options)
    assert recorder.captures == 6  # the first shape was forgotten
    noise(victim, captured, attack_spec("margin", steps=3), **options)
    assert recorder.captures == 7


def test_weights_that_change_in_their_place_are_seen_and_moved_ones_captured_anew(
    victim: Victim,
) -> None:
    model = nn.Conv2d(3, 1, 3, padding=1).requires_grad_(False).eval()
    forward, recorder = mask_forward(model, victim.spec), Recorder()
    captured, spec = Captured(forward, recorder), attack_spec("pgd", steps=4)
    for change in (lambda p: None, lambda p: p.neg_(), lambda p: setattr(p, "data", p.data * -1)):
        for parameter in model.parameters():
            change(parameter)
        assert torch.equal(noise(victim, captured, spec), noise(victim, forward, spec))
    assert recorder.captures == 2


class Drawing(nn.Module):
    """Answers otherwise each time, by a number that it draws on the host."""

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        return images.mean(1, keepdim=True) * (1 + random.random())


def test_a_forward_that_draws_on_the_host_is_found_out_and_runs_plainly(victim: Victim) -> None:
    recorder = Recorder()
    captured = Captured(mask_forward(Drawing().eval(), victim.spec), recorder)
    with pytest.warns(UserWarning, match=r"attacks on Drawing run their passes plainly.*differ"):
        noise(victim, captured, attack_spec("pgd", steps=4))
    replays = recorder.replays
    noise(victim, captured, attack_spec("pgd", steps=4))  # said once
    assert (recorder.captures, recorder.replays) == (1, replays)


def test_what_cannot_be_captured_says_so_once_and_makes_the_same_noise(victim: Victim) -> None:
    captured = Captured(victim.forward, refusing(RuntimeError("it waits for the device.")))
    spec = attack_spec("pgd", steps=4)
    with pytest.warns(UserWarning, match=r"cannot be captured \(it waits for the device\)"):
        found = noise(victim, captured, spec)
    assert torch.equal(found, noise(victim, victim.forward, spec))
    assert torch.equal(found, noise(victim, captured, spec))


def test_a_shape_that_memory_does_not_hold_runs_plainly_without_a_word(victim: Victim) -> None:
    tried: list[int] = []

    def capture(run: Run, device: torch.device) -> Run:
        tried.append(len(run().logits))
        raise torch.OutOfMemoryError("out of memory")

    captured, spec = Captured(victim.forward, capture), attack_spec("pgd", steps=5)
    assert torch.equal(noise(victim, captured, spec), noise(victim, victim.forward, spec))
    noise(victim, captured, spec, images=victim.images[:2], masks=victim.masks[:2])
    assert tried == [6, 2]


def test_what_is_drawn_at_each_step_is_not_captured(victim: Victim) -> None:
    def darker(pixels: Tensor, generator: torch.Generator) -> Tensor:
        return pixels * (1 - 0.1 * float(torch.rand((), generator=generator)))

    recorder, spec = Recorder(), attack_spec("pgd", steps=4)
    options = {"expectation": Expectation(darker, draws=2)}
    found = noise(victim, Captured(victim.forward, recorder), spec, **options)
    assert torch.equal(found, noise(victim, victim.forward, spec, **options))
    assert recorder.captures == 0


def test_nan_in_a_replay_is_told_as_ever(victim: Victim) -> None:
    def forward(pixels: Tensor) -> Tensor:
        # Finite at the image itself, where the attack begins.
        is_moved = (pixels - victim.images).abs().amax((1, 2, 3), keepdim=True) > 0.02
        return torch.where(is_moved, torch.nan, victim.forward(pixels))

    captured = Captured(forward, Recorder())
    with pytest.raises(LocalizerError, match="NaN or infinite logits"):
        noise(victim, captured, attack_spec("mifgsm", steps=6))


def test_on_the_cpu_attacks_climb_what_they_always_did(victim: Victim) -> None:
    forward = attack_forward(victim.model, victim.spec)
    assert not isinstance(forward, Captured)
    assert torch.equal(forward(victim.images), victim.forward(victim.images))


@pytest.fixture(autouse=True)
def _no_unexpected_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
