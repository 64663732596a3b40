"""Test double of ForensicHub.registry, with two datasets and a transform of the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CONSTANTS = {
    "image_net": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "standard": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class Registry:
    """Names in `module_dict`."""

    def __init__(self) -> None:
        self.module_dict: dict[str, Callable[..., Any]] = {}

    def has(self, name: str) -> bool:
        return name in self.module_dict

    def get(self, name: str) -> Callable[..., Any]:
        return self.module_dict[name]

    def register_module(self, name: str, module: Callable[..., Any]) -> None:
        if name in self.module_dict:
            raise KeyError(f"{name} is already registered")
        self.module_dict[name] = module


def build_from_registry(registry: Registry, config: dict[str, Any]) -> object:
    """Build what `config` names, with its `init_config` as arguments."""
    if config["name"] not in registry.module_dict.keys():  # noqa: SIM118 - as the host does
        raise ValueError(f"Class or function '{config['name']}' not found in registry or lazy map.")
    return registry.module_dict[config["name"]](**config.get("init_config", {}))


MODELS, POSTFUNCS, DATASETS, TRANSFORMS = Registry(), Registry(), Registry(), Registry()


class AIGCTransform:
    """Normalises as `norm_type` says, where a dataset lets it."""

    def __init__(self, norm_type: str = "image_net") -> None:
        self.norm_type = norm_type

    def get_test_transform(self) -> None: ...

    def get_post_transform(self) -> Callable[[Tensor], Tensor]:
        mean, std = (torch.tensor(c).view(3, 1, 1) for c in CONSTANTS[self.norm_type])
        # In fp32 and in grey levels, as albumentations does.
        return lambda levels: (levels.float() - 255 * mean) * (1 / (255 * std))


class IMDLCrossDataset:
    """Two images, which keep the transform that the YAML names."""

    def __init__(
        self,
        path: str,
        image_size: int = 32,
        common_transform: Any = None,
        post_transform: Any = None,
        post_funcs: Any = None,
    ) -> None:
        if path == "absent":
            raise FileNotFoundError(f"JSON file not found at {path}")
        self.size, self.post_transform, self.post_funcs = image_size, post_transform, post_funcs

    def __len__(self) -> int:  # noqa: D105
        return 2

    def __getitem__(self, index: int) -> dict[str, Any]:  # noqa: D105
        generator = torch.Generator().manual_seed(index)
        levels = torch.randint(0, 256, (3, self.size, self.size), generator=generator)
        mask = torch.zeros(1, self.size, self.size)
        mask[:, 4:12, 4:12] = 1
        item = {"image": self.post_transform(levels), "mask": mask, "label": 1, "name": str(index)}
        if self.post_funcs is not None:
            self.post_funcs(item)
        return item


class ManiDataset(IMDLCrossDataset):
    """The same, but it puts ImageNet's constants in the place of the transform's."""

    def __init__(self, path: str, is_resizing: bool = False, **options: Any) -> None:
        super().__init__(path, **options)
        self.post_transform = AIGCTransform("image_net").get_post_transform()


TRANSFORMS.register_module("AIGCTransform", AIGCTransform)
DATASETS.register_module("ManiDataset", ManiDataset)
DATASETS.register_module("IMDLCrossDataset", IMDLCrossDataset)
