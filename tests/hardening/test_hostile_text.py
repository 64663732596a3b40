"""Names and texts made to do harm: they steer no terminal, and add nothing to a page or a table."""

from __future__ import annotations

import io
import json
import os
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.cli import main
from ansm_plugin.evaluation import Evaluation
from ansm_plugin.evaluation.results import Row
from ansm_plugin.report.page import page
from ansm_plugin.report.table import print_table
from ansm_plugin.system.text import harmless, one_line
from ansm_plugin.weights.ansm_file import save_ansm

Capture = pytest.CaptureFixture[str]
NASTY = (
    "\x1b]0;owned\x07\x1b[2J",  # sets the title of a terminal and clears it
    "\x9b31m",  # the same escape in one character
    "<script>alert(1)</script>",
    "\"' onload='alert(1)",
    "line\nbreak\rreturn",
    "\u202egnp.exe",  # reversed writing
    "$(touch marker) `touch marker` ; touch marker",
    "[bold red]markup[/]",
    "../../etc/passwd",
)


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_steers_a_terminal_is_printed(text: str) -> None:
    for shown in (harmless(text), one_line(text)):
        assert all(c.isprintable() or c == "\n" for c in shown)
    assert "\n" not in one_line(text)


def test_ordinary_text_is_shown_as_it_is() -> None:
    for text in ("photo 1.png", "naïve 写真.jpg", "two\nlines\tand a tab"):
        assert harmless(text) == text
    assert one_line("x" * 30, most=10) == "xxxxxxxxxx ... (30 characters)"


def test_hostile_metadata_is_only_data(tmp_path: Path, capsys: Capture) -> None:
    entries = {f"key {text}": text for text in NASTY} | {"huge": "x" * 5_000_000}
    path = tmp_path / "a.safetensors"
    save_file({text: torch.zeros(1) for text in NASTY}, path, {"format": NASTY[0], **entries})
    assert main(["info", str(path), "--json", str(tmp_path / "a.json")]) == 0
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert len(shown) < 10_000
    assert json.loads((tmp_path / "a.json").read_text())["key " + NASTY[0]] == NASTY[0]


def test_an_ansm_with_hostile_metadata_is_an_ansm(tmp_path: Path, capsys: Capture) -> None:
    thin = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    path = save_ansm(ANSM(thin), tmp_path / "a.safetensors")
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(str(path), "pt") as handle:
        metadata = handle.metadata()
    deep = "".join(f'{{"{n}": ' for n in range(300)) + "1" + "}" * 300
    nasty = json.dumps({text: list(NASTY) for text in NASTY})
    save_file(load_file(path), path, {**metadata, "recipe": nasty, "metrics": deep})
    assert main(["info", str(path)]) in (0, 2)
    captured = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in captured.out + captured.err)


def test_names_of_files_are_shown_harmlessly(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    names = [f"{text.replace('/', '_')}.png" for text in NASTY]
    for name in names:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / name)
    (folder / "broken\x1b[2J.png").write_bytes(b"no image")
    (folder / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"no image, and a name that is no text")
    assert main(["localize", str(folder), "--output", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert "\x1b" not in text
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "2 of 11 photographs failed" in captured.err
    assert not list(tmp_path.rglob("marker"))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag and the names of its attributes."""
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def _evaluation(text: str, evaluation: Evaluation) -> Evaluation:
    from dataclasses import replace

    return replace(
        evaluation, localizer=text, ansm=text, command=text, alarms=(text,), versions={text: text}
    )


@pytest.fixture
def plain() -> Evaluation:
    """Return an evaluation of two rows."""
    fields = dict.fromkeys((f for f in Row.__dataclass_fields__), None)
    numbers = {"f1": 0.5, "f1_low": 0.4, "f1_high": 0.6, "iou": 0.5, "auc": 0.5, "images": 1}
    rows = [
        Row(**{**fields, **numbers, "threat": "T0", "attack": "none", "eps_255": 0, "defence": d})
        for d in ("none", "ansm")
    ]
    summary = {"f1_clean": 0.5, "f1_defended_clean": 0.5, "harm": 0.0, "recovery": {},
               "f1_white_box": {}}  # fmt: skip
    return Evaluation(
        localizer="a", ansm="b", images=1, rows=tuple(rows), summary=summary, alarms=("c",),
        command="d", versions={"e": "f"}, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_names_add_no_tag_to_the_report(text: str, plain: Evaluation, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    tags = []
    for shown in ("sound", text):
        parser = _Tags()
        parser.feed(page(_evaluation(shown, plain), [(shown, picture)]))
        tags.append(parser.seen)
    assert tags[0] == tags[1]


@pytest.mark.parametrize("text", NASTY)
def test_names_are_shown_harmlessly_in_the_table(text: str, plain: Evaluation) -> None:
    stream = io.StringIO()
    print_table(_evaluation(text, plain), Console(file=stream, width=200))
    assert all(c.isprintable() or c == "\n" for c in stream.getvalue())


def test_warnings_of_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    from ansm_plugin import wrap_with_ansm
    from ansm_plugin.weights.ansm_file import Provenance

    thin = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    known = Provenance(localizer={"class": NASTY[0], "sha256": NASTY[0]})
    path = save_ansm(ANSM(thin), tmp_path / "a.safetensors", known)
    localizer = torch.nn.Conv2d(3, 1, 1)
    localizer.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # type: ignore[assignment]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrap_with_ansm(localizer, str(path))
    assert "\x1b" not in str(caught[0].message)
