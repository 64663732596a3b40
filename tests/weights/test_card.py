"""The model card of a hub folder: what was recorded and measured, and no more than that."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ansm_plugin import DefendedLocalizer, LocalizerSpec, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.cli import main
from ansm_plugin.errors import AnsmError, ConfigError, WeightsError
from ansm_plugin.evaluation.results import Evaluation, Row, Rows
from ansm_plugin.weights.ansm_file import AnsmFile, Provenance, save_ansm

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
RECIPE = {
    "localizer": "smp:Unet@/home/ada/runs/l.safetensors",
    "data": {"images": "/home/ada/photographs", "count": 12},
    "mgr": {"fit": {"steps": 30}},
}


@pytest.fixture
def defended(tiny: nn.Module) -> DefendedLocalizer[nn.Module]:
    return wrap_with_ansm(tiny, ansm=ANSM(THIN), spec=LocalizerSpec())


def row(threat: Any, attack: str, eps: float, defence: str, f1: float, **more: Any) -> Row:
    return Row(
        threat=threat, attack=attack, eps_255=eps, steps=10, defence=defence, f1=f1,
        f1_low=f1 - 0.05, f1_high=f1 + 0.05, iou=f1, auc=None, images=9, **more,
    )  # fmt: skip


ROWS = (
    row("T0", "none", 0, "none", 0.81), row("T0", "none", 0, "ansm", 0.79),
    row("T1", "pgd", 4, "none", 0.11), row("T1", "pgd", 4, "ansm", 0.71),
    row("T1", "margin", 4, "none", 0.12), row("T1", "margin", 4, "ansm", 0.61),
    row("T1", "margin", 4, "median", 0.42),
    row("T1", "pgd-l2", 4, "none", 0.21), row("T1", "pgd-l2", 4, "ansm", 0.75),
    row("T4", "margin", 8, "ansm", 0.06),
)  # fmt: skip


def evaluation(rows: tuple[Row, ...] = ROWS, **more: Any) -> Evaluation:
    return Evaluation(
        localizer="mine", ansm="mine.safetensors", images=9, rows=Rows(rows),
        summary={"f1_clean": 0.8, "f1_defended_clean": 0.8, "harm": 0.0, "recovery": {},
                 "f1_white_box": {}},
        alarms=("the | search\n# was short",), command="", versions={"ansm_plugin": "0.2.0"},
        seed=0, **more,
    )  # fmt: skip


def saved(defended: DefendedLocalizer[nn.Module], folder: Path, **more: Any) -> str:
    return (defended.save_pretrained(folder, **more) / "README.md").read_text()


def test_the_front_matter_is_the_hubs(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    card_data = pytest.importorskip("huggingface_hub").ModelCard
    data = card_data(saved(defended, tmp_path, licence="cc-by-nc-4.0")).data
    assert (data.library_name, data.license) == ("ansm_plugin", "cc-by-nc-4.0")
    assert "image-forensics" in data.tags
    assert AnsmFile.read(tmp_path / "ansm.safetensors").others["licence"] == "cc-by-nc-4.0"


def test_without_results_nothing_is_claimed(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    text = saved(defended, tmp_path)
    for said in ("license: unknown", "Not measured", "It is untrained", "Not stated",
                 "recipe is not recorded", "(T4) was not measured"):  # fmt: skip
        assert said in text
    assert "F1" not in text


def test_data_and_recipe_lose_the_folders_of_the_machine(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    origin = Provenance(stage="mgr", recipe=RECIPE, localizer={"class": "Unet"}, parent="abc")
    text = saved(defended, tmp_path, provenance=origin)
    for said in ("smp:Unet@l.safetensors", '"images": "photographs"', '"steps": 30', "Stage: mgr"):
        assert said in text
    assert "/home" not in text


@pytest.mark.parametrize("given", ["object", "table", "file"])
def test_of_each_radius_the_strongest_attack_is_shown(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path, given: str
) -> None:
    results: Any = evaluation()
    if given != "object":
        results = json.loads(json.dumps(results.as_json()))
    if given == "file":
        (tmp_path / "evaluation.json").write_text(json.dumps(results))
        results = tmp_path / "evaluation.json"
    text = saved(defended, tmp_path / "hub", results=results)
    cells = [
        re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| T")
    ]
    shown = [(c[0][:2], c[1], c[2], c[4][:5], c[5][:5]) for c in cells]
    assert shown == [
        ("T0", "none", "0", "0.810", "0.790"),
        ("T1", "margin", "4", "0.120", "0.610"),
        ("T1", "pgd-l2", "4", "0.210", "0.750"),
        ("T4", "margin", "8", "-", "0.060"),
    ]
    assert "0.610 (0.560 to 0.660)" in text


def test_what_qualifies_the_figures_is_said(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    text = saved(defended, tmp_path, results=evaluation())
    assert "estimate, which is too high" in text
    missing = next(line for line in text.splitlines() if line.startswith("- Not measured"))
    assert [name in missing for name in ("T1 (", "T2 (", "T3 (", "T3.5 (", "T4 (", "T6 (")] == [
        False, True, True, True, False, True,
    ]  # fmt: skip
    assert "- Reason to distrust: the \\| search" in text
    assert "\n# was short" not in text


def test_an_interval_of_two_photographs_is_not_shown(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    few = tuple(row("T0", "none", 0, d, 0.81, photographs=2) for d in ("none", "ansm"))
    text = saved(defended, tmp_path, results=evaluation(few))
    assert "| 0.810 | 0.810 |" in text


BAD: list[tuple[dict[str, Any], type[AnsmError], str]] = [
    ({"results": {}}, ConfigError, "holds no rows"),
    ({"results": {"rows": [{"threat": "T9"}]}}, ConfigError, "row 0"),
    ({"results": "nowhere.json"}, ConfigError, r"cannot read nowhere\.json"),
    ({"licence": "mit\ntags: x"}, WeightsError, "identifier"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD)
def test_what_is_no_result_writes_nothing(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path, given: dict[str, Any],
    error: type[AnsmError], said: str,
) -> None:  # fmt: skip
    with pytest.raises(error, match=said):
        defended.save_pretrained(tmp_path, **given)
    assert not any(tmp_path.iterdir())


def test_a_card_of_the_users_own_is_kept_and_ours_replaced(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path
) -> None:
    saved(defended, tmp_path)
    assert "F1 defended" in saved(defended, tmp_path, results=evaluation())
    (tmp_path / "README.md").write_text("# Mine")
    with pytest.warns(UserWarning, match="left as it is"):
        assert saved(defended, tmp_path) == "# Mine"


def test_export_writes_the_folder_from_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.json").write_text(json.dumps(evaluation().as_json()))
    folder = tmp_path / "hub"
    arguments = ["export", "--hub", str(folder), "--results", str(tmp_path / "e.json")]
    assert main([*arguments, "--licence", "mit"]) == 0
    text = (folder / "README.md").read_text()
    assert all(said in text for said in ("Stage: mgr", "`forensic-unet`", "F1 defended"))
    file = AnsmFile.read(folder / "ansm.safetensors")
    assert file.score is not None
    assert not file.ansm.is_identity
    assert torch.equal(next(iter(file.ansm.state_dict().values())),
                       next(iter(packaged().ansm.state_dict().values())))  # fmt: skip
    assert main(arguments) == 2
    assert "pass --force" in capsys.readouterr().err


def test_a_module_that_came_with_a_name_brings_its_licence(tmp_path: Path) -> None:
    assert main(["export", "--localizer", "forensic-unet", "--hub", str(tmp_path / "named")]) == 0
    assert "license: apache-2.0" in (tmp_path / "named" / "README.md").read_text()
    path = AnsmFile.read(packaged_file()).write(tmp_path / "mine.safetensors")
    own = ["--localizer", "forensic-unet", "--ansm", str(path), "--hub", str(tmp_path / "own")]
    assert main(["export", *own]) == 0
    assert "license: unknown" in (tmp_path / "own" / "README.md").read_text()


def test_export_of_an_ansm_for_another_localizer_needs_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = Provenance(stage="mgr", localizer={"class": "Mine", "sha256": "0" * 64})
    path = save_ansm(ANSM("tiny"), tmp_path / "mine.safetensors", origin)
    assert main(["export", "--ansm", str(path), "--hub", str(tmp_path / "hub")]) == 2
    assert "another localizer than the packaged one" in capsys.readouterr().err
    assert not (tmp_path / "hub").exists()


def packaged() -> AnsmFile:
    return AnsmFile.read(packaged_file())


def packaged_file() -> Path:
    from ansm_plugin.backbones.reference import packaged_ansm

    return packaged_ansm()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "neither of --output"),
        (["--output", "m.onnx", "--hub", "h"], "both of --output"),
        (["--output", "m.onnx", "--licence", "mit"], "for a model card"),
        (["--hub", "h", "--size", "64"], "--size is for an ONNX graph"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
