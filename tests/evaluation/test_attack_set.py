"""Anti-forensics sets: files, manifest, resumption and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ansm_plugin.cli import main
from ansm_plugin.commands.attack import doubts
from ansm_plugin.data.pairs import find_pairs
from ansm_plugin.data.samples import Sample
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.attack_set import PAIRS, RECORDS, Victim, write_attacked
from ansm_plugin.evaluation.manifest import MANIFEST, AttackPlan, Manifest

LOCALIZER = {"family": "plain", "class": "bright", "sha256": "0"}
PLAN = AttackPlan(attacks=("pgd", "mifgsm"), eps_255=(4,), steps=2)


def bright(pixels: Tensor) -> Tensor:
    """A forged pixel is a bright one."""
    return 20 * (pixels.mean(1, keepdim=True) - 0.5)


VICTIM = Victim(bright, LOCALIZER)


def _samples(count: int = 3) -> list[Sample]:
    masks = torch.zeros(count, 1, 16, 16)
    masks[..., 4:10, 4:10] = 1
    masks[-1] = 0  # authentic
    images = (0.49 + 0.02 * masks).expand(-1, 3, -1, -1).mul(255).round().div(255)
    return [Sample(images, masks, tuple(f"photo {i}.jpg" for i in range(count)))]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.png")}


def test_attacked_images_and_masks_are_pairs_that_our_own_reader_finds(tmp_path: Path) -> None:
    """One PNG per forged image and attack within eps, with its mask under the same name."""
    made = write_attacked(VICTIM, _samples(), PLAN, tmp_path)
    pairs = find_pairs(tmp_path / "Tp", tmp_path / "Gt")
    assert len(pairs) == len(made.records) == 4
    assert made.skipped == ("photo 2.jpg",)
    original = _samples()[0].images[0].mul(255).round().permute(1, 2, 0).numpy()
    attacked = np.array(Image.open(tmp_path / "Tp" / "photo-0_pgd-4.png")).astype(float)
    change = np.abs(attacked - original)
    assert 0 < change.max() <= 4
    mask = np.array(Image.open(tmp_path / "Gt" / "photo-0_pgd-4.png"))
    assert set(np.unique(mask)) == {0, 255}


def test_no_image_replaces_another_of_the_same_stem(tmp_path: Path) -> None:
    """Names below folders, and those that differ in their suffix alone, stay apart."""
    (sample,) = _samples(5)
    names = ("a.jpg", "a.png", "day1/a.jpg", "day1-a.jpg", "x.jpg")
    made = write_attacked(VICTIM, [sample._replace(names=names)], PLAN, tmp_path)
    files = [record.file for record in made.records]
    stems = {file.partition("_")[0] for file in files}
    assert stems == {"a", "a-2", "day1-a", "day1-a-2"}
    assert len(set(files)) == len(files) == len(list((tmp_path / "Tp").iterdir())) == 8


def test_the_manifest_says_how_each_file_was_made_and_what_it_did(tmp_path: Path) -> None:
    """F1 before and after, attack, objective, seed and localizer; the pair list is relative."""
    made = write_attacked(VICTIM, _samples(), PLAN, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["localizer"] == LOCALIZER
    first = manifest["files"][0]
    assert first["f1_before"] > 0.99
    assert first["f1_after"] < 0.5
    assert (first["attack"], first["objective"], first["seed"]) == ("pgd", "bce", 0)
    assert Manifest.from_json(manifest) == made
    assert made.as_json() == manifest
    listed = json.loads((tmp_path / PAIRS).read_text())
    assert all(
        (tmp_path / image).is_file() and (tmp_path / mask).is_file() for image, mask in listed
    )


def test_a_killed_run_goes_on_and_makes_no_finished_image_again(tmp_path: Path) -> None:
    """After a kill in the middle of a record the files equal those of an uninterrupted run."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    write_attacked(VICTIM, _samples(), PLAN, whole)
    calls: list[int] = []

    def dying(pixels: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return bright(pixels)

    with pytest.raises(KeyboardInterrupt):
        write_attacked(Victim(dying, LOCALIZER), _samples(), PLAN, killed)
    assert not (killed / MANIFEST).exists()
    with (killed / RECORDS).open("a") as stream:
        stream.write('{"file": "pho')
    finished = killed / "Tp" / "photo-0_pgd-4.png"
    kept = finished.stat().st_mtime_ns
    write_attacked(VICTIM, _samples(), PLAN, killed)
    assert _files(killed) == _files(whole)
    assert finished.stat().st_mtime_ns == kept
    assert json.loads((killed / MANIFEST).read_text()) == json.loads((whole / MANIFEST).read_text())


def test_a_changed_image_is_attacked_again(tmp_path: Path) -> None:
    """Records are bound to pixels, not to names."""
    write_attacked(VICTIM, _samples(), PLAN, tmp_path)
    before = _files(tmp_path)
    images, masks, names = _samples()[0]
    other = [Sample(images + 1 / 255, masks, names)]
    write_attacked(VICTIM, other, PLAN, tmp_path)
    assert _files(tmp_path)["Tp/photo-0_pgd-4.png"] != before["Tp/photo-0_pgd-4.png"]


def test_a_folder_of_something_else_has_no_field_to_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="attacks and seed; name another folder"):
        write_attacked(VICTIM, _samples(), PLAN, tmp_path)


def test_a_set_of_another_localizer_names_it(tmp_path: Path) -> None:
    write_attacked(VICTIM, _samples(), PLAN, tmp_path)
    other = Victim(bright, {**LOCALIZER, "sha256": "34cd"})
    with pytest.raises(ConfigError, match=r"localizer\.sha256 is .* there and 34cd now"):
        write_attacked(other, _samples(), PLAN, tmp_path)


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 3}, {"eps_255": (2,)}])
def test_another_set_is_not_overwritten(tmp_path: Path, change: dict[str, object]) -> None:
    """The folder of another plan is refused, and used with force."""
    write_attacked(VICTIM, _samples(), PLAN, tmp_path)
    fields = {"attacks": ("pgd",), "eps_255": (4,), "steps": 2, "seed": 0, **change}
    other = AttackPlan(**fields)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--force") as raised:
        write_attacked(VICTIM, _samples(), other, tmp_path)
    ((name, value),) = change.items()
    was = {"seed": 0, "steps": 2, "eps_255": [4]}[name]
    now = list(value) if isinstance(value, tuple) else value
    assert f"{name} is {was} there and {now} now" in str(raised.value)
    write_attacked(VICTIM, _samples(), other, tmp_path, force=True)


def test_an_attack_without_effect_is_named(tmp_path: Path) -> None:
    """A forward that is always wrong cannot be hurt; the attack is listed as idle."""
    wrong = Victim(lambda x: -bright(x), LOCALIZER)
    made = write_attacked(wrong, _samples(), PLAN, tmp_path)
    assert set(made.idle()) == {"pgd@4", "mifgsm@4"}
    (said,) = doubts(made)  # the command says once that it is the localizer
    assert "the localizer finds next to nothing: F1 0.000 on original images" in said
    assert "pgd@4, mifgsm@4" in said


def test_an_attack_without_effect_on_a_good_localizer_is_to_blame(tmp_path: Path) -> None:
    made = write_attacked(VICTIM, _samples(), PLAN, tmp_path)
    records = tuple(replace(r, f1_before=0.9, f1_after=0.9) for r in made.records)
    said = list(doubts(replace(made, records=records)))
    assert [line.split()[0] for line in said] == ["pgd@4", "mifgsm@4"]
    assert all("are eps and steps large enough" in line for line in said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attacks", "pdg"], "Nearest: pgd"),
        (["--eps", "0"], "above 0 and at most 255"),
        (["--eps", "256"], "above 0 and at most 255"),
        (["--images", "missing", "--masks", "missing"], "there is no folder"),
        (["--output", "FILE/below"], "cannot write"),
    ],
)
def test_wrong_options_exit_2_with_one_message(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every mistake is said before any attack."""
    (tmp_path / "file").write_text("")
    given = [a.replace("FILE", str(tmp_path / "file")) for a in arguments]
    base = [] if "--output" in given else ["--output", str(tmp_path / "out")]
    assert main(["attack", "--count", "1", "--attack-steps", "1", *base, *given]) == 2
    assert message in capsys.readouterr().err


def test_the_command_attacks_the_embedded_localizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without options the built-in test photographs are forged and attacked."""
    options = [
        "--count",
        "1",
        "--attack-steps",
        "1",
        "--eps",
        "8",
        "--json",
        str(tmp_path / "n.json"),
    ]
    assert main(["attack", "--output", str(tmp_path / "set"), *options]) == 0
    assert "wrote 1 attacked images" in capsys.readouterr().out
    assert json.loads((tmp_path / "n.json").read_text())["command"].startswith("ansm attack")
    assert len(_files(tmp_path / "set")) == 2
