"""Rows of `lab.gpu`: `ansm demo`, the first step of a training, and what a step costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.reference import SMALL_LOCALIZER, build_localizer
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.recipes import mgr
from ansm_plugin.recipes.stage import Pairs, Setup, Stage
from ansm_plugin.system.device import computing_on
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import fit
from lab.gpu_clock import Row, Scale, seconds

_CLI = "import sys; from ansm_plugin.cli import main; sys.exit(main(sys.argv[1:]))"
# Stops as soon as a step of a training is done; what is made before it is reported as "attack".
_FIRST_STEP = """
    import os, sys
    from pathlib import Path
    import torch
    from ansm_plugin.data.crops import DataConfig
    from ansm_plugin.data.forgeries import ForgeryConfig
    from ansm_plugin.recipes.two_stage import TwoStageRecipe, run
    from ansm_plugin.system.device import computing_on

    count, side, split, device, folder = sys.argv[1:]

    def progress(name, done, steps, logs):
        if name != "attack" and "loss" in logs:
            if device != "cpu":
                torch.accelerator.synchronize()
            os._exit(0)

    data = DataConfig(count=int(count), split=split, seed=1,
                      forgeries=ForgeryConfig(size=int(side), authentic=0.2))
    with computing_on(device):
        run(TwoStageRecipe(data=data), Path(folder), progress)
    os._exit(1)
"""


class Step(NamedTuple):
    """Seconds of a step of MgR, and of the passes that no such step avoids, measured bare."""

    whole: float
    localizer: float
    module: float


def demo(scale: Scale) -> str:
    """Return the seconds of the demo that 0.1 had, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-c", _CLI, "demo", "--count", str(scale.demo), "--output", folder]
        command += ["--localizer", SMALL_LOCALIZER]
        return _waited_for([*command, "--device", str(scale.device)], scale)


def first_step(scale: Scale) -> str:
    """Return the seconds from the start of a process to the end of its first training step."""
    sizes = [str(scale.crops), str(scale.crop_side), scale.split, str(scale.device)]
    with tempfile.TemporaryDirectory() as folder:
        return _waited_for(["-c", textwrap.dedent(_FIRST_STEP), *sizes, folder], scale)


def step_over_passes(scale: Scale) -> str:
    """Return what a step of MgR costs, as a multiple of its unavoidable passes."""
    taken = step_of_mgr(scale)
    return (
        f"{taken.whole / (taken.localizer + taken.module):.2f} over the passes of localizer and "
        f"module; {taken.whole / taken.localizer:.2f} over those of the localizer alone"
    )


ROWS = (
    Row("`ansm demo` before `forensic-unet`", "> 46 s", "<= 15 s", demo),
    Row("first training step of 1,024 crops of 224x224", "> 40 s", "<= 10 s", first_step),
    Row(
        "training step (MgR, batch 32, 224x224) over its unavoidable passes measured bare",
        "not measured",
        "<= 1.10",
        step_over_passes,
    ),
)


@cache
def step_of_mgr(scale: Scale) -> Step:
    """Train some steps at once, as nobody waits between them; measure their passes alone."""
    with computing_on(scale.device):
        setup = random_setup(scale)
        config = FitConfig(
            steps=scale.training_steps, batch_size=scale.batch, checkpoint_every=10**6, warmup=0
        )
        step = mgr.make_step(setup, mgr.Mgr(fit=config))

        def train() -> None:
            with tempfile.TemporaryDirectory() as folder:
                fit("mgr", setup.ansm, step, config, folder=Path(folder), identity={})

        forward = setup.quick_forward(config.precision)
        pixels = torch.rand(scale.batch, 3, scale.crop_side, scale.crop_side, device=scale.device)
        whole = seconds(train, scale) / scale.training_steps
        return Step(
            whole,
            seconds(lambda: _there_and_back(forward(leaf := _leaf(pixels)), leaf), scale),
            seconds(lambda: _module(setup.ansm, pixels), scale),
        )


def random_setup(scale: Scale) -> Setup:
    """Return the embedded localizer behind a fresh module, and random crops."""
    generator = torch.Generator().manual_seed(0)
    shape = (4 * scale.batch, 3, scale.crop_side, scale.crop_side)
    originals = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    moved = originals.int() + torch.randint(-8, 9, shape, generator=generator)
    masks = torch.zeros(len(originals), 1, *shape[2:], dtype=torch.uint8)
    masks[..., : scale.crop_side // 2, : scale.crop_side // 2] = 1
    defended = wrap_with_ansm(build_localizer(SMALL_LOCALIZER), ansm=ANSM("small"))
    defended.to(scale.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = (t.to(scale.device) for t in (originals, masks, moved.clamp(0, 255).to(torch.uint8)))
    return Setup(defended, Pairs(*crops), Stage())


def _leaf(pixels: Tensor) -> Tensor:
    return pixels.detach().requires_grad_()


def _there_and_back(logits: Tensor, leaf: Tensor) -> None:
    torch.autograd.grad(logits.mean(), leaf)


def _module(ansm: ANSM, pixels: Tensor) -> None:
    with torch.autocast(pixels.device.type, torch.bfloat16):
        raw = ansm.raw(pixels)
    torch.autograd.grad(raw.mean(), list(ansm.parameters()))


def _waited_for(command: list[str], scale: Scale) -> str:
    """Run a command of this Python and return its seconds as text, or how long was waited."""
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True, text=True, check=False, timeout=scale.patience,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"> {scale.patience:.0f} s"
    if done.returncode:
        raise RuntimeError(f"{command[2:]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return f"{time.perf_counter() - began:.1f} s"
