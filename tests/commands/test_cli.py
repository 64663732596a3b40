"""The command line: help at once, which command, exit codes, and messages for mistakes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


# --- streams whose encoding lacks something -------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "cp437"])
@pytest.mark.parametrize("error", [None, ConfigError("\u5199\u771f \u2192"), ValueError("\u5199")])
def test_any_encoding_of_the_streams_will_do(
    encoding: str, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    for name, below in (("stdout", out), ("stderr", err)):
        stream = io.TextIOWrapper(below, encoding, errors="strict", write_through=True)
        monkeypatch.setattr(sys, name, stream)

    def run(_: object) -> None:
        print("\u5199\u771f.png: 3 % tampered")
        if error is not None:
            raise error

    monkeypatch.setattr(info, "run", run)
    assert main(["info", "file"]) == (0 if error is None else 2 if "\u2192" in str(error) else 1)
    assert out.getvalue().startswith(rb"\u5199\u771f.png")
    assert (rb"error: \u5199" in err.getvalue()) == isinstance(error, ConfigError)
    assert sys.stdout.errors == sys.stderr.errors == "strict"


@pytest.mark.parametrize(
    "locale",
    [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}],
    ids=["cp1252", "LANG=C"],
)
def test_names_that_the_locale_lacks_cost_no_work(locale: dict[str, str], tmp_path: Path) -> None:
    names = ("\u5199\u771f", "caf\u00e9", "plain")
    for name in names:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / f"{name}.png")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from ansm_plugin.cli import main; sys.exit(main())",
         "localize", str(tmp_path), "--bare", "--output", str(tmp_path / "out")],
        capture_output=True, check=False, env={**os.environ, **locale, "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert {p.name for p in (tmp_path / "out").glob("*-mask.png")} == {
        f"{n}-mask.png" for n in names
    }


# --- other people's code --------------------------------------------------------------------------

THEIRS = """
import argparse, sys
from torch import nn

def divides():
    return 1 / 0

def leaves():
    sys.exit(0)

def parses():
    argparse.ArgumentParser().parse_args(["--nothing"])

class Model(nn.Module):
    def forward(self, images):
        return images.nothing

def build():
    return Model()
"""


@pytest.mark.parametrize(
    ("function", "line", "words"),
    [
        ("divides", "return 1 / 0", "ZeroDivisionError: division by zero"),
        ("leaves", "sys.exit(0)", "SystemExit: 0"),
        ("parses", "parse_args", "SystemExit: 2"),
        ("build", "images.nothing", "AttributeError: 'Tensor' object has no attribute 'nothing'"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_mistake_of_other_code_is_not_called_ours(
    function: str,
    line: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    (tmp_path / "their_code.py").write_text(THEIRS)
    sys.modules.pop("their_code", None)
    monkeypatch.syspath_prepend(str(tmp_path))
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    options = ["--bare", "--localizer", f"their_code:{function}", "--output", str(tmp_path / "o")]
    assert main(["localize", str(tmp_path / "a.png"), *options]) == 1
    said = capsys.readouterr().err
    number = next(n for n, text in enumerate(THEIRS.splitlines(), start=1) if line in text)
    place = f"{tmp_path / 'their_code.py'}:{number} of their_code"
    assert f"error: the mistake is in {place}, not in ansm_plugin: {words}" in said
    assert "mistake in ansm_plugin" not in said
    below = said[said.index("error: the mistake") :]
    assert "Traceback (most recent call last)" in below


# --- misspelt options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["evaluate", "--epps", "8"],
            "error: ansm evaluate has no option --epps. Nearest: --eps. `ansm evaluate --help` "
            "lists all.",
        ),
        (["localize", "a.png", "--output", "o", "--abstian=1"], "Nearest: --abstain"),
        (["info", "a", "b"], "ansm info has no use for 'b'; `ansm info --help` lists what it"),
        (["attack", "a.png", "--output", "o"], "ansm attack has no use for 'a.png'"),
        (["--bogus"], "--bogus stands before a command; name that first: ansm COMMAND --bogus."),
        (["compare", "--frobnicate"], "no option --frobnicate. `ansm compare --help` lists all."),
        (["train", "mgr", "--stpes", "3"], "ansm train mgr has no option --stpes. Nearest: --step"),
        (["train", "mgr", "--mgr.fit.stpes", "3"], "--mgr.fit.stpes. Nearest: --mgr.fit.steps."),
        (["train", "mgr", "--lr", "1e-3"], "has no option --lr. Nearest: --mgr.fit.learning-rate."),
        (["evaluate", "--batch", "3"], "ansm evaluate has no option --batch. `ansm evaluate"),
        (["evaluate", "--threshold", "0.4"], "no option --threshold: F1 is taken at 0.5"),
        (["localize", "--images", "d"], "named without an option: ansm localize FOLDER --output"),
        (["demo", "--images", "d"], "for yours there is `ansm evaluate --images DIR`"),
        (["attack", "--iterations", "3"], "Nearest: --attack-steps."),
        (["convert", "a", "b", "--localizer", "x"], "Nearest: --for."),
    ],
)
def test_an_option_that_is_misspelt_offers_the_nearest(
    arguments: list[str], said: str, capsys: Capture
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
