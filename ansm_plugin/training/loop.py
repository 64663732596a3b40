"""One `fit` for every recipe: precision, clipping, averaging, checkpoints, exact resume.

A recipe hands over a step function; what a batch is and what the loss means stays with it. All
randomness of step k comes from (seed, k), so a resumed run equals the uninterrupted one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ansm_plugin.errors import TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.system.processes import Processes, processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.signals import interruptible
from ansm_plugin.training.checkpoints import checkpoint_path, require_own_checkpoint
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.randomness import seeded
from ansm_plugin.weights.metadata import read_json
from ansm_plugin.weights.tensors import load_strictly, read_metadata, read_tensors, write_tensors


class StepOutput(NamedTuple):
    """What a step returns: the scalar to minimise and numbers to log."""

    loss: Tensor
    logs: dict[str, float]


@dataclass(frozen=True)
class Shard:
    """Which share of a global batch this process computes."""

    rank: int
    count: int

    def of(self, batch: Tensor) -> Tensor:
        """Return this process's rows."""
        return batch.tensor_split(self.count)[self.rank]


Step = Callable[[torch.Generator, Shard], StepOutput]
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
        name: of the recipe; names the checkpoint.
        module: what is trained; in train mode during training, afterwards as it was.
        step: draws a batch with the generator it is given and returns the loss.
        config: how long and how fast.
        folder: where the checkpoint lives; it is removed by `discard_checkpoint`.
        identity: JSON-ready values that decide the result; a checkpoint of another identity is
            refused.
        progress: called with name, finished steps, all steps and logs.

    Raises:
        TrainingError: a loss or gradient was not finite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the checkpoint is written.
    """
    accelerator = _accelerator()
    among = Processes(accelerator.process_index, accelerator.num_processes)
    run = _Run(name, module, config, folder, {**identity, "fit": asdict(config)})
    first = run.resume()
    was_training = module.training
    module.train()
    try:
        with interruptible() as interrupted:
            for index in range(first, config.steps):
                logs = run.advance(index, step, accelerator, among)
                done = index + 1
                is_told = any(among.gather(interrupted.is_set()))  # all stop at the same step
                if is_told or done % config.checkpoint_every == 0:
                    run.save(done, accelerator)
                if is_told:
                    raise TrainingInterrupted(
                        f"{name} was interrupted after step {done} of {config.steps}; the "
                        f"checkpoint is {run.path}. Run the same command to go on."
                    )
                progress(name, done, config.steps, logs)
            if first == config.steps:  # stopped in its last step: nothing is left but to say so
                progress(name, first, config.steps, run.logs)
    finally:
        module.train(was_training)
    run.finish(accelerator)
    among.wait()  # the checkpoint is there before anyone discards it


def training_device() -> torch.device:
    """Return the device that `fit` computes on: this process's GPU, or the CPU."""
    device: torch.device = _accelerator().device
    return device


def _accelerator() -> Accelerator:
    processes()  # joins them first, with patience for the slowest
    return Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")


def step_index(generator: torch.Generator, seed: int) -> int:
    """Return which step the generator that `fit` hands out was made for; `seed` is the config's."""
    return generator.initial_seed() - seed * _STEPS_PER_SEED


def discard_checkpoint(folder: Path, name: str) -> None:
    """Remove the checkpoint of a finished recipe, once its weights are safe."""
    checkpoint_path(folder, name).unlink(missing_ok=True)


class _Run:
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
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.average = {k: v.clone() for k, v in _floats(module)}
        self.logs: dict[str, float] = {}

    def advance(
        self, index: int, step: Step, accelerator: Accelerator, among: Processes
    ) -> dict[str, float]:
        """Do step `index` and return its logs."""
        generator = torch.Generator().manual_seed(self.config.seed * _STEPS_PER_SEED + index)
        shard = Shard(among.rank, among.count)
        device = accelerator.device.type
        half = torch.autocast(device, torch.bfloat16, enabled=self.config.precision == "bf16")
        # Dropout draws from the global generators, and should differ between processes.
        with seeded(generator.initial_seed() + (shard.rank << 40)), half:
            loss, logs = step(generator, shard)
        shown = sum(among.gather(float(loss.detach()))) / among.count
        self._require_finite("loss", shown, index)
        self.optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        if shard.count > 1:
            for parameter in self.parameters:
                parameter.grad = accelerator.reduce(parameter.grad, "mean")
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm))
        self._require_finite("gradient", norm, index)  # before it spoils the weights
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * _schedule(index, self.config)
        self.optimiser.step()
        self._track(index)
        self.logs = {"loss": shown, "gradient": norm, **logs}
        return self.logs

    def _track(self, index: int) -> None:
        # A short horizon at first, so that the average forgets the initial weights.
        decay = min(self.config.averaging, (index + 1) / (index + 10))
        with torch.no_grad():
            for name, value in _floats(self.module):
                self.average[name].lerp_(value, 1 - decay)

    def _require_finite(self, what: str, value: float, index: int) -> None:
        if not math.isfinite(value):
            good = self.path if self.path.exists() else "none yet"
            raise TrainingError(
                f"{self.name}: the {what} of step {index + 1} is {value}; last good checkpoint: "
                f"{good}. Lower learning_rate, or set precision to fp32."
            )

    def save(self, done: int, accelerator: Accelerator) -> None:
        """Write the checkpoint of `done` finished steps."""
        if not accelerator.is_main_process:
            return
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, parameter in enumerate(self.parameters):
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{index}.{key}"] = value
        identity = json.dumps(self.identity, sort_keys=True, default=str)
        metadata = {"done": str(done), "identity": identity, "logs": json.dumps(self.logs)}
        write_tensors(tensors, self.path, metadata)

    def resume(self) -> int:
        """Load the checkpoint if there is one; return the number of finished steps."""
        if not self.path.exists():
            return 0
        require_own_checkpoint(self.path.parent, self.name, self.identity, whole=True)
        metadata = read_metadata(self.path)
        try:
            self._take(read_tensors(self.path))
            self.logs = read_json(metadata, "logs", self.path)
            return int(metadata["done"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{self.path} is damaged ({error}). Delete it, and the same command begins anew."
            ) from error

    def _take(self, tensors: dict[str, Tensor]) -> None:
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

    def finish(self, accelerator: Accelerator) -> None:
        """Put the running average into the module; keep a checkpoint until the caller saved it."""
        self.save(self.config.steps, accelerator)
        if self.config.averaging:
            self.module.load_state_dict({**self.module.state_dict(), **self.average})


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
