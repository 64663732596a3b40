"""The command line: help at once, which command, exit codes, and messages for mistakes."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from ansm_plugin.cli import COMMANDS, main
from ansm_plugin.commands import info
from ansm_plugin.errors import ConfigError, TrainingInterrupted

Capture = pytest.CaptureFixture[str]

# --- which command --------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ansm_plugin.cli import main; code = main(['--help']);"
        "sys.exit(code or bool({'torch', 'numpy', 'rich', 'tyro'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    told = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")]
    assert [name for name in told if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
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


# --- how it ends ----------------------------------------------------------------------------------


def stand_in(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, says: str = "") -> None:
    """Let `ansm info` raise `error`, or warn."""

    def run(_: object) -> None:
        if says:
            warnings.warn(says, stacklevel=1)
        if error is not None:
            raise error

    monkeypatch.setattr(info, "run", run)


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
