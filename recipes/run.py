"""A run of a recipe, the same way for all: refuse, write the config, prepare, fit, save."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.recipes.config import save_config
from ansm_plugin.recipes.registry import Recipe
from ansm_plugin.recipes.stage import Setup, Stage, prepare
from ansm_plugin.system.lock import only_run_in
from ansm_plugin.system.processes import processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.checkpoints import require_own_checkpoint
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import discard_checkpoint, fit
from ansm_plugin.training.randomness import seeded
from ansm_plugin.training.step import Step
from ansm_plugin.weights.ansm_file import load_ansm, read_provenance, save_ansm
from ansm_plugin.weights.tensors import sha256_of

Identity = dict[str, Any]  # JSON-ready values that decide a result
Logs = dict[str, float]  # the last number that was logged under each name


def run_alone(recipe: Recipe, config: Any, output: Path, progress: Progress) -> Path:
    """Run a recipe, alone in its folder; return the weights' file in every process.

    Args:
        recipe: its module.
        config: one of its `RECIPE`.
        output: the folder.
        progress: called with the name of a phase, finished and all steps, and logs.

    Raises:
        AnsmError: another run writes there, something cannot be used, or training stopped.
    """
    with only_run_in(output):
        among = processes()  # waits for the first one, which has locked the folder
        among.wait()  # and cleared it, where the processes had met before
        return recipe.run(config, output, progress)


class Run:
    """A run of a recipe in its output folder.

    Args:
        name: of the recipe; its config becomes `output/NAME.toml`.
        recipe: the config, a dataclass with all choices.
        output: the folder.
        trainings: those of the run by name, each with what decides its result as far as the
            config says; by default one that has the name of the recipe.
        progress: called with the name of a training, finished steps, all steps and logs.
    """

    def __init__(
        self,
        name: str,
        recipe: Any,
        output: Path,
        *,
        trainings: Mapping[str, Identity] | None = None,
        progress: Progress = silent,
    ) -> None:
        self.name, self.recipe, self.output, self.progress = name, recipe, output, progress
        self.trainings = trainings or {name: {"recipe": asdict(recipe)}}

    def claim(self) -> None:
        """Take the output folder: write the config, unless a checkpoint there is another run's.

        Raises:
            TrainingError: it is; nothing was written.
            ConfigError: the folder cannot be written, or the disk is full.
            WeightsError: a checkpoint cannot be read.
        """
        for training, identity in self.trainings.items():
            require_own_checkpoint(self.output, training, identity)
        path = self.output / f"{self.name}.toml"
        processes().once(lambda: save_config(self.recipe, path))

    def fit(
        self,
        training: str,
        module: nn.Module,
        step: Step,
        config: FitConfig,
        *,
        decided: Identity,
        write: Callable[[Logs], Path],
    ) -> Path:
        """Train a module in place, then write its weights once and remove the checkpoint.

        Args:
            training: one of `trainings`.
            module: what is trained.
            step: as `training.fit` takes it.
            config: how long and how fast.
            decided: what decides the result beside what is known of the training.
            write: is called with the last logs in the first of several processes alone; writes
                the weights and returns their file.

        Returns:
            that file, in every process.

        Raises:
            AnsmError: training stopped, or something cannot be read or written.
        """
        last: Logs = {}

        def watch(name: str, done: int, steps: int, logs: Logs) -> None:
            last.update(logs)
            self.progress(name, done, steps, logs)

        identity = {**self.trainings[training], **decided}
        fit(training, module, step, config, folder=self.output, identity=identity, progress=watch)

        def keep() -> Path:
            set_aside(self.output / f"{training}.safetensors")
            path = write(last)
            discard_checkpoint(self.output, training)
            return path

        return processes().once(keep)


class Start(NamedTuple):
    """The ANSM that a training begins with, and the sha256 of its file, "" if it is fresh."""

    ansm: ANSM
    parent: str = ""


def start_from(path: Path) -> Start:
    """Begin with the ANSM in a file.

    Raises:
        WeightsError: the file holds none, or cannot be read.
    """
    return Start(load_ansm(path), sha256_of(path))


def start_with(preset: str, path: Path | None, seed: int) -> Start:
    """Begin with the ANSM in a file; without one with a fresh ANSM, which `seed` decides.

    Raises:
        AnsmError: an unknown preset, or a file that holds no ANSM.
    """
    if path is not None:
        return start_from(path)
    with seeded(seed):
        return Start(ANSM(preset))


class AnsmRun(Run):
    """A run that trains an ANSM before localizers that stay as they are.

    Args:
        name: as in `Run`.
        recipe: the config.
        output: the folder.
        start: the module to train.
        trainings: as in `Run`; of each training the entry "recipe", its part of the config.
        progress: as in `Run`; called with "attack" while crops are attacked.

    Attributes:
        parent: sha256 of the file that the next training begins with, "" if that is fresh.
    """

    def __init__(
        self,
        name: str,
        recipe: Stage,
        output: Path,
        start: Start,
        *,
        trainings: Mapping[str, Identity] | None = None,
        progress: Progress = silent,
    ) -> None:
        super().__init__(name, recipe, output, trainings=trainings, progress=progress)
        self.parent = start.parent
        self._ansm = start.ansm

    @cached_property
    def setup(self) -> Setup:
        """What the run works on, prepared when it is first asked for."""
        return prepare(self.recipe, self._ansm, self.output, self.progress)

    def train(self, training: str, make: Callable[[Setup], Step], config: FitConfig) -> Path:
        """Train the ANSM and write `output/TRAINING.safetensors`; one that is finished is kept.

        Args:
            training: one of `trainings`.
            make: returns the step for one localizer.
            config: how long and how fast.

        Raises:
            AnsmError: training stopped, or something cannot be read or written.
        """
        if self.is_finished(training):
            return self._keep(training)
        return self.fit(
            training,
            self.setup.ansm,
            self.setup.each(make),
            config,
            decided=self.decided(),
            write=lambda logs: self.write_ansm(training, self.setup, logs),
        )

    def decided(self) -> Identity:
        """Return what decides a result beside the config: localizers, and the file begun with."""
        return {"localizer": self.setup.identify(), "parent": self.parent}

    def write_ansm(self, training: str, setup: Setup, logs: Logs) -> Path:
        """Write `output/TRAINING.safetensors`, the ANSM with its provenance."""
        table = self.trainings[training]["recipe"]
        provenance = setup.provenance(training, table, logs, self.parent)
        return save_ansm(setup.ansm, self._weights(training), provenance)

    def is_finished(self, training: str) -> bool:
        """Return whether its file holds the result of this config, these localizers, this start."""
        path = self._weights(training)
        if not path.exists():
            return False
        origin = read_provenance(path)
        written = [origin.recipe, origin.localizer, origin.parent]
        wanted = [self.trainings[training]["recipe"], self.setup.identify(), self.parent]
        return bool(written == json.loads(json.dumps(wanted, default=str)))

    def _keep(self, training: str) -> Path:
        """Take a finished training as it is, and say so."""
        path = self._weights(training)
        load_ansm(path, into=self.setup.ansm)
        self._tidy(training)
        warnings.warn(
            f"{path} holds the result of exactly these choices, so nothing was trained. Delete it "
            "to train again.",
            stacklevel=3,
        )
        return path

    def go_on_from(self, training: str) -> None:
        """Take the written ANSM of a finished training into the setup, for the next one.

        Raises:
            WeightsError: its file cannot be read.
        """
        path = self._weights(training)
        load_ansm(path, into=self.setup.ansm)
        self._tidy(training)
        self.parent = sha256_of(path)

    def _tidy(self, training: str) -> None:
        """Remove the checkpoint of a run that was killed after it wrote its weights."""
        processes().once(lambda: discard_checkpoint(self.output, training))

    def _weights(self, training: str) -> Path:
        return self.output / f"{training}.safetensors"


def set_aside(path: Path) -> None:
    """Rename weights that an earlier run left where others are about to be written, and say so."""
    if not path.exists():
        return
    names = (path.with_name(f"{path.stem}-before-{n}{path.suffix}") for n in count(1))
    free = next(name for name in names if not name.exists())
    path.rename(free)
    warnings.warn(
        f"{path} held the weights of an earlier run: {free.name} has them now.", stacklevel=2
    )
