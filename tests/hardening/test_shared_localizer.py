"""Anybody wraps, unwraps, trains and takes apart one localizer, in any order."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from ansm_plugin import ANSM, LocalizerSpec, unwrap
from ansm_plugin.ansm import Architecture
from ansm_plugin.defended import DefendedLocalizer

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
STEPS = st.lists(
    st.sampled_from(["wrap", "wrap outside", "unwrap", "train", "call", "exchange", "freeze"]),
    max_size=12,
)


@example(steps=["wrap", "exchange", "freeze"], picks=[0] * 12)  # joined, then set to eval
@settings(max_examples=40, deadline=None)
@given(steps=STEPS, picks=st.lists(st.integers(0, 9), min_size=12, max_size=12))
def test_calls_are_in_eval_mode_and_the_last_gives_back(steps: list[str], picks: list[int]) -> None:
    body = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model = nn.Sequential(body, nn.Conv2d(2, 1, 1))
    body[1].eval()
    body[1].requires_grad_(False)
    mean = body[1].running_mean.clone()
    pairs: list[DefendedLocalizer[Any]] = []
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for step, pick in zip(steps, picks, strict=False):
        if step.startswith("wrap"):
            held = nn.DataParallel(model) if "outside" in step else model
            pairs.append(DefendedLocalizer(held, ANSM(THIN), LocalizerSpec()))
        elif step == "train" and pairs:
            model.train()
        elif step == "exchange" and pairs:
            model[1] = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Dropout(0.5))
        elif step == "freeze" and pairs:
            pairs[pick % len(pairs)].train(bool(pick % 2))
        elif step == "unwrap" and pairs:
            unwrap(pairs.pop(pick % len(pairs)))
        elif pairs:
            with torch.no_grad():
                assert torch.equal(*(pairs[pick % len(pairs)](images) for _ in range(2)))
            assert not any(m.training for m in model.modules())
    for pair in pairs:
        unwrap(pair)
    assert [m.training for m in body.modules()] == [True, True, False, True]
    assert [p.requires_grad for p in body.parameters()] == [True, True, False, False]
    assert model.training
    assert all(m.training for m in model[1].modules())
    assert torch.equal(body[1].running_mean, mean)
