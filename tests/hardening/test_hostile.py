"""Files and names made to do harm: nothing of them is run, followed, fetched or shown as it is."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.cli import main
from ansm_plugin.data.lists import read_pair_list
from ansm_plugin.data.read import read_image
from ansm_plugin.errors import ImageError, WeightsError
from ansm_plugin.evaluation import Evaluation
from ansm_plugin.evaluation.material import Source, read_material
from ansm_plugin.evaluation.results import Row
from ansm_plugin.report.page import page
from ansm_plugin.report.table import print_table
from ansm_plugin.system.text import harmless, one_line
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm
from ansm_plugin.weights.convert import convert_checkpoint
from ansm_plugin.weights.tensors import load_localizer_weights

ROOT = Path(__file__).parents[2]
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


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to be made again: by a shell."""
        return (os.system, (f"touch {self.marker}",))


def pickles(marker: Path) -> dict[str, bytes]:
    """Return the payload in every form that torch and pickle write."""
    state = {"weight": torch.zeros(2), "evil": Payload(marker)}
    found = {f"protocol {n}": pickle.dumps(Payload(marker), n) for n in range(6)}
    for is_zip in (True, False):
        stream = io.BytesIO()
        torch.save(state, stream, _use_new_zipfile_serialization=is_zip)
        found["zip" if is_zip else "legacy"] = stream.getvalue()
    calls = (b"cos\nsystem\n", b"cposix\nsystem\n", b"cbuiltins\neval\n", b"csubprocess\ncall\n")
    text = f"(S'touch {marker}'\ntR.".encode()
    return found | {f"by hand {n}": call + text for n, call in enumerate(calls)}


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pkl", "png", "toml", "json", ""])
def test_a_pickle_is_refused_under_any_name_and_never_run(tmp_path: Path, suffix: str) -> None:
    marker = tmp_path / "marker"
    for name, content in pickles(marker).items():
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            load_ansm(path)
        with pytest.raises(WeightsError):
            load_localizer_weights(torch.nn.Linear(1, 1), path)
        with pytest.raises(WeightsError):
            convert_checkpoint(path, tmp_path / "out.safetensors")
        with pytest.raises(ImageError):
            read_image(path)
        assert main(["info", str(path)]) == 2
    assert not marker.exists()
    assert not (tmp_path / "out.safetensors").exists()


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


def test_a_giant_architecture_costs_no_memory(tmp_path: Path) -> None:
    thin = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    path = save_ansm(ANSM(thin), tmp_path / "a.safetensors")
    content = path.read_bytes()
    for widths in ("[2048]", "[9999999]"):
        wide = content.replace(b'\\"widths\\": [4]', f'\\"widths\\": {widths}'.encode())
        grown = len(wide) - len(content)
        size = int.from_bytes(content[:8], "little") + grown
        path.write_bytes(size.to_bytes(8, "little") + wide[8:])
        with pytest.raises(WeightsError):
            load_ansm(path)


@pytest.mark.parametrize(
    "way", ["../secret.png", "/etc/hostname", "link.png", "a/../../secret.png"]
)
def test_a_list_that_climbs_out_of_its_folder_is_refused(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for path in (tmp_path / "secret.png", folder / "a.png"):
        path.touch()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "dataset.json").write_text(json.dumps([["a.png", way]]))
    with pytest.raises(ImageError, match="outside of its folder"):
        read_pair_list(folder / "dataset.json")
    (folder / "dataset.json").write_text('[["a.png", "a.png"]]')
    assert len(read_pair_list(folder / "dataset.json")) == 1


def test_the_list_of_a_set_is_evaluated(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[4:9, 4:9] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    (tmp_path / "dataset.json").write_text('[["a.png", "a.png"]]')
    found = read_material(Source(tmp_path / "dataset.json"), 0)
    assert [sample.names for sample in found.scored] == [("a.png",)]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_decompression_bomb_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bomb"
    side = 16_000
    if kind in ("GIF", "WEBP", "BMP"):  # their headers are simple: a small one is made to lie
        Image.new("RGB", (16, 16)).save(path, kind)
        content = bytearray(path.read_bytes())
        place, size = {"GIF": (6, 2), "BMP": (18, 4), "WEBP": (26, 2)}[kind]
        for offset in (0, size):
            content[place + offset : place + offset + size] = side.to_bytes(size, "little")
        path.write_bytes(content)
    else:
        options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
        Image.new("1", (side, side)).save(path, kind, **options)
        assert path.stat().st_size < 600_000
    with pytest.raises(ImageError):
        read_image(path)


def test_a_checkpoint_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    import zipfile

    source = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(2)}, source)
    with zipfile.ZipFile(source) as sound:
        parts = {entry: sound.read(entry) for entry in sound.namelist()}
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in parts.items():
            bomb.writestr(name, content)
        bomb.writestr("archive/data/9", bytes(200 * 2**20))
    assert source.stat().st_size < 2**20
    with pytest.raises(WeightsError, match="claims to hold"):
        convert_checkpoint(source, tmp_path / "b.safetensors")


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


WATCH = """
    import sys

    calls, imported = [], set()

    def watch(event, arguments):
        # Not socket.__new__: asyncio and multiprocessing make pairs of them without any network.
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind",
                     "socket.sendto", "urllib.Request"):
            calls.append((event, repr(arguments)))
            raise OSError("the network is off")

    sys.addaudithook(watch)
    from pathlib import Path
    from ansm_plugin import cli

    photo, pairs, out = sys.argv[1:]
    commands = (
        ["info", str(Path(cli.__file__).parent / "assets" / "forensic-unet-ansm.safetensors")],
        ["localize", photo, "--output", out],
        ["evaluate", "--images", pairs, "--masks", pairs, "--attack-steps", "1", "--attacks", "pgd",
         "--eps", "8", "--threat", "T0,T1", "--white-box-steps", "0", "--baselines", "none",
         "--output", out + "/report"],
        ["localize", photo, "--bare", "--localizer", "user_code:build", "--output", out + "/user"],
        ["localize", photo, "--bare", "--localizer", "timm:hf-hub:a/b", "--output", out + "/hub"],
        ["plugins"],
    )
    codes = [cli.main(command) for command in commands]
    others = sorted(name for name in sys.modules if name in ("user_code", "user_other", "innocent"))
    print("RESULT", codes, calls, others)
"""


def test_no_command_reaches_for_the_network_or_imports_more_than_was_typed(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(photo)
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    mask = np.zeros((48, 48), np.uint8)
    mask[8:30, 8:30] = 255
    Image.fromarray(np.stack([mask] * 3, -1) // 2 + 60).save(pairs / "a.png")
    Image.fromarray(mask).save(pairs / "a_gt.png")
    code = "import torch\ndef build():\n    return torch.nn.Conv2d(3, 1, 1)\n"
    (tmp_path / "user_code.py").write_text(code)
    for bystander in ("user_other", "innocent", "sitecustomise"):
        (tmp_path / f"{bystander}.py").write_text("raise SystemExit('imported')")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(WATCH),
            str(photo),
            str(pairs),
            str(tmp_path / "out"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert result == ["RESULT [0, 0, 0, 0, 2, 0] [] ['user_code']"], done.stdout + done.stderr


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
