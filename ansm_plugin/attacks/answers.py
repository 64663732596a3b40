"""What a forward answers under attack, held against what an attack can climb."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from ansm_plugin.attacks.behind import modules_behind
from ansm_plugin.errors import LocalizerError

# What torch says where a gradient is asked of what has none, in a forward or on the way back.
_CUT = (
    "call numpy() on Tensor that requires grad",
    "does not require grad and does not have a grad_fn",
    "must implement either the backward or vjp",
    "derivative for",
    "modified by an inplace operation",
)


class Answers:
    """Watches the answers of one forward; whether they were finite is asked once, at the end.

    NaN would not show: a sign of 0 comes of it, so that the attack stands still, and a pixel that
    counts as not forged.

    Args:
        forward: pixels -> mask logits; its first module gives the name in messages.
    """

    def __init__(self, forward: object = None) -> None:
        named = [type(module).__name__ for module in modules_behind(forward)]
        self._name = " ".join(["the localizer", *named[:1]])
        self._logits: Tensor | None = None
        self._gradients: Tensor | None = None

    def logits(self, answer: object, masks: Tensor, objective: str) -> Tensor:
        """Return an answer in fp32, noting whether it is finite.

        Raises:
            LocalizerError: no tensor, or not of the masks' shape `(B, 1, H, W)`; under the
                objective "output" any four axes of the same batch will do.
        """
        if not isinstance(answer, Tensor):
            raise LocalizerError(
                f"{self._name} returned {type(answer).__name__}, but attacks take mask logits "
                f"{tuple(masks.shape)}. Give mask_forward(localizer, spec), which finds them."
            )
        fits = answer.shape == masks.shape
        if objective == "output":
            fits = answer.ndim == 4 and len(answer) == len(masks)
        if not fits:
            raise LocalizerError(
                f"{self._name} returned {tuple(answer.shape)}, but attacks take mask logits "
                f"{tuple(masks.shape)}. Give mask_forward(localizer, spec), which makes them."
            )
        logits = answer.float()
        self._logits = _both(self._logits, logits)
        return logits

    def gradient(self, gradient: Tensor | None, logits: Tensor) -> Tensor:
        """Return a gradient in fp32, noting whether it is finite; raise LocalizerError for None."""
        if gradient is None:
            self.refuse_gradient(logits)
        gradient = gradient.float()
        self._gradients = _both(self._gradients, gradient)
        return gradient

    def refuse_gradient(self, logits: Tensor) -> NoReturn:
        """Raise LocalizerError: nothing comes back through what the localizer answered."""
        how = "runs under torch.inference_mode" if logits.is_inference() else "runs under no_grad"
        raise LocalizerError(
            f"no gradient reaches the image: {self._name} {how} or detaches its output. Attacks "
            "and training need a differentiable forward; remove what cuts the gradient off."
        )

    def explained(self, error: RuntimeError | LocalizerError) -> LocalizerError | None:
        """Return the error in our words where torch's say little; None where they are best."""
        said = str(error)
        if "Inference tensor" in said:
            return LocalizerError(
                f"a tensor of {self._name} was made under torch.inference_mode, and torch lets no "
                "gradient through those. Build, load and move the localizer outside of it."
            )
        if any(words in said for words in _CUT):
            return LocalizerError(
                f"no gradient comes back through {self._name}: {said.rstrip('.')}. Attacks and "
                "training need a differentiable forward; `ansm doctor` measures which share of the "
                "gradient comes back."
            )
        return None

    def require_finite(self) -> None:
        """Raise LocalizerError if an answer or a gradient was NaN or infinite."""
        if self._logits is not None and not bool(self._logits):
            raise LocalizerError(
                f"{self._name} returned NaN or infinite logits for finite pixels, which no attack "
                "can climb. Check its weights, clamp its logits, or use precision fp32."
            )
        if self._gradients is not None and not bool(self._gradients):
            raise LocalizerError(
                f"the gradient that comes back through {self._name} is NaN or infinite (a root or "
                "a norm at 0, a logarithm of 0, a division by 0), and no attack can follow it. Add "
                "a small number there, or use precision fp32."
            )


def _both(finite: Tensor | None, numbers: Tensor) -> Tensor:
    """Return whether numbers are finite as those before; on their device, so that none waits."""
    found = numbers.detach().isfinite().all()
    return found if finite is None else finite & found
