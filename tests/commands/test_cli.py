"""The command line: help at once, exit codes, training, info, and messages for mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from ansm_plugin.ansm import ANSM
from ansm_plugin.cli import main
from ansm_plugin.commands import train
from ansm_plugin.commands.terminal import show_progress, summary
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.errors import ConfigError, TrainingInterrupted
from ansm_plugin.recipes.config import save_config
from ansm_plugin.recipes.registry import recipe_module, recipe_names
from ansm_plugin.system.progress import Progress
from ansm_plugin.training.config import FitConfig
from ansm_plugin.weights.ansm_file import Provenance, save_ansm
from ansm_plugin.weights.tensors import write_tensors

Capture = pytest.CaptureFixture[str]


# --- which command ------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ansm_plugin.cli import main; code = main(['--help']);"
        "sys.exit(code or bool({'torch', 'numpy', 'rich', 'tyro'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    commands = ("demo", "localize", "train", "evaluate", "info", "convert")
    assert all(f"\n    {name} " in done.stdout for name in commands)


@pytest.mark.parametrize("command", ["demo", "localize", "evaluate", "info", "convert", "train"])
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    assert main([command, "--help"]) == 0
    assert "usage: ansm" in capsys.readouterr().out


def test_no_arguments_show_help(capsys: Capture) -> None:
    assert main([]) == 0
    assert "COMMAND" in capsys.readouterr().out


def test_version_is_one_line(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ansm ")


def test_an_unknown_command_offers_the_nearest(capsys: Capture) -> None:
    assert main(["localise"]) == 2
    assert "Nearest: localize" in capsys.readouterr().err


# --- how it ends --------------------------------------------------------------------------------


def stand_in(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, says: str = "") -> None:
    """Let `ansm info` raise `error`, or warn."""

    def run(**_: object) -> None:
        if says:
            warnings.warn(says, stacklevel=1)
        if error is not None:
            raise error

    monkeypatch.setattr("ansm_plugin.cli._module", lambda _: SimpleNamespace(run=run))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong"), 2),
        (PermissionError(13, "Permission denied"), 2),
        (KeyboardInterrupt(), 130),
        (TrainingInterrupted("go on"), 130),
        (BrokenPipeError(), 0),
    ],
)
def test_errors_have_exit_codes_and_no_traceback(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("ansm_plugin.cli._silence_stdout", lambda: None)
    stand_in(monkeypatch, error)
    assert main(["info", "file"]) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("error: ") == (0 if code == 0 else 1)


def test_a_mistake_of_ours_shows_where_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    stand_in(monkeypatch, ZeroDivisionError("ours"))
    assert main(["info", "file"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "please report" in said


def test_warnings_of_others_are_shown_as_python_does(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    stand_in(monkeypatch, None, says="from elsewhere")
    with pytest.warns(UserWarning, match="from elsewhere"):
        assert main(["info", "file"]) == 0
    assert capsys.readouterr().err == ""


# --- info ---------------------------------------------------------------------------------------


def test_info_tells_what_an_ansm_is(tmp_path: Path, capsys: Capture) -> None:
    origin = Provenance(
        stage="mgr",
        localizer={"class": "Unet", "sha256": "abc"},
        metrics={"loss": 0.25},
        recipe={"fit": {"steps": 3}},
    )
    file = save_ansm(ANSM("small"), tmp_path / "a.safetensors", origin)
    assert main(["info", str(file), "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["kind"] == "ANSM"
    assert facts["parameters"] == sum(p.numel() for p in ANSM("small").parameters())
    assert facts["recipe"] == {"fit": {"steps": 3}}
    assert facts["untrained"] is True
    for words in ("mgr", "Unet", "0.25", "unshuffle", "untrained        True"):
        assert words in said


def test_info_tells_what_a_localizer_is(tmp_path: Path, capsys: Capture) -> None:
    tensors = {"w": torch.zeros(3, 4), "b": torch.zeros(3)}
    metadata = {"format": "localizer", "name": "forensic-unet"}
    file = write_tensors(tensors, tmp_path / "l.safetensors", metadata)
    assert main(["info", str(file)]) == 0
    said = capsys.readouterr().out
    for line in (
        "kind             localizer",
        "parameters       15",
        "name             forensic-unet",
    ):
        assert line in said


def test_info_refuses_a_pickle_and_says_how_to_convert(tmp_path: Path, capsys: Capture) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "old.pth")
    assert main(["info", str(tmp_path / "old.pth")]) == 2
    assert "ansm convert" in capsys.readouterr().err


# --- train --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A recipe of two stages."""

    localizer: str = "toy"
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=7))


@dataclass(frozen=True, kw_only=True)
class Nested:
    """A recipe whose stages have their own lengths."""

    first: Toy = field(default_factory=Toy)
    second: Toy = field(default_factory=Toy)


class ToyRecipe:
    """Writes its config instead of weights."""

    RECIPE = Toy
    got: Toy | None = None

    def run(self, recipe: Toy, output: Path, progress: Progress) -> Path:
        """Remember the recipe."""
        self.got = recipe
        progress("toy", 1, 1, {"loss": 0.5, "saturated": 0.01, "gradient": 3.0})
        return output / "toy.safetensors"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ToyRecipe:
    """Stand a recipe in that trains nothing."""
    recipe = ToyRecipe()
    monkeypatch.setattr(train, "recipe_module", lambda _: recipe)
    return recipe


def test_short_options_set_the_fields_of_the_recipe(
    toy: ToyRecipe, tmp_path: Path, capsys: Capture
) -> None:
    options = ["--localizer", "smp:Unet", "--images", "i", "--masks", "m", "--pattern", "train_*"]
    arguments = [*options, "--steps", "3", "--fit.batch-size", "5", "--output", str(tmp_path)]
    assert main(["train", "localizer", *arguments]) == 0
    assert toy.got is not None
    assert toy.got.localizer == "smp:Unet"
    assert (toy.got.data.images, toy.got.data.masks) == (Path("i"), Path("m"))
    assert toy.got.data.pattern == "train_*"
    assert (toy.got.fit.steps, toy.got.fit.batch_size) == (3, 5)
    said = capsys.readouterr()
    assert f"wrote {tmp_path / 'toy.safetensors'}" in said.out
    assert "toy 1/1  loss 0.5  saturated 1.0%" in said.err


def test_options_override_the_config_file(toy: ToyRecipe, tmp_path: Path) -> None:
    save_config(Toy(localizer="mine", fit=FitConfig(steps=9, seed=4)), tmp_path / "c.toml")
    arguments = ["--config", str(tmp_path / "c.toml"), "--output", str(tmp_path), "--fit.seed", "5"]
    assert main(["train", "localizer", *arguments]) == 0
    assert toy.got is not None
    assert (toy.got.localizer, toy.got.fit.steps, toy.got.fit.seed) == ("mine", 9, 5)


def test_a_short_option_reaches_every_stage() -> None:
    given = {"--steps": "3", "--images": None}
    assert train.expand_aliases(Nested, given) == [
        "--first.fit.steps",
        "3",
        "--second.fit.steps",
        "3",
    ]


@pytest.mark.parametrize("name", recipe_names())
def test_the_options_of_each_recipe_can_be_read(name: str) -> None:
    kind = recipe_module(name).RECIPE  # type: ignore[attr-defined]
    arguments = ["--output", "out", "--localizer", "x", "--steps", "3", "--images", "photos"]
    config, output = train.read_options(kind, name, arguments)
    assert output == Path("out")
    assert (config.localizer, config.data.images) == ("x", Path("photos"))
    fits = [value for key, value in flat(asdict(config)) if key.endswith("fit.steps")]
    assert fits
    assert set(fits) == {3}


def flat(table: dict[str, object], above: str = "") -> list[tuple[str, object]]:
    """Return the dotted keys and values of nested dicts."""
    pairs: list[tuple[str, object]] = []
    for key, value in table.items():
        path = above + key
        pairs += flat(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return pairs


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--output is missing"),
        (("--output", "out", "--fit.stepz", "3"), "--fit.steps"),
        (("--output", "out", "--steps", "many"), "many"),
        (("--output", "out", "--steps", "0"), "must be above 0"),
        (("--output", "out", "--config", "none.toml"), "cannot read config none.toml"),
    ],
)
def test_mistakes_in_train_get_one_message(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "localizer", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_field_in_a_config_offers_the_nearest(
    toy: ToyRecipe, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "c.toml").write_text("localiser = 'x'")
    arguments = ["--config", str(tmp_path / "c.toml"), "--output", str(tmp_path)]
    assert main(["train", "localizer", *arguments]) == 2
    assert "Nearest: localizer" in capsys.readouterr().err
    assert toy.got is None


def test_an_unknown_recipe_offers_the_nearest(capsys: Capture) -> None:
    assert main(["train", "two_stage", "--output", "out"]) == 2
    assert "Nearest: two-stage" in capsys.readouterr().err


def test_train_without_recipe_shows_the_options(capsys: Capture) -> None:
    assert main(["train"]) == 2
    said = capsys.readouterr()
    assert "--config FILE.toml" in said.out
    assert "no recipe was given" in said.err


def test_ctrl_c_leaves_a_checkpoint_and_exits_130(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [
        "train", "localizer", "--output", str(out), "--steps", "100000", "--data.count", "64",
        "--fit.batch-size", "2", "--fit.checkpoint-every", "1", "--fit.precision", "fp32",
    ]  # fmt: skip
    photos = tmp_path / "photos"
    photos.mkdir()
    make_photograph(photos / "one.png")
    arguments += ["--images", str(photos)]
    code = f"import sys; from ansm_plugin.cli import main; sys.exit(main({arguments}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    checkpoint = out / "localizer.checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Run the same command to go on" in said
    assert "Traceback" not in said
    assert checkpoint.exists()


def make_photograph(path: Path) -> None:
    """Write a small photograph of noise."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


# --- progress -----------------------------------------------------------------------------------


def test_only_the_numbers_worth_watching_are_shown() -> None:
    assert summary({"gradient": 1.0, "saturated": 0.25, "loss": 0.123456}) == (
        "loss 0.1235  saturated 25.0%"
    )


def test_without_a_terminal_lines_are_few_and_end_with_the_last_step(capsys: Capture) -> None:
    with show_progress(Console()) as progress:
        for step in range(1, 101):
            progress("mgr", step, 100, {"loss": 1.0})
    assert capsys.readouterr().out.splitlines() == ["mgr 1/100  loss 1", "mgr 100/100  loss 1"]


def test_on_a_terminal_there_is_a_bar(capsys: Capture) -> None:
    with show_progress(Console(force_terminal=True, width=100)) as progress:
        progress("mgr", 40, 100, {"loss": 1.0})
    said = capsys.readouterr().out
    assert "40/100" in said
    assert "loss 1" in said


def test_other_processes_of_a_distributed_run_are_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("RANK", "1")
    with show_progress(Console()) as progress:
        progress("mgr", 1, 1, {})
    assert capsys.readouterr().out == ""
