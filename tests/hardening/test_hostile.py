"""Files made to do harm: nothing of them is run, followed, fetched or unpacked without end."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.cli import main
from ansm_plugin.data.lists import read_pair_list
from ansm_plugin.data.read import read_image
from ansm_plugin.errors import ImageError, WeightsError
from ansm_plugin.evaluation.material import Source, read_material
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm
from ansm_plugin.weights.convert import convert_checkpoint
from ansm_plugin.weights.tensors import load_localizer_weights

ROOT = Path(__file__).parents[2]


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
