"""`ansm train`: short options, the config file, and messages for mistakes, with a toy recipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansm_plugin.cli import main
from ansm_plugin.commands import train
from ansm_plugin.commands.recipe_options import read_options
from ansm_plugin.commands.train import TRAINS
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.config import load_config, save_config
from ansm_plugin.recipes.registry import recipe_names
from ansm_plugin.system.progress import Progress
from ansm_plugin.training.config import FitConfig

Capture = pytest.CaptureFixture[str]


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
    given = read_options(Nested, "nested", ["--steps", "3", "--output", "o"])
    assert (given.config.first.fit.steps, given.config.second.fit.steps) == (3, 3)
    assert given.notes == ("--steps sets --first.fit.steps and --second.fit.steps",)
    one = read_options(Toy, "toy", ["--steps", "3", "--output", "o"])
    assert (one.config.fit.steps, one.notes) == (3, ())


def test_the_option_of_a_field_wins_over_a_short_word() -> None:
    for order in (["--steps", "3", "--second.fit.steps=4"], ["--second.fit.steps=4", "--steps=3"]):
        config = read_options(Nested, "nested", [*order, "--output", "o"]).config
        assert (config.first.fit.steps, config.second.fit.steps) == (3, 4)


def test_none_takes_back_what_a_config_says(tmp_path: Path) -> None:
    save_config(Toy(data=DataConfig(images=Path("a"), masks=Path("b"))), tmp_path / "c.toml")
    for word in ("--data.masks", "--masks"):
        given = ["--config", str(tmp_path / "c.toml"), word, "none", "--output", "o"]
        config = read_options(Toy, "toy", given).config
        assert (config.data.images, config.data.masks) == (Path("a"), None)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "ansm train localizer needs --output DIR (receives the weights"),
        (("--output", "out", "--fit.stepz", "3"), "--fit.steps"),
        (("--output", "out", "--steps", "many"), "many"),
        (("--output", "out", "--steps", "0"), "--steps is '0'; it must be a whole number of 1"),
        (("--output", "out", "--fit.steps", "0"), "must be above 0"),
        (("--output", "out", "--fit.precision", "fp8"), "'fp8'; allowed: fp32, bf16."),
        (("--output", "out", "--precision", "fp8"), "'fp8'; allowed: fp32, bf16."),
        (("--output", "out", "--fit.learning-rate", "nan"), "it must be a number such as 0.5"),
        (("--output", "out", "--data.forgeries.area=0.1"), "2 values with commas between them"),
        (("--output", "out", "--data.recursive=no"), "--data.recursive is 'no'; it takes no value"),
        (("--output", "out", "--fit.seed"), "--fit.seed has no value; write --fit.seed N."),
        (("--output", "out", "stray"), "has no use for 'stray'"),
        (("--output", "out", "--preset", "tiny"), "has no option --preset"),
        (
            ("--epochs", "2", "--count=100", "--batch-size", "30"),
            "no option --epochs: training is counted in steps. With --data.count 100, 2 epochs are "
            "--fit.steps 8 (--fit.batch-size 30).",
        ),
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
    words = " ".join(said.out.split())
    assert all(f"{name}: {TRAINS[name]}" in words for name in recipe_names())


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


# --- the home folder, and values that are empty ---------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home folder, with a config that names folders in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.toml").write_text('[data]\nimages = "~/in"\nmasks = "~/gt"\n')
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--images=~/in", "--masks=~/gt"],
        ["--data.images=~/in", "--data.masks", "~/gt"],
        ["--config=~/c.toml"],
        ["--config", "~/c.toml", "--data.masks=~/gt"],
    ],
)
def test_the_home_folder_stands_in_options_and_configs(
    arguments: list[str], toy: ToyRecipe, home: Path
) -> None:
    assert main(["train", "localizer", "--output=~/out", *arguments]) == 0
    assert toy.got is not None
    assert (toy.got.data.images, toy.got.data.masks) == (home / "in", home / "gt")
    assert not (Path.cwd() / "~").exists()


def test_the_home_folder_stands_in_configs_inside_configs(home: Path) -> None:
    arguments = ["--first.data.images=~/a", "--second.data.images", "b/~", "--output", "~/out"]
    config, output, *_ = read_options(Nested, "nested", arguments)
    assert (config.first.data.images, config.second.data.images) == (home / "a", Path("b/~"))
    assert output == home / "out"


@pytest.mark.parametrize("option", ["--output", "--config", "--images", "--masks", "--steps"])
def test_a_value_of_an_unset_variable_is_refused(
    option: str, toy: ToyRecipe, capsys: Capture
) -> None:
    assert main(["train", "localizer", f"{option}="]) == 2
    said = capsys.readouterr().err
    allowed = "1 or more" if option == "--steps" else "it is empty"
    assert f"ansm train localizer: {option} is ''; " in said
    assert allowed in said
    assert toy.got is None


def test_a_config_holds_names_that_the_locale_lacks(home: Path) -> None:
    """Under LANG=C Python holds their bytes as surrogates, which no file of text can hold."""
    name = "\u5199\u771f"
    under_ascii = name.encode().decode("ascii", "surrogateescape")
    kept = Toy(localizer=f"smp:Unet@{under_ascii}", data=DataConfig(images=Path(under_ascii)))
    save_config(kept, home / "kept.toml")
    assert load_config(Toy, home / "kept.toml").data.images == Path(name)
    with pytest.raises(ConfigError, match=r"no text in UTF-8.*rename it"):
        save_config(Toy(localizer="caf\udce9"), home / "kept.toml")
