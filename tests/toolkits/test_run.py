"""The runner: a host's own script, unchanged, finds defended models; mistakes are one line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.toolkits import run


@pytest.fixture
def _hosts_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("_hosts_found", "benco")
def test_a_script_runs_as_main_with_its_own_folder_and_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beside_the_script.py").write_text("NAME = 'ANSM_HostModel'")
    script = tmp_path / "test.py"
    script.write_text(
        "import sys\nfrom beside_the_script import NAME\nfrom IMDLBenCo.registry import MODELS\n"
        "if __name__ == '__main__':\n    print(type(MODELS.get(NAME)()).__name__, sys.argv[1:])\n"
    )
    assert run.main([str(script), "--model", "ANSM_HostModel"]) == 0
    assert "DefendedHostModel ['--model', 'ANSM_HostModel']" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["absent.py"]])
def test_a_missing_script_is_a_mistake(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no script")
    assert "usage: torchrun" in said


@pytest.mark.usefixtures("_hosts_found", "benco")
def test_our_mistakes_inside_a_script_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "test.py"
    script.write_text(
        "from IMDLBenCo.registry import MODELS\n"
        "MODELS.get('ANSM_HostModel')(ansm_weights='absent.safetensors')\n"
    )
    assert run.main([str(script)]) == 2
    assert "error: there is no weights file absent.safetensors" in capsys.readouterr().err


@pytest.mark.usefixtures("_doubles")
def test_no_host_at_all_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"none of IMDLBenCo, ForensicHub is installed"):
        run.register_all()


@pytest.mark.usefixtures("benco")
def test_one_host_that_fails_does_not_stop_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ForensicHub.registry", None)
    with pytest.warns(UserWarning, match="ForensicHub cannot be imported"):
        assert run.register_all() == ["ANSM_HostModel", "ANSM_TwoStreams"]


@pytest.mark.usefixtures("_doubles")
def test_hosts_that_all_fail_are_a_mistake_that_names_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IMDLBenCo.registry", "ForensicHub.registry"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"IMDLBenCo cannot .* ForensicHub cannot"):
        run.register_all()


def test_one_import_line_registers(benco: ModuleType) -> None:
    sys.modules.pop("ansm_plugin.toolkits.auto", None)
    importlib.import_module("ansm_plugin.toolkits.auto")
    assert benco.MODELS.has("ANSM_HostModel")


@pytest.mark.usefixtures("_hosts_found", "hub")
def test_a_script_inside_a_host_is_found_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "x.yaml"
    config.write_text('{"model": {"name": "ANSM", "init_config": {"name": "HostModel"}}}')
    assert run.main(["ForensicHub:test", "--config", str(config)]) == 0
    assert "built DefendedHubModel" in capsys.readouterr().out


@pytest.mark.usefixtures("_doubles")
def test_it_is_found_without_importing_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.find_script("ForensicHub:test").is_file()
    assert "ForensicHub" not in sys.modules
    assert capsys.readouterr().out == ""  # the real host prints while it is imported


def test_a_host_that_is_not_there_has_no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"ForensicHub is not installed, .* no ForensicHub:test"):
        run.find_script("ForensicHub:test")
