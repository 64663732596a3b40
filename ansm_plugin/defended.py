"""The pair of ANSM and localizer: how to make it, keep it and undo it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, DEFAULT_PRESET
from ansm_plugin.attack_score import AttackScore
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.gate import Examined, gated, judge, perturbed, require_score
from ansm_plugin.localizer.call import asked, call_padded, mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.held import Held
from ansm_plugin.localizer.modes import autocast, device_of
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.device import find_device

if TYPE_CHECKING:  # files are read where one is named: without one nobody waits for safetensors
    from ansm_plugin.weights.ansm_file import Provenance
    from ansm_plugin.weights.figures import Results

L = TypeVar("L", bound=nn.Module)


class DefendedLocalizer(nn.Module, Generic[L]):
    """A localizer with an ANSM in front of it.

    It takes and returns exactly what the localizer takes and returns, and sizes that the localizer
    refuses are padded and cropped. The localizer is frozen (no parameter gradients) and in eval
    mode at every call, whatever `train()` said, here or of the localizer itself; `unwrap` gives it
    back as it was. No attribute is forwarded: write `defended.localizer.encoder`.

    `load_state_dict` takes the state of the pair, or of the bare localizer, which keeps the ANSM.

    Args:
        localizer: the wrapped model; not copied.
        ansm: the module in front of it.
        spec: how to talk to the localizer.
        score: coefficients of `attack_score`, if it was calibrated.
        gate: whether images whose score is 0 or below are left as they are.

    Raises:
        WeightsError: a gate without a score.
    """

    def __init__(
        self,
        localizer: L,
        ansm: nn.Module,
        spec: LocalizerSpec,
        *,
        score: AttackScore | None = None,
        gate: bool = False,
    ) -> None:
        super().__init__()
        self.score, self.gate = score, gate
        if gate:
            self.require_score()
        self.localizer: L = localizer
        self._held = Held(localizer)  # frozen from here on, so that unwrap can give it back
        self.ansm, self.spec = ansm, spec
        self.register_load_state_dict_pre_hook(_accept_bare_state)  # type: ignore[no-untyped-call]
        self.train(self.training)

    def train(self, mode: bool = True) -> DefendedLocalizer[L]:
        """Set the mode of the ANSM; the localizer stays in eval mode."""
        self._held.enforce(self.localizer)  # notes the mode of what joined the localizer
        super().train(mode)
        self._held.enforce(self.localizer)
        return self

    @property
    def pixels(self) -> PixelView:
        """The same defence for who has pixels in [0, 1] instead of the localizer's input."""
        return PixelView(self)

    def perturbation(self, inputs: Tensor) -> Tensor:
        """Return the defensive perturbation in pixel units, cut to keep pixels in [0, 1].

        With the gate it is exactly 0 for images whose attack score is 0 or below: see `gate.gated`.

        Shape: `(B, 3, H, W)` in the localizer's input range -> the same shape in [-e_d, e_d], fp32.
        """
        pixels, delta = perturbed(self.ansm, self.spec, inputs)
        if not self.gate:
            return delta
        return gated(delta, self.judge(self._masked(pixels, delta)))

    def examine(self, inputs: Tensor) -> Examined:
        """Return what the attack score is made of: perturbation and both masks, without the gate.

        Costs two passes of the localizer. Shape: `(B, 3, H, W)` in the localizer's input range.
        """
        return self._masked(*perturbed(self.ansm, self.spec, inputs))

    def attack_score(self, inputs: Tensor) -> Tensor:
        """Return how much each image looks attacked: log-odds, 0 where 1 in 100 is a false alarm.

        Differentiable. It was fitted on attackers who do not know the module; one who does can
        lower it, which `recipes/HARDENED.md` measures.

        Shape: `(B, 3, H, W)` in the localizer's input range -> `(B,)`, real, fp32.

        Raises:
            WeightsError: the ANSM was never calibrated.
        """
        return self.judge(self.examine(inputs))

    def judge(self, examined: Examined) -> Tensor:
        """Return the attack score `(B,)` of what `examine` found."""
        return judge(self.require_score(), examined)

    def suppress(self, inputs: Tensor) -> Tensor:
        """Return the inputs with the defensive perturbation added, in their range and dtype."""
        delta = self.perturbation(inputs)
        with autocast(inputs.device, to_bf16=False):  # summed in fp32 or better
            return (inputs + self.spec.normalise_change(delta)).to(inputs.dtype)

    def forward(self, inputs: Tensor | None = None, /, *args: Any, **kwargs: Any) -> Any:
        """Return what the localizer returns for the suppressed image.

        Shape: `(B, 3, H, W)` in the localizer's input range, any size; first, or by the keyword of
        the localizer, such as `pixel_values=`.
        """
        image, answer = asked(self.localizer, inputs, args, kwargs)
        suppressed, spec = self.suppress(image), self.spec
        self._held.enforce(self.localizer)
        return call_padded(answer, suppressed, spec.stride, spec.smallest, square=spec.square)

    def save_pretrained(
        self,
        folder: str | Path,
        provenance: Provenance | None = None,
        *,
        results: Results | None = None,
        licence: str | None = None,
    ) -> Path:
        """Write ANSM, config and model card as the Hugging Face hub has them; upload nothing.

        Args:
            folder: made where there is none; one that holds something else's config is refused.
            provenance: where the weights come from; by default the localizer and its input.
            results: what `evaluate` returned, or its JSON file, for the card.
            licence: of the ANSM, as the hub names it; None leaves it unknown.

        Raises:
            WeightsError: the folder cannot be used, or the ANSM is a module of your own.
            ConfigError: the results are no evaluation's.
        """
        from ansm_plugin.weights.folder import file_of, write_folder

        file = file_of(self.ansm, self.score, self.localizer, self.spec, provenance)
        return write_folder(folder, file, self.spec, results=results, licence=licence)

    def _masked(self, pixels: Tensor, delta: Tensor) -> Examined:
        self._held.enforce(self.localizer)
        is_mixed = not pixels.is_meta and torch.is_autocast_enabled(pixels.device.type)
        logits = mask_forward(self.localizer, self.spec, precision="bf16" if is_mixed else "fp32")
        return Examined(pixels, delta, logits(pixels), logits(pixels + delta))

    def require_score(self) -> AttackScore:
        """Return the coefficients of the attack score, or raise WeightsError if there are none."""
        return require_score(self.score)

    def extra_repr(self) -> str:
        """Say whether the defence does anything yet."""
        untrained = isinstance(self.ansm, ANSM) and self.ansm.is_identity
        return "untrained: returns what the localizer returns" if untrained else "trained"


@dataclass(frozen=True)
class PixelView:
    """A defended localizer as seen by who has pixels in [0, 1].

    There and back rounds, but figures that were measured so are to be had again.
    """

    defended: DefendedLocalizer[Any]

    def perturbation(self, pixels: Tensor) -> Tensor:
        """Return the perturbation, through the gate. Shape: `(B, 3, H, W)` -> the same, fp32."""
        return self.defended.perturbation(self.defended.spec.normalise(pixels))

    def suppress(self, pixels: Tensor) -> Tensor:
        """Return the pixels with the perturbation added. Shape: `(B, 3, H, W)` -> the same."""
        return pixels + self.perturbation(pixels)

    def examine(self, pixels: Tensor) -> Examined:
        """Return what the attack score is made of, as `DefendedLocalizer.examine` does."""
        return self.defended.examine(self.defended.spec.normalise(pixels))


def wrap_with_ansm(
    localizer: L,
    weights: str | None = None,
    *,
    ansm: str | nn.Module | None = None,
    spec: LocalizerSpec | None = None,
    gate: bool = False,
    device: str | torch.device | None = None,
) -> DefendedLocalizer[L]:
    """Put an ANSM in front of a localizer.

    The localizer is frozen and set to eval mode until `unwrap`; its weights and buffers are not
    touched, nor its device unless another one is named. Without `weights` the result is untrained
    and returns bit for bit what the localizer returns.

    Args:
        localizer: a timm, segmentation_models_pytorch or other torch module.
        weights: a safetensors file written by `save_ansm`.
        ansm: a preset name or a module of your own (image in [0, 1] -> perturbation); by default
            what the weights say, else the default preset.
        spec: how to talk to the localizer; by default found by `describe`.
        gate: leave images as they are whose attack score says that nothing is wrong; three passes
            of the localizer instead of one. Needs weights that were calibrated.
        device: moves both, "auto" to the accelerator if there is one; None moves nothing.

    Raises:
        LocalizerError: not a module, already defended, or not understood.
        WeightsError: the file cannot be read, does not fit, or holds no score for the gate.
        ConfigError: the preset is unknown, or there is no such device.
    """
    place = None if device is None else find_device(device)
    _require_bare(localizer)
    spec, module, score = spec or describe(localizer), ansm, None
    if weights is not None:
        from ansm_plugin.weights.ansm_file import AnsmFile

        file = AnsmFile.read(weights, into=ansm)
        file.warn_unless_for(localizer)
        module, score = file.ansm.to(device_of(localizer)), file.score
    elif ansm is None or isinstance(ansm, str):
        module = ANSM(ansm or DEFAULT_PRESET).to(device_of(localizer))
    if not isinstance(module, nn.Module):
        raise ConfigError(f"ansm is {ansm!r}; allowed: a preset name or a torch module.")
    made = DefendedLocalizer(localizer, module, spec, score=score, gate=gate).eval()
    return made if place is None else made.to(place)


def _require_bare(localizer: object) -> None:
    """Raise LocalizerError unless this is a module that is not defended yet."""
    if isinstance(localizer, DefendedLocalizer):
        raise LocalizerError(
            "this localizer is already defended; pass unwrap(defended) to wrap it anew."
        )
    if not isinstance(localizer, nn.Module):  # describe would say so, but a given spec skips it
        raise LocalizerError(f"a localizer is a torch.nn.Module; given {type(localizer).__name__}.")


def unwrap(defended: DefendedLocalizer[L]) -> L:
    """Return the very localizer that was wrapped, with its modes and gradient flags as before.

    Of several wraps the last `unwrap` gives them back. Doing it twice changes nothing.
    """
    if not isinstance(defended, DefendedLocalizer):
        raise LocalizerError(f"unwrap takes a defended localizer; given {type(defended).__name__}.")
    defended._held.release()
    return defended.localizer


def load_pretrained(
    folder: str | Path,
    localizer: L,
    *,
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> DefendedLocalizer[L]:
    """Defend a localizer by what `save_pretrained` wrote; warn where it is another localizer.

    The recorded spec is used, so normalisation and taps are those of the training; `device` is that
    of `wrap_with_ansm`. Where no folder has the name "owner/name", it is a repository of the
    Hugging Face hub, at `revision`, a branch, tag or commit: see `weights.hub`.

    Raises:
        WeightsError: not of `save_pretrained`, damaged, or not to be had from the hub.
        LocalizerError: the localizer cannot be wrapped.
    """
    from ansm_plugin.weights.folder import read_folder
    from ansm_plugin.weights.hub import find_folder

    spec, weights = read_folder(find_folder(folder, revision))
    return wrap_with_ansm(localizer, str(weights), spec=spec, device=device)


# As a function, as 0.1 had it.
save_pretrained = DefendedLocalizer.save_pretrained


def _accept_bare_state(
    defended: DefendedLocalizer[Any], state: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Before torch loads a state dict; a function of the module, so that pairs can be pickled."""
    from ansm_plugin.weights.names import accept_bare_state

    accept_bare_state(defended.localizer, defended.ansm, state, prefix)
