"""What noise a cell makes: its label, what shares it, and what a kept record says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from ansm_plugin.attacks import attack_spec
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.evaluation.images import shared_noise
from ansm_plugin.evaluation.noise import (
    BlackBox,
    Gradient,
    Noise,
    Nothing,
    RandomSigns,
    Transfer,
)
from ansm_plugin.evaluation.plan import Cell, plan
from ansm_plugin.evaluation.records import key_of
from ansm_plugin.evaluation.results import BARE, DEFENDED, T0, T1, T4, T5, T6, THREATS, WORST

Defended = DefendedLocalizer[nn.Module]
PGD, SHORT = attack_spec("pgd", steps=10), attack_spec("pgd", steps=3)
WARM = EvaluationConfig(
    threats=(T0, T1, T4),
    attacks=("pgd",),
    eps_255=(8,),
    steps=3,
    white_box_attacks=("pgd",),
    white_box_steps=6,
    adaptive=("warm-start",),
)


@pytest.mark.parametrize(
    ("noise", "label", "eps_255", "steps"),
    [
        (Nothing(), "none", 0, 0),
        (RandomSigns(4.0), "noise", 4, 0),
        (Gradient("pgd", PGD, 8.0), "pgd", 8, 10),
        (Gradient("pgd", PGD, 8.0, DEFENDED, way="eot", draws=4), "pgd, eot", 8, 10),
        (Transfer("pgd", PGD, 2.0, "twin"), "pgd from twin", 2, 10),
        (Transfer("features", PGD, 2.0, "encoder"), "features from encoder", 2, 10),
        (BlackBox(8.0, 100), "square", 8, 0),
    ],
)
def test_noise_says_what_its_row_is_called(
    noise: Noise, label: str, eps_255: float, steps: int
) -> None:
    assert (noise.label, noise.eps_255, noise.steps) == (label, eps_255, steps)
    behind = Cell(T5, noise, (BARE,), "jpeg-90")
    assert (behind.attack, behind.eps_255) == (f"{label}+jpeg-90", eps_255)


def test_every_threat_names_its_cells() -> None:
    config = replace(
        WARM,
        threats=tuple(THREATS),
        unseen=("fgsm@8",),
        transfer=("pgd@8",),
        channels=("jpeg-90",),
        adaptive=("bypass", "warm-start", "eot"),
    )
    cells = plan(config, ["dim"], ["twin", "encoder"], ["mine"])
    assert [(c.threat, c.attack, c.eps_255, len(c.scored)) for c in cells] == [
        ("T0", "none", 0, 3),
        ("T0", "noise", 8, 3),
        ("T1", "pgd", 8, 3),
        ("T2", "fgsm", 8, 3),
        ("T3", "pgd from twin", 8, 3),
        ("T3", "features from encoder", 8, 3),
        ("T3.5", "margin from mine", 8, 1),
        ("T3.5", "dice from mine", 8, 1),
        ("T4", "pgd", 8, 1),
        ("T4", "pgd, bypass", 8, 1),
        ("T4", "pgd, warm-start", 8, 1),
        ("T4", "pgd, eot", 8, 1),
        ("T5", "none+jpeg-90", 0, 3),
        ("T5", "pgd+jpeg-90", 8, 3),
        ("T6", "square", 8, 1),
    ]


def test_a_warm_start_begins_at_the_planned_attack_on_the_bare_localizer() -> None:
    """With its own steps where T1 has it; else with those of the white box."""
    for threats, steps in (((T0, T1, T4), 3), ((T0, T4), 6)):
        cells = plan(replace(WARM, threats=threats))
        warm = cells[-1].noise
        assert isinstance(warm, Gradient)
        assert warm.start == Gradient("pgd", attack_spec("pgd", steps=steps), 8.0)
        assert shared_noise(cells) == ({warm.start} if T1 in threats else frozenset())


def test_keys_of_records_are_those_of_0_1() -> None:
    """A record made by an earlier release has the same key, but for warm starts."""
    assert key_of(Cell(T0, Nothing(), ()), 2) == "2 T0 none 0  None"
    assert key_of(Cell(T0, RandomSigns(8.0), ()), 0) == "0 T0 noise 8  None"
    assert key_of(Cell(T5, Nothing(), (), "jpeg-90"), 0) == "0 T5 none+jpeg-90 0  None"
    assert key_of(Cell(T6, BlackBox(8.0, 100), ()), 1) == "1 T6 square 8 ansm 100"
    grey = Cell(T1, Gradient("pgd", PGD, 2.5), ())
    assert key_of(grey, 0) == f"0 T1 pgd 2.5 none {PGD}"


def test_a_warm_start_from_elsewhere_is_another_part() -> None:
    """Its images depend on the attack that it starts from."""
    keys = {
        key_of(Cell(T4, Gradient("pgd", PGD, 8.0, DEFENDED, "warm-start", start), ()), 0)
        for start in (Gradient("pgd", PGD, 8.0), Gradient("pgd", SHORT, 8.0))
    }
    assert len(keys) == 2


def test_a_run_killed_before_its_warm_start_goes_on_from_the_same_images(
    defended: Defended, sample: Sample, tmp_path: Path
) -> None:
    """The images of T1 are made again as T1 made them, not with the steps of the white box."""
    path = tmp_path / "records.jsonl"
    whole = evaluate(defended, [sample], WARM, records=path)
    lines = path.read_text().splitlines(keepends=True)
    (last,) = [line for line in lines if "warm-start" in json.loads(line)["key"]]
    path.write_text("".join(line for line in lines if line != last))
    evaluate(defended, [sample], WARM, records=path)
    assert path.read_text().splitlines(keepends=True)[-1] == last
    assert evaluate(defended, [sample], WARM, records=path) == whole


def test_a_worst_row_reports_the_most_steps_of_its_attacks(
    defended: Defended, sample: Sample
) -> None:
    """FGSM comes first and has one step."""
    config = replace(WARM, attacks=("fgsm", "pgd", "mifgsm"), white_box_steps=0)
    rows = evaluate(defended, [sample], config).rows
    assert {row.steps for row in rows.only(threat=T1, attack=WORST)} == {3}
    assert {row.steps for row in rows.only(threat=T1, attack="fgsm")} == {1}
