"""`ansm demo`: numbers, pictures and where they go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from ansm_plugin.cli import main
from ansm_plugin.commands.demo import demonstrate
from ansm_plugin.data.crops import load_crops
from ansm_plugin.data.pairs import Pair
from ansm_plugin.data.samples import Sample, WholeImages, crop_samples
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import EvaluationConfig
from ansm_plugin.evaluation.config import demo
from ansm_plugin.evaluation.material import demo_data
from ansm_plugin.report.panels import panels

QUICK = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=1, white_box_steps=1)
SCHEMA = {
    "localizer", "ansm", "images", "rows", "summary", "alarms", "command", "versions", "seed",
    "alarm_names", "transplant", "computed",
}  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands attack once instead of 200 times."""
    monkeypatch.setattr("ansm_plugin.evaluation.config.EvaluationConfig", lambda: QUICK)


# --- the demo -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("packaged")
def test_the_demo_writes_numbers_and_pictures(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    evaluation = demonstrate(
        9, tmp_path / "out", config=QUICK, progress=lambda *told: steps.append(told[:3])
    )
    written = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert written.keys() == SCHEMA
    assert written == json.loads(json.dumps(evaluation.as_json()))
    assert (written["images"], written["localizer"]) == (9, "forensic-unet")
    panels = sorted(p.name for p in (tmp_path / "out" / "panels").iterdir())
    assert panels == [f"{i:02d}.png" for i in range(1, 9)]
    with Image.open(tmp_path / "out" / "summary.png") as summary:
        assert summary.size[0] > 100
    assert steps[-1][1] == steps[-1][2]
    assert ("forging crops", 9, 9) in steps


@pytest.mark.usefixtures("packaged", "quick")
def test_the_command_prints_the_table_and_where_the_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, copy = tmp_path / "out", tmp_path / "copy.json"
    assert main(["demo", "--count", "6", "--output", str(out), "--json", str(copy)]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("defended F1", "Harm", str(out / "demo.json")))
    assert json.loads(copy.read_text())["command"].startswith("ansm demo --count 6")


@pytest.mark.usefixtures("packaged")
def test_an_unwritable_output_is_said_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansm_plugin.evaluation.run.evaluate", None)
    (tmp_path / "out").write_text("in the way")
    assert main(["demo", "--output", str(tmp_path / "out")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_the_demo_is_on_photographs_outside_training() -> None:
    config = demo_data(96)
    assert (config.split, config.count, config.forgeries.kinds) == ("test", 96, ("splice",))


@pytest.mark.usefixtures("packaged")
def test_the_demo_frames_authentic_crops(tmp_path: Path) -> None:
    config = replace(QUICK, aims=("decoy",), aim_attacks=("fgsm",))
    found = demonstrate(4, tmp_path / "out", config=config)
    assert found.images == 5
    assert {row.images for row in found.framing} == {1}
    assert len(list((tmp_path / "out" / "panels").iterdir())) == 4
    assert demo() == replace(EvaluationConfig(), aims=("decoy",), aim_attacks=("mifgsm",))


# --- samples and pictures -----------------------------------------------------------------------


def test_crops_become_batches_of_floats() -> None:
    samples = crop_samples(load_crops(demo_data(40)))
    assert [len(s.images) for s in samples] == [32, 8]
    assert samples[0].images.max() <= 1
    assert samples[1].names == tuple(f"crop {i}" for i in range(33, 41))


def test_whole_images_are_grouped_by_size(pairs: list[Pair]) -> None:
    samples = WholeImages(pairs)
    assert [s.names for s in samples] == [("a.png", "c.png"), ("b.png",)]
    assert samples[1].images.shape == (1, 3, 64, 48)
    assert samples[0].masks.shape == (2, 1, 40, 48)
    assert set(samples[0].masks.flatten().tolist()) == {0, 1}
    assert len(samples[:1]) == 1


@pytest.mark.usefixtures("packaged")
def test_a_panel_shows_what_the_parts_return() -> None:
    from ansm_plugin.commands.loading import load_defended

    defended = load_defended(None, None)
    sample = crop_samples(load_crops(demo_data(3)))[0]
    masks = sample.masks.clone()
    masks[1] = 0  # authentic: no panel
    shown = list(panels(defended, [Sample(sample.images, masks, sample.names)], QUICK, "pgd", 8))
    assert [panel.name for panel in shown] == ["crop 1", "crop 3"]
    panel = shown[1]
    torch.testing.assert_close(panel.image - panel.noise, sample.images[2])
    assert 0 < panel.noise.abs().max() <= 8 / 255 + 1e-6
    inputs = defended.spec.normalise(panel.image[None])
    torch.testing.assert_close(panel.perturbation, defended.perturbation(inputs)[0].detach())
    torch.testing.assert_close(
        panel.defended, defended(inputs)[0].detach().sigmoid(), atol=1e-4, rtol=1e-3
    )


def test_a_config_of_no_images_is_refused() -> None:
    with pytest.raises(ConfigError):
        demo_data(0)
