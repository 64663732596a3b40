"""What a localizer answers under attack: who is to blame where no attack can climb it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.errors import LocalizerError

EPS = 8 / 255


class Spoilt(nn.Module):
    """A localizer whose answer is spoilt in one way."""

    def __init__(self, spoil: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.spoil = spoil

    def forward(self, pixels: Tensor) -> Any:
        return self.spoil(pixels.mean(1, keepdim=True) - 0.5)


def case() -> tuple[Tensor, Tensor]:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, 1, 8, 8)
    masks[..., 2:6, 3:7] = 1
    return images, masks


def run(attack: str, model: nn.Module) -> None:
    """Attack by name; "square" by scores alone."""
    if attack == "square":
        square_attack(model, *case(), EPS, queries=2)
    else:
        run_attack(model, *case(), EPS, attack_spec(attack, steps=2))


NOT_FINITE: dict[str, Callable[[Tensor], Tensor]] = {
    "NaN": lambda z: z * float("nan"),
    "one NaN": lambda z: torch.cat([z[..., :-1], z[..., -1:] / 0 * 0], -1),
    "infinite": lambda z: z / 0,
    "logit of a hard mask": lambda z: torch.logit((z > 0).float() + 0 * z),
    "minus infinite frame": lambda z: nn.functional.pad(
        z[..., 1:-1, 1:-1], (1, 1, 1, 1), value=-float("inf")
    ),
    "of half precision": lambda z: (z * 1e6).half(),
}


@pytest.mark.parametrize("name", NOT_FINITE)
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "mifgsm", "vmifgsm", "apgd", "margin", "square"])
def test_logits_that_are_not_finite_are_the_localizers_fault(name: str, attack: str) -> None:
    model = Spoilt(NOT_FINITE[name])
    with pytest.raises(LocalizerError, match="localizer Spoilt returned NaN or infinite logits"):
        run(attack, model)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "mifgsm", "apgd"])
def test_a_gradient_that_is_not_finite_is_no_gradient(attack: str) -> None:
    """The sign of NaN is 0: the attack would stand still, and the localizer look robust."""
    model = Spoilt(lambda z: z + (0 * z).abs().sqrt())
    with pytest.raises(LocalizerError, match=r"gradient that comes back through .* Spoilt is NaN"):
        run_attack(model, *case(), EPS, attack_spec(attack, steps=2))


OTHER_ANSWERS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "a dict": (lambda z: {"out": z}, "returned dict.*mask_forward"),
    "a tuple": (lambda z: (z,), "returned tuple.*mask_forward"),
    "two classes": (lambda z: torch.cat([-z, z], 1), r"returned \(2, 2, 8, 8\)"),
    "half the size": (lambda z: z[..., ::2, ::2], r"returned \(2, 1, 4, 4\)"),
    "no channel": (lambda z: z[:, 0], r"returned \(2, 8, 8\)"),
    "one score": (lambda z: z.mean((2, 3), keepdim=True), r"returned \(2, 1, 1, 1\)"),
}


@pytest.mark.parametrize("name", OTHER_ANSWERS)
@pytest.mark.parametrize("attack", ["pgd", "margin", "apgd-dice", "square"])
def test_answers_that_are_no_mask_logits_are_refused(name: str, attack: str) -> None:
    """Some would be broadcast against the masks, and climbed all the same."""
    change, said = OTHER_ANSWERS[name]
    model = Spoilt(change)
    with pytest.raises(LocalizerError, match=said):
        run(attack, model)
