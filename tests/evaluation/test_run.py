"""Evaluation of a defended localizer."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.seeds import attack_generator, image_generators
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, Labels, Row, evaluate
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.metrics.masks import f1_scores

Defended = DefendedLocalizer[nn.Module]


def _rows(evaluation: Evaluation, **wanted: object) -> list[Row]:
    return [r for r in evaluation.rows if all(getattr(r, k) == v for k, v in wanted.items())]


def test_rows_cover_every_threat_attack_and_defence(evaluation: Evaluation) -> None:
    """T0 and T1 are scored for both defences, T4 for the defended localizer alone."""
    grey = [
        ("T1", name, eps, 3, defence)
        for name in ("pgd", "mifgsm")
        for eps in (4, 8)
        for defence in ("none", "ansm")
    ]
    assert [(r.threat, r.attack, r.eps_255, r.steps, r.defence) for r in evaluation.rows] == [
        ("T0", "none", 0, 0, "none"),
        ("T0", "none", 0, 0, "ansm"),
        *grey,
        *(("T1", "worst", eps, 3, d) for eps in (4, 8) for d in ("none", "ansm")),
        ("T4", "pgd", 8, 4, "ansm"),
    ]


def test_a_defence_that_works_recovers_and_falls_to_the_white_box(evaluation: Evaluation) -> None:
    """Grey-box attacks break the bare localizer alone; the white box breaks the defended one."""
    summary = evaluation.summary
    assert summary["f1_clean"] == pytest.approx(1)
    assert all(row.f1 < 0.1 for row in _rows(evaluation, threat="T1", defence="none"))
    assert min(value or 0 for value in summary["recovery"].values()) > 0.9
    assert summary["f1_white_box"]["pgd@8"] < 0.1


def test_summary_follows_from_the_rows(evaluation: Evaluation) -> None:
    """Harm, recovery and the white-box figure are computed from the F1 of the rows."""
    (clean,), (defended_clean,) = (
        _rows(evaluation, threat="T0", defence=d) for d in ("none", "ansm")
    )
    bare, defended = _rows(evaluation, threat="T1", attack="pgd", eps_255=8)
    assert evaluation.summary == {
        "f1_clean": clean.f1,
        "f1_defended_clean": defended_clean.f1,
        "harm": clean.f1 - defended_clean.f1,
        "recovery": evaluation.summary["recovery"],
        "f1_white_box": {"pgd@8": _rows(evaluation, threat="T4")[0].f1},
        "white_box": "estimate",
        **{end: evaluation.summary[end] for end in _ENDS},  # type: ignore[literal-required]
    }
    low, high = evaluation.summary["recovery_low"], evaluation.summary["recovery_high"]
    assert list(low) == list(high) == list(evaluation.summary["recovery"])
    for key, share in evaluation.summary["recovery"].items():
        lower, upper = low[key], high[key]
        assert share is not None
        assert lower is not None
        assert upper is not None
        assert lower <= share <= upper
    assert list(evaluation.summary["recovery"]) == [
        f"{name}@{eps}" for name in ("pgd", "mifgsm", "worst") for eps in (4, 8)
    ]
    expected = (defended.f1 - bare.f1) / (clean.f1 - bare.f1)
    assert evaluation.summary["recovery"]["pgd@8"] == pytest.approx(expected)


_ENDS = ("harm_low", "harm_high", "recovery_low", "recovery_high")


def test_both_defences_are_scored_on_the_images_of_one_grey_box_attack(
    defended: Defended, sample: Sample, evaluation: Evaluation
) -> None:
    """T1 attacks the bare localizer, once, with generators of (seed, attack, eps, image)."""
    bare = mask_forward(defended.localizer, defended.spec)
    attacked = run_attack(
        bare,
        sample.images,
        sample.masks,
        8 / 255,
        attack_spec("pgd", steps=3),
        generator=image_generators(0, "pgd", 8, range(len(sample.names))),
    )
    forwards = (bare, mask_forward(defended, defended.spec))
    expected = [f1_scores(f(attacked), sample.masks).mean().item() for f in forwards]
    found = [row.f1 for row in _rows(evaluation, threat="T1", attack="pgd", eps_255=8)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_row_depends_neither_on_order_nor_on_other_attacks(
    defended: Defended, sample: Sample, quick: EvaluationConfig, evaluation: Evaluation
) -> None:
    """The same attack alone gives the same row; another seed gives another random start."""
    alone = replace(quick, attacks=("pgd",), eps_255=(8,))
    rows = _rows(evaluate(defended, [sample], alone), threat="T1")
    assert rows == _rows(evaluation, threat="T1", attack="pgd", eps_255=8)
    draws = {torch.rand(1, generator=attack_generator(*key)).item() for key in _KEYS}
    assert len(draws) == len(_KEYS)


_KEYS = [
    (0, "pgd", 8, 0),
    (1, "pgd", 8, 0),
    (0, "cospgd", 8, 0),
    (0, "pgd", 4, 0),
    (0, "pgd", 8, 1),
]


def test_integer_and_float_radius_are_the_same_attack() -> None:
    """8 and 8.0 start at the same point."""
    first, second = (torch.rand(3, generator=attack_generator(0, "pgd", e, 0)) for e in (8, 8.0))
    assert torch.equal(first, second)


def test_authentic_images_count_in_false_positives_alone(
    defended: Defended, sample: Sample, quick: EvaluationConfig, evaluation: Evaluation
) -> None:
    """Authentic images change no F1, whether in their own batch or not; they give a share."""
    authentic = Sample(torch.full((2, 3, 8, 8), 0.9), torch.zeros(2, 1, 8, 8), ("a", "b"))
    with_them = evaluate(defended, [sample, authentic], quick)
    assert with_them.images == 6
    for row, before in zip(with_them.rows, evaluation.rows, strict=True):
        expected = 1.0 if row.threat == "T0" else None
        assert row == replace(before, false_positive_share=expected)
    assert "false_positive_share" not in evaluation.rows[0].as_json()
    assert "false_positive_share" in with_them.rows[0].as_json()


def test_a_mixed_batch_scores_its_forged_images(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """Within a batch only forged images count in F1, and all in the number of images."""
    masks = sample.masks.clone()
    masks[0] = 0
    mixed = evaluate(defended, [Sample(sample.images, masks, sample.names)], quick)
    assert mixed.images == 4
    assert {row.images for row in mixed.rows} == {3}
    assert mixed.summary["f1_clean"] == pytest.approx(1)


def test_images_forged_everywhere_have_no_auc(defended: Defended, quick: EvaluationConfig) -> None:
    """Without any AUC the row holds None, which JSON can say."""
    whole = Sample(torch.full((1, 3, 8, 8), 0.52), torch.ones(1, 1, 8, 8), ("whole",))
    assert evaluate(defended, [whole], quick).rows[0].auc is None


def test_zero_white_box_steps_leave_t4_out(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """white_box_steps=0 gives no T4 row and no figure."""
    evaluation = evaluate(defended, [sample], replace(quick, white_box_steps=0))
    assert not _rows(evaluation, threat="T4")
    assert evaluation.summary["f1_white_box"] == {}


def test_the_defended_localizer_is_left_as_it_was(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """Evaluation runs in eval mode, restores the mode and leaves no gradient."""
    defended.ansm.add_module("dropout", nn.Dropout(0.5))
    seen: list[bool] = []
    defended.ansm.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    defended.train()
    before = [module.training for module in defended.modules()]
    evaluate(defended, [sample], quick)
    assert seen
    assert not any(seen)
    assert [module.training for module in defended.modules()] == before
    assert all(parameter.grad is None for parameter in defended.parameters())


def test_progress_is_reported_to_the_end(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """Each batch of each attack is one unit of progress, and the transplant test of each batch."""
    calls: list[tuple[str, int, int]] = []
    evaluate(
        defended,
        [sample, sample],
        quick,
        progress=lambda name, done, total, logs: calls.append((name, done, total)),
    )
    evaluated = [call for call in calls if call[0] == "evaluate"]
    assert calls[:14] == evaluated == [("evaluate", done, 14) for done in range(1, 15)]


def test_an_untrained_ansm_warns_and_raises_an_alarm(
    untrained: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """A fresh module is named untrained in a warning, in the alarms and in the result."""
    with pytest.warns(UserWarning, match="untrained"):
        evaluation = evaluate(untrained, [sample], quick)
    assert "untrained" in evaluation.alarms[0]
    assert evaluation.ansm == "custom, untrained"
    assert evaluation.summary["recovery"]["pgd@8"] == 0


def test_a_trained_one_is_silent_and_named(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """Without names given, the localizer is family, class and hash, the ANSM its class."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluation = evaluate(defended, [sample], quick, labels=Labels(command="ansm evaluate"))
    assert evaluation.localizer.startswith("plain:ColourBlinded ")
    assert (evaluation.ansm, evaluation.command) == ("Decolour", "ansm evaluate")
    assert torch.__version__.startswith(evaluation.versions["torch"])


def test_json_has_the_schema_of_demo_and_evaluate(evaluation: Evaluation) -> None:
    """The JSON has the documented keys, on top and in each row."""
    written = evaluation.as_json()
    assert list(written) == [
        "localizer",
        "ansm",
        "images",
        "rows",
        "summary",
        "alarms",
        "alarm_names",
        "command",
        "versions",
        "seed",
        "transplant",
        "computed",
    ]
    threads = torch.get_num_threads()
    assert written["computed"] == {
        "device": "cpu",
        "hardware": f"{threads} thread" + ("s" if threads > 1 else ""),
        "precision": {"scores": "fp32", "attacks": "fp32"},  # the module there is no ANSM
    }
    always = "threat attack eps_255 steps defence f1 f1_low f1_high iou auc images permuted_f1"
    with_quality = f"{always} psnr ssim"
    bare, *others = written["rows"]  # nothing was added to the images of the first row
    assert tuple(bare) == tuple(always.split())
    assert {tuple(row) for row in others} == {tuple(with_quality.split())}
