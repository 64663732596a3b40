"""Images larger than a tile: the same scores, one mask each, in every threat model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.batches import batch_of
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import EvaluationConfig, Rivals, Row, evaluate
from ansm_plugin.evaluation.images import shared_noise
from ansm_plugin.evaluation.noise import Gradient
from ansm_plugin.evaluation.parts import noisy
from ansm_plugin.evaluation.plan import plan
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.metrics import image_quality
from ansm_plugin.metrics import masks as metrics
from ansm_plugin.metrics.masks import auc_scores

Defended = DefendedLocalizer[nn.Module]
EXACT = EvaluationConfig(attacks=("fgsm",), eps_255=(8,), white_box_attacks=("fgsm",), tile=192)


def photograph(height: int = 200, width: int = 420) -> Sample:
    """Return a grey image whose forged square is a little brighter, wider than two tiles."""
    masks = torch.zeros(1, 1, height, width)
    masks[..., 60:150, 130:300] = 1
    noise = 0.004 * torch.randn(masks.shape, generator=torch.Generator().manual_seed(0))
    images = (0.5 + 0.02 * (2 * masks - 1) + noise).expand(-1, 3, -1, -1).clone()
    return Sample(images, masks, ("photograph",))


def values(rows: tuple[Row, ...]) -> Tensor:
    """Return the numbers of rows."""
    return torch.tensor([[r.f1, r.iou, r.auc or 0, r.psnr or 0, r.ssim or 0] for r in rows])


def test_tiles_score_what_the_whole_scores(defended: Defended) -> None:
    """FGSM before a localizer that sees each pixel alone knows no seams."""
    tiled, whole, fitting = (
        evaluate(defended, [photograph()], replace(EXACT, tile=tile)).rows
        for tile in (192, 1024, 448)
    )
    torch.testing.assert_close(values(tiled), values(whole), rtol=0, atol=1e-5)
    assert fitting == whole


def test_noise_of_a_tiled_attack_is_in_the_ball_and_everywhere(defended: Defended) -> None:
    sample, config = photograph(), replace(EXACT, attacks=("pgd",), steps=2)
    cells = [cell for cell in plan(config) if cell.threat == "T1"]
    batch = batch_of(sample, {"none": mask_forward(defended.localizer, defended.spec)}, config)
    found = batch.images(cells[0])
    change = (found.images - sample.images).abs()
    assert float(change.max()) <= 8.01 / 255  # rounding to 8 bit allows a little
    assert float((change > 0).float().mean()) > 0.9


def test_every_threat_takes_large_images(defended: Defended) -> None:
    config = replace(
        EXACT,
        threats=("T0", "T1", "T2", "T3", "T4", "T5", "T6"),
        unseen=("region@8",),
        transfer=("fgsm@8",),
        channels=("jpeg-90", "crop-90"),
        adaptive=("warm-start",),
        steps=1,
        white_box_steps=1,
        queries=2,
    )
    bare = mask_forward(defended.localizer, defended.spec)
    found = evaluate(defended, [photograph()], config, rivals=Rivals(surrogates={"twin": bare}))
    assert {row.threat for row in found.rows} == set(config.threats)
    assert all(0 <= row.f1 <= 1 for row in found.rows)


def test_only_images_that_another_cell_needs_are_kept() -> None:
    config = replace(EXACT, threats=("T0", "T1", "T4"), attacks=("pgd", "fgsm"))
    assert shared_noise(plan(config)) == frozenset()
    warm = replace(config, white_box_attacks=("pgd",), adaptive=("warm-start",))
    assert shared_noise(plan(warm)) == {Gradient("pgd", attack_spec("pgd", steps=10), 8.0)}


def test_auc_of_parts_of_a_curve_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(-9, 9, (2, 1, 20, 30), generator=generator).float()  # with ties
    masks = (torch.rand(logits.shape, generator=generator) > 0.7).float()
    expected = auc_scores(logits, masks)
    monkeypatch.setattr(metrics, "_MOST_POINTS", 5)
    torch.testing.assert_close(auc_scores(logits, masks), expected, rtol=0, atol=1e-6)


def test_quality_by_bands_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 130, 40, generator=generator)
    changed = (images + 0.1 * torch.rand(images.shape, generator=generator)).clamp(0, 1)
    scores = (image_quality.psnr_scores, image_quality.ssim_scores)
    expected = [score(changed, images) for score in scores]
    monkeypatch.setattr(image_quality, "_MOST_PIXELS", 1000)
    assert len(image_quality._bands(images, 10)) > 2
    for score, value in zip(scores, expected, strict=True):
        torch.testing.assert_close(score(changed, images), value, rtol=0, atol=1e-4)


def test_noise_without_purpose_is_whole_levels() -> None:
    images = torch.full((1, 3, 8, 8), 0.5)
    change = (noisy(images, 8, attack_generator(0, "noise", 8, 0)) - images) * 255
    torch.testing.assert_close(change.abs(), torch.full_like(change, 8.0))
    assert 0 < float((change > 0).float().mean()) < 1
