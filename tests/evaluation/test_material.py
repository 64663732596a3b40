"""What the attack bench gathers: images to score and to tune on, baselines, surrogates, costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from ansm_plugin.baselines import CHEAP, Baseline, Examples
from ansm_plugin.commands.results import RESULT, prepare_folders
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import EvaluationConfig, rivals
from ansm_plugin.evaluation.material import Source, read_material
from ansm_plugin.evaluation.rivals import baseline_names, costs, fit_baselines, surrogates
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec

SPEC = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _defended() -> DefendedLocalizer[nn.Module]:
    return wrap_with_ansm(nn.Conv2d(3, 1, 3, padding=1), spec=SPEC)


def _sample(count: int, height: int = 24, width: int = 24) -> Sample:
    images = torch.randint(0, 256, (count, 3, height, width)).float() / 255
    masks = torch.zeros(count, 1, height, width)
    masks[..., 4:12, 4:12] = 1
    return Sample(images, masks, tuple(map(str, range(count))))


def _pairs(folder: Path, count: int) -> tuple[Path, Path]:
    images, masks = folder / "images", folder / "masks"
    for kind in (images, masks):
        kind.mkdir()
    for index in range(count):
        Image.new("RGB", (16, 16), (index, 9, 9)).save(images / f"{index:02d}.png")
        mask = Image.new("L", (16, 16))
        mask.paste(255, (2, 2, 9, 9))
        mask.save(masks / f"{index:02d}.png")
    return images, masks


def test_pairs_to_tune_on_are_never_scored(tmp_path: Path) -> None:
    """The last pairs are kept apart, whatever the count of scored ones."""
    images, masks = _pairs(tmp_path, 6)
    material = read_material(Source(images, masks, count=3), 2)
    scored, kept = (
        [name for sample in part for name in sample.names]
        for part in (material.scored, material.validation)
    )
    assert scored == ["00.png", "01.png", "02.png"]
    assert kept == ["04.png", "05.png"]


def test_too_few_pairs_are_all_scored_and_baselines_tuned_on_others(tmp_path: Path) -> None:
    """Fewer pairs than baselines are tuned on are no error: a warning says what is done."""
    images, masks = _pairs(tmp_path, 2)
    with pytest.warns(UserWarning, match=r"2 pairs are too few[\s\S]*--baselines none"):
        material = read_material(Source(images, masks), 2)
    assert [name for sample in material.scored for name in sample.names] == ["00.png", "01.png"]
    assert material.validation[0].names == ("crop 1", "crop 2")


def test_pairs_to_tune_on_without_a_forgery_are_scored(tmp_path: Path) -> None:
    """Baselines cannot be tuned on authentic images alone."""
    images, masks = _pairs(tmp_path, 4)
    for name in ("02.png", "03.png"):
        Image.new("L", (16, 16)).save(masks / name)
    with pytest.warns(UserWarning, match="none of the last 2 of 4 pairs"):
        material = read_material(Source(images, masks, count=3), 2)
    assert sum(len(sample.names) for sample in material.scored) == 3
    assert material.validation[0].masks.any()


def test_reading_pairs_says_how_far_it_is(tmp_path: Path) -> None:
    """Nobody waits for the files of a large folder in silence."""
    said: list[tuple[str, int, int]] = []
    read_material(
        Source(*_pairs(tmp_path, 3)), 0, progress=lambda name, i, n, _: said.append((name, i, n))
    )
    assert said == [("read images", 1, 3), ("read images", 2, 3), ("read images", 3, 3)]


def test_made_forgeries_to_tune_on_are_others(tmp_path: Path) -> None:
    """Crops to tune on are made with another seed, and none where no baseline asks."""
    said: list[tuple[str, int, int]] = []
    material = read_material(
        Source(count=2), 3, progress=lambda name, i, n, _: said.append((name, i, n))
    )
    assert ("forging crops", 2, 2) in said
    assert ("forging crops", 3, 3) in said
    assert not torch.equal(material.scored[0].images, material.validation[0].images[:2])
    assert read_material(Source(count=2), 0).validation == []


def test_authentic_crops_stand_behind_the_forged_ones() -> None:
    """The forged ones are the same, in the same batches; seeds of others are not used twice."""
    plain = read_material(Source(count=5), 3)
    both = read_material(Source(count=5), 3, authentic=True)
    assert len(both.scored) == 2
    assert torch.equal(both.scored[0].images, plain.scored[0].images)
    assert torch.equal(both.validation[0].images, plain.validation[0].images)
    (untouched,) = both.scored[1:]
    assert untouched.names == ("authentic crop 1",)
    assert not untouched.masks.any()
    assert len(read_material(Source(count=8), 0, authentic=True).scored[1].names) == 2


def test_names_of_baselines() -> None:
    """The names cheap and none are sets; anything else must be known."""
    assert baseline_names(["cheap", "jpeg"]) == CHEAP
    assert baseline_names(["none"]) == ()
    with pytest.raises(ConfigError, match="Nearest: jpeg"):
        baseline_names(["jpg"])


def test_baselines_are_fitted_on_images_of_several_sizes_and_leave_the_localizer_alone() -> None:
    """Validation images are cut to what all of them have; labels are printable settings."""
    defended = _defended()
    before = {name: value.clone() for name, value in defended.state_dict().items()}
    found = fit_baselines(
        ["identity", "median"],
        defended,
        [_sample(2), _sample(1, 20, 28)],
        EvaluationConfig(attacks=("pgd",), steps=2),
    )
    assert len(found) == 2
    assert all(torch.equal(before[name], v) for name, v in defended.state_dict().items())
    measured = costs(defended, found, (16, 16))
    assert measured["ansm"].parameters == sum(p.numel() for p in defended.ansm.parameters())
    assert set(measured) == {"ansm", *found}


def test_baselines_are_fitted_on_the_tiles_of_the_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tiles start at multiples of the localizer's stride, as those do that are scored."""
    defended = wrap_with_ansm(nn.Conv2d(3, 1, 3, padding=1), spec=replace(SPEC, stride=64))
    config = EvaluationConfig(attacks=("fgsm",), tile=192)
    sample = _sample(1, 420, 420)
    sample.masks[:] = 0
    sample.masks[..., 330:400, 200:300] = 1
    fitted: list[Examples] = []

    def fitting(name: str, pair: object, examples: Examples, **others: object) -> Baseline:
        fitted.append(examples)
        return Baseline(name=name, label=name, wrap=lambda forward: forward)

    monkeypatch.setattr(rivals, "fit_baseline", fitting)
    fit_baselines(["jpeg"], defended, [sample], config)
    rows, columns = Tiling(192, 64).fullest(sample.masks)
    assert torch.equal(fitted[0].originals, sample.images[..., rows, columns])
    assert (rows, columns) != Tiling(192).fullest(sample.masks)


def test_no_baselines_need_no_validation_images() -> None:
    """Nothing is attacked where nothing is fitted."""
    assert fit_baselines([], _defended(), [], EvaluationConfig()) == {}


def test_a_surrogate_is_named_without_its_folder(tmp_path: Path) -> None:
    """A result does not tell where files lay; "+FILE" puts an ANSM before the surrogate."""
    from ansm_plugin.backbones import reference

    weights = tmp_path / "other.safetensors"
    weights.write_bytes(Path(str(reference.packaged_ansm())).read_bytes())
    own = _defended()
    found = surrogates(["forensic-unet", f"forensic-unet+{weights}", "encoder"], "fp32", own)
    assert list(found) == ["forensic-unet", "forensic-unet+other.safetensors", "encoder"]
    pixels = torch.rand(1, 3, 32, 32)
    bare, defended, encoder = (forward(pixels) for forward in found.values())
    assert not torch.equal(bare, defended)
    torch.testing.assert_close(encoder, mask_forward(own.localizer, own.spec)(pixels))


def test_a_finished_report_is_not_replaced(tmp_path: Path) -> None:
    """Only --force replaces it; an interrupted one, without the result file, goes on."""
    prepare_folders(tmp_path / "new", None, force=False)
    prepare_folders(tmp_path / "new", None, force=False)
    (tmp_path / "new" / RESULT).write_text("{}")
    with pytest.raises(ConfigError, match="--force"):
        prepare_folders(tmp_path / "new", None, force=False)
    prepare_folders(tmp_path / "new", None, force=True)
