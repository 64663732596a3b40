"""Damaged and made-up input of every kind: one of our errors or a correct result, nothing else.

Each kind of input is a `Hunt` of `support/malformed_*.py`: a strategy that makes cases, and a check
of one case. The normal suite runs a few dozen cases of each, always the same ones; `pytest -m slow
tests/hardening` runs `LONG` of each (ANSM_CASES), others every time, within `MEMORY` of address
space.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from support import (
    malformed_checkpoints,
    malformed_configs,
    malformed_images,
    malformed_names,
    malformed_weights,
)
from support.hunts import Hunt
from support.malformed_images import _MODES, encoded
from support.malformed_weights import THIN

from ansm_plugin.ansm import ANSM
from ansm_plugin.data.read import read_image
from ansm_plugin.errors import ImageError, WeightsError
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm

SHORT, LONG = 40, int(os.environ.get("ANSM_CASES", "1000"))
MEMORY = 8 * 2**30  # bytes that a process of the long run may add to its address space

HUNTS = [
    *malformed_images.HUNTS,
    *malformed_weights.HUNTS,
    *malformed_checkpoints.HUNTS,
    *malformed_configs.HUNTS,
    *malformed_names.HUNTS,
]


def run(hunt: Hunt, folder: Path, examples: int, *, steady: bool) -> int:
    """Check so many cases; return how many there were."""
    checked = 0

    @settings(
        max_examples=examples,
        derandomize=steady,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(hunt.cases)
    def each(case: Any) -> None:
        nonlocal checked
        checked += 1
        hunt.check(folder, case)

    each()
    return checked


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let the process add at most `MEMORY` to its address space."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt.name)
def test_malformed_input_is_refused_or_read(hunt: Hunt, tmp_path: Path) -> None:
    assert run(hunt, tmp_path, SHORT, steady=True) >= SHORT // 2


@pytest.mark.slow
@pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt.name)
def test_much_malformed_input_is_refused_or_read(
    hunt: Hunt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bounded_memory():
        cases = run(hunt, tmp_path, LONG, steady=False)
    with capsys.disabled():
        print(f"\n{hunt.name}: {cases} cases")


def test_sound_input_of_every_mode_is_read(tmp_path: Path) -> None:
    read = 0
    unreadable = {("TIFF", "YCbCr")} if PIL.__version__.startswith("12.") else set()
    for kind in ("PNG", "TIFF", "BMP", "JPEG", "WEBP", "GIF", "PPM"):
        for mode in _MODES:
            content = encoded(kind, mode)
            if (kind, mode) in unreadable:
                continue  # Pillow 12 cannot read what it wrote
            if content is not None and mode not in ("I", "I;16", "F"):
                path = tmp_path / f"{kind}-{mode}"
                path.write_bytes(content)
                bright = read_image(path)[:, 8:].mean() - read_image(path)[:, :8].mean()
                assert bright > 100, (kind, mode)
                read += 1
    assert read > 25


def test_formats_whose_readers_start_programs_are_refused(tmp_path: Path) -> None:
    content = encoded("EPS", "RGB")
    assert content is not None
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="not an image"):
        read_image(tmp_path / "a.png")


def test_a_floating_point_image_is_not_black(tmp_path: Path) -> None:
    levels = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., 0].ravel(), np.arange(256))


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = save_ansm(ANSM(THIN), tmp_path / "a.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        read = Path.read_bytes
        patch.setattr(Path, "read_bytes", lambda self: read(self)[:-7])
        with pytest.raises(WeightsError, match="truncated"):
            load_ansm(path)


def test_the_library_refuses_what_we_say_it_refuses() -> None:
    with pytest.raises(SafetensorError):
        load(b"\xff" * 16)
