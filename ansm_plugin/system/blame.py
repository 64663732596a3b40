"""Whose mistake an exception is: ours, or that of code which is neither ours nor a library's."""

from __future__ import annotations

import sysconfig
import traceback
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_OURS = "ansm_plugin"
# What our own code calls: an exception in one of them is the mistake of whoever called it.
_TOOLS = {"torch", "numpy", "PIL", "safetensors", "kornia", "rich", "tyro", "tomli_w", "jinja2"}
_TOOLS |= {"matplotlib", "huggingface_hub", "onnx", "onnxscript", "onnx_ir", "onnxruntime"}


class Culprit(NamedTuple):
    """Where somebody else's code failed.

    Attributes:
        file: its path.
        line: the number of its line, from 1.
        package: distribution and version, or the module where it was not installed.
    """

    file: str
    line: int
    package: str

    def __str__(self) -> str:
        """Return "FILE:LINE of PACKAGE"."""
        return f"{self.file}:{self.line} of {self.package}"


def culprit(error: BaseException) -> Culprit | None:
    """Return whose code raised an exception; None where it was ours, or a tool that we called.

    Of the calls that led to it the innermost counts that is no tool's: neither of the standard
    library nor of torch and its like, which anybody may have called wrongly.
    """
    if isinstance(error, SyntaxError) and error.filename:  # it could not even be read
        return Culprit(error.filename, error.lineno or 1, Path(error.filename).stem)
    calls = [call for call in traceback.walk_tb(error.__traceback__) if not _is_tool(call[0])]
    # A command is ours, wherever it comes from: a test may stand in for one.
    if not calls or _is_ours(calls[-1][0]) or _calls_commands(calls[-2:][0][0]):
        return None
    frame, line = calls[-1]
    return Culprit(frame.f_code.co_filename, line, _package(frame))


def _is_ours(frame: FrameType) -> bool:
    return _root(frame) == _OURS


def _calls_commands(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == f"{_OURS}.cli"


def _root(frame: FrameType) -> str:
    """Return the first part of the module's name; generated code has that of its maker."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_tool(frame: FrameType) -> bool:
    return _root(frame) in _TOOLS or _is_standard(frame.f_code.co_filename)


def _is_standard(file: str) -> bool:
    if file.startswith("<frozen "):
        return True
    path = Path(file)
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return not installed and any(path.is_relative_to(folder) for folder in folders)


def _package(frame: FrameType) -> str:
    root = _root(frame)
    made_by = packages_distributions().get(root, [])
    return f"{made_by[0]} {version(made_by[0])}" if made_by else str(frame.f_globals["__name__"])
