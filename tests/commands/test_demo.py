"""The demo and `ansm evaluate`: numbers, pictures and where they go."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones import reference
from ansm_plugin.cli import main
from ansm_plugin.commands.demo import demonstrate
from ansm_plugin.data.crops import load_crops
from ansm_plugin.data.pairs import Pair
from ansm_plugin.data.samples import Sample, WholeImages, crop_samples
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import EvaluationConfig
from ansm_plugin.evaluation import material as demo
from ansm_plugin.evaluation.material import demo_data
from ansm_plugin.report.panels import panels
from ansm_plugin.weights.ansm_file import save_ansm
from ansm_plugin.weights.tensors import write_tensors

QUICK = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=1, white_box_steps=1)
SCHEMA = {
    "localizer", "ansm", "images", "rows", "summary", "alarms", "command", "versions", "seed",
}  # fmt: skip


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand random weights in for those of the package."""
    torch.manual_seed(0)
    folder = tmp_path / "assets"
    name = reference.DEFAULT_LOCALIZER
    localizer = reference.build_architecture(name)
    write_tensors(localizer.state_dict(), folder / f"{name}.safetensors", {"format": "localizer"})
    ansm = ANSM("small")
    nn.init.normal_(ansm.trunk.head.weight, std=0.1)
    save_ansm(ansm, folder / f"{name}-ansm.safetensors")
    monkeypatch.setattr(reference, "asset", lambda file: folder / file)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands attack once instead of 200 times."""
    monkeypatch.setattr(demo, "EvaluationConfig", lambda: QUICK)


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Write three images of two sizes, with their masks."""
    rng = np.random.default_rng(0)
    made = []
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, size in (("a", (40, 48)), ("b", (64, 48)), ("c", (40, 48))):
        image, mask = tmp_path / "images" / f"{name}.png", tmp_path / "masks" / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(image)
        truth = np.zeros(size, np.uint8)
        truth[4:20, 4:20] = 255
        Image.fromarray(truth).save(mask)
        made.append(Pair(image, mask))
    return made


# --- the demo -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("packaged")
def test_the_demo_writes_numbers_and_pictures(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    evaluation = demonstrate(
        9, tmp_path / "out", config=QUICK, progress=lambda _, a, b, __: steps.append((a, b))
    )
    written = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert written.keys() == SCHEMA
    assert written == json.loads(json.dumps(evaluation.as_json()))
    assert (written["images"], written["localizer"]) == (9, "forensic-unet")
    panels = sorted(p.name for p in (tmp_path / "out" / "panels").iterdir())
    assert panels == [f"{i:02d}.png" for i in range(1, 9)]
    with Image.open(tmp_path / "out" / "summary.png") as summary:
        assert summary.size[0] > 100
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.usefixtures("packaged", "quick")
def test_the_command_prints_the_table_and_where_the_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, copy = tmp_path / "out", tmp_path / "copy.json"
    assert main(["demo", "--images", "6", "--output", str(out), "--json", str(copy)]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("defended F1", "Harm", str(out / "demo.json")))
    assert json.loads(copy.read_text())["command"].startswith("ansm demo --images 6")


@pytest.mark.usefixtures("packaged")
def test_an_unwritable_output_is_said_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "evaluate", None)
    (tmp_path / "out").write_text("in the way")
    assert main(["demo", "--output", str(tmp_path / "out")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_the_demo_is_on_photographs_outside_training() -> None:
    config = demo_data(96)
    assert (config.split, config.count, config.forgeries.kinds) == ("test", 96, ("splice",))


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
    from ansm_plugin.commands.models import load_defended

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


# --- ansm evaluate ------------------------------------------------------------------------------

ONE_ATTACK = ("--attacks", "pgd", "--eps", "8", "--steps", "1")


@pytest.mark.usefixtures("packaged")
def test_evaluate_reads_pairs_and_writes_everything(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]
    results = ["--json", str(tmp_path / "new" / "r.json"), "--output", str(tmp_path / "out")]
    untuned = ("--baselines", "none")  # of three pairs none can be spared for tuning
    assert main(["evaluate", *folders, *results, *ONE_ATTACK, *untuned]) == 0
    written = json.loads((tmp_path / "new" / "r.json").read_text())
    assert written.keys() == SCHEMA | {"cost"}
    assert written["images"] == 3
    assert [row["eps_255"] for row in written["rows"] if row["threat"] == "T1"] == [8, 8]
    assert len(list((tmp_path / "out" / "panels").iterdir())) == 3
    assert "and 4 pictures" in capsys.readouterr().out


@pytest.mark.usefixtures("packaged")
def test_evaluate_counts_and_matches_names(pairs: list[Pair], tmp_path: Path) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]
    results = tmp_path / "r.json"
    for options, number in ((("--count", "2"), 2), (("--pattern", "b*"), 1)):
        arguments = [*folders, *options, "--json", str(results), *ONE_ATTACK, "--baselines", "none"]
        assert main(["evaluate", *arguments]) == 0
        assert json.loads(results.read_text())["images"] == number


@pytest.mark.usefixtures("packaged")
def test_evaluate_without_images_is_on_the_embedded_photographs(tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    assert main(["evaluate", "--count", "5", "--json", str(results), *ONE_ATTACK]) == 0
    assert json.loads(results.read_text())["images"] == 5


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--attacks", "pdg"), "Nearest: pgd"),
        (("--eps", "two"), "2,4,8"),
        (("--eps", "0"), "above 0"),
        (("--steps", "0"), "not 1 or more"),
        (("--masks", "masks"), "without images"),
        (("--images", "nowhere"), "no folder nowhere"),
        (("--localizer", "forensic-unte"), "Nearest: forensic-unet"),
        (("--ansm", "none.safetensors"), "no weights file"),
    ],
)
def test_mistakes_in_evaluate_get_one_message(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_another_localizer_is_evaluated_with_an_untrained_ansm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "smp:Unet?encoder_name=tu-regnetx_002&encoder_depth=3&decoder_channels=16,16,16"
    assert main(["evaluate", "--localizer", name, "--count", "2", *ONE_ATTACK]) == 0
    said = capsys.readouterr().err
    assert "has random weights" in said
    assert "untrained" in said


def test_a_config_of_no_images_is_refused() -> None:
    with pytest.raises(ConfigError):
        demo_data(0)
