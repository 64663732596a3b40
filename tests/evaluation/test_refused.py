"""What cannot be evaluated is refused in words: wrong fields, localizers and samples."""

from __future__ import annotations

import pytest
from torch import nn

from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError, LocalizerError
from ansm_plugin.evaluation import EvaluationConfig, evaluate

Defended = DefendedLocalizer[nn.Module]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("attacks", ("pdg",), "Nearest: pgd"),
        ("eps_255", (0.0,), "eps_255 is"),
        ("eps_255", (256,), "at most 255"),
        ("eps_255", (), "one radius or more"),
        ("white_box_eps_255", (-1,), "white_box_eps_255 is"),
        ("steps", 0, "steps is 0"),
        ("white_box_steps", -1, "white_box_steps -1"),
        ("white_box_restarts", 0, "white_box_restarts is 0"),
        ("own_attacks", ("pdg",), "Nearest: pgd"),
        ("queries", 0, "queries 0"),
        ("threats", ("T9",), "threat"),
        ("unseen", ("pgd",), "write pgd@8"),
        ("transfer", ("pgd@300",), "at most 255"),
        ("channels", ("jpg-90",), "Nearest: jpeg"),
        ("channels", ("jpeg-0",), "from 1 to 100"),
        ("adaptive", ("unsatured",), "Nearest: unsaturated"),
        ("precision", "fp16", "fp32, bf16"),
    ],
)
def test_a_wrong_field_is_refused(field: str, value: object, message: str) -> None:
    """The message names the field, what was given and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig(**{field: value})  # type: ignore[arg-type]


def test_only_a_defended_localizer_is_evaluated(defended: Defended, sample: Sample) -> None:
    """A bare localizer is refused with what to do."""
    with pytest.raises(LocalizerError, match="wrap_with_ansm"):
        evaluate(defended.localizer, [sample])  # type: ignore[arg-type]


def test_a_localizer_that_returns_nan_is_an_error(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """NaN would pass for a mask without forged pixels, so it stops the evaluation."""
    nn.init.constant_(defended.localizer.gain, float("nan"))  # type: ignore[arg-type]
    with pytest.raises(LocalizerError, match="returned NaN"):
        evaluate(defended, [sample], quick)


def test_unusable_samples_are_refused(defended: Defended, sample: Sample) -> None:
    """No forged image, other shapes, other values and missing names are errors before any work."""
    images, masks, names = sample
    wrong = {
        "none of the 1 batches": Sample(images, masks * 0, names),
        "none of the 0 batches": None,
        "masks have shape": Sample(images, masks[:, 0], names),
        "there are 1 names": Sample(images, masks, names[:1]),
        "other values than 0 and 1": Sample(images, masks * 255, names),
        "Divide 8-bit pixels by 255": Sample(images * 255, masks, names),
    }
    for message, given in wrong.items():
        with pytest.raises(ImageError, match=message):
            evaluate(defended, [given] if given else [])
