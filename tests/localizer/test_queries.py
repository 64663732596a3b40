"""Masks as products of class and mask queries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec
from ansm_plugin.localizer.output import find_mask
from ansm_plugin.localizer.queries import mask_of_queries


def queries_of(regions: Tensor, classes: list[int], count: int) -> tuple[Tensor, Tensor]:
    """Return sure logits of queries with a class and a region each; the last class is nothing."""
    chosen = nn.functional.one_hot(torch.tensor(classes), count + 1).float()
    return (40 * chosen - 20).unsqueeze(0), (40 * regions.float() - 20).unsqueeze(0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_mask_is_the_product_of_classes_and_regions(count: int) -> None:
    left = torch.zeros(4, 6)
    left[:, :2] = 1
    forged = count - 1
    # One query is sure of a forged block, one of the rest, one of nothing anywhere.
    others = [0 if count > 1 else 1, count]
    classes, regions = queries_of(
        torch.stack([left, 1 - left, torch.ones(4, 6)]), [forged, *others], count
    )
    output = {"class_queries_logits": classes, "masks_queries_logits": regions}
    assert find_mask(output, None).shape == (1, count, 4, 6)
    mask = LocalizerSpec(tamper_class=forged).mask_logits(output, (4, 6)).sigmoid()
    torch.testing.assert_close(mask[0, 0], left, atol=1e-3, rtol=0)


def test_the_order_of_classes_is_that_of_transformers() -> None:
    classes, regions = torch.randn(2, 5, 4), torch.randn(2, 5, 8, 8)
    scores = torch.einsum("bqc,bqhw->bchw", classes.softmax(-1)[..., :-1], regions.sigmoid())
    assert torch.equal(mask_of_queries(classes, regions).argmax(1), scores.argmax(1))


def test_queries_that_cover_nothing_give_finite_logits_and_gradients() -> None:
    for value in (-200.0, 200.0):
        classes = torch.full((1, 2, 2), 0.0)
        classes[..., 0] = value
        regions = torch.full((1, 2, 3, 3), value, requires_grad=True)
        mask = mask_of_queries(classes, regions)
        (gradient,) = torch.autograd.grad(mask.sum(), regions)
        assert bool(mask.isfinite().all() & gradient.isfinite().all())
        assert bool((mask > 5).all()) if value > 0 else bool((mask < -5).all())
