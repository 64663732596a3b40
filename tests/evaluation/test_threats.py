"""Threat models beyond T1 and T4: what is attacked, what is scored, and the worst case."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.batches import batch_of
from torch import Tensor, nn

from ansm_plugin.attacks.features import EncoderOnly
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, Rivals, evaluate
from ansm_plugin.evaluation.channels import CHANNELS, channel
from ansm_plugin.evaluation.noise import Gradient
from ansm_plugin.evaluation.parts import noisy
from ansm_plugin.evaluation.plan import Cell, plan
from ansm_plugin.evaluation.results import DEFENDED, T4, THREATS
from ansm_plugin.evaluation.scores import Scores, worst
from ansm_plugin.localizer.call import mask_forward

Defended = DefendedLocalizer[nn.Module]
EVERY = tuple(THREATS)


class Staged(nn.Module):
    """A localizer behind a stage to tap, which lets pixels through."""

    def __init__(self, localizer: nn.Module) -> None:
        super().__init__()
        self.stage = nn.ReLU()
        self.localizer = localizer

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        logits: Tensor = self.localizer(self.stage(inputs))
        return logits


def _f1(evaluation: Evaluation, threat: str, attack: str, defence: str = "ansm") -> float:
    (row,) = (
        r for r in evaluation.rows if (r.threat, r.attack, r.defence) == (threat, attack, defence)
    )
    return row.f1


@pytest.fixture(name="full")
def _full() -> EvaluationConfig:
    return EvaluationConfig(
        threats=EVERY,
        attacks=("pgd", "mifgsm"),
        eps_255=(8,),
        steps=3,
        unseen=("fgsm@8", "pgd@12"),
        transfer=("pgd@8",),
        white_box_attacks=("pgd", "cospgd"),
        white_box_steps=4,
        adaptive=("straight-through", "bypass", "warm-start", "eot"),
        channels=("jpeg-95", "crop-90"),
        queries=5,
    )


def test_every_threat_gives_rows_and_baselines_are_scored_where_images_are_fixed(
    defended: Defended, sample: Sample, full: EvaluationConfig
) -> None:
    """A baseline meets the same images as the module, except those made against the module."""
    bare = mask_forward(defended.localizer, defended.spec)
    evaluation = evaluate(
        defended,
        [sample],
        full,
        rivals=Rivals(
            baselines={"dim": lambda x: bare(x * 0.5)},
            surrogates={"twin": bare},
            own={"mine": bare},
        ),
    )
    found = {(r.threat, r.defence) for r in evaluation.rows}
    fixed = ("T0", "T1", "T2", "T3", "T5")
    assert found == {(t, d) for t in fixed for d in ("none", "ansm", "dim")} | {
        ("T3.5", "ansm"),
        ("T4", "ansm"),
        ("T6", "ansm"),
    }
    assert {"pgd, warm-start", "pgd, eot"} < {r.attack for r in evaluation.rows}
    assert _f1(evaluation, "T0", "none", "dim") < 0.1  # nothing is bright in a dim image


def test_transfer_from_a_twin_equals_the_grey_box(
    defended: Defended, sample: Sample, full: EvaluationConfig
) -> None:
    """The same model as surrogate breaks the bare localizer as T1 does; a blind one breaks none."""
    bare = mask_forward(defended.localizer, defended.spec)
    blind = lambda x: 0 * x.mean(1, keepdim=True)  # noqa: E731
    config = replace(full, threats=("T1", "T3"))
    rivals = Rivals(surrogates={"twin": bare, "blind": blind})
    evaluation = evaluate(defended, [sample], config, rivals=rivals)
    assert _f1(evaluation, "T3", "pgd from twin", "none") < 0.1
    assert _f1(evaluation, "T3", "pgd from blind", "none") > 0.2  # noise of the random start


def test_the_encoder_alone_is_a_surrogate(
    defended: Defended, sample: Sample, full: EvaluationConfig
) -> None:
    """An attacker without the decoder drives the features away, within the ball of T3."""
    staged = Staged(defended.localizer).eval()
    surrogate = EncoderOnly(staged, replace(defended.spec, taps=("stage",)))
    config = replace(full, threats=("T3",), transfer=("pgd@8", "mifgsm@8"))
    rivals = Rivals(surrogates={"encoder": surrogate})
    evaluation = evaluate(defended, [sample], config, rivals=rivals)
    rows = [r for r in evaluation.rows if r.threat == "T3" and r.defence == "none"]
    assert [(r.attack, r.eps_255) for r in rows] == [("features from encoder", 8.0)]
    assert rows[0].f1 < _f1(evaluation, "T0", "none")


def test_transfer_needs_a_surrogate(defended: Defended, sample: Sample) -> None:
    """T3 without one is refused before any work."""
    with pytest.raises(ConfigError, match="surrogate"):
        evaluate(defended, [sample], EvaluationConfig(threats=("T3",)))


def test_an_attack_behind_a_channel_is_the_one_of_the_grey_box(
    defended: Defended, sample: Sample, full: EvaluationConfig
) -> None:
    """T5 re-uses the images of T1: a channel that changes nothing gives the same F1."""
    config = replace(full, threats=("T1", "T5"), channels=("crop-100",))
    evaluation = evaluate(defended, [sample], config)
    assert _f1(evaluation, "T5", "pgd+crop-100") == _f1(evaluation, "T1", "pgd")


def test_an_attack_that_expects_a_channel_averages_draws(
    defended: Defended, sample: Sample, full: EvaluationConfig
) -> None:
    """EOT goes through the module as it is, and finds other noise than the plain search."""
    config = replace(full, threats=("T4",), white_box_attacks=("pgd",), adaptive=("eot",))
    (noise,) = (cell.noise for cell in plan(config) if cell.attack == "pgd, eot")
    assert isinstance(noise, Gradient)
    assert (noise.through, noise.draws > 1, noise.start) == (DEFENDED, True, None)
    forwards = {DEFENDED: mask_forward(defended, defended.spec)}
    plain, expecting = (
        batch_of(sample, forwards, config).images(Cell(T4, searched, (DEFENDED,))).images
        for searched in (replace(noise, way="", draws=0), replace(noise, way=""))
    )
    assert not torch.equal(plain, expecting)
    originals = sample.images[sample.masks.flatten(1).any(1)]
    assert float((expecting - originals).abs().max()) <= noise.eps_255 / 255 + 1e-5


def test_only_asked_threats_are_planned() -> None:
    """T0 is always there: harm needs it."""
    cells = plan(EvaluationConfig(threats=("T4",)))
    assert [cell.threat for cell in cells] == ["T0", "T4"]


def test_worst_takes_the_lowest_f1_of_each_image() -> None:
    """Mean of minima, not minimum of means."""

    def scores(*f1: float) -> Scores:
        values = torch.tensor(f1, dtype=torch.float64)
        return Scores(values, values / 2, values, values, values, values[:0], values, values)

    found = worst([scores(0.9, 0.2), scores(0.3, 0.8)])
    assert found.f1.tolist() == [0.3, 0.2]
    assert found.iou.tolist() == [0.15, 0.1]


@pytest.mark.parametrize("name", ["jpeg-80", "webp-80", "resize-50", "crop-75"])
def test_channels_return_8_bit_images_with_masks_that_fit(name: str) -> None:
    """Each channel changes the image, keeps whole grey levels, and mask and image agree in size."""
    images = torch.randint(0, 256, (2, 3, 24, 20)).float() / 255
    masks = (torch.rand(2, 1, 24, 20) > 0.5).float()
    passed = channel(name)(images, masks)
    assert passed.images.shape[-2:] == passed.masks.shape[-2:]
    assert torch.allclose(passed.images * 255, (passed.images * 255).round(), atol=1e-3)
    same = passed.images.shape == images.shape and torch.equal(passed.images, images)
    assert not same
    assert name.partition("-")[0] in CHANNELS


def test_noise_is_a_sign_of_one_size() -> None:
    """Noise of T0 has the radius of the attack, without its direction."""
    images = torch.full((2, 3, 16, 16), 0.5)
    change = noisy(images, 8, torch.Generator().manual_seed(0)) - images
    assert torch.allclose(change.abs(), torch.tensor(8 / 255), atol=1e-6)
    assert abs(float(change.mean())) < 2 / 255


def test_a_killed_evaluation_goes_on_and_equals_an_uninterrupted_one(
    defended: Defended, sample: Sample, quick: EvaluationConfig, tmp_path: Path
) -> None:
    """Finished parts are not computed again; half a line at the end is."""
    path = tmp_path / "records.jsonl"
    whole = evaluate(defended, [sample, sample], quick, records=path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:5]) + "\n" + lines[5][:40])
    calls: list[int] = []
    defended.localizer.register_forward_hook(lambda *_: calls.append(1))
    again = evaluate(defended, [sample, sample], quick, records=path)
    assert again == whole
    first = len(calls)
    evaluate(defended, [sample, sample], quick, records=path)
    assert len(calls) - first < first  # only the probes run when every part is known
    assert len(path.read_text().splitlines()) == len(lines) + 1


def test_records_of_other_images_are_not_used(
    defended: Defended, sample: Sample, quick: EvaluationConfig, tmp_path: Path
) -> None:
    """Another image under the same name is another evaluation."""
    path = tmp_path / "records.jsonl"
    evaluate(defended, [sample], quick, records=path)
    darker = sample._replace(images=sample.images - 0.05)
    found = evaluate(defended, [darker], quick, records=path)
    assert found.rows == evaluate(defended, [darker], quick).rows


class _Rounded(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return ((images + self.inner(images)) * 16).round() / 16 - images


class _Detached(_Rounded):
    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images).detach()


class _Jittered(_Rounded):
    def forward(self, images: Tensor) -> Tensor:
        noise: Tensor = self.inner(images) + 0.01 * torch.randn_like(images)
        return noise


@pytest.mark.parametrize(
    ("mask", "message"),
    [(_Rounded, "is zero"), (_Detached, "zero|no finite"), (_Jittered, "differently each time")],
)
def test_masked_gradients_set_off_an_alarm(
    mask: type[_Rounded],
    message: str,
    defended: Defended,
    sample: Sample,
    quick: EvaluationConfig,
) -> None:
    """A rounding wall, a detached module and a random one each say that T4 is no lower bound."""
    masked = DefendedLocalizer(defended.localizer, mask(defended.ansm), defended.spec).eval()
    alarms = [a for a in evaluate(masked, [sample], quick).alarms if "T4" in a or "lower" in a]
    assert any(re.search(message, alarm) for alarm in alarms), alarms


def test_an_honest_defence_sets_off_none(evaluation: Evaluation) -> None:
    """The same module without a mask is quiet."""
    assert evaluation.alarms == ()
