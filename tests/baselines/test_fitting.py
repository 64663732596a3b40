"""Every baseline is fitted on validation images and leaves the localizer alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import baselines
from ansm_plugin.ansm import PRESETS, Architecture
from ansm_plugin.attacks import Forward
from ansm_plugin.baselines import (
    BASELINES,
    CHEAP,
    TRAINED,
    Baseline,
    Examples,
    fit_baseline,
    trained,
)
from ansm_plugin.baselines.base import Candidate, Fitting, best_of
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError, LocalizerError, TrainingError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.metrics.masks import f1_scores

Defended = DefendedLocalizer[Any]
TUNED = [("finetune-norm", 40), ("finetune-all", 20)]


@pytest.fixture(autouse=True)
def _small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give both trunks of HGD eight channels, and let a few steps move something."""
    thin = Architecture(widths=(8,), encoder_blocks=(2,), decoder_blocks=())
    for name, rate in (("hgd", 0.01), ("norm", 0.02), ("all", 0.005), ("second", 0.02)):
        monkeypatch.setitem(trained.RATES, name, rate)
    monkeypatch.setitem(PRESETS, "small", thin)
    monkeypatch.setitem(PRESETS, "hgd", replace(thin, norm="batch"))


def fit(name: str, defended: Defended, examples: Examples, **options: Any) -> Baseline:
    """Fit with seed 0 and few steps."""
    generator = torch.Generator().manual_seed(0)
    return fit_baseline(name, defended, examples, generator=generator, **{"steps": 4} | options)


def bare(defended: Defended) -> Forward:
    """Return the forward pass of the localizer alone."""
    return mask_forward(defended.localizer, defended.spec)


def f1(forward: Forward, images: Tensor, masks: Tensor) -> float:
    """Return the mean F1."""
    with torch.no_grad():
        return float(f1_scores(forward(images), masks).mean())


def test_there_are_fourteen_baselines() -> None:
    assert len(BASELINES) == 14
    assert (*CHEAP, *TRAINED) == tuple(BASELINES)
    assert len(CHEAP) == 9


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_keeps_the_shape_and_the_localizer(
    name: str, defended: Defended, examples: Examples
) -> None:
    """Finite logits of any size come out; weights, flags, modes and gradients stay."""
    before = fingerprint(defended)
    baseline = fit(name, defended, examples)
    logits = baseline(bare(defended))(torch.rand(2, 3, 33, 38))
    assert logits.shape == (2, 1, 33, 38)
    assert bool(logits.isfinite().all())
    assert baseline.name == name
    assert baseline.label
    assert fingerprint(defended) == before
    assert not any(p.requires_grad for p in defended.localizer.parameters())
    assert all(p.grad is None for p in defended.parameters())
    assert not any(m.training for m in defended.modules())


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_generator_fits_the_same_baseline(
    name: str, defended: Defended, examples: Examples
) -> None:
    """Neither the global random state nor a second fit changes a bit."""
    images, results = examples.attacked, []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            results.append(fit(name, defended, examples)(bare(defended))(images))
    assert torch.equal(*results)


def test_the_fitted_score_is_the_mean_over_originals_and_attacked(
    defended: Defended, examples: Examples
) -> None:
    """The number printed beside the setting is what the metrics give."""
    baseline = fit("gaussian", defended, examples)
    forward = baseline(bare(defended))
    scores = [f1(forward, x, examples.masks) for x in (examples.originals, examples.attacked)]
    assert baseline.f1 == pytest.approx(sum(scores) / 2)


def test_a_searched_filter_beats_the_bare_localizer(defended: Defended, examples: Examples) -> None:
    """Here the attack is a checkerboard, which a blur or a Wiener filter removes."""
    attacked = f1(bare(defended), examples.attacked, examples.masks)
    for name in ("gaussian", "wiener"):
        forward = fit(name, defended, examples)(bare(defended))
        assert f1(forward, examples.attacked, examples.masks) > attacked + 0.2


def test_the_best_candidate_wins_and_the_first_of_equals(
    defended: Defended, examples: Examples
) -> None:
    """Settings are compared by F1; the mildest of equals is chosen."""
    truth = {float(i.sum()): m for i, m in zip(examples.originals, examples.masks, strict=True)}
    truth |= {float(i.sum()): m for i, m in zip(examples.attacked, examples.masks, strict=True)}

    def oracle(pixels: Tensor) -> Tensor:
        return torch.stack([truth[float(image.sum())] for image in pixels]) - 0.5

    candidates = [
        Candidate("nothing", lambda forward: lambda x: -torch.ones_like(x[:, :1])),
        Candidate("all", lambda forward: oracle),
        Candidate("again", lambda forward: oracle),
    ]
    generator = torch.Generator()
    fitting = Fitting(
        defended=defended,
        examples=examples,
        training=examples,
        generator=generator,
        steps=1,
        precision="fp32",
    )
    best = best_of("test", candidates, fitting)
    assert best.label == "all"
    assert best.f1 == pytest.approx(1)


@pytest.mark.parametrize(("name", "steps"), [("hgd-small", 80), *TUNED])
def test_training_helps_against_the_attack(
    name: str, steps: int, defended: Defended, examples: Examples
) -> None:
    """A few steps regain F1 on attacked images and keep the originals."""
    attacked = f1(bare(defended), examples.attacked, examples.masks)
    baseline = fit(name, defended, examples, steps=steps)
    forward = baseline(bare(defended))
    assert f1(forward, examples.attacked, examples.masks) > attacked + 0.2
    assert f1(forward, examples.originals, examples.masks) > 0.8


def test_fine_tuning_of_norms_moves_nothing_else(defended: Defended, examples: Examples) -> None:
    """Scale and offset of the BatchNorm alone differ from the localizer's."""
    baseline = fit("finetune-norm", defended, examples)
    assert baseline.module is not None
    before, after = defended.localizer.state_dict(), baseline.module.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"norm.weight", "norm.bias"}


def test_a_denoiser_is_a_filter_and_a_tuned_localizer_is_not(
    defended: Defended, examples: Examples
) -> None:
    """What only changes pixels can be put in front of any localizer."""
    denoiser = fit("hgd", defended, examples)
    assert denoiser.filter is not None
    assert denoiser.filter(examples.originals).shape == examples.originals.shape
    assert fit("finetune-all", defended, examples).filter is None


def test_the_best_snapshot_is_kept(
    defended: Defended, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that gets worse gives back the weights of its best moment, and says which."""
    scores = iter([0.2, 0.9, 0.4, 0.1])
    seen: list[Tensor] = []

    def validate(training: Any, fitting: Fitting) -> float:
        seen.append(training.module.head.bias.detach().clone())
        return next(scores)

    monkeypatch.setattr(trained, "_validate", validate)
    baseline = fit("finetune-all", defended, examples, steps=8)
    assert baseline.label == "localizer fine-tuned (all), 4 of 8 steps"
    assert baseline.f1 == 0.9
    assert baseline.module is not None
    assert torch.equal(baseline.module.get_parameter("head.bias"), seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_authentic_images_do_not_count(defended: Defended, examples: Examples) -> None:
    """Their F1 is 0 whatever is done, so they would only blur the choice."""
    mixed = Examples(*(torch.cat((t, t)) for t in examples))
    mixed.masks[len(examples.masks) :] = 0
    assert fit("jpeg", defended, mixed).f1 == fit("jpeg", defended, examples).f1


def test_bytes_are_as_good_as_floats(defended: Defended, examples: Examples) -> None:
    """uint8 pixels, a quarter of the memory, give the same result."""
    originals, attacked = (
        t.mul(255).round().byte() for t in (examples.originals, examples.attacked)
    )
    packed = Examples(originals, examples.masks.byte(), attacked)
    assert fit("bits", defended, packed).f1 == fit("bits", defended, examples).f1


def test_progress_of_training_is_reported(defended: Defended, examples: Examples) -> None:
    """Each step comes with its loss."""
    told: list[tuple[str, int, int]] = []
    fit(
        "hgd-small",
        defended,
        examples,
        steps=2,
        progress=lambda name, step, steps, logs: told.append((name, step, steps)),
    )
    assert told == [("hgd-small", 1, 2), ("hgd-small", 2, 2)]


def test_hgd_without_taps_compares_logits(defended: Defended, examples: Examples) -> None:
    """A localizer of unknown stages is guided by its mask, as in LGD of the paper."""
    untapped = replace(defended.spec, taps=())
    unknown = DefendedLocalizer(defended.localizer, defended.ansm, untapped).eval()
    attacked = f1(bare(defended), examples.attacked, examples.masks)
    forward = fit("hgd-small", unknown, examples, steps=60)(bare(unknown))
    assert f1(forward, examples.attacked, examples.masks) > attacked + 0.2


def test_a_loss_that_is_not_finite_stops_training(
    defended: Defended, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No result is made of NaN."""
    monkeypatch.setattr(trained, "dual_mask", lambda *logits: logits[0].sum() * float("nan"))
    with pytest.raises(TrainingError, match="the loss of baseline finetune-all is nan"):
        fit("finetune-all", defended, examples)


def test_an_unknown_baseline_is_refused_with_its_neighbours(
    defended: Defended, examples: Examples
) -> None:
    with pytest.raises(ConfigError, match=r"unknown baseline 'jpg'\. Nearest: jpeg"):
        fit("jpg", defended, examples)


def test_examples_without_forgery_are_refused(defended: Defended, examples: Examples) -> None:
    empty = examples._replace(masks=torch.zeros_like(examples.masks))
    with pytest.raises(ImageError, match="none of the 6 examples is forged"):
        fit("identity", defended, empty)


def test_examples_that_do_not_belong_together_are_refused(
    defended: Defended, examples: Examples
) -> None:
    with pytest.raises(ImageError, match=r"attacked \(5, 3, 32, 32\)"):
        fit("identity", defended, examples._replace(attacked=examples.attacked[:5]))


def test_training_needs_steps(defended: Defended, examples: Examples) -> None:
    with pytest.raises(ConfigError, match="steps is 0"):
        fit("finetune-all", defended, examples, steps=0)


def test_a_localizer_without_norms_is_refused(examples: Examples) -> None:
    """There would be nothing to train."""
    plain = DefendedLocalizer(nn.Conv2d(3, 1, 1), nn.Identity(), LocalizerSpec()).eval()
    with pytest.raises(LocalizerError, match="no normalisation layer"):
        fit("finetune-norm", plain, examples)


def test_baselines_import_before_evaluation() -> None:
    """The public names are there."""
    assert set(baselines.__all__) >= {"BASELINES", "CHEAP", "Examples", "fit_baseline"}
