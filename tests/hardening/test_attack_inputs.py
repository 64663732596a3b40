"""Whatever numbers an attack is given: 8-bit images in the ball come out, or an error of ours."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.errors import AnsmError

SIDE = 6
DTYPES = (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int64, torch.bool)
# What people take for pixels and masks: scales and offsets of [0, 1].
SCALES = st.sampled_from([1.0, 255.0, 65535.0, 2.0, 4.4, 0.5, 1 + 1e-6, 1e38])
OFFSETS = st.sampled_from([0.0, -1.0, -2.1, -1e-6, 0.5, float("nan"), float("inf")])
SHAPES = st.sampled_from(
    [(2, SIDE, SIDE), (2, 1, SIDE, SIDE), (2, 2, SIDE, SIDE), (1, 1, SIDE, SIDE), (2, 1, SIDE, 3)]
)


def is_pixels(images: Tensor) -> bool:
    """Return whether these are float pixels in [0, 1], to rounding."""
    low, high = images.double().aminmax()
    return images.is_floating_point() and bool(low >= -1e-5) and bool(high <= 1 + 1e-5)


def is_masks(masks: Tensor) -> bool:
    binary = bool(((masks == 0) | (masks == 1)).all())
    return binary and tuple(masks.shape) == (2, 1, SIDE, SIDE)


@settings(deadline=None, max_examples=150)
@given(
    scale=SCALES,
    offset=OFFSETS,
    dtype=st.sampled_from(DTYPES),
    mask_shape=SHAPES,
    mask_values=st.sampled_from([(0, 1), (0, 255), (0, 2), (-1, 1), (0.2, 1), (1, 1), (0, 0)]),
    mask_dtype=st.sampled_from(DTYPES),
    eps=st.one_of(st.floats(width=32), st.sampled_from([0.0, 1.0, 8 / 255, 8.0])),
    by_scores=st.booleans(),
)
def test_an_attack_stays_in_its_ball_or_says_what_is_wrong(
    scale: float,
    offset: float,
    dtype: torch.dtype,
    mask_shape: tuple[int, ...],
    mask_values: tuple[float, float],
    mask_dtype: torch.dtype,
    eps: float,
    by_scores: bool,
) -> None:
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(2, 3, SIDE, SIDE, generator=generator)
    images = (unit * scale + offset).nan_to_num(0 if not dtype.is_floating_point else float("nan"))
    images = images.to(dtype)
    where = torch.rand(mask_shape, generator=generator) > 0.5
    masks = torch.where(where, mask_values[1], mask_values[0]).to(mask_dtype)
    localizer = nn.Conv2d(3, 1, 3, padding=1).eval()
    try:
        if by_scores:
            attacked = square_attack(localizer, images, masks, eps, queries=2, generator=generator)
        else:
            spec = attack_spec("pgd", steps=1)
            attacked = run_attack(localizer, images, masks, eps, spec, generator=generator)
    except AnsmError:
        assert not (is_pixels(images) and is_masks(masks) and 0 <= eps <= 1)
        return
    assert is_pixels(images)
    assert is_masks(masks)
    assert 0 <= eps <= 1
    assert torch.equal((attacked * 255).round() / 255, attacked)
    assert float((attacked - images.float()).abs().max()) <= eps + 0.5 / 255 + 2e-5
