"""Batches by memory: whatever fits at once, the rows are the same; and where all of it runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.colour_blinded import authentic_sample, forged_sample
from support.pretended import pretending
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.attacks.run import run_attack
from ansm_plugin.attacks.seeds import image_generators
from ansm_plugin.attacks.spec import ATTACKS, Expectation
from ansm_plugin.data.augment import channel
from ansm_plugin.data.samples import Sample, require_samples
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.evaluation import EvaluationConfig, Rivals, evaluate, parts, records
from ansm_plugin.evaluation.records import identity_of
from ansm_plugin.evaluation.results import Row
from ansm_plugin.evaluation.scoring import groups
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec

Defended = DefendedLocalizer[nn.Module]
CPU, CARD = torch.device("cpu"), torch.device("cuda")
# Everything that draws: starts, patches, neighbours, views, restarts, channels, squares.
CONFIG = EvaluationConfig(
    threats=("T0", "T1", "T2", "T3", "T4", "T5", "T6"),
    attacks=("pgd", "vmifgsm", "difgsm"),
    eps_255=(8,),
    steps=2,
    unseen=("pgd-l2@8", "patch@8"),
    transfer=("pgd@8",),
    white_box_attacks=("apgd-margin",),
    white_box_steps=3,
    white_box_restarts=2,
    adaptive=("eot", "warm-start"),
    channels=("jpeg-90",),
    queries=4,
)


def named(sample: Sample) -> Sample:
    """Return a sample whose images say which photograph they are."""
    images, masks, names = sample
    return Sample(images, masks, names, sources=names)


def rows(defended: Defended, samples: list[Sample], config: EvaluationConfig) -> list[Row]:
    rivals = Rivals(surrogates={"twin": mask_forward(defended.localizer, defended.spec)})
    return list(evaluate(defended, samples, config, rivals=rivals).rows)


def one_by_one(sample: Sample) -> list[Sample]:
    parts_of = zip(torch.split(sample.images, 1), torch.split(sample.masks, 1), strict=True)
    return [named(Sample(i, m, (n,))) for (i, m), n in zip(parts_of, sample.names, strict=True)]


def test_one_image_at_a_time_and_all_at_once_give_the_same_rows(defended: Defended) -> None:
    whole = named(forged_sample(3))
    assert rows(defended, one_by_one(whole), CONFIG) == rows(defended, [whole], CONFIG)


@pytest.mark.parametrize("fits", [1, 2])
def test_rows_do_not_depend_on_how_many_images_fit(
    fits: int, defended: Defended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aims, too: partners and wrong masks are drawn for the batch, whatever is attacked at once."""
    config = replace(
        CONFIG, threats=("T0", "T1"), aims=("decoy", "mark", "swap"), aim_attacks=("pgd",)
    )
    samples = [forged_sample(5), authentic_sample()]
    expected = rows(defended, samples, config)
    attacked, asked = parts._attacked, set()

    def scarce(
        forward: object, noise: object, source: object, images: Tensor, *more: Tensor
    ) -> Tensor:
        asked.add(len(images))
        if len(images) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return attacked(forward, noise, source, images, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(parts, "_attacked", scarce)
    assert rows(defended, samples, config) == expected
    assert {5, fits} <= asked


@pytest.mark.parametrize("name", ["pgd", "pgd-l2", "vmifgsm", "difgsm", "patch", "apgd"])
def test_noise_of_an_image_is_that_of_the_image_alone(name: str, defended: Defended) -> None:
    """With a source for each image, and an expectation that draws."""
    images, masks, _ = forged_sample(3)
    forward, spec = mask_forward(defended.localizer, defended.spec), replace(ATTACKS[name], steps=2)

    def attacked(numbers: list[int]) -> Tensor:
        own = image_generators(0, name, 8, numbers)
        expectation = Expectation(channel, 2)
        return run_attack(
            forward, images[numbers], masks[numbers], 8 / 255, spec, generator=own,
            expectation=expectation,
        )  # fmt: skip

    together = attacked([0, 1, 2])
    assert torch.equal(together, torch.cat([attacked([n]) for n in range(3)]))
    assert not torch.equal(together, images)


def test_batches_are_attacked_together_on_an_accelerator_alone() -> None:
    shapes = ((32, 64, 64), (32, 64, 64), (8, 64, 64), (3, 500, 600), (9, 900, 900), (2, 900, 900))
    every = list(range(len(shapes)))
    assert groups(every, shapes, CPU) == [[0], [1], [2], [3], [4], [5]]
    assert groups(every, shapes, CARD) == [[0, 1, 2], [3], [4], [5]]  # 9 Mpx and more: alone
    assert groups([0, 2, 3], shapes, CARD) == [[0, 2], [3]]  # those of one process of several


def test_unfinished_runs_of_another_rule_or_device_are_not_gone_on_with(
    defended: Defended, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = require_samples([sample])
    found = {identity_of(defended, CONFIG, facts)}
    monkeypatch.setattr(records, "SEED_RULE", 1)
    found.add(identity_of(defended, CONFIG, facts))
    monkeypatch.setattr(records, "device_of", lambda _: CARD)
    found.add(identity_of(defended, CONFIG, facts))
    assert len(found) == 3


class Small(nn.Module):
    """Sees the neighbourhood of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> `(B, 1, H, W)`."""
        found: Tensor = self.conv(images - 0.5)
        return found


def test_an_evaluation_runs_where_the_pair_is_and_finds_the_same() -> None:
    torch.manual_seed(0)
    ansm = ANSM("small")
    nn.init.normal_(ansm.trunk.head.weight, std=0.1)
    defended = wrap_with_ansm(Small(), ansm=ansm, spec=LocalizerSpec())
    samples = [forged_sample(3), forged_sample(2, seed=1), authentic_sample(2)]
    config = EvaluationConfig(
        threats=("T0", "T1"), attacks=("pgd",), eps_255=(8,), steps=2, aims=("decoy",),
        aim_attacks=("pgd",),
    )  # fmt: skip
    near = evaluate(defended, samples, config)
    with pretending() as convolutions:
        far = evaluate(defended.to("mps"), samples, config)
    assert far.computed is not None
    assert far.computed.device == "mps:0"
    assert convolutions["accelerator"] > 0
    assert convolutions["cpu"] == 0
    assert [row.f1 for row in far.rows] == pytest.approx([row.f1 for row in near.rows], abs=0.002)
    assert [row.iou for row in far.rows] == pytest.approx([r.iou for r in near.rows], abs=0.002)
