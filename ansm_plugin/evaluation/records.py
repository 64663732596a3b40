"""Finished parts of a long evaluation, kept in a file so that a killed run goes on.

One JSON line per batch and attack. A line is written when its scores exist and never changed; a
line cut short by a kill is left out, and its batch is computed again. Of several processes each
writes its own file, `NAME.RANK.jsonl`; the next call, of any number of processes, takes them all.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansm_plugin.attacks.behind import modules_behind
from ansm_plugin.attacks.seeds import SEED_RULE
from ansm_plugin.data.samples import Facts
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.noise import BlackBox, Gradient, Noise, Transfer
from ansm_plugin.evaluation.plan import Cell
from ansm_plugin.evaluation.scores import Scores, from_json, to_json
from ansm_plugin.evaluation.transplant import Values
from ansm_plugin.localizer.call import Forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.system.lines import absorb_parts, append_line, part_of, read_lines
from ansm_plugin.system.processes import ALONE, Processes


class Records:
    """Scores by key, in memory and in a file.

    Args:
        path: the file; None keeps nothing.
        identity: whatever decides the numbers: lines of another identity are not used.
        among: this process's place among those that share the evaluation.

    Raises:
        ConfigError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None, identity: str, among: Processes = ALONE) -> None:
        self._path = part_of(path, among) if path is not None else None
        self._identity = identity
        self._known: dict[str, dict[str, Scores]] = {}
        self._noted: dict[str, Values] = {}
        self._said: dict[str, tuple[str, ...]] = {}
        if path is not None:
            among.once(lambda: absorb_parts(path))
            if path.exists():
                self._read(path)
            among.wait()  # nobody writes while another still reads

    def __len__(self) -> int:
        """Return the number of finished parts."""
        return len(self._known) + len(self._noted) + len(self._said)

    def get(self, key: str) -> dict[str, Scores] | None:
        """Return the scores per defence of a finished part."""
        return self._known.get(key)

    def put(self, key: str, scores: Mapping[str, Scores]) -> None:
        """Keep the scores of a part, in the file at once."""
        self._known[key] = dict(scores)
        if self._path is None:
            return
        fields = {name: to_json(values) for name, values in scores.items()}
        append_line(self._path, {"identity": self._identity, "key": key, "scores": fields})

    def noted(self, key: str) -> Values | None:
        """Return the values of a finished part that is no score of a defence."""
        return self._noted.get(key)

    def note(self, key: str, values: Values) -> None:
        """Keep values by name, finite numbers, in the file at once."""
        self._noted[key] = values
        if self._path is not None:
            fields = {name: list(found) for name, found in values.items()}
            append_line(self._path, {"identity": self._identity, "key": key, "values": fields})

    def said(self, key: str) -> tuple[str, ...] | None:
        """Return the texts of a finished part."""
        return self._said.get(key)

    def say(self, key: str, texts: tuple[str, ...]) -> None:
        """Keep texts, in the file at once."""
        self._said[key] = texts
        if self._path is not None:
            append_line(self._path, {"identity": self._identity, "key": key, "texts": list(texts)})

    def _read(self, path: Path) -> None:
        for line in read_lines(path):
            # Of another release, or damaged: its part is computed again.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                if line["identity"] != self._identity:
                    continue
                if "values" in line:
                    values = {n: [float(v) for v in vs] for n, vs in line["values"].items()}
                    self._noted[line["key"]] = values
                elif "texts" in line:
                    self._said[line["key"]] = tuple(map(str, line["texts"]))
                else:
                    parts = {name: from_json(v) for name, v in line["scores"].items()}
                    self._known[line["key"]] = parts


def key_of(cell: Cell, batch: int) -> str:
    """Return what decides the scores of a cell on a batch, beside models and images."""
    framed = f" {cell.framed}" if cell.framed else ""
    return f"{batch} {cell.threat} {cell.attack} {cell.eps_255:g} {_effort(cell.noise)}{framed}"


def _effort(noise: Noise) -> str:
    """Return what is attacked, how, and from where."""
    match noise:
        case BlackBox(through=through, queries=queries):
            return f"{through} {queries}"
        case Gradient(start=Gradient() as start):
            return (
                f"{noise.through} {noise.spec.identity} from {start.through} {start.spec.identity}"
            )
        case Gradient() | Transfer():
            return f"{noise.through} {noise.spec.identity}"
        case _:
            return " None"  # as 0.1 wrote it


def identity_of(
    defended: DefendedLocalizer[Any],
    config: EvaluationConfig,
    facts: Facts,
    own: Mapping[str, Forward] | None = None,
) -> str:
    """Return a hash of all that decides the scores of a cell, beside the cell itself.

    Of models, images, precision, kind of device and the rule of seeds: what a run of another one
    left, such as 0.1, is not used; its parts are computed again.
    """
    inside = getattr(defended.ansm, "precision", "fp32")
    gate = defended.score if defended.gate else ""
    choices = f"{config.precision} {config.attack_precision} {inside} {config.seed} {config.tile}"
    choices += f" seeds {SEED_RULE} {device_of(defended).type}"
    models = f"{fingerprint(defended)} {choices}{gate}"
    others = "".join(
        f" {name} {fingerprint(module)}"
        for name, forward in (own or {}).items()
        for module in modules_behind(forward)
    )
    return hashlib.sha256(f"{models} {facts.digest}{others}".encode()).hexdigest()
