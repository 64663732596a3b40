"""One `fit` for every recipe: precision, clipping, averaging, checkpoints, exact resume.

A recipe hands over a step function; what a batch is and what the loss means stays with it. All
randomness of step k comes from (seed, k), so a resumed run equals the uninterrupted one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.errors import TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.system.processes import Processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.signals import interruptible
from ansm_plugin.training.checkpoints import checkpoint_path, require_own_checkpoint
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.device import accelerator, training_device
from ansm_plugin.training.randomness import seeded
from ansm_plugin.training.readings import Note, Reading, Readings, reads_every
from ansm_plugin.training.step import WHOLE as WHOLE  # here in version 0.1, as the others
from ansm_plugin.training.step import Logs
from ansm_plugin.training.step import Share as Share
from ansm_plugin.training.step import Step as Step
from ansm_plugin.training.step import StepOutput as StepOutput
from ansm_plugin.training.step import Turn as Turn
from ansm_plugin.training.writer import Writer
from ansm_plugin.weights.metadata import read_json
from ansm_plugin.weights.tensors import load_strictly, read_metadata, read_tensors

_STATE = {"step", "exp_avg", "exp_avg_sq"}  # what AdamW keeps for a parameter
_STEPS_PER_SEED = 1_000_003


def fit(
    name: str,
    module: nn.Module,
    step: Step,
    config: FitConfig,
    *,
    folder: Path,
    identity: dict[str, Any],
    progress: Progress = silent,
) -> None:
    """Train `module` in place with `step`, going on from a checkpoint in `folder` if there is one.

    Args:
        name: of the training; names the checkpoint.
        module: what is trained; in train mode during training, afterwards as it was.
        step: draws a batch with the generator of its turn and returns the loss.
        config: how long and how fast.
        folder: where the checkpoint lives; it is removed by `discard_checkpoint`.
        identity: JSON-ready values that decide the result; a checkpoint of another identity is
            refused.
        progress: called with name, finished steps, all steps and logs. On a device that computes by
            itself the logs are those of a few steps ago, see `Readings`.

    Raises:
        TrainingError: a loss or gradient was not finite, or the checkpoint is another run's. On a
            device that computes by itself a few steps may follow, but no checkpoint.
        TrainingInterrupted: Ctrl-C or SIGTERM; the checkpoint is written.
        WeightsError: the checkpoint is damaged, or cannot be written.
    """
    training = _Training(name, module, config, folder, {**identity, "fit": asdict(config)})
    first = training.resume()
    was_training = module.training
    module.train()
    try:
        training.go_on(first, step, progress)
        training.finish()
    finally:
        module.train(was_training)
        training.writer.close()


def discard_checkpoint(folder: Path, name: str) -> None:
    """Remove the checkpoint of a finished training, once its weights are safe."""
    checkpoint_path(folder, name).unlink(missing_ok=True)


class _Training:
    """State of one training: optimiser, running average, and their file."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        config: FitConfig,
        folder: Path,
        identity: dict[str, Any],
    ) -> None:
        self.name, self.module, self.config = name, module, config
        self.path = checkpoint_path(folder, name)
        self.identity = identity
        self.accelerator = accelerator()
        self.among = Processes(self.accelerator.process_index, self.accelerator.num_processes)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.average = {k: v.clone() for k, v in _floats(module)}
        self.logs: Logs = {}
        device = training_device()
        self.readings = Readings(reads_every(device), config.steps)
        self.writer = Writer(is_behind=device.type != "cpu")

    def go_on(self, first: int, step: Step, progress: Progress) -> None:
        """Do the steps from `first` on, with checkpoints; stop at Ctrl-C or SIGTERM."""
        steps = self.config.steps
        with interruptible() as interrupted:
            for index in range(first, steps):
                self.advance(index, step)
                done = index + 1
                is_told = self._is_told(interrupted.is_set(), index)
                if is_told or done % self.config.checkpoint_every == 0:
                    self.save(done)
                if is_told:
                    self.writer.wait()
                    raise TrainingInterrupted(
                        f"{self.name} was interrupted after step {done} of {steps}; the "
                        f"checkpoint is {self.path}. Run the same command to go on."
                    )
                progress(self.name, done, steps, self.logs)
            if first == steps:  # stopped in its last step: nothing is left but to say so
                progress(self.name, first, steps, self.logs)

    def _is_told(self, here: bool, index: int) -> bool:
        """Return whether to stop behind step `index`: the same in all processes."""
        if self.among.count == 1:
            return here
        # To ask the others is to wait for them.
        return self.readings.are_due(index) and any(self.among.gather(here))

    def advance(self, index: int, step: Step) -> None:
        """Do step `index`; keep its numbers, and read them where that is due."""
        generator = torch.Generator().manual_seed(self.config.seed * _STEPS_PER_SEED + index)
        turn = Turn(index, generator, Share(self.among.rank, self.among.count))
        device = training_device().type
        half = torch.autocast(device, torch.bfloat16, enabled=self.config.precision == "bf16")
        # Dropout draws from the global generators, and should differ between processes.
        with seeded(generator.initial_seed() + (self.among.rank << 40)), half:
            loss, logs, require = step(turn)
        self.readings.add(Note(index, {"loss": loss.detach(), **logs}, require))
        if self.readings.are_due(index):
            self.read()  # before it spoils the weights
        self._descend(loss, index)
        self._track(index)

    def read(self) -> None:
        """Read the numbers that wait, keep the last ones, and end a training that went wrong."""
        found = self.readings.read()
        losses = [reading for reading in found if "loss" in reading.numbers]
        every = self.among.gather([reading.numbers["loss"] for reading in losses])
        for reading, each in zip(losses, zip(*every, strict=True), strict=True):
            reading.numbers["loss"] = sum(each) / self.among.count
        for reading in found:
            self._take(reading)

    def _take(self, reading: Reading) -> None:
        reading.require(reading.numbers)
        for what in ("loss", "gradient"):
            self._require_finite(what, reading.numbers.get(what, 0.0), reading.index)
        if "loss" in reading.numbers:  # of a new step; its gradient comes behind
            self.logs = {"loss": 0.0, "gradient": self.logs.get("gradient", 0.0)}
        self.logs |= reading.numbers

    def _descend(self, loss: Tensor, index: int) -> None:
        """Move the parameters against the gradient of all processes."""
        if not loss.requires_grad:
            raise TrainingError(
                f"{self.name}: no gradient reaches what is trained; its forward has a no_grad."
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        if self.among.count > 1:
            self._share_gradients()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.readings.add(Note(index, {"gradient": norm}))
        if self.readings.are_due(index):
            self.read()
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * _schedule(index, self.config)
        self.optimiser.step()

    def _share_gradients(self) -> None:
        """Take the mean over processes; a gradient that one of them lacks counts as 0 there.

        A parameter that no process used keeps none, as in one process: AdamW leaves it alone.
        """
        used = [float(parameter.grad is not None) for parameter in self.parameters]
        counts = self.accelerator.reduce(
            torch.tensor(used, device=training_device()), "sum"
        ).tolist()
        for parameter, count in zip(self.parameters, counts, strict=True):
            if not count:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = self.accelerator.reduce(parameter.grad, "mean")

    def _track(self, index: int) -> None:
        # A short horizon at first, so that the average forgets the initial weights.
        decay = min(self.config.averaging, (index + 1) / (index + 10))
        with torch.no_grad():
            for name, value in _floats(self.module):
                self.average[name].lerp_(value, 1 - decay)

    def _require_finite(self, what: str, value: float, index: int) -> None:
        if not math.isfinite(value):
            self.writer.wait()
            good = self.path if self.path.exists() else "none yet"
            raise TrainingError(
                f"{self.name}: the {what} of step {index + 1} is {value}; last good checkpoint: "
                f"{good}. Lower learning_rate, or set precision to fp32."
            )

    def save(self, done: int) -> None:
        """Write the checkpoint of `done` finished steps, of which none went wrong."""
        self.read()
        if not self.among.is_first:
            return
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, parameter in enumerate(self.parameters):
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{index}.{key}"] = value
        identity = json.dumps(self.identity, sort_keys=True, default=str)
        metadata = {"done": str(done), "identity": identity, "logs": json.dumps(self.logs)}
        self.writer.write(tensors, self.path, metadata)

    def resume(self) -> int:
        """Load the checkpoint if there is one; return the number of finished steps."""
        if not self.path.exists():
            return 0
        require_own_checkpoint(self.path.parent, self.name, self.identity, whole=True)
        metadata = read_metadata(self.path)
        try:
            self._restore(read_tensors(self.path))
            self.logs = read_json(metadata, "logs", self.path)
            return int(metadata["done"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{self.path} is damaged ({error}). Delete it, and the same command begins anew."
            ) from error

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        load_strictly(self.module, _below(tensors, "module."), str(self.path))
        for key, value in _below(tensors, "average.").items():
            self.average[key].copy_(value)
        for index, parameter in enumerate(self.parameters):
            state = _below(tensors, f"optimiser.{index}.")
            if state and state.keys() != _STATE:
                raise KeyError(f"state of parameter {index}: {sorted(state)}")
            self.optimiser.state[parameter] = {
                k: v if k == "step" else v.to(parameter.device) for k, v in state.items()
            }

    def finish(self) -> None:
        """Put the running average into the module; keep a checkpoint until the caller saved it."""
        self.save(self.config.steps)
        self.writer.wait()
        if self.config.averaging:
            self.module.load_state_dict({**self.module.state_dict(), **self.average})
        self.among.wait()  # the checkpoint is there before anyone discards it


def _floats(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            yield name, value.detach()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _schedule(index: int, config: FitConfig) -> float:
    """Return the share of the peak learning rate at step `index`, in (0, 1]."""
    warm = min(1.0, (index + 1) / max(1, config.warmup))
    return warm * 0.5 * (1 + math.cos(math.pi * index / config.steps))
