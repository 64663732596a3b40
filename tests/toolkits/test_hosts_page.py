"""HOSTS.md: what it shows runs, against test doubles with the hosts' signatures."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from host_models import active_weights

from ansm_plugin.errors import ConfigError
from ansm_plugin.toolkits import attack_host, attack_hub, forensichub, imdlbenco, run
from ansm_plugin.toolkits.hub_images import SPECS

PAGE = (Path(__file__).parents[2] / "HOSTS.md").read_text()


def part(title: str) -> str:
    """Return what stands below a heading, up to the next of its level."""
    level = title.split(" ")[0]
    return PAGE.split(f"\n{title}\n")[1].split(f"\n{level} ")[0]


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", part(title), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _doubles: None) -> Path:
    """Work in a folder that holds the weights of the page."""
    monkeypatch.chdir(tmp_path)
    active_weights(tmp_path / "ansm.safetensors", 0.5)
    return tmp_path


def test_the_lines_for_photoholmes_run(folder: Path) -> None:
    lines, attacks = blocks("## photoholmes", "python")
    names: dict[str, Any] = {}
    exec(compile(lines, "HOSTS.md", "exec"), names)
    assert set(names["result"]["heatmap"]) == {"heatmapBinaryAUROC", "heatmapBinaryF1Score"}
    (kept,) = (folder / "output").iterdir()
    assert re.fullmatch(r"ansm_trufor_[0-9a-f]{10}", kept.name)
    exec(compile(attacks, "HOSTS.md", "exec"), names)
    assert [row["threat"] for row in names["rows"]] == ["T0"] * 2 + ["T1"] * 4 + ["T4"]


@pytest.mark.usefixtures("folder")
def test_the_methods_named_for_photoholmes_are_those_that_are_served() -> None:
    load = importlib.import_module("photoholmes.methods.factory").MethodFactory.load
    wrap = importlib.import_module("ansm_plugin.toolkits.photoholmes").wrap_pipeline
    served = part("## photoholmes").split("methods are served:")[1].split(".")[0]
    assert len(re.split(r",|\band\b", served)) == 8
    for name in ("trufor", "psccnet", "focal", "exif_as_language", "adaptive_cfa_net"):
        wrap(*load(name))
    for name in ("noisesniffer", "splicebuster", "zero"):
        wrap(*load(name))
    for name, kind in (("catnet", "CatNet"), ("dq", "DQ")):
        with pytest.raises(ConfigError, match=f"{kind} reads dct_coefficients"):
            wrap(*load(name))


def test_the_yaml_for_forensichub_builds_a_model(folder: Path, hub: ModuleType) -> None:
    (text,) = blocks("## ForensicHub (experimental)", "yaml")
    hub.MODELS.register_module("Mesorch", hub.MODELS.get("HostModel"))
    forensichub.register()
    pair = hub.build_from_registry(hub.MODELS, yaml.safe_load(text)["model"])
    assert isinstance(pair, forensichub.DefendedHubModel)
    assert pair.file is not None  # the weights of the page


@pytest.mark.usefixtures("folder")
def test_the_command_for_forensichub_names_a_script_that_is_there() -> None:
    launch, _ = blocks("## ForensicHub (experimental)", "bash")
    words = shlex.split(launch.replace("\\\n", " "))
    assert run.find_script(words[words.index("ansm_plugin.toolkits.run") + 1]).is_file()


@pytest.mark.parametrize(
    ("title", "command"),
    [
        ("### Adversarial robustness in IMDLBenCo's metrics", attack_host),
        ("### Adversarial robustness in ForensicHub's metrics", attack_hub),
    ],
)
def test_the_options_of_the_commands_are_known(title: str, command: ModuleType) -> None:
    (text,) = blocks(title, "bash")
    words = shlex.split(text.replace("\\\n", " "))
    assert words[:3] == ["python", "-m", command.__name__]
    _, rest = command._parser().parse_known_args(words[3:])
    assert rest in ([], ["--ansm_weights", "ansm.safetensors"])  # that one is the model's


def test_the_page_names_what_the_code_knows() -> None:
    oldest = ".".join(map(str, imdlbenco.OLDEST))
    assert f"| IMDLBenCo, {oldest} or newer |" in PAGE
    assert f"imdlbenco>={oldest}" in (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert ", ".join(list(SPECS)[:3]) in part("## ForensicHub (experimental)")
    options = re.findall(r"`--(ansm_\w+)", part("## IMDLBenCo"))
    assert {option.name for option in imdlbenco._OPTIONS} == {*options}
