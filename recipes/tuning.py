"""Which parameters of a localizer are trained beside its ANSM, on a copy of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from ansm_plugin.errors import LocalizerError
from ansm_plugin.training.randomness import seeded

Tune = Literal["none", "norm", "lora", "all"]
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)  # timm's norms derive from these
_WEIGHTED = (nn.Conv2d, nn.Linear)


def tunable_copy(localizer: nn.Module, tune: Tune, *, rank: int, seed: int) -> nn.Module:
    """Return a copy whose function is still that of the localizer.

    With "lora" each weight of a convolution or linear layer is that of the localizer plus a product
    of two thin matrices, one of which starts at zero (Hu et al., ICLR 2022); see `merged`.
    """
    tuned = copy.deepcopy(localizer)
    if tune == "lora":
        with seeded(seed):
            for layer in [m for m in tuned.modules() if isinstance(m, _WEIGHTED)]:
                parametrize.register_parametrization(layer, "weight", _LowRank(layer.weight, rank))
    return tuned


def tuned_parameters(copied: nn.Module, tune: Tune) -> list[nn.Parameter]:
    """Return the parameters of a tunable copy that are trained.

    Raises:
        LocalizerError: it has none of this kind.
    """
    found = list(_parameters(copied, tune))
    if not found and tune != "none":
        raise LocalizerError(
            f"{type(copied).__name__} has no parameter that tune {tune!r} trains; use all."
        )
    return found


def merged(copied: nn.Module) -> nn.Module:
    """Put low-rank changes into the weights, in place, so that the names are the localizer's."""
    for module in list(copied.modules()):
        if isinstance(module, _WEIGHTED) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return copied


def _parameters(copied: nn.Module, tune: Tune) -> Iterator[nn.Parameter]:
    kinds: dict[Tune, tuple[type[nn.Module], ...]] = {"norm": _NORMS, "lora": (_LowRank,)}
    for module in copied.modules():
        if tune == "all" or isinstance(module, kinds.get(tune, ())):
            yield from module.parameters(recurse=False)


class _LowRank(nn.Module):
    """A weight plus `up @ down` of the given rank; 0 at first.

    Args:
        weight: of any shape, `(outputs, ...)`.
        rank: at most that of the weight.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = len(weight), weight[0].numel()
        rank = min(rank, outputs, inputs)
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        self.down = nn.Parameter(torch.randn(rank, inputs).to(weight) / math.sqrt(inputs))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, in its own shape."""
        return weight + (self.up @ self.down).view(weight.shape)
