"""Metrics of masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_auroc

from ansm_plugin.errors import ConfigError, ImageError, LocalizerError
from ansm_plugin.metrics.defence import harm, recovery
from ansm_plugin.metrics.intervals import bootstrap_interval
from ansm_plugin.metrics.masks import (
    auc_scores,
    f1_scores,
    false_positive_share,
    iou_scores,
    permuted_f1_scores,
)


def _random_case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(12, 1, 9, 7, generator=generator)
    masks = (torch.rand(12, 1, 9, 7, generator=generator) < 0.3).float()
    masks[0] = 0
    logits[1] = -1
    return logits, masks


def _slow_scores(logit: NDArray[np.float32], mask: NDArray[np.float32]) -> tuple[float, float]:
    """Return F1 and IoU of one image by a loop over its pixels."""
    hit = false = missed = 0
    for value, forged in zip(logit.ravel(), mask.ravel(), strict=True):
        predicted = 1 / (1 + math.exp(-value)) > 0.5
        hit += predicted and forged == 1
        false += predicted and forged == 0
        missed += not predicted and forged == 1
    precision, recall = hit / (hit + false + 1e-8), hit / (hit + missed + 1e-8)
    f1 = 2 * precision * recall / (precision + recall + 1e-8)
    return f1, hit / (hit + false + missed + 1e-8)


def test_f1_and_iou_equal_a_loop_over_pixels() -> None:
    """F1 and IoU of each image are what counting pixel by pixel gives."""
    logits, masks = _random_case()
    slow = [_slow_scores(z, m) for z, m in zip(logits.numpy(), masks.numpy(), strict=True)]
    expected = torch.tensor(slow, dtype=torch.float64)
    torch.testing.assert_close(f1_scores(logits, masks), expected[:, 0], rtol=0, atol=1e-12)
    torch.testing.assert_close(iou_scores(logits, masks), expected[:, 1], rtol=0, atol=1e-12)
    assert expected[2:, 0].min() > 0.1


def _array_scores(
    probabilities: NDArray[np.float64], masks: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return what IMDLBenCo defines for a batch: pixels above 0.5, four counts, 1e-8 everywhere."""
    marked = (probabilities > 0.5).astype(np.float64)
    axes = (1, 2, 3)
    tp, fp = (marked * masks).sum(axes), (marked * (1 - masks)).sum(axes)
    fn, tn = ((1 - marked) * masks).sum(axes), ((1 - marked) * (1 - masks)).sum(axes)

    def f1(
        hit: NDArray[np.float64], false: NDArray[np.float64], missed: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        precision, recall = hit / (hit + false + 1e-8), hit / (hit + missed + 1e-8)
        f1: NDArray[np.float64] = 2 * precision * recall / (precision + recall + 1e-8)
        return f1

    return {
        "f1": f1(tp, fp, fn),
        "iou": tp / (marked.sum(axes) + masks.sum(axes) - tp + 1e-8),
        "permuted": np.maximum(f1(tp, fp, fn), f1(fn, tn, tp)),
    }


def test_metrics_agree_exactly_with_imdlbenco_on_random_masks() -> None:
    """F1, IoU and permuted F1 of random masks, sizes and shares are bit for bit those numbers."""
    rng = np.random.default_rng(5)
    compared = 0
    for _ in range(20):
        shape = (4, 1, *rng.integers(3, 40, 2))
        probabilities = rng.random(shape)
        masks = (rng.random(shape) < rng.random((4, 1, 1, 1))).astype(np.float64)
        logits = torch.from_numpy(probabilities - 0.5)  # the same threshold, exactly
        expected = _array_scores(probabilities, masks)
        for name, metric in (
            ("f1", f1_scores),
            ("iou", iou_scores),
            ("permuted", permuted_f1_scores),
        ):
            assert metric(logits, torch.from_numpy(masks)).tolist() == expected[name].tolist()
            compared += len(expected[name])
    assert compared == 240


def test_permuted_f1_forgives_an_inverted_mask() -> None:
    """A mask and its inverse score alike; half a mask does not become whole."""
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., :2] = 1
    logits = 2 * masks - 1
    assert permuted_f1_scores(-logits, masks).item() == pytest.approx(1)
    assert f1_scores(-logits, masks).item() == 0
    logits[..., 0, :] = -1
    assert permuted_f1_scores(logits, masks).item() == f1_scores(logits, masks).item() < 1


def test_authentic_images_score_zero() -> None:
    """An empty mask has F1 and IoU 0, also where nothing is predicted."""
    logits = torch.stack((torch.full((1, 4, 4), -5.0), torch.full((1, 4, 4), 5.0)))
    masks = torch.zeros(2, 1, 4, 4)
    assert f1_scores(logits, masks).tolist() == [0, 0]
    assert iou_scores(logits, masks).tolist() == [0, 0]


def test_probability_one_half_is_not_forged() -> None:
    """The threshold itself counts as authentic."""
    assert f1_scores(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item() == 0


def test_auc_is_the_share_of_ordered_pixel_pairs() -> None:
    """AUC is the chance that a forged pixel has the larger logit, a tie counting half."""
    logits, masks = _random_case()
    logits = logits.round(decimals=0) * 20  # ties, and logits whose sigmoid is 1 or 0
    for logit, mask, found in zip(
        logits[1:], masks[1:], auc_scores(logits, masks)[1:], strict=True
    ):
        gaps = logit[mask == 1][:, None] - logit[mask == 0][None]
        expected = ((gaps > 0).double() + 0.5 * (gaps == 0).double()).mean()
        assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("size", [(3, 5), (9, 7), (64, 64), (200, 301)])
def test_auc_is_that_of_torchmetrics_to_the_last_bit(size: tuple[int, int], share: float) -> None:
    """Of logits with and without ties, of every size and share of forged pixels."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(4, 1, *size, generator=generator)
    masks = (torch.rand(noise.shape, generator=generator) < share).float()
    masks[:, :, 0, :2] = torch.tensor([0.0, 1.0])  # both classes are there
    for logits in (noise, noise.round(), noise.sign(), (5 * noise).bfloat16(), noise.double()):
        # Its input is in [0, 1]; this map keeps the order, where a sigmoid would make ties.
        ranked = 0.5 + logits.double() / (1 + logits.double().abs()) / 2
        expected = [
            float(binary_auroc(values.flatten(), mask.flatten().long()))
            for values, mask in zip(ranked, masks, strict=True)
        ]
        assert auc_scores(logits, masks).tolist() == expected


def test_auc_keeps_the_order_of_confident_logits() -> None:
    """Logits that all round to probability 1 are no tie."""
    logits = torch.tensor([40.0, 41.0, 42.0, 43.0]).view(1, 1, 2, 2)
    masks = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 2, 2)
    assert auc_scores(logits, masks).item() == 1


def test_auc_of_one_class_is_nan() -> None:
    """An image that is authentic or forged everywhere has no AUC."""
    masks = torch.stack((torch.zeros(1, 3, 3), torch.ones(1, 3, 3)))
    assert auc_scores(torch.randn(2, 1, 3, 3), masks).isnan().all()


def test_false_positive_share_counts_predicted_pixels() -> None:
    """The share is per image."""
    logits = torch.tensor([[1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, -1.0]]).view(2, 1, 2, 2)
    assert false_positive_share(logits).tolist() == [0.25, 0.75]


def test_shapes_must_match() -> None:
    """Masks without their channel would broadcast to a wrong number and are refused."""
    with pytest.raises(ImageError, match=r"\(2, 4, 4\).*\(B, 1, H, W\)"):
        f1_scores(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))


def test_bootstrap_interval_is_the_normal_one_for_many_values() -> None:
    """Of many values the interval is the mean plus and minus 1.96 standard errors."""
    values = torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half = 1.96 * values.std().item() / math.sqrt(len(values))
    low, high = bootstrap_interval(values, seed=1, draws=4000)
    assert low == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean().item() + half, abs=0.1 * half)


def test_bootstrap_interval_depends_on_its_seed_alone() -> None:
    """The same seed gives the same interval, whatever the global random state."""
    values = torch.linspace(0, 1, 20)
    torch.manual_seed(1)
    first = bootstrap_interval(values, seed=5)
    torch.manual_seed(2)
    assert bootstrap_interval(values, seed=5) == first
    assert bootstrap_interval(values, seed=6) != first


def test_bootstrap_interval_leaves_nan_out() -> None:
    """NaN do not count; without any value both ends are NaN."""
    values = torch.tensor([0.5, math.nan, 0.5])
    assert bootstrap_interval(values, seed=0) == (0.5, 0.5)
    assert all(math.isnan(end) for end in bootstrap_interval(values[1:2], seed=0))


@pytest.mark.parametrize("options", [{"level": 0.0}, {"level": 1.0}, {"draws": 0}])
def test_bootstrap_interval_refuses_senseless_options(options: dict[str, float]) -> None:
    """Level and draws out of range are an error that names both."""
    with pytest.raises(ConfigError, match=r"level .* draws"):
        bootstrap_interval(torch.ones(3), seed=0, **options)  # type: ignore[arg-type]


def test_recovery_is_the_share_that_comes_back() -> None:
    """Half of the loss regained is 0.5, and a defence that makes it worse is below 0."""
    assert recovery(0.9, 0.1, 0.5) == pytest.approx(0.5)
    assert recovery(0.9, 0.5, 0.4) == pytest.approx(-0.25)


def test_recovery_of_no_damage_is_none() -> None:
    """Where the attack took less than 0.01, or helped, there is no ratio to quote."""
    assert recovery(0.9, 0.895, 0.9) is None
    assert recovery(0.9, 0.95, 0.9) is None


def test_harm_is_positive_where_the_defence_costs() -> None:
    """Harm is clean F1 minus defended clean F1."""
    assert harm(0.9, 0.88) == pytest.approx(0.02)


def test_infinite_logits_rank_above_or_below_all_others() -> None:
    """AUC is the share of pairs in the right order, ties half, also where logits are infinite."""
    inf = math.inf
    cases = [
        [inf, 2, inf, -inf, 0.0, -inf],
        [inf, inf, inf, inf, inf, inf],
        [inf, 1e38, 3e38, -1e38, -3e38, -inf],
        [-inf, -inf, inf, inf, 0, 0],
    ]
    forged = torch.tensor([1.0, 1, 0, 0, 0, 1])
    logits = torch.tensor(cases).view(4, 1, 2, 3)
    masks = forged.view(1, 1, 2, 3).expand(4, -1, -1, -1)
    pairs = [
        [(a > b) + 0.5 * (a == b) for a in values[forged > 0] for b in values[forged == 0]]
        for values in logits.view(4, 6)
    ]
    expected = torch.tensor([sum(map(float, p)) / len(p) for p in pairs], dtype=torch.float64)
    torch.testing.assert_close(auc_scores(logits, masks), expected, rtol=0, atol=1e-6)
    large = logits.clamp(-1e4, 1e4)
    assert torch.equal(f1_scores(logits, masks), f1_scores(large, masks))


@pytest.mark.parametrize("metric", [f1_scores, iou_scores, permuted_f1_scores, auc_scores])
def test_nan_is_the_localizers_fault_and_no_score(metric: Any) -> None:
    """It would count as not forged, as after a successful attack."""
    logits, masks = _random_case()
    logits[3, 0, 2, 2] = math.nan
    with pytest.raises(LocalizerError, match="localizer's logits hold NaN"):
        metric(logits, masks)
    with pytest.raises(LocalizerError, match="localizer's logits hold NaN"):
        false_positive_share(logits)
