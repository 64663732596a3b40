"""What we offer host toolkits by entry point: the defence, and defended localizers by name.

Nothing here imports torch before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansm_plugin.plugins import API_VERSION

if TYPE_CHECKING:
    from torch import nn

    from ansm_plugin.defended import DefendedLocalizer

DEFENSES = "forensics.defenses"
MODELS = "forensics.models"
GROUPS = (
    *(DEFENSES, MODELS, "imdlbenco.plugins", "forensichub.plugins"),
    *("ansm_plugin.localizers", "ansm_plugin.attacks", "ansm_plugin.weights"),
)


@dataclass(frozen=True, kw_only=True)
class Defense:
    """What a host toolkit may know of a defence before it imports torch.

    Attributes:
        name: key by which users choose it.
        summary: one line for a menu.
        api_version: changes when a field or a method changes its meaning.
        input_range: of the images that `build` takes and returns.
        channels: of these images, RGB.
        max_linf: the largest change of a pixel by default, in units of `input_range`.
        tasks: what the defended models do.
    """

    name: str
    summary: str
    api_version: int = API_VERSION
    input_range: tuple[float, float] = (0.0, 1.0)
    channels: int = 3
    max_linf: float = 16 / 255
    tasks: tuple[str, ...] = ("localization",)

    def build(
        self, weights: str | None = None, *, preset: str | None = None
    ) -> DefendedLocalizer[nn.Identity]:
        """Return a module that suppresses adversarial noise in images.

        Shape: `(B, 3, H, W)` in [0, 1] -> the same. Without `weights` it changes nothing.

        Raises:
            AnsmError: the weights or the preset cannot be used.
        """
        from torch import nn

        from ansm_plugin.defended import DefendedLocalizer
        from ansm_plugin.localizer.spec import LocalizerSpec

        pixels = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return DefendedLocalizer(nn.Identity(), _ansm(weights, preset), pixels).eval()

    def wrap(self, model: nn.Module, weights: str | None = None, **options: Any) -> nn.Module:
        """Return `wrap_with_ansm(model, weights, **options)`."""
        from ansm_plugin.defended import wrap_with_ansm

        return wrap_with_ansm(model, weights, **options)


DEFENSE = Defense(name="ansm", summary="learned suppression of adversarial noise, at most 16/255")


def create(base: str, *, weights: str | None = None, preset: str | None = None) -> nn.Module:
    """Return a defended localizer by the name of its localizer.

    Args:
        base: as on the command line: `smp:Unet?encoder_name=resnet18@weights.safetensors`.
        weights: of the ANSM, written by `save_ansm`; None takes those that come with a name of
            `ansm models`, and gives other localizers an untrained one.
        preset: of an untrained ANSM.

    Raises:
        AnsmError: a name or a file cannot be used.
    """
    from ansm_plugin.backbones.reference import ansm_of, build_localizer
    from ansm_plugin.defended import wrap_with_ansm

    if weights is None and preset is None and (own := ansm_of(base)) is not None:
        weights = str(own)
    return wrap_with_ansm(build_localizer(base), weights, ansm=preset)


def _ansm(weights: str | None, preset: str | None) -> nn.Module:
    from ansm_plugin.ansm import ANSM, DEFAULT_PRESET
    from ansm_plugin.weights.ansm_file import load_ansm

    return ANSM(preset or DEFAULT_PRESET) if weights is None else load_ansm(weights, into=preset)
