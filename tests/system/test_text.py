"""Text for terminals and pipes whose encoding lacks some of it."""

from __future__ import annotations

import io
import sys

import pytest

from ansm_plugin.system.text import any_encoding, say

NAMES = ("\u5199\u771f", "caf\u00e9", "\u20ac", "\U0001f5bc", "\udce9", "naïve\u2192")
ENCODINGS = ("ascii", "cp1252", "latin-1", "cp437", "koi8-r", "shift_jis", "utf-8")


def streams(monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str) -> list[io.BytesIO]:
    """Put streams of an encoding in the place of stdout and stderr; return what they write to."""
    raw = [io.BytesIO(), io.BytesIO()]
    for name, below in zip(("stdout", "stderr"), raw, strict=True):
        stream = io.TextIOWrapper(below, encoding, errors=errors, write_through=True)
        monkeypatch.setattr(sys, name, stream)
    return raw


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_whatever_an_encoding_lacks_is_an_escape(
    encoding: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = streams(monkeypatch, encoding, "strict")
    with any_encoding():
        say(name)
        print(name)
        print(name, file=sys.stderr)
    for raw in (out, err):
        shown = raw.getvalue().decode(encoding).splitlines()
        assert all(line in (name, ascii(name)[1:-1]) or "\\" in line for line in shown)
        assert len(shown) == (2 if raw is out else 1)


@pytest.mark.parametrize("errors", ["strict", "surrogateescape", "replace"])
def test_streams_are_afterwards_as_they_were(errors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams(monkeypatch, "ascii", errors)
    with any_encoding():
        assert sys.stdout.errors == sys.stderr.errors == "backslashreplace"
    with pytest.raises(ZeroDivisionError), any_encoding():
        raise ZeroDivisionError
    assert sys.stdout.errors == sys.stderr.errors == errors


def test_streams_that_are_no_text_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.StringIO()
    monkeypatch.setattr(sys, "stdout", kept)
    monkeypatch.setattr(sys, "stderr", None)  # as pythonw has it
    with any_encoding():
        say("caf\u00e9")
    assert kept.getvalue() == "caf\u00e9\n"


def test_a_stream_that_is_closed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    streams(monkeypatch, "ascii", "strict")
    sys.stdout.close()
    with any_encoding():
        print("x", file=sys.stderr)
