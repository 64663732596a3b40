"""What every recipe does alike: claim its folder, prepare when needed, save once."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.launched import two_processes
from support.users_localizer import LOCALIZER
from torch import nn

from ansm_plugin.ansm import ANSM, PRESETS, Architecture
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.errors import TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import run as runs
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.hardened import Hardened, HardenedRecipe
from ansm_plugin.recipes.localizer import LocalizerRecipe
from ansm_plugin.recipes.mgr import Mgr, MgrRecipe
from ansm_plugin.recipes.overfitting import Checks
from ansm_plugin.recipes.registry import recipe_module, recipe_names
from ansm_plugin.recipes.run import AnsmRun, Start
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.system.processes import Processes
from ansm_plugin.training import kept
from ansm_plugin.training.config import FitConfig
from ansm_plugin.weights.ansm_file import save_ansm
from ansm_plugin.weights.tensors import read_metadata, sha256_of

QUICK = FitConfig(
    steps=4, batch_size=6, warmup=0, averaging=0.5, precision="fp32", checkpoint_every=100
)
THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))
Make = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Return the file of an ANSM that does something."""
    ansm = ANSM(THIN)
    nn.init.constant_(ansm.trunk.head.weight, 0.1)
    return save_ansm(ansm, tmp_path / "start.safetensors")


@pytest.fixture
def make(
    stage: Callable[..., dict[str, Any]],
    data: DataConfig,
    start: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Return a function from a recipe's name and changed fields to its config, of a few steps."""
    monkeypatch.setitem(PRESETS, "thin", THIN)
    ffa, mgr = Ffa(taps=("stem",), fit=QUICK), Mgr(fit=QUICK)
    hardened = Hardened(attack_steps=1, checks=Checks(steps=1, images=2, limit=1.0), fit=QUICK)
    kinds: dict[str, tuple[type, dict[str, Any]]] = {
        "localizer": (LocalizerRecipe, {"localizer": LOCALIZER, "data": data, "fit": QUICK}),
        "ffa": (FfaRecipe, stage(ansm="thin", ffa=ffa)),
        "mgr": (MgrRecipe, stage(start=start, mgr=mgr)),
        "two-stage": (TwoStageRecipe, stage(ansm="thin", ffa=ffa, mgr=mgr)),
        "hardened": (HardenedRecipe, stage(start=start, hardened=hardened)),
    }

    def config(name: str, **changes: Any) -> Any:
        kind, fields = kinds[name]
        return kind(**{**fields, **changes})

    return config


def stop_after(step: int) -> Callable[..., None]:
    """Return progress that sends SIGTERM after some step of a training."""

    def progress(name: str, done: int, steps: int, logs: dict[str, float]) -> None:
        if logs and done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


def interrupt(name: str, config: Any, folder: Path) -> None:
    """Run a recipe for two steps."""
    with pytest.raises(TrainingInterrupted):
        recipe_module(name).run(config, folder, stop_after(1))


def silently(*_: object) -> None:
    """Show nothing."""


@pytest.mark.parametrize("name", recipe_names())
def test_ctrl_c_while_photographs_are_read_leaves_the_config_alone(
    tmp_path: Path, make: Make, name: str
) -> None:
    def stop(phase: str, *_: object) -> None:
        assert phase == "reading photographs"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe_module(name).run(make(name), tmp_path / "run", stop)
    left = [path.name for path in (tmp_path / "run").iterdir()]
    assert left == [f"{name.replace('-', '_')}.toml"]


@pytest.mark.parametrize("name", ["localizer", "mgr"])
def test_a_run_that_goes_on_reads_the_crops_that_took_long(
    tmp_path: Path, make: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "WORTHWHILE", 0.0)
    interrupt(name, make(name), tmp_path / "run")
    with monkeypatch.context() as later:
        later.setattr(kept, "load_crops", lambda *_: pytest.fail("crops were made again"))
        recipe_module(name).run(make(name), tmp_path / "run", silently)
    recipe_module(name).run(make(name), tmp_path / "whole", silently)
    one, other = (load_file(tmp_path / d / f"{name}.safetensors") for d in ("run", "whole"))
    assert one.keys() == other.keys()
    assert all(one[key].equal(other[key]) for key in one)


@pytest.mark.parametrize("name", ["localizer", "mgr", "hardened"])
def test_weights_of_an_earlier_run_are_renamed_not_replaced(
    tmp_path: Path, make: Make, name: str
) -> None:
    run, tune = recipe_module(name).run, {"tune": "all"} if name == "hardened" else {}
    config = make(name, **tune)
    folder = tmp_path / "run"
    path = run(config, folder, silently)
    first = {file.stem: file.read_bytes() for file in folder.glob("*.safetensors")}
    data = replace(config.data, seed=config.data.seed + 1)
    with pytest.warns(UserWarning, match=r"held the weights of an earlier run: \w+-before-1"):
        assert run(replace(config, data=data), folder, silently) == path
    assert path.read_bytes() != first[name]
    for stem, content in first.items():
        assert (folder / f"{stem}-before-1.safetensors").read_bytes() == content


# --- claim ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe_names())
def test_another_runs_checkpoint_is_refused_before_anything_is_written(
    tmp_path: Path, make: Make, name: str
) -> None:
    folder = tmp_path / "run"
    interrupt(name, make(name), folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {p.suffix for p in before} == {".toml", ".safetensors"}
    other = make(name, data=replace(make(name).data, count=11))
    with pytest.raises(TrainingError, match="belongs to another run"):
        recipe_module(name).run(other, folder, silently)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["ffa", "mgr", "two-stage", "hardened"])
def test_a_start_that_cannot_be_read_leaves_no_folder(
    tmp_path: Path, make: Make, name: str
) -> None:
    config = make(name, start=tmp_path / "nothing.safetensors")
    with pytest.raises(WeightsError, match="no weights file"):
        recipe_module(name).run(config, tmp_path / "run", silently)
    assert not (tmp_path / "run").exists()


def test_the_checkpoint_of_an_ansm_says_what_version_0_1_says(
    tmp_path: Path, make: Make, start: Path
) -> None:
    config = make("ffa", start=start)
    interrupt("ffa", config, tmp_path / "run")
    localizer = {
        "family": "plain", "class": "Localizer", "sha256": fingerprint(build_localizer(LOCALIZER))
    }  # fmt: skip
    assert identity_in(tmp_path / "run" / "ffa.checkpoint.safetensors") == plain({
        "recipe": asdict(config), "localizer": localizer, "parent": sha256_of(start),
        "fit": asdict(QUICK),
    })  # fmt: skip


def test_the_checkpoint_of_a_localizer_says_what_version_0_1_says(
    tmp_path: Path, make: Make
) -> None:
    config = make("localizer")
    interrupt("localizer", config, tmp_path / "run")
    found = identity_in(tmp_path / "run" / "localizer.checkpoint.safetensors")
    assert found == plain({**asdict(config), "parent": "", "fit": asdict(QUICK)})


def identity_in(checkpoint: Path) -> Any:
    return json.loads(read_metadata(checkpoint)["identity"])


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


# --- prepare --------------------------------------------------------------------------------------


def test_the_setup_is_made_when_it_is_first_needed_and_once(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    prepare = runs.prepare

    def counted(stage: Any, ansm: ANSM, output: Path, *rest: Any) -> Any:
        calls.append(output)
        return prepare(stage, ansm, output, *rest)

    monkeypatch.setattr(runs, "prepare", counted)
    run = AnsmRun("ffa", make("ffa"), tmp_path, Start(ANSM(THIN)))
    run.claim()
    assert calls == []
    assert run.setup is run.setup
    assert calls == [tmp_path]


# --- save -----------------------------------------------------------------------------------------


class Second(Processes):
    """The second of two processes, whose first one is done with everything."""

    def once(self, work: Callable[[], Any]) -> Any:
        """Leave the work to the first process."""
        return Path("from the first")


@pytest.mark.parametrize("name", recipe_names())
def test_other_processes_than_the_first_write_neither_config_nor_weights(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "two-stage":  # stage 2 reads what the first process wrote of stage 1
        recipe_module(name).run(make(name), tmp_path / "run", silently)
        for path in (tmp_path / "run").glob("[!f]*.*"):
            path.unlink()
    before = {p.name for p in tmp_path.glob("run/*.*")}
    monkeypatch.setattr(runs, "processes", lambda: Second(1, 2))
    assert recipe_module(name).run(make(name), tmp_path / "run", silently) == Path("from the first")
    last = "mgr" if name == "two-stage" else name
    checkpoint = f"{last}.checkpoint.safetensors"  # is the first process's to remove
    assert {p.name for p in tmp_path.glob("run/*.*")} - before == {checkpoint}


def test_a_localizer_of_two_processes_is_written_once(
    tmp_path: Path, user_code: Path, data: DataConfig
) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, sys
            from pathlib import Path
            sys.path.insert(0, {str(user_code)!r})
            from ansm_plugin.data.crops import DataConfig
            from ansm_plugin.data.forgeries import ForgeryConfig
            from ansm_plugin.recipes import localizer
            from ansm_plugin.training.config import FitConfig

            write = localizer.write_tensors

            def counted(tensors, path, metadata):
                (Path(sys.argv[1]) / f"by-{{os.environ['RANK']}}").touch()
                return write(tensors, path, metadata)

            localizer.write_tensors = counted
            data = DataConfig(images=Path({str(data.images)!r}), masks=Path({str(data.masks)!r}),
                              count=12, forgeries=ForgeryConfig(size=32))
            fit = FitConfig(steps=2, batch_size=4, warmup=0, precision="fp32")
            recipe = localizer.LocalizerRecipe(localizer={LOCALIZER!r}, data=data, fit=fit)
            found = localizer.run(recipe, Path(sys.argv[1]) / "run")
            print(f"wrote {{found.name}}\\n", end="", flush=True)  # one write: two processes print
            os._exit(0)  # gloo's threads abort a process, rarely, while the interpreter ends
        """)
    )
    done = two_processes(script, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote localizer.safetensors") == 2
    assert [p.name for p in tmp_path.glob("by-*")] == ["by-0"]
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "localizer.safetensors", "localizer.toml"
    }  # fmt: skip
    assert load_file(tmp_path / "run" / "localizer.safetensors")
