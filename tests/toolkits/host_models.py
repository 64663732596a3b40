"""Small models with the interface of a host toolkit."""

# No `from __future__ import annotations`: IMDLBenCo calls the annotations of a model's options.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.ansm import ANSM
from ansm_plugin.toolkits.host_model import DefendedHostModel
from ansm_plugin.weights.ansm_file import save_ansm


class HostModel(nn.Module):
    """A host's model: keyword arguments in, a dict with a probability mask and the loss out."""

    def __init__(self, width: int = 4, name: str = "x") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.head = nn.Conv2d(width, 1, 1)
        self.seen: dict[str, Any] = {}

    def forward(self, image: Tensor, mask: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self.seen = {"image": image, **kwargs}
        logits = self.head(self.body(image).relu())
        loss = functional.binary_cross_entropy_with_logits(logits, mask)
        return {
            "backward_loss": loss,
            "pred_mask": logits.sigmoid(),
            "pred_label": None,
            "visual_loss": {"predict_loss": loss},
        }


class TwoStreams(HostModel):
    """A host's model with an input computed from the image before: CAT-Net's DCT branch."""

    def forward(self, image: Tensor, mask: Tensor, DCT_coef: Any = None, **kwargs: Any) -> Any:
        return super().forward(image, mask, **kwargs)


class QuantisedStreams(HostModel):
    """The same under ForensicHub's names: DTD and FFDN."""

    def forward(self, image: Tensor, dct: Any, qt: Any, mask: Tensor, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().forward(image, mask, **kwargs)


class HalfDetached(HostModel):
    """A host's model that lets a part of the gradient through, or none: Cat_Net detaches."""

    share = 0.5

    def forward(self, image: Tensor, mask: Tensor, **kwargs: Any) -> dict[str, Any]:
        seen = self.share * image + (1 - self.share) * image.detach()
        return super().forward(seen, mask, **kwargs)


def trained(pair: DefendedHostModel) -> DefendedHostModel:
    """Let an ANSM change every pixel."""
    assert isinstance(pair.ansm, ANSM)
    torch.nn.init.constant_(pair.ansm.trunk.head.bias, 0.5)
    return pair


def active_weights(path: Path, shift: float, *, spread: float = 0.05, seed: int = 0) -> str:
    """Write an ANSM that moves every pixel by about `shift` times its bound; return its path."""
    torch.manual_seed(seed)
    ansm = ANSM("tiny")
    torch.nn.init.normal_(ansm.trunk.head.weight, std=spread)
    torch.nn.init.constant_(ansm.trunk.head.bias, shift)
    return str(save_ansm(ansm, path))
