"""What tensors must be before they are compared pixel by pixel."""

from __future__ import annotations

from torch import Tensor

from ansm_plugin.errors import ImageError, LocalizerError


def require_same_shape(channels: int, **compared: Tensor) -> None:
    """Raise ImageError unless two tensors, given by their names, are both `(B, channels, H, W)`.

    Broadcasting would turn (B, 1, H, W) against (B, H, W) into a wrong number, not an error.
    """
    (first, one), (second, other) = compared.items()
    if one.shape != other.shape or one.ndim != 4 or one.shape[1] != channels:
        raise ImageError(
            f"{first} {tuple(one.shape)} and {second} {tuple(other.shape)} were given; both must "
            f"be (B, {channels}, H, W)."
        )


def require_numbers(logits: Tensor) -> None:
    """Raise LocalizerError where a localizer's logits are NaN, which would count as not forged.

    Infinite ones are numbers here: above or below all others, and equal among themselves.
    """
    if bool(logits.isnan().any()):
        raise LocalizerError(
            "the localizer's logits hold NaN, which is neither forged nor authentic; check its "
            "weights, or use precision fp32."
        )
