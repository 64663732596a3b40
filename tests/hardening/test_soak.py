"""Long runs with flat memory and file handles; prints what grows per thousand images or steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import StepOutput, Turn, fit
from ansm_plugin.training.losses import mask_loss

IMAGES, STEPS = 2000, 5000
ALLOWED = {  # MiB per thousand; allocators keep some
    "train": 2.0,
    # Scores are kept for intervals and the worst case: here three tensors per image (README).
    "evaluate": 8.0,
}
SPEC = LocalizerSpec(mean=(0.0,) * 3, std=(1.0,) * 3)


def used() -> tuple[float, int]:
    """Return MiB of resident memory and the number of open files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list(Path("/proc/self/fd").iterdir()))


def made() -> DefendedLocalizer[nn.Module]:
    """Return the smallest defended localizer."""
    thin = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    return DefendedLocalizer(nn.Conv2d(3, 1, 3, padding=1), ANSM(thin), SPEC).eval()


def growth(run: Callable[[Callable[[int], None]], None]) -> tuple[float, int]:
    """Return MiB per thousand and the change in open files of a run that reports its progress."""
    seen: list[tuple[int, float, int]] = []
    run(lambda done: seen.append((done, *used())))
    steady = np.array(seen[len(seen) // 4 :])  # the first quarter fills caches
    slope = np.polyfit(steady[:, 0], steady[:, 1], 1)[0]
    return 1000 * float(slope), int(steady[-1, 2] - steady[0, 2])


def train(steps: int, folder: Path, look: Callable[[int], None]) -> None:
    """Train a tiny module."""
    defended = made()
    forward = mask_forward(defended, SPEC)
    images, masks = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)

    def step(turn: Turn) -> StepOutput:
        return StepOutput(mask_loss(forward(images), masks), {})

    config = FitConfig(steps=steps, checkpoint_every=max(1, steps // 20), precision="fp32")
    fit("soak", defended.ansm, step, config, folder=folder, identity={},
        progress=lambda name, k, steps, logs: look(k) if k % 10 == 0 else None)  # fmt: skip


def measure(images: int, look: Callable[[int], None]) -> None:
    """Evaluate images in batches of ten."""
    masks = torch.zeros(10, 1, 16, 16)
    masks[..., 3:9, 3:9] = 1
    samples = [
        Sample(torch.rand(10, 3, 16, 16), masks, tuple(f"{n} {i}" for i in range(10)))
        for n in range(images // 10)
    ]
    config = EvaluationConfig(
        threats=("T0", "T1"), attacks=("pgd",), eps_255=(4,), steps=2, white_box_steps=0
    )
    evaluate(made(), samples, config,
             progress=lambda name, done, parts, logs: look(images * done // parts))  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*untrained")
def test_a_short_run_opens_no_files_that_stay_open(tmp_path: Path) -> None:
    assert growth(lambda look: measure(60, look))[1] == 0
    assert growth(lambda look: train(60, tmp_path, look))[1] == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*untrained")
def test_a_long_run_stays_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        f"evaluate, {IMAGES} images": growth(lambda look: measure(IMAGES, look)),
        f"train, {STEPS} steps": growth(lambda look: train(STEPS, tmp_path, look)),
    }
    with capsys.disabled():
        for name, (slope, files) in found.items():
            print(f"\n{name}: {slope:+.2f} MiB per thousand, {files:+d} open files")
    for name, (slope, files) in found.items():
        assert slope < ALLOWED[name.split(",")[0]]
        assert files <= 0
