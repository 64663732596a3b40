"""Damaged and made-up input of every kind: one of our errors or a correct result, nothing else.

Each kind of input is a `Hunt`: a strategy that makes cases, and a check of one case. The normal
suite runs a few dozen cases of each, always the same ones; `pytest -m slow tests/hardening` runs
`LONG` of each (ANSM_CASES), others every time, within `MEMORY` of address space.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import resource
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.cli import main
from ansm_plugin.data.lists import read_pair_list
from ansm_plugin.data.pairs import find_pairs
from ansm_plugin.data.read import read_image, read_mask
from ansm_plugin.defended import DefendedLocalizer, load_pretrained, wrap_with_ansm
from ansm_plugin.errors import AnsmError, ConfigError, ImageError, WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes.config import load_config, save_config
from ansm_plugin.recipes.registry import recipe_module, recipe_names
from ansm_plugin.system.typed import from_table
from ansm_plugin.weights.adapters import apply_adapter, save_adapter
from ansm_plugin.weights.ansm_file import AnsmFile, load_ansm, save_ansm
from ansm_plugin.weights.convert import convert_checkpoint
from ansm_plugin.weights.tensors import load_localizer_weights

SHORT, LONG = 40, int(os.environ.get("ANSM_CASES", "1000"))
MEMORY = 8 * 2**30  # bytes that a process of the long run may add to its address space
THIN = Architecture(widths=(4, 4), encoder_blocks=(1, 1), decoder_blocks=(1,))


class Hunt(NamedTuple):
    """Cases of one kind of input and what must hold for each of them."""

    name: str
    cases: st.SearchStrategy[Any]
    check: Callable[[Path, Any], None]


# --- damage of any file ---------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, sources: Callable[[], list[bytes]]) -> bytes:
    """Draw one of the sources, with bytes changed, cut off, doubled or put in."""
    found = sources()
    content = bytearray(found[draw(st.integers(0, len(found) - 1))])
    # The first bytes say what the rest is; most damage goes there.
    near = st.integers(0, min(len(content) - 1, 400))
    anywhere = st.integers(0, len(content) - 1)
    for place, value in draw(st.lists(st.tuples(near | anywhere, st.integers(0, 255)), max_size=6)):
        content[place] = value
    huge = struct.pack("<q", draw(st.sampled_from([-1, 2**31 - 1, 2**31, 2**62, 10**6])))
    how = draw(st.sampled_from(["as it is", "cut", "huge", "doubled", "noise"]))
    place = draw(near | anywhere)
    if how == "cut":
        del content[place:]
    elif how == "huge":
        size = draw(st.sampled_from([2, 4, 8]))
        content[place : place + size] = huge[:size][:: draw(st.sampled_from([1, -1]))]
    elif how == "doubled":
        content[place:place] = content[place : place + draw(st.integers(1, 200))]
    elif how == "noise":
        content[place:place] = draw(st.binary(max_size=40))
    return bytes(content)


# --- images and masks -----------------------------------------------------------------------------

# Saved in each of these modes where the format has it.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")
_NOT_WRITTEN = {"PDF", "EPS", "WMF", "BUFR", "GRIB", "HDF5", "SPIDER", "ICNS", "IM"}


def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a small picture with a dark and a bright half."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 60, (12, 16, 3)).astype(np.uint8)
    made[:, 8:] += 150
    return made


@functools.cache
def images() -> list[bytes]:
    """Return a picture in every format and mode that Pillow writes, also animated and turned."""
    Image.init()
    found = []
    for kind in [*sorted(set(Image.SAVE) - _NOT_WRITTEN), "EPS"]:
        for mode in _MODES:
            if (content := encoded(kind, mode)) is not None:
                found.append(content)
    return [*found, *animations(), *turned()]


def encoded(kind: str, mode: str, **options: Any) -> bytes | None:
    """Return a picture as the bytes of a file, or None where the format lacks the mode."""
    stream = io.BytesIO()
    grey = Image.fromarray(pixels()).convert("L")
    picture = grey.convert(mode) if mode in ("I;16", "I", "F") else None
    picture = picture or Image.fromarray(pixels()).convert(mode)
    try:
        picture.save(stream, kind, **options)
    except (OSError, ValueError, KeyError, TypeError, SystemError, AttributeError):
        return None
    return stream.getvalue()


def animations() -> Iterator[bytes]:
    """Yield files of several frames."""
    frames = [Image.fromarray(np.roll(pixels(), shift, 0)) for shift in range(3)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP", "MPO"):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        yield stream.getvalue()


def turned() -> Iterator[bytes]:
    """Yield files whose EXIF says how to turn them, nonsense included."""
    for orientation in (0, 3, 6, 8, 9, 65535):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            exif = Image.Exif()
            exif[0x0112] = orientation
            content = encoded(kind, "RGB", exif=exif)
            assert content is not None
            yield content


def check_image(folder: Path, content: bytes) -> None:
    """An image is `(H, W, 3)` uint8 or refused, whatever its name says that it is."""
    path = folder / "photograph.jpg"
    path.write_bytes(content)
    try:
        found = read_image(path)
    except ImageError:
        return
    assert (found.dtype, found.ndim, found.shape[2]) == (np.uint8, 3, 3)


def check_mask(folder: Path, content: bytes) -> None:
    """A mask is zeros and ones of the size of its image, or refused."""
    path = folder / "mask.png"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "masks ", UserWarning)  # what is unusual about it
        try:
            found = read_mask(path, (12, 16))
        except ImageError:
            return
    assert found.shape == (12, 16)
    assert set(np.unique(found)) <= {0, 1}


# --- weights --------------------------------------------------------------------------------------


@functools.cache
def weights() -> list[bytes]:
    """Return files of an ANSM, of a localizer and of nothing."""
    with tempfile.TemporaryDirectory() as folder:
        ansm = save_ansm(ANSM(THIN), Path(folder) / "a.safetensors").read_bytes()
    return [ansm, save(localizer().state_dict(), {"format": "localizer"}), save({})]


def localizer() -> nn.Module:
    """Return the smallest localizer."""
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["float32", "F32", "../../etc/passwd", "<script>", "\x1b[31m"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_ENTRIES = st.sampled_from(
    ["format", "format_version", "architecture", "stage", "localizer", "recipe", "metrics"]
)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Draw a safetensors file whose header says something else than its body."""
    content = weights()[draw(st.integers(0, 1))]
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*header, "new", ""]))
        field = draw(st.sampled_from(["dtype", "shape", "data_offsets", "other"]))
        if isinstance(header.get(name), dict) and draw(st.booleans()):
            header[name] = {**header[name], field: draw(_JSON | _SHAPES)}
        else:
            header[name] = draw(_JSON)
    text = json.dumps(header).encode()
    claimed = draw(st.just(len(text)) | st.integers(0, 2**64 - 1))
    return struct.pack("<Q", claimed) + text + content[8 + length :]


_SHAPES = st.lists(st.integers(-1, 2**40), max_size=4)


@st.composite
def metadata(draw: st.DrawFn) -> bytes:
    """Draw an ANSM file with entries of the metadata replaced; its tensors are sound."""
    content = weights()[0]
    length = struct.unpack("<Q", content[:8])[0]
    entries = dict(json.loads(content[8 : 8 + length])["__metadata__"])
    for name in draw(st.lists(_ENTRIES, min_size=1, max_size=3, unique=True)):
        entries[name] = draw(_entry(name, entries.get(name, "")))
    return save(load(content), entries)


def _entry(name: str, before: str) -> st.SearchStrategy[str]:
    deep = st.just("[" * 100_000)
    anything = _JSON.map(lambda value: json.dumps(value)) | st.text(max_size=20) | deep
    if name != "architecture":
        return anything
    fields = st.dictionaries(
        st.sampled_from([*json.loads(before or "{}"), "layers"]),
        _JSON | st.lists(st.integers(-1, 10**12), max_size=9),
        min_size=1,
        max_size=2,
    )
    return anything | fields.map(lambda new: json.dumps({**json.loads(before or "{}"), **new}))


def check_weights(folder: Path, content: bytes) -> None:
    """Weights are loaded and finite, or refused; `ansm info` ends well either way."""
    path = folder / "a.safetensors"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it was trained for another localizer
        with contextlib.suppress(WeightsError):
            wrap_with_ansm(localizer(), str(path))(torch.zeros(1, 3, 8, 8))
    with contextlib.suppress(WeightsError):
        load_localizer_weights(localizer(), path)
    assert main(["info", str(path)]) in (0, 2)


@functools.cache
def _adapters() -> list[bytes]:
    tuned = copy.deepcopy(_same_localizer())
    nn.init.ones_(tuned[1].weight)  # type: ignore[index]
    with tempfile.TemporaryDirectory() as folder:
        path = save_adapter(tuned, _same_localizer(), Path(folder) / "a.safetensors")
        return [path.read_bytes()]


@st.composite
def _scores(draw: st.DrawFn) -> bytes:
    """Draw an ANSM file with an attack score some of whose coefficients are replaced."""
    content = weights()[0]
    length = struct.unpack("<Q", content[:8])[0]
    entries = dict(json.loads(content[8 : 8 + length])["__metadata__"])
    whole = AttackScore(weights=(1.0,) * len(FEATURES), bias=0.0).as_dict()
    odd = _JSON | st.integers(10**308, 10**320)
    whole |= draw(st.dictionaries(st.sampled_from([*whole, "unknown"]), odd, max_size=2))
    if isinstance(whole["weights"], dict):
        fields = st.sampled_from([*FEATURES, "unknown"])
        whole["weights"] |= draw(st.dictionaries(fields, odd, max_size=2))
    text = json.dumps(whole)
    return save(load(content), {**entries, "attack_score": draw(st.just(text) | _entry("", ""))})


def check_score(folder: Path, content: bytes) -> None:
    """An attack score judges by finite numbers, or is refused."""
    path = folder / "a.safetensors"
    path.write_bytes(content)
    try:
        found = AnsmFile.read(path).score
    except WeightsError:
        return
    assert found is not None
    assert np.isfinite([*found.weights, found.bias]).all()


@functools.cache
def _same_localizer() -> nn.Module:
    return localizer()


@st.composite
def _adapter_metadata(draw: st.DrawFn) -> bytes:
    """Draw an adapter with entries of the metadata replaced; its tensors are sound."""
    content = _adapters()[0]
    length = struct.unpack("<Q", content[:8])[0]
    entries = dict(json.loads(content[8 : 8 + length])["__metadata__"])
    for name in draw(st.lists(st.sampled_from([*entries]), min_size=1, max_size=3, unique=True)):
        entries[name] = draw(_entry(name, ""))
    return save(load(content), entries)


def check_adapter(folder: Path, content: bytes) -> None:
    """An adapter is applied whole, or refused; the localizer is untouched either way."""
    path = folder / "adapter.safetensors"
    path.write_bytes(content)
    before = fingerprint(_same_localizer())
    try:
        tuned = apply_adapter(_same_localizer(), path)
    except WeightsError:
        pass
    else:
        assert bool((tuned[1].weight == 1).all())
    assert fingerprint(_same_localizer()) == before
    assert main(["info", str(path)]) in (0, 2)


@functools.cache
def checkpoints() -> list[bytes]:
    """Return what trainers write, in today's and in the old form of torch's files."""
    state = localizer().state_dict()
    found = []
    for value in (state, {"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}):
        for is_zip in (True, False):
            stream = io.BytesIO()
            torch.save(value, stream, _use_new_zipfile_serialization=is_zip)
            found.append(stream.getvalue())
    return found


def check_checkpoint(folder: Path, content: bytes) -> None:
    """A checkpoint becomes safetensors that can be read, or is refused and leaves nothing."""
    source, target = folder / "a.pth", folder / "b.safetensors"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    try:
        done = convert_checkpoint(source, target)
    except WeightsError:
        assert not target.exists()
        return
    assert set(load(target.read_bytes())) == set(done.kept)


_TENSORS = st.sampled_from(
    [
        torch.zeros(2),
        torch.zeros(()),
        torch.zeros(0),
        torch.zeros(1).expand(10**12),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.zeros(4, 4).t(),
        torch.tensor([True]),
    ]
)
_NAMES = st.sampled_from(["a", "module.", "model", "state_dict", "__metadata__", ""]) | st.integers(
    0, 2
)
_CHECKPOINTS = st.recursive(
    _TENSORS | st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=8,
)


def check_content(folder: Path, value: Any) -> None:
    """What a checkpoint holds may be of any form."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, stream)
        check_checkpoint(folder, stream.getvalue())


# --- configs, lists and names ---------------------------------------------------------------------


def _tables() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.sampled_from(recipe_names()).flatmap(
        lambda name: st.tuples(st.just(name), _table(recipe_module(name).RECIPE()))  # type: ignore[attr-defined]
    )


@st.composite
def _table(draw: st.DrawFn, default: Any) -> dict[str, Any]:
    """Draw fields of a config and of the configs inside it, many with values of another kind."""
    fields = draw(st.lists(st.sampled_from([*vars(default), "unknown"]), max_size=4))
    table = {}
    for name in fields:
        value = getattr(default, name, None)
        inner = hasattr(value, "__dataclass_fields__") and draw(st.integers(0, 3)) > 0
        table[name] = draw(_table(value)) if inner else draw(_like(value))
    return table


def _like(value: Any) -> st.SearchStrategy[Any]:
    same = st.just(list(value) if isinstance(value, tuple) else str(value or ""))
    numbers = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.sampled_from([0, 1, 8])
    some = st.booleans() | numbers | st.text(max_size=6)
    return same | some | st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=4), some)


def check_config(folder: Path, case: tuple[str, dict[str, Any]]) -> None:
    """A config is refused, or comes back from its file as it was."""
    name, table = case
    kind = recipe_module(name).RECIPE  # type: ignore[attr-defined]
    try:
        config = from_table(kind, table, "case")
    except ConfigError:
        return
    save_config(config, folder / "config.toml")
    assert load_config(kind, folder / "config.toml") == config


def _toml() -> list[bytes]:
    table = {"steps": 3, "fit": {"learning_rate": 1e-3, "steps": 2}, "localizer": "a:b"}
    return [tomli_w.dumps(table).encode(), b"a = " + b"[" * 3000, b"\xff\xfe"]


def check_toml(folder: Path, content: bytes) -> None:
    """A config file of any bytes is read or refused."""
    path = folder / "config.toml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        load_config(recipe_module("localizer").RECIPE, path)  # type: ignore[attr-defined]


def check_folder(folder: Path, content: bytes) -> None:
    """The config.json of a saved folder is read or refused."""
    saved = folder / "saved"
    saved.mkdir(exist_ok=True)
    (saved / "ansm.safetensors").write_bytes(weights()[0])
    (saved / "config.json").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = load_pretrained(saved, localizer())
            made.spec.normalise(torch.zeros(1, 3, 8, 8))
        except AnsmError:
            pass


@functools.cache
def _saved_config() -> list[bytes]:
    spec = wrap_with_ansm(_quiet(localizer()), ansm=ANSM(THIN)).spec
    with tempfile.TemporaryDirectory() as folder:
        DefendedLocalizer(localizer(), ANSM(THIN), spec).save_pretrained(folder)
        return [(Path(folder) / "config.json").read_bytes()]


def _quiet(module: nn.Module) -> nn.Module:
    module.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # type: ignore[assignment]
    return module


@st.composite
def _folders(draw: st.DrawFn) -> bytes:
    """Draw a config.json with fields of its spec replaced."""
    config = json.loads(_saved_config()[0])
    fields = st.sampled_from([*config["spec"], "unknown"])
    config["spec"] |= draw(st.dictionaries(fields, _JSON, max_size=3))
    return json.dumps(
        {**config, **draw(st.dictionaries(st.sampled_from([*config]), _JSON, max_size=1))}
    ).encode()


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
    st.lists(st.lists(_PATHS, min_size=2, max_size=2) | _JSON, max_size=3).map(json.dumps)
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
    Hunt("images", damaged(images), check_image),
    Hunt("masks", damaged(images), check_mask),
    Hunt("safetensors, damaged", damaged(weights), check_weights),
    Hunt("safetensors, headers", headers(), check_weights),
    Hunt("safetensors, metadata", metadata(), check_weights),
    Hunt("adapters, damaged", damaged(_adapters), check_adapter),
    Hunt("adapters, metadata", _adapter_metadata(), check_adapter),
    Hunt("attack scores", _scores(), check_score),
    Hunt("checkpoints, damaged", damaged(checkpoints), check_checkpoint),
    Hunt("checkpoints, content", _CHECKPOINTS, check_content),
    Hunt("configs", _tables(), check_config),
    Hunt("config files", damaged(_toml) | st.binary(max_size=60), check_toml),
    Hunt("saved folders, damaged", damaged(_saved_config), check_folder),
    Hunt("saved folders, fields", _folders(), check_folder),
    Hunt("lists of pairs", _LISTS, check_list),
    Hunt("patterns", st.text(max_size=10), check_pattern),
    Hunt("localizers", _LOCALIZERS, check_localizer),
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
