"""Attacks that are told a wrong mask: cells, rows, framing of authentic images, resuming."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from support.batches import batch_of
from support.colour_blinded import authentic_sample, forged_sample
from torch import nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.aims import AIMS, aimed, wrong_masks
from ansm_plugin.attacks.seeds import image_generators
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.config import demo, full, quick
from ansm_plugin.evaluation.framing import FramingRow, clean_row, framed
from ansm_plugin.evaluation.noise import Gradient
from ansm_plugin.evaluation.plan import Cell, plan
from ansm_plugin.evaluation.results import BARE, DEFENDED, T1, T4, WORST
from ansm_plugin.evaluation.rows import make_framing
from ansm_plugin.evaluation.scores import against
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.metrics.masks import f1_scores

Defended = DefendedLocalizer[nn.Module]
CONFIG = EvaluationConfig(
    attacks=("pgd",),
    eps_255=(4, 8),
    steps=3,
    white_box_steps=3,
    aims=AIMS,
    aim_attacks=("pgd", "apgd"),
)


@pytest.fixture(name="aimed_at", scope="module")
def _aimed_at() -> Evaluation:
    from support.colour_blinded import SPEC, ColourBlinded, Decolour

    defended = DefendedLocalizer(ColourBlinded(), Decolour(), SPEC).eval()
    return evaluate(defended, [forged_sample(), authentic_sample()], CONFIG)


# --- cells and rows -------------------------------------------------------------------------------


def test_every_aim_is_tried_at_every_radius_of_t1_and_at_the_largest_of_t4() -> None:
    config = replace(CONFIG, white_box_eps_255=(2, 4))
    cells = [c for c in plan(config) if isinstance(c.noise, Gradient) and c.noise.aim != "truth"]
    assert [(c.threat, c.attack, c.eps_255) for c in cells if not c.framed] == [
        *(
            (T1, f"{name}, {aim}", eps)
            for aim in AIMS
            for name in ("pgd", "apgd")
            for eps in (4, 8)
        ),
        *((T4, f"{name}, {aim}", 4) for aim in AIMS for name in ("pgd", "apgd")),
    ]
    framing = [(c.threat, c.attack, c.eps_255) for c in cells if c.framed == "authentic"]
    assert framing == [
        *((T1, f"pgd, {aim}", eps) for aim in ("decoy", "mark") for eps in (4, 8)),
        *((T4, f"pgd, {aim}", eps) for aim in ("decoy", "mark") for eps in (2, 4)),
    ]


def test_without_aims_the_plan_and_its_rows_are_those_of_before(
    defended: Defended, sample: Sample, aimed_at: Evaluation
) -> None:
    config = replace(CONFIG, aims=())
    assert not any(cell.framed for cell in plan(config))
    plain = evaluate(defended, [sample, authentic_sample()], config)
    assert plain.framing == ()
    assert "framing" not in plain.as_json()
    assert [r for r in aimed_at.rows if r.aim is None and r.attack != WORST] == [
        r for r in plain.rows if r.attack != WORST
    ]


def test_rows_say_what_they_were_told_and_count_in_the_worst(aimed_at: Evaluation) -> None:
    rows = aimed_at.rows.only(threat=T1, eps_255=8)
    told = [row.aim for row in rows.only(defence=DEFENDED)]
    assert told == [None, *(aim for aim in AIMS for _ in range(2)), None]
    for defence in (BARE, DEFENDED):
        *others, worst = rows.only(defence=defence)
        assert worst.attack == WORST
        assert worst.f1 <= min(row.f1 for row in others)
    worst_white = aimed_at.rows.only(threat=T4)[-1]
    assert (worst_white.attack, worst_white.eps_255) == (WORST, 8)
    assert "aim" not in aimed_at.rows[0].as_json()
    assert aimed_at.summary["recovery"].keys() >= {"pgd, decoy@8", "apgd, swap@4"}


def test_a_decoy_is_the_attack_told_the_wrong_mask(defended: Defended, sample: Sample) -> None:
    bare = mask_forward(defended.localizer, defended.spec)
    wrong = wrong_masks(sample.masks, image_generators(0, "wrong mask", 0, range(4)))
    for aim in ("decoy", "mark"):
        spec = attack_spec("pgd", steps=3)
        noise = Gradient("pgd", spec, 8.0, aim=aim)
        found = batch_of(sample, {BARE: bare}, CONFIG).images(Cell(T1, noise, ()))
        expected = run_attack(
            bare,
            sample.images,
            wrong,
            8 / 255,
            aimed(spec, aim),
            generator=image_generators(0, f"pgd, {aim}", 8, range(4)),
        )
        assert torch.equal(found.images, expected)
        assert torch.equal(found.masks, sample.masks)


def test_swapped_noise_is_that_of_the_plain_attack(defended: Defended, sample: Sample) -> None:
    bare = mask_forward(defended.localizer, defended.spec)
    plain = Gradient("pgd", attack_spec("pgd", steps=3), 8.0)
    batch = batch_of(sample, {BARE: bare}, CONFIG)
    made = batch.images(Cell(T1, plain, ())).images - sample.images
    swap = batch.images(Cell(T1, replace(plain, aim="swap"), ())).images - sample.images
    assert any(torch.allclose(swap, made.roll(k, 0), atol=1.01 / 255) for k in (1, 2, 3))


def test_a_single_image_has_no_swapped_row_and_a_few_say_how_many(
    defended: Defended, sample: Sample
) -> None:
    """Photographs of one size each have no partner; the other attacks take them all."""
    config = replace(CONFIG, eps_255=(8,), aim_attacks=("pgd",), white_box_steps=0)
    lone = forged_sample(1, 20, seed=5)
    rows = evaluate(defended, [lone], config).rows
    assert {row.aim for row in rows} == {None, "decoy", "mark"}
    rows = evaluate(defended, [sample, lone], config).rows
    assert {(row.aim, row.images) for row in rows.only(threat=T1)} == {
        (None, 5),
        ("decoy", 5),
        ("mark", 5),
        ("swap", 4),
    }
    worst = rows.only(threat=T1, attack=WORST, defence=DEFENDED)[0]
    assert worst.f1 == worst.f1


# --- framing --------------------------------------------------------------------------------------


def test_framing_is_what_is_marked_of_authentic_images(
    defended: Defended, aimed_at: Evaluation
) -> None:
    """Hand-made: the shares inside and outside of the wrong masks."""
    sample, before = authentic_sample(), len(forged_sample().names)
    numbers = range(before, before + len(sample.names))  # among all images
    own = partial(image_generators, 0, numbers=numbers)
    bare = mask_forward(defended.localizer, defended.spec)
    guarded = mask_forward(defended, defended.spec)
    others = torch.zeros(0, 1, 16, 16)
    wrong = wrong_masks(sample.masks, own("wrong mask, authentic", 0), others)
    attacked = run_attack(
        bare,
        sample.images,
        wrong,
        8 / 255,
        attack_spec("pgd", steps=3),
        generator=own("pgd, decoy, authentic", 8),
    )
    for defence, forward in ((BARE, bare), (DEFENDED, guarded)):
        (row,) = (
            r
            for r in aimed_at.framing
            if (r.threat, r.aim, r.eps_255, r.defence) == (T1, "decoy", 8, defence)
        )
        logits = forward(attacked).detach()
        marked = (logits > 0).double()
        inside = (marked * wrong).sum((1, 2, 3)) / wrong.sum((1, 2, 3))
        outside = (marked * (1 - wrong)).sum((1, 2, 3)) / (1 - wrong).sum((1, 2, 3))
        assert row.images == 4
        assert row.marked == pytest.approx(float(marked.mean()), abs=1e-6)
        assert row.inside == pytest.approx(float(inside.mean()), abs=1e-6)
        assert row.outside == pytest.approx(float(outside.mean()), abs=1e-6)
        assert row.f1 == pytest.approx(float(f1_scores(logits, wrong).mean()), abs=1e-6)


def test_the_figure_is_above_the_same_images_unattacked(aimed_at: Evaluation) -> None:
    clean = clean_row(aimed_at.framing, DEFENDED)
    assert clean is not None
    assert (clean.attack, clean.aim, clean.marked) == ("none", None, 0)
    figures = dict(framed(aimed_at.framing))
    marked = {r.aim: figure for r, figure in figures.items() if r.key == "pgd, mark@8"}
    assert max(marked.values()) > 0.5  # the bare localizer, or through the module
    honest = [figure for r, figure in figures.items() if (r.threat, r.defence) == (T1, DEFENDED)]
    assert max(honest) < 0.05
    assert len([r for r in aimed_at.framing if r.threat == T4]) == 2


def test_marking_everything_is_what_chance_finds() -> None:
    images, wrong = torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    wrong[..., :2] = 1
    cell = Cell("T0", plan(CONFIG)[0].noise, (BARE,), framed="authentic")
    everything = against(lambda x: 0 * x[:, :1] + 1, images, wrong)
    (row,) = make_framing([cell], [{BARE: everything}], "authentic")
    assert (row.marked, row.outside) == pytest.approx((1, 1))
    assert row.f1 == pytest.approx(row.chance_f1)
    nothing = against(lambda x: 0 * x[:, :1] - 1, images, wrong)
    (row,) = make_framing([cell], [{BARE: nothing}], "authentic")
    assert (row.marked, row.inside, row.outside, row.f1, row.chance_f1) == (0, 0, 0, 0, 0)


def test_without_authentic_images_there_is_no_framing(defended: Defended, sample: Sample) -> None:
    assert evaluate(defended, [sample], replace(CONFIG, white_box_steps=0)).framing == ()


def test_authentic_images_in_the_batch_of_forged_ones_are_framed_too(
    defended: Defended, sample: Sample
) -> None:
    masks = sample.masks.clone()
    masks[0] = 0
    mixed = Sample(sample.images, masks, sample.names)
    found = evaluate(defended, [mixed], replace(CONFIG, white_box_steps=0))
    assert {row.images for row in found.framing} == {1}
    assert {row.images for row in found.rows} == {3}


def test_framing_comes_back_from_json(aimed_at: Evaluation) -> None:
    again = Evaluation.from_json(json.loads(json.dumps(aimed_at.as_json())))
    assert again == aimed_at
    assert all(isinstance(row, FramingRow) for row in again.framing)
    old = aimed_at.as_json()
    del old["framing"]
    assert Evaluation.from_json(json.loads(json.dumps(old))).framing == ()


def test_a_killed_evaluation_with_aims_goes_on(
    defended: Defended, sample: Sample, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    samples, config = [sample, authentic_sample(), forged_sample(1, 20)], replace(CONFIG, steps=2)
    whole = evaluate(defended, samples, config, records=path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[::2]))
    assert evaluate(defended, samples, config, records=path) == whole
    assert len(path.read_text().splitlines()) == len(lines)


# --- config ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"aims": ("decoi",)}, "Nearest: decoy"),
        ({"aims": ("truth",)}, "aim"),
        ({"aims": ("decoy",), "aim_attacks": ()}, "name an attack"),
        ({"aim_attacks": ("mifgms",)}, "Nearest: mifgsm"),
        ({"aim_attacks": ("pgd", "hide")}, "hide is told no mask"),
        ({"aim_attacks": ("apgd-hide",)}, "is told no mask"),
    ],
)
def test_wrong_aims_are_refused(fields: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig(**fields)  # type: ignore[arg-type]


def test_the_efforts_have_their_aims() -> None:
    assert (full().aims, full().aim_attacks) == (AIMS, ("pgd", "mifgsm", "margin", "apgd"))
    assert (quick().aims, quick().aim_attacks) == (("decoy",), ("mifgsm",))
    assert (demo().aims, EvaluationConfig().aims) == (("decoy",), ())
    assert [replace(CONFIG, aims=a).frames for a in ((), ("swap",), ("mark",))] == [0, 0, 1]
