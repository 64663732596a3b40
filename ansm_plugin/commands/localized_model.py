"""The model of `localize`: what it computes, and what the results say of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ansm_plugin.backbones import reference
from ansm_plugin.commands.localize_options import LocalizeOptions
from ansm_plugin.commands.localized import SCORE_MEANING, Localize, Scoring, localizing
from ansm_plugin.data.cautions import TrainedOn
from ansm_plugin.data.listing import LeftOut
from ansm_plugin.data.tiles import TILE
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.report.record import About
from ansm_plugin.weights import catalogue
from ansm_plugin.weights.metadata import read_json
from ansm_plugin.weights.tensors import read_metadata, sha256_of


@dataclass(frozen=True)
class LocalizedModel:
    """A localizer, bare or defended, in eval mode, how it is called, and the user's options."""

    model: nn.Module
    spec: LocalizerSpec
    options: LocalizeOptions

    @functools.cached_property
    def localizer_sha256(self) -> str:
        """The fingerprint of the localizer's state."""
        model = self.model
        return fingerprint(model.localizer if isinstance(model, DefendedLocalizer) else model)

    def localizing(self) -> Localize:
        """Return how one photograph is localized.

        Raises:
            AnsmError: a score is needed and the ANSM was not calibrated.
        """
        return localizing(
            self.model,
            self.spec,
            self._tile,
            is_scored=self._is_scored,
            gate=self.options.gate,
            abstain=self.options.abstain,
        )

    def settings(self) -> dict[str, Any]:
        """Return all that decides a result beside the photograph, as JSON holds it."""
        model, options = self.model, self.options
        settings = {
            "localizer": self.localizer_sha256,
            "spec": asdict(self.spec),
            "ansm": fingerprint(model.ansm) if isinstance(model, DefendedLocalizer) else None,
            "ansm_precision": options.ansm_precision,
            "threshold": options.threshold,
            "least_score": options.least_score,
            "gate": options.gate,
            "abstain": options.abstain,
            "attack_score": self._is_scored,
            "tile": self._tile,
        }
        plain: dict[str, Any] = json.loads(json.dumps(settings))  # tuples as lists
        return plain

    def trained_on(self) -> TrainedOn:
        """Return what its card, else the file of its weights, says that it was trained on."""
        if self._listed is not None:
            return TrainedOn(**vars(self._listed.card.trained_on))
        file = self._localizer_file
        if file is None or file.suffix != ".safetensors":
            return TrainedOn()
        table = read_json(read_metadata(file), "trained_on", file)
        return TrainedOn.from_table(table if isinstance(table, dict) else {})

    def scoring(self) -> Scoring:
        """Return what the score of a photograph decides, and among which it is placed.

        What a card has is of its own ANSM: before another, or bare, it says nothing.
        """
        is_own = self._listed is not None and self._ansm_file == self._listed.ansm is not None
        known = self._listed.card.scores if self._listed is not None and is_own else ()
        return Scoring(self.options.least_score, known)

    def about(self, left_out: Sequence[LeftOut], device: torch.device) -> About:
        """Return what the results of a run have in common."""
        file, ansm = self._localizer_file, self._ansm_file
        return About(
            localizer=self._name,
            localizer_sha256=self.localizer_sha256,
            localizer_licence=self._licence(file),
            ansm=None if ansm is None else ansm.name if self._is_listed(ansm) else str(ansm),
            ansm_sha256=None if ansm is None else sha256_of(ansm),
            ansm_version=None if ansm is None else read_metadata(ansm).get("format_version"),
            ansm_licence=self._licence(ansm),
            threshold=self.options.threshold,
            device=str(device),
            time=datetime.now().astimezone().isoformat(timespec="seconds"),
            command=self.options.command_line,
            version=_version(),
            score_meaning=SCORE_MEANING,
            left_out=tuple((entry["file"], entry["reason"]) for entry in left_out),
        )

    @property
    def _is_scored(self) -> bool:
        """Whether attack scores are computed: where one is there, or the options need one."""
        options, model = self.options, self.model
        needs_it = options.gate or options.abstain is not None
        has_it = isinstance(model, DefendedLocalizer) and model.score is not None
        return needs_it or (has_it and not options.no_attack_score)

    @property
    def _tile(self) -> int:
        return TILE if self.options.tile is None else self.options.tile

    @property
    def _name(self) -> str:
        return self.options.model.localizer or reference.DEFAULT_LOCALIZER

    @functools.cached_property
    def _listed(self) -> catalogue.Listed | None:
        """What the catalogue has under its name, adapters aside; None with other weights."""
        base, weights, _ = reference.split_name(self._name)
        return catalogue.find(base) if weights is None else None

    @property
    def _localizer_file(self) -> Path | None:
        """The file of the localizer's weights; None where they come from the user's own code."""
        if self._listed is not None:
            return self._listed.weights
        return reference.split_name(self._name)[1]

    @property
    def _ansm_file(self) -> Path | None:
        """The file of the ANSM; None where the localizer is bare."""
        if self.options.bare:
            return None
        return self.options.model.ansm or reference.ansm_of(self._name)

    def _is_listed(self, file: Path) -> bool:
        """Return whether a file came with the name of the localizer."""
        listed = self._listed
        own = () if listed is None else (listed.weights, listed.ansm, listed.hardened)
        return file in own

    def _licence(self, file: Path | None) -> str | None:
        """Return the licence of weights: what their file says, else what their card does."""
        if file is None:
            return None
        said = read_metadata(file) if file.suffix == ".safetensors" else {}
        of_card = self._listed.card.licence if self._listed and self._is_listed(file) else None
        return said.get("licence") or said.get("license") or of_card


def _version() -> str:
    try:
        return version("ansm_plugin")
    except PackageNotFoundError:
        return ""
