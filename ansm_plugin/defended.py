"""The pair of ANSM and localizer, and how to make and undo it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, DEFAULT_PRESET
from ansm_plugin.attack_score import AttackScore, features
from ansm_plugin.errors import ConfigError, ImageError, LocalizerError, WeightsError
from ansm_plugin.localizer.call import call_padded, mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.modes import device_of, set_eval
from ansm_plugin.localizer.spec import LocalizerSpec

if TYPE_CHECKING:
    from ansm_plugin.weights.ansm_file import Provenance

L = TypeVar("L", bound=nn.Module)
_WRAPPERS = ("module.", "_orig_mod.")  # names that DistributedDataParallel and torch.compile add


class Examined(NamedTuple):
    """What the attack score judges: pixels and perturbation `(B, 3, H, W)`, both masks' logits."""

    pixels: Tensor
    delta: Tensor
    bare: Tensor
    defended: Tensor


class DefendedLocalizer(nn.Module, Generic[L]):
    """A localizer with an ANSM in front of it.

    It takes and returns exactly what the localizer takes and returns, and sizes that the localizer
    refuses are padded and cropped. The localizer is frozen (no parameter gradients) and always in
    eval mode, whatever `train()` says; `unwrap` gives it back as it was. No attribute is
    forwarded: write `defended.localizer.encoder`.

    `load_state_dict` takes the state of the pair and the state of the bare localizer alike; the
    latter leaves the ANSM as it is.

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
        self.score = score
        self.gate = gate
        if gate:
            self.require_score()
        # As handed over, so that unwrap can give it back: mode per module, flag per parameter.
        self._modes = [module.training for module in localizer.modules()]
        self._flags = [parameter.requires_grad for parameter in localizer.parameters()]
        self.localizer: L = localizer.requires_grad_(False)
        self.ansm = ansm
        self.spec = spec
        self.register_load_state_dict_pre_hook(_accept_bare_state)  # type: ignore[no-untyped-call]
        self.train(self.training)

    def train(self, mode: bool = True) -> DefendedLocalizer[L]:
        """Set the mode of the ANSM; the localizer stays in eval mode."""
        super().train(mode)
        set_eval(self.localizer)
        return self

    def perturbation(self, inputs: Tensor) -> Tensor:
        """Return the defensive perturbation in pixel units, cut to keep pixels in [0, 1].

        With the gate it is exactly 0 for images whose attack score is 0 or below. On the way back
        the gate is a sigmoid of the score (straight-through): an attacker may go through it.

        Shape: `(B, 3, H, W)` in the localizer's input range -> the same shape in [-e_d, e_d], fp32.
        """
        pixels, delta = self._perturbed(inputs)
        if not self.gate:
            return delta
        score = self.judge(self._masked(pixels, delta))
        soft = torch.sigmoid(score)
        is_open = (score > 0).float() + (soft - soft.detach())
        return delta * is_open.view(-1, 1, 1, 1)

    def examine(self, inputs: Tensor) -> Examined:
        """Return what the attack score is made of: perturbation and both masks, without the gate.

        Costs two passes of the localizer. Shape: `(B, 3, H, W)` in the localizer's input range.
        """
        return self._masked(*self._perturbed(inputs))

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
        return self.require_score()(features(*examined))

    def suppress(self, inputs: Tensor) -> Tensor:
        """Return the inputs with the defensive perturbation added, in their range and dtype."""
        delta = self.perturbation(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            std = torch.tensor(self.spec.std, device=inputs.device).view(1, -1, 1, 1)
            return (inputs + delta / std).to(inputs.dtype)  # summed in fp32 or better

    def forward(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return what the localizer returns for the suppressed `inputs`.

        Shape: `(B, 3, H, W)` in the localizer's input range, any size.
        """
        suppressed = self.suppress(inputs)
        return call_padded(
            lambda x: self.localizer(x, *args, **kwargs),
            suppressed,
            self.spec.stride,
            self.spec.smallest,
        )

    def save_pretrained(self, folder: str | Path, provenance: Provenance | None = None) -> Path:
        """Write `ansm.safetensors` and `config.json` into a folder, as the Hugging Face hub has it.

        The localizer's own weights are not written; nothing is ever uploaded.

        Args:
            folder: made where there is none; one that holds something else's config is refused.
            provenance: where the weights come from; by default the localizer and its input.

        Raises:
            WeightsError: the folder cannot be used, or the ANSM is a module of your own.
        """
        from ansm_plugin.weights.folder import save_pretrained

        return save_pretrained(self, folder, provenance)

    def _perturbed(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels and what the ANSM adds to them, cut to keep them in [0, 1]."""
        self._check(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            pixels = self.spec.denormalise(inputs).float().clamp(0, 1)
        delta = self.ansm(pixels)
        with torch.autocast(inputs.device.type, enabled=False):
            return pixels, torch.minimum(torch.maximum(delta.float(), -pixels), 1 - pixels)

    def _masked(self, pixels: Tensor, delta: Tensor) -> Examined:
        is_mixed = torch.is_autocast_enabled(pixels.device.type)  # as the caller has it
        logits = mask_forward(self.localizer, self.spec, precision="bf16" if is_mixed else "fp32")
        return Examined(pixels, delta, logits(pixels), logits(pixels + delta))

    def require_score(self) -> AttackScore:
        """Return the coefficients of the attack score, or raise WeightsError if there are none."""
        if self.score is None:
            raise WeightsError(
                "this ANSM has no attack score: it was not calibrated. Run `ansm calibrate "
                "--localizer NAME --ansm FILE --output FILE` once, and wrap with that file."
            )
        return self.score

    def _check(self, inputs: Tensor) -> None:
        if not isinstance(inputs, Tensor) or inputs.ndim != 4 or inputs.shape[1] != 3:
            given = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
            raise ImageError(
                f"a defended localizer was given {given}; it takes a tensor (B, 3, H, W)."
            )
        # Not next(..., default): torch 2.6 cannot compile it.
        home = [*(p.device for p in self.ansm.parameters()), inputs.device][0]
        if inputs.device != home:
            raise LocalizerError(
                f"the image is on {inputs.device}, the defended localizer on {home}; "
                "move one of them with .to(device)."
            )
        # Data-dependent checks cannot be traced or compiled, and would stall nothing but those.
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return
        if not bool(torch.isfinite(inputs).all()):
            raise ImageError("the image holds NaN or infinite values; give finite numbers.")

    def extra_repr(self) -> str:
        """Say whether the defence does anything yet."""
        untrained = isinstance(self.ansm, ANSM) and self.ansm.is_identity
        return "untrained: returns what the localizer returns" if untrained else "trained"


def wrap_with_ansm(
    localizer: L,
    weights: str | None = None,
    *,
    ansm: str | nn.Module | None = None,
    spec: LocalizerSpec | None = None,
    gate: bool = False,
) -> DefendedLocalizer[L]:
    """Put an ANSM in front of a localizer.

    The localizer is frozen and set to eval mode until `unwrap`; its weights, buffers and device
    are not touched. Without `weights` the result is untrained and returns bit for bit what the
    localizer returns.

    Args:
        localizer: a timm, segmentation_models_pytorch or other torch module.
        weights: a safetensors file written by `save_ansm`.
        ansm: a preset name or a module of your own (image in [0, 1] -> perturbation); by default
            what the weights say, else the default preset.
        spec: how to talk to the localizer; by default found by `describe`.
        gate: leave images as they are whose attack score says that nothing is wrong; three passes
            of the localizer instead of one. Needs weights that were calibrated.

    Raises:
        LocalizerError: not a module, already defended, or not understood.
        WeightsError: the file cannot be read, does not fit, or holds no score for the gate.
        ConfigError: the preset is unknown.
    """
    if isinstance(localizer, DefendedLocalizer):
        raise LocalizerError(
            "this localizer is already defended; pass unwrap(defended) to wrap it anew."
        )
    if not isinstance(localizer, nn.Module):  # describe would say so, but a given spec skips it
        raise LocalizerError(f"a localizer is a torch.nn.Module; given {type(localizer).__name__}.")
    spec = spec or describe(localizer)
    device = device_of(localizer)
    if weights is not None:
        from ansm_plugin.weights.ansm_file import load_ansm, load_score, warn_if_foreign

        loaded = load_ansm(weights, into=ansm)
        warn_if_foreign(weights, localizer)
        score = load_score(weights)
        return DefendedLocalizer(localizer, loaded.to(device), spec, score=score, gate=gate).eval()
    if isinstance(ansm, nn.Module):
        return DefendedLocalizer(localizer, ansm, spec, gate=gate).eval()
    if ansm is not None and not isinstance(ansm, str):
        raise ConfigError(f"ansm is {ansm!r}; allowed: a preset name or a torch module.")
    fresh = ANSM(ansm or DEFAULT_PRESET).to(device)
    return DefendedLocalizer(localizer, fresh, spec, gate=gate).eval()


def unwrap(defended: DefendedLocalizer[L]) -> L:
    """Return the very localizer that was wrapped, with its mode and gradient flags as before."""
    if not isinstance(defended, DefendedLocalizer):
        raise LocalizerError(f"unwrap takes a defended localizer; given {type(defended).__name__}.")
    localizer = defended.localizer
    for module, mode in zip(localizer.modules(), defended._modes, strict=True):
        module.training = mode
    for parameter, flag in zip(localizer.parameters(), defended._flags, strict=True):
        parameter.requires_grad_(flag)
    return localizer


def _accept_bare_state(
    defended: DefendedLocalizer[Any], state: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Give the names in a state dict the form they have here, before torch compares them."""
    names = _unwrapped(name.removeprefix(prefix) for name in state if name.startswith(prefix))
    own = defended.localizer.state_dict()
    is_pair = any(name.startswith(("ansm.", "localizer.")) for name in names.values())
    is_bare = own.keys() == set(names.values()) or not is_pair
    home = "localizer." if is_bare else ""
    state.update({f"{prefix}{home}{n}": state.pop(prefix + given) for given, n in names.items()})
    if is_bare:
        state.update({f"{prefix}ansm.{k}": v for k, v in defended.ansm.state_dict().items()})


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Return each name with and without the wrapper prefixes that all of them share."""
    given = list(names)
    short = given
    while prefix := next((p for p in _WRAPPERS if all(n.startswith(p) for n in short)), None):
        if not short:
            break
        short = [name.removeprefix(prefix) for name in short]
    return dict(zip(given, short, strict=True))
