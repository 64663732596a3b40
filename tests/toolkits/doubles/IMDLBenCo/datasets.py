"""Test double of IMDLBenCo.datasets: three images, whatever is in the folder."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset


class ManiDataset(Dataset[dict[str, Any]]):
    """Items as the host makes them; a folder named "empty" is refused."""

    def __init__(self, path: str, *, output_size: tuple[int, int], **options: Any) -> None:
        if "empty" in path:
            raise AssertionError(f"no Tp in {path}")
        self.size, self.options = output_size, options

    def __len__(self) -> int:  # noqa: D105
        return 3

    def __getitem__(self, index: int) -> dict[str, Any]:  # noqa: D105
        generator = torch.Generator().manual_seed(index)
        mask = torch.zeros(1, *self.size)
        mask[:, 4:12, 4:12] = 1
        image = torch.rand(3, *self.size, generator=generator)
        item = {"image": image, "mask": mask, "label": 1, "name": str(index)}
        if self.options["is_padding"]:
            item["shape_mask"] = torch.ones_like(mask)
        if self.options["post_funcs"] is not None:
            self.options["post_funcs"](item)
        return item


JsonDataset = ManiDataset
