"""A localizer that learns from another: what is taught, what is written, what is refused."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.users_localizer import LOCALIZER
from torch import nn

from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.errors import ConfigError, LocalizerError, TrainingInterrupted
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import distillation, localizer
from ansm_plugin.recipes.distillation import Lesson
from ansm_plugin.recipes.localizer import LocalizerRecipe
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.randomness import seeded

TEACHER = "teacher_of_a_user:build"
COARSE = "teacher_of_a_user:coarse"
FIT = FitConfig(
    steps=40, batch_size=4, warmup=0, averaging=0.0, learning_rate=0.02, precision="fp32"
)


@pytest.fixture(autouse=True)
def _teachers(user_code: Path) -> None:
    """Put a teacher on the path that marks what is dark, against every mask, and a coarse one."""
    code = """
        import torch
        from torch import nn


        class Teacher(nn.Module):
            pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

            def __init__(self, stride):
                super().__init__()
                self.stem = nn.Conv2d(3, 2, 1, stride=stride, bias=False)
                self.up = nn.Upsample(scale_factor=stride)
                nn.init.constant_(self.stem.weight, -2.0)

            def forward(self, images):
                return self.up(self.stem(images))[:, :1]


        def build():
            return Teacher(1)


        def coarse():
            return Teacher(2)
    """
    (user_code / "teacher_of_a_user.py").write_text(textwrap.dedent(code))


def recipe(data: DataConfig, **changes: object) -> LocalizerRecipe:
    fields = {"localizer": LOCALIZER, "data": data, "fit": FIT, "teacher": TEACHER, **changes}
    return LocalizerRecipe(**fields)  # type: ignore[arg-type]


def disagreement(one: nn.Module, other: nn.Module, data: DataConfig) -> float:
    """Return the share of pixels that two localizers decide differently."""
    images = load_crops(data).images.float().div(255)
    with torch.no_grad():
        first, second = (mask_forward(m, describe(m))(images) > 0 for m in (one, other))
    return float((first != second).float().mean())


def test_the_student_follows_its_teacher_against_the_truth(
    tmp_path: Path, data: DataConfig
) -> None:
    shares = []
    for weight in (0.0, 50.0):
        path = localizer.run(
            recipe(data, teacher_weight=weight, hints=("stem",)), tmp_path / f"{weight}"
        )
        student = build_localizer(f"{LOCALIZER}@{path}")  # loads: no projection is in the file
        shares.append(disagreement(student, build_localizer(TEACHER), data))
    assert shares[1] < 0.2 < shares[0]


def test_hints_alone_pull_features_together() -> None:
    images = torch.rand(2, 3, 16, 16)
    with seeded(0):
        lesson = Lesson(build_localizer(LOCALIZER), TEACHER, ("stem",), "fp32")
    optimiser = torch.optim.Adam(lesson.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = lesson(images)[2]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_a_localizer_that_teaches_itself_sees_no_distance() -> None:
    lesson = Lesson(build_localizer(LOCALIZER), LOCALIZER, ("stem",), "fp32")
    (projection,) = lesson.projections
    assert isinstance(projection, nn.Conv1d)
    nn.init.dirac_(projection.weight)
    nn.init.zeros_(projection.bias if projection.bias is not None else torch.empty(0))
    logits, taught, hint = lesson(torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(logits.sigmoid(), taught)
    assert abs(hint.item()) < 1e-5


def test_the_teacher_is_no_part_of_what_is_trained() -> None:
    student = build_localizer(LOCALIZER).train()
    before = fingerprint(student)
    lesson = Lesson(student, TEACHER, ("stem",), "fp32")
    assert student.training
    assert fingerprint(student) == before  # finding sizes moved no statistics
    names = {name.partition(".")[0] for name, _ in lesson.named_parameters()}
    assert names == {"student", "projections"}


def test_an_interrupted_lesson_ends_like_an_uninterrupted_one(
    tmp_path: Path, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = recipe(data, hints=("stem",), fit=replace(FIT, steps=6, checkpoint_every=3))
    whole = load_file(localizer.run(taught, tmp_path / "whole"))

    calls = 0
    forward = distillation.Lesson.forward

    def stopped(self: Lesson, pixels: torch.Tensor) -> object:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise TrainingInterrupted("in the middle")
        return forward(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(Lesson, "forward", stopped)
        with pytest.raises(TrainingInterrupted):
            localizer.run(taught, tmp_path / "broken")
    rest = load_file(localizer.run(taught, tmp_path / "broken"))
    assert all(torch.equal(whole[key], rest[key]) for key in whole)


def test_a_teacher_without_hints_gives_masks_alone() -> None:
    lesson = Lesson(build_localizer(LOCALIZER), TEACHER, (), "fp32")
    assert lesson(torch.rand(1, 3, 16, 16))[2].item() == 0.0


def test_hints_of_another_stride_are_refused() -> None:
    with pytest.raises(LocalizerError, match=r"hint 'stem' has 4096 pixels .* and 1024 in the"):
        Lesson(build_localizer(LOCALIZER), COARSE, ("stem",), "fp32")


def test_hints_without_a_teacher_are_refused(tmp_path: Path, data: DataConfig) -> None:
    with pytest.raises(ConfigError, match="hints were given without a teacher"):
        localizer.run(recipe(data, teacher="", hints=("stem",)), tmp_path / "run")
