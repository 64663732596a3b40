"""Test double of photoholmes.datasets.columbia: two raw images, whatever the folder holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ColumbiaDataset:
    """Items as the host makes them: data of the pipeline, mask `(H, W)`, name."""

    def __init__(
        self,
        dataset_path: str,
        preprocessing_pipeline: Any = None,
        load: list[str] | None = None,
        tampered_only: bool = False,
    ) -> None:
        self.preprocessing_pipeline = preprocessing_pipeline
        self.tampered_only = tampered_only

    def __len__(self) -> int:  # noqa: D105
        return 2

    def __getitem__(self, idx: int) -> tuple[dict[str, Any], Tensor, str]:  # noqa: D105
        if idx >= len(self):
            raise IndexError(idx)
        generator = torch.Generator().manual_seed(idx)
        image = torch.randint(30, 225, (3, 19, 23), generator=generator).to(torch.uint8)
        data = {"image": image}
        if self.preprocessing_pipeline is not None:
            data = self.preprocessing_pipeline(**data)
        mask = torch.zeros(19, 23)
        mask[4:12, 5:16] = 1
        return data, mask > 0, str(idx)
