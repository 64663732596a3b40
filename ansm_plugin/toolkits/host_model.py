"""A host toolkit's model behind an ANSM: keyword arguments in, a dict with `pred_mask` out."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, DEFAULT_PRESET
from ansm_plugin.attacks import AttackSpec
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import LocalizerError, WeightsError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.toolkits.host_batch import attack_batch, outside_as_before, require_host_gradient
from ansm_plugin.weights.ansm_file import AnsmFile
from ansm_plugin.weights.names import WRAPPERS, unwrapped
from ansm_plugin.weights.tensors import load_localizer_weights, load_strictly

# Computed from the image before the model is called, so a change of pixels does not reach them.
# Names of IMDLBenCo (CAT-Net), of photoholmes, and of ForensicHub (DTD, FFDN).
_UNREACHED = ("DCT_coef", "qtables", "dct_coefficients", "dct", "qt")
_NESTED = "base_model"  # where ForensicHub's wrappers keep the model they wrap

H = TypeVar("H", bound="DefendedHostModel")


class TrainingAttack(NamedTuple):
    """An attack on the bare localizer during training, with its radius in grey levels."""

    spec: AttackSpec
    eps_255: float


class DefendedHostModel(DefendedLocalizer[nn.Module]):
    """A host's model with an ANSM in front of it, for the host's own scripts.

    The image is suppressed, all other inputs and the output dict pass through. Padding, where the
    host's `shape_mask` is 0, stays as it is. State dicts of the bare model load as well as those of
    the pair, both strictly.

    In training mode with `training_attack` the loss is that of MgR with the host's own: on the
    suppressed attacked image plus on the suppressed original one. Before the first step it is
    measured which share of the gradient comes back through the host's model.

    Args:
        localizer: the host's model.
        ansm: the module in front of it.
        spec: how the host normalises images.
        file: that `ansm` was read from, for warnings; None where it was not.
        training_attack: what the bare localizer is attacked with while training; None trains on
            original images alone.
    """

    def __init__(
        self,
        localizer: nn.Module,
        ansm: nn.Module,
        spec: LocalizerSpec,
        *,
        file: AnsmFile | None = None,
        training_attack: TrainingAttack | None = None,
    ) -> None:
        super().__init__(localizer, ansm, spec)
        self.training_attack = training_attack
        self._is_measured = False  # how much of the gradient comes back, before it is trained
        self.file = file
        self.unreached = unreached_inputs(localizer)
        if self.unreached:
            warnings.warn(
                f"{type(localizer).__name__} is defended partially: its inputs "
                f"{', '.join(self.unreached)} are computed before the ANSM and pass unchanged.",
                stacklevel=2,
            )

    def forward(self, image: Tensor, *args: Any, **data: Any) -> Any:  # type: ignore[override] # the hosts' name
        """Return what the host's model returns for the suppressed image.

        Shape: `image` `(B, 3, H, W)`, normalised; `shape_mask` `(B, 1, H, W)` or absent.
        """
        if self.training and torch.is_grad_enabled() and not args and not self._is_measured:
            with torch.autocast(image.device.type, enabled=False):
                require_host_gradient(self.localizer, {**data, "image": image}, self.spec)
            self._is_measured = True
        if args or not self.training or self.training_attack is None:
            return self._defended(image, *args, **data)
        attacked = self._attacked(image, self.training_attack, data)
        output, original = self._defended(attacked, **data), self._defended(image, **data)
        losses = {
            "attacked_loss": output["backward_loss"],
            "original_loss": original["backward_loss"],
        }
        visual = {**output.get("visual_loss", {}), **losses}
        return {**output, "backward_loss": sum(losses.values()), "visual_loss": visual}

    def _defended(self, image: Tensor, *args: Any, **data: Any) -> Any:
        suppressed = outside_as_before(self.suppress(image), {**data, "image": image})
        if args:
            return self.localizer(suppressed, *args, **data)
        return self.localizer(image=suppressed, **data)

    def _attacked(self, image: Tensor, attack: TrainingAttack, data: Mapping[str, Any]) -> Tensor:
        batch = {**data, "image": image}
        with torch.autocast(image.device.type, enabled=False):  # gradients of fp16 underflow
            done = attack_batch(self.localizer, batch, self.spec, attack.eps_255, attack.spec)
        attacked: Tensor = done["image"]
        return attacked

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict of the pair, or of the bare localizer, which leaves the ANSM alone.

        Raises:
            WeightsError: tensors are missing, unknown or of another shape; it names them.
        """
        state = self._unprefixed(state_dict)
        is_bare = self._is_bare(state)
        if not strict or assign:
            named = {f"localizer.{k}": v for k, v in state.items()} if is_bare else state
            return super().load_state_dict(named, strict=strict and not is_bare, assign=assign)
        if is_bare:
            load_strictly(self.localizer, state, "the checkpoint")
            self._say_what_defends()
        else:
            self._load_pair(state)
        return _Loaded([], [])

    def _unprefixed(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Strip what DistributedDataParallel and torch.compile put before every name."""
        known = {*self.state_dict(), *self.localizer.state_dict()}
        return dict(state) if known & state.keys() else unwrapped(state, WRAPPERS)

    def _is_bare(self, state: Mapping[str, Any]) -> bool:
        own, bare = self.state_dict().keys(), self.localizer.state_dict().keys()
        return len(state.keys() & own) <= len(state.keys() & bare)

    def _load_pair(self, state: Mapping[str, Any]) -> None:
        foreign = [name for name in state if not name.startswith(("localizer.", "ansm."))]
        if foreign:
            raise WeightsError(
                f"the checkpoint holds {len(foreign)} tensors of neither localizer nor ansm: "
                f"{foreign[:3]}. Train this pair again, or load the localizer's own checkpoint."
            )
        for name in ("localizer", "ansm"):
            part = {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}
            load_strictly(getattr(self, name), part, f"the part {name!r} of the checkpoint")
        if self.file is not None:
            warnings.warn(
                f"the checkpoint holds an ANSM too, which replaces {self.file.path}.", stacklevel=2
            )

    def _say_what_defends(self) -> None:
        if self.file is not None:
            self.file.warn_unless_for(self.localizer)
        elif isinstance(self.ansm, ANSM) and self.ansm.is_identity:
            warnings.warn(
                f"the checkpoint is that of {type(self.localizer).__name__} alone and no "
                "ansm_weights were given: the ANSM is untrained and changes nothing.",
                stacklevel=2,
            )

    def extra_repr(self) -> str:
        """Say whether the defence does anything, and what it cannot reach."""
        partly = f"; defended partially, not: {', '.join(self.unreached)}" if self.unreached else ""
        return super().extra_repr() + partly


def let_us_warn() -> None:
    """Show our own warnings; IMDLBenCo's import silences the warnings of everybody."""
    warnings.filterwarnings("default", category=UserWarning, module="ansm_plugin")


class _Loaded(NamedTuple):
    """What `load_state_dict` returns in torch."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def defend(
    localizer: object,
    spec: LocalizerSpec,
    *,
    weights: str = "",
    localizer_weights: str = "",
    preset: str = "",
    training_attack: TrainingAttack | None = None,
    kind: type[H] = DefendedHostModel,  # type: ignore[assignment] # mypy has no default for H
) -> H:
    """Put an ANSM in front of a host's model.

    Args:
        localizer: the host's model; its loss is computed inside, as the hosts want it.
        spec: how the host normalises images.
        weights: safetensors of the ANSM; "" gives an untrained one.
        localizer_weights: safetensors of the localizer; "" where the host loads them itself.
        preset: of an untrained ANSM.
        training_attack: what the localizer is attacked with while the ANSM is trained.
        kind: class of what is returned.

    Raises:
        LocalizerError: not a torch module.
        WeightsError: a file cannot be read or does not fit.
        ConfigError: the preset is unknown.
    """
    if not isinstance(localizer, nn.Module):
        raise LocalizerError(f"a host's model is a torch module; given {type(localizer).__name__}.")
    if localizer_weights:
        load_localizer_weights(localizer, Path(localizer_weights))
    file = AnsmFile.read(weights, into=preset or None) if weights else None
    if file is not None and localizer_weights:
        file.warn_unless_for(localizer)
    ansm = ANSM(preset or DEFAULT_PRESET) if file is None else file.ansm
    return kind(localizer, ansm, spec, file=file, training_attack=training_attack)


def unreached_inputs(localizer: nn.Module) -> tuple[str, ...]:
    """Return the inputs of a host's model, or of one inside, that its image does not decide."""
    taken = {*inspect.signature(localizer.forward).parameters}
    nested = getattr(localizer, _NESTED, None)
    if isinstance(nested, nn.Module):
        taken |= {*unreached_inputs(nested)}
    return tuple(name for name in _UNREACHED if name in taken)
