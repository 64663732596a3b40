"""Folders of two evaluations of one localizer, with another defence and other attacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.colour_blinded import SPEC, ColourBlinded, Decolour, forged_sample
from torch import Tensor, nn

from ansm_plugin.commands.results import RECORDS, write_report
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import EvaluationConfig, Labels, evaluate

COUNT = 6  # forged images


class HalfDecolour(nn.Module):
    """A weaker defence: turns pixels half grey."""

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same."""
        half: Tensor = Decolour()(images) / 2
        return half


def write_run(folder: Path, ansm: nn.Module, config: EvaluationConfig, count: int = COUNT) -> Path:
    """Evaluate and write what `ansm evaluate --output FOLDER` writes, without pictures."""
    folder.mkdir()
    defended = DefendedLocalizer(ColourBlinded(), ansm, SPEC).eval()
    labels = Labels(
        localizer="colour-blinded",
        ansm=type(ansm).__name__,
        command=f"ansm evaluate --output {folder.name} --steps {config.steps} --quick",
    )
    sample = forged_sample(count)
    found = evaluate(defended, [sample], config, labels=labels, records=folder / RECORDS)
    write_report(found, [], folder)
    return folder


@pytest.fixture(scope="module", name="runs")
def runs_fixture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two folders; the first has one attack more, the second more steps."""
    above = tmp_path_factory.mktemp("runs")
    more = EvaluationConfig(attacks=("pgd", "mifgsm"), eps_255=(8,), steps=3, white_box_steps=2)
    less = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=5, white_box_steps=2)
    return (
        write_run(above / "first", Decolour(), more),
        write_run(above / "second", HalfDecolour(), less),
    )
