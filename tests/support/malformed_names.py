"""Malformed names: lists of pairs, patterns that make pairs, names of localizers."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path

from hypothesis import strategies as st
from support.hunts import JSON, Hunt
from torch import nn

from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.data.lists import read_pair_list
from ansm_plugin.data.pairs import find_pairs
from ansm_plugin.errors import AnsmError, ImageError

_PATHS = st.sampled_from(
    [
        "Tp/a.png",
        "Gt/a.png",
        "../x.png",
        "/etc/passwd",
        "Tp",
        "",
        "Negative",
        "\x00",
        "a" * 300,
        "Tp/../Tp/a.png",
    ]
)
_LISTS = (
    st.lists(st.lists(_PATHS, min_size=2, max_size=2) | JSON, max_size=3).map(json.dumps)
    | st.text()
).map(lambda text: text.encode("utf-8", "surrogatepass"))


def check_list(folder: Path, content: bytes) -> None:
    """A list of pairs names files inside its folder, or is refused."""
    root = folder / "set"
    for kind in ("Tp", "Gt"):
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / "a.png").touch()
    (folder / "x.png").touch()
    (root / "dataset.json").write_bytes(content)
    try:
        pairs = read_pair_list(root / "dataset.json")
    except ImageError:
        return
    for file in [f for pair in pairs for f in pair if f is not None]:
        assert file.resolve().is_relative_to(root.resolve())
        assert file.is_file()


def check_pattern(folder: Path, pattern: str) -> None:
    """Any pattern finds pairs or is refused."""
    root = folder / "pairs"
    root.mkdir(exist_ok=True)
    for name in ("a.png", "a_gt.png"):
        (root / name).touch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            find_pairs(root, root, pattern)
    except ImageError:
        pass


_OPTIONS = st.dictionaries(
    st.sampled_from(["encoder_name", "encoder_depth", "decoder_channels", "classes", "width", "x"]),
    st.sampled_from(
        [
            "resnet18",
            "tu-resnet10t",
            "9" * 5000,
            "-1",
            "0",
            "nan",
            "1e400",
            "8,8",
            "",
            "8,,8",
            "None",
        ]
    )
    | st.text(max_size=5),
    max_size=3,
).map(lambda options: "&".join(f"{k}={v}" for k, v in options.items()))
_LOCALIZERS = st.one_of(
    st.text(max_size=12),
    st.builds(
        "{}:{}".format,
        st.sampled_from(["smp", "timm", "os", "no_such", ".", "", "a\0"]),
        st.text(max_size=8),
    ),
    st.builds("smp:{}?{}".format, st.sampled_from(["Unet", "FPN", "unet", "Linknet"]), _OPTIONS),
    st.builds(
        "timm:{}?{}".format, st.sampled_from(["resnet10t", "no_such", "hf-hub:a/b"]), _OPTIONS
    ),
    st.builds("forensic-unet@{}".format, st.text(max_size=8) | st.just("a" * 5000)),
)


def check_localizer(folder: Path, name: str) -> None:
    """A name builds a module or is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about layers without a weight
        with contextlib.suppress(AnsmError):
            assert isinstance(build_localizer(name), nn.Module)


HUNTS = [
    Hunt("lists of pairs", _LISTS, check_list),
    Hunt("patterns", st.text(max_size=10), check_pattern),
    Hunt("localizers", _LOCALIZERS, check_localizer),
]
