"""Test doubles of photoholmes' methods: their names, inputs, outputs and where gradients end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class BaseMethod(ABC):
    """A method that is no torch module."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.seen: list[Any] = []

    @abstractmethod
    def benchmark(self, *args: Any, **kwargs: Any) -> dict[str, Any]: ...

    def to_device(self, device: str | torch.device) -> None:
        self.device = torch.device("cpu")


class BaseTorchMethod(BaseMethod, nn.Module):
    """A method that is one."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        BaseMethod.__init__(self)

    def to_device(self, device: str | torch.device) -> None:
        self.to(device)
        self.device = torch.device(device)


class TruFor(BaseTorchMethod):
    """Image in [0, 1]; `predict` closes itself off by a block, `benchmark` calls it."""

    def __init__(self, use_confidence: bool = True) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 2, 3, padding=1)
        self.use_confidence = use_confidence
        self.eval()

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor, None, None]:
        logits = self.head(rgb)
        return logits, logits[:, :1], None, None

    def predict(self, image: Tensor) -> tuple[Tensor, Tensor, None, None]:
        self.seen.append(image)
        with torch.no_grad():
            out, conf, _, _ = self.forward(image[None])
        return out[0].softmax(0)[1], conf[0, 0].sigmoid(), None, None

    def benchmark(self, image: Tensor) -> dict[str, Any]:
        heatmap, conf, det, _ = self.predict(image)
        heatmap = heatmap * conf if self.use_confidence else heatmap
        return {"heatmap": heatmap, "mask": None, "detection": det}


class PSCCNet(BaseTorchMethod):
    """Image in [0, 1]; `predict` is decorated, and answers with a probability."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 3, padding=1)

    @torch.no_grad()
    def predict(self, image: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(image)
        heatmap = self.head(image[None])[0, 0].sigmoid()
        return heatmap, heatmap.mean().view(1)

    def benchmark(self, image: Tensor) -> dict[str, Any]:
        heatmap, detection = self.predict(image)
        return {"heatmap": heatmap, "mask": None, "detection": detection}


class Focal(BaseTorchMethod):
    """Image in grey levels; `benchmark` does not call `predict` here; a mask comes out."""

    def benchmark(self, image: Tensor) -> dict[str, Any]:
        self.seen.append(image)
        levels = image.float().mean(0)
        mask = (levels > levels.median()).float()
        return {"heatmap": None, "mask": mask, "detection": None}

    def predict(self, image: Tensor) -> Tensor:
        mask: Tensor = Focal.benchmark(self, image)["mask"]
        return mask


class EXIFAsLanguage(BaseMethod):
    """Image normalised; no torch module itself, it holds one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 1, 1)

    def predict(self, image: Tensor) -> Tensor:
        self.seen.append(image)
        with torch.no_grad():
            answer: Tensor = self.net(image[None])[0, 0].sigmoid()
        return answer

    def benchmark(self, image: Tensor) -> dict[str, Any]:
        return {"heatmap": self.predict(image), "mask": None, "detection": None}


class AdaptiveCFANet(BaseTorchMethod):
    """Takes the size of the image as well; writes over numbers that a gradient would need."""

    @torch.no_grad()
    def predict(self, image: Tensor, image_size: tuple[int, int]) -> Tensor:
        self.seen.append(image)
        chances = torch.exp(-image.abs())
        chances[1] = chances[0]
        return chances.mean(0)

    def benchmark(self, image: Tensor, image_size: tuple[int, int]) -> dict[str, Any]:
        return {"heatmap": self.predict(image, image_size), "mask": None, "detection": None}


class Noisesniffer(BaseMethod):
    """An array in grey levels."""

    def predict(self, image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        self.seen.append(image)
        levels = image.astype(float).mean(axis=-1)
        return levels > np.median(levels), image

    def benchmark(self, image: NDArray[Any]) -> dict[str, Any]:
        mask = torch.from_numpy(self.predict(image)[0]).float()
        return {"heatmap": None, "mask": mask, "detection": mask.max().view(1)}


@dataclass
class FeaturesConfig:
    """Settings that Splicebuster keeps as one object."""

    block_size: int = 128
    stride: int = 8


def _with_a_check(estimate: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*given: Any) -> Any:
        return estimate(*given)

    return wrapper


@_with_a_check
def gaussian_mahalanobis(image: NDArray[Any]) -> NDArray[Any]:
    return image


@_with_a_check
def gaussian_uniform_em(image: NDArray[Any]) -> NDArray[Any]:
    return 1 - image


class Splicebuster(BaseMethod):
    """A grey array in [0, 1]; two of its settings are an object and a decorated function."""

    def __init__(self, mixture: str = "uniform", features: FeaturesConfig | None = None) -> None:
        super().__init__()
        self.features = features or FeaturesConfig()
        both = {"uniform": gaussian_uniform_em, "gaussian": gaussian_mahalanobis}
        self.mahalanobis_estimation = both[mixture]

    def predict(self, image: NDArray[Any]) -> NDArray[Any]:
        self.seen.append(image)
        return image[..., 0]

    def benchmark(self, image: NDArray[Any]) -> dict[str, Any]:
        return {"heatmap": torch.from_numpy(self.predict(image)), "mask": None, "detection": None}


class Zero(BaseMethod):
    """Two grey arrays of 8 bit."""

    def predict(self, image: NDArray[Any], image_99: NDArray[Any]) -> NDArray[Any]:
        self.seen.append(image)
        return image[..., 0] > 127

    def benchmark(self, image: NDArray[Any], image_99: NDArray[Any]) -> dict[str, Any]:
        mask = torch.from_numpy(self.predict(image, image_99)).float()
        return {"heatmap": None, "mask": mask, "detection": None}


class DQ(BaseMethod):
    """Reads DCT coefficients of the file, and of the image nothing but its size."""

    def benchmark(self, dct_coefficients: Any, image_size: tuple[int, int]) -> dict[str, Any]:
        return {"heatmap": torch.zeros(image_size), "mask": None, "detection": None}


class CatNet(BaseTorchMethod):
    """Reads DCT coefficients of the file."""

    def predict(self, x: Tensor, qtable: Tensor) -> Tensor:
        return x

    def benchmark(self, x: Tensor, qtable: Tensor) -> dict[str, Any]:
        return {"heatmap": self.predict(x, qtable), "mask": None, "detection": None}
