"""Names of localizers: what they build; what would silently build another network is refused."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from ansm_plugin.backbones import reference, smp_family
from ansm_plugin.backbones.query import parse_query
from ansm_plugin.backbones.reference import (
    DEFAULT_LOCALIZER,
    build_architecture,
    build_localizer,
    split_name,
)
from ansm_plugin.commands.loading import load_defended, load_localizer
from ansm_plugin.errors import AnsmError, ConfigError, LocalizerError, WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.system.text import parse_value
from ansm_plugin.weights.catalogue import packaged
from ansm_plugin.weights.tensors import write_tensors

ARCHITECTURES = [kind.__name__ for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()]
# DPT takes encoders of timm alone, Segformer and its like any.
ENCODERS = {"DPT": "tu-test_vit"}
MISSPELT = ("encoder", "enocder_name", "decoder_chanels", "classses", "bogus", "x", "weights")


def small(architecture: str) -> str:
    """Return the name of a small localizer of an architecture."""
    return f"smp:{architecture}?encoder_name={ENCODERS.get(architecture, 'resnet18')}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("option", MISSPELT)
def test_no_architecture_swallows_an_option(architecture: str, option: str) -> None:
    with pytest.raises(LocalizerError, match=option), torch.device("meta"):
        build_architecture(f"{small(architecture)}&{option}=resnet18")


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-resnet10t", "timm-efficientnet-b0"])
@pytest.mark.parametrize("option", MISSPELT)
def test_no_encoder_swallows_an_option(encoder: str, option: str) -> None:
    with pytest.raises(LocalizerError, match=option), torch.device("meta"):
        build_architecture(f"smp:Unet?encoder_name={encoder}&{option}=4")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_option_of_an_architecture_is_known(architecture: str) -> None:
    """Whatever is in its signature is handed to it; its old names are those in its code."""
    kind = getattr(smp, architecture)
    takes = set(inspect.signature(kind).parameters) - {"kwargs"}
    code = inspect.getsource(kind.__init__)
    old = set(re.findall(r"kwargs\.pop\(\s*[\"'](\w+)", code))
    assert smp_family._OLD.get(architecture, set()) == old
    options = dict.fromkeys(takes | old)
    smp_family._require_options(options, architecture, "resnet18", takes)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smp:Unet?encoder=resnet18", "Nearest: encoder_name"),
        ("smp:FPN?decoder_piramid_channels=64", "Nearest: decoder_pyramid_channels"),
        ("smp:Unet?encoder_name=tu-resnet10t&drop_rat=0.1", "Nearest: drop_rate"),
        ("smp:Unet?encoder_name=tu-resnet43", "Nearest: tu-resnet"),
        ("smp:UNETPLUSPLUS", "Nearest: UnetPlusPlus"),
        ("smp:Unet?encoder_name=", "bad query field"),
        ("smp:Unet?=resnet18", "bad query field"),
        ("smp:Unet?encoder_name=resnet18&encoder_name=resnet34", "encoder_name is given twice"),
        ("smp:Unet?encoder_name=tu-resnet10t&checkpoint_path=x.pth", "name them behind it"),
        ("smp:Unet?encoder_name=tu-resnet10t&bogus=None", "bogus of .* has no value"),
        ("timm:resnet10t?widht=16", "Nearest: width"),
        ("timm:resnet10t?bogus=None", "bogus of resnet10t has no value"),
        ("timm:resnet10t?pretrained=true", "name them behind it"),
        ("timm:resnet10t?checkpoint_path=x.pth", "name them behind it"),
        ("timm:hrnet_w18?bogus=1", "unknown option of hrnet_w18 'bogus'"),
        ("timm:resnet10t?out_indices=77", "timm cannot build"),
    ],
)
def test_what_is_misspelt_gets_the_nearest_names(name: str, said: str) -> None:
    with pytest.raises(LocalizerError, match=said):
        build_architecture(name)


def test_options_that_reach_the_encoder_still_do() -> None:
    model = build_architecture("smp:Unet?encoder_name=tu-resnet10t&stem_width=8")
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert first.out_channels == 6  # of 8: three quarters are the rule of this stem
    dilated = build_architecture("smp:Unet?encoder_name=resnet18&output_stride=16")
    assert dilated.encoder.output_stride == 16  # type: ignore[union-attr]


def test_a_query_is_read_once_for_all_families() -> None:
    assert parse_query("Unet?a=1&b=2,3&c=x") == ("Unet", {"a": 1, "b": (2, 3), "c": "x"})
    assert parse_query("Unet") == parse_query("Unet?") == ("Unet", {})


# --- which mistake is told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("forensic-unett", "Nearest: forensic-unet"),
        ("Forensic-UNet", "Nearest: forensic-unet"),
        ("smp:Unett", "Nearest: Unet"),
        ("simp:Unet", "unknown localizer family 'simp'. Nearest: smp"),
        ("SMP:Unet", "Nearest: smp"),
        ("tim:resnet18", "Nearest: timm"),
        ("timm:resnet1O", "Nearest: "),
        ("smp:Unet?encoder=resnet18", "unknown option"),
        ("nosuchmodule:build", "No module named 'nosuchmodule'"),
        ("forensic-unet@", "no file stands behind the last @"),
        ("forensic-unet@a.safetensors@", "no file stands behind the last @"),
        ("smp:Unet@nothing.safetensors", "nothing.safetensors"),
        ("", "unknown localizer"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_misspelt_localizer_is_told_before_a_missing_ansm(name: str, said: str) -> None:
    for load in (lambda: load_defended(name, None), lambda: load_localizer(name)):
        if name:  # "" is the embedded one here; options refuse it
            with pytest.raises(AnsmError) as raised:
                load()
            assert said in str(raised.value)
            assert "no ANSM is known" not in str(raised.value)
    with pytest.raises(AnsmError, match=re.escape(said)):
        reference.build_localizer(name)


def test_a_localizer_that_exists_is_told_that_it_lacks_an_ansm() -> None:
    with pytest.raises(ConfigError, match="no ANSM is known for timm:resnet10t"):
        load_defended("timm:resnet10t", None)


def test_the_home_folder_stands_in_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(reference, "is_adapter", lambda path: path.name == "a.safetensors")
    base, weights, adapters = split_name("smp:Unet@~/w.safetensors@~/a.safetensors@b.safetensors")
    assert (base, weights) == ("smp:Unet", tmp_path / "w.safetensors")
    assert adapters == [tmp_path / "a.safetensors", Path("b.safetensors")]


# --- the user's own code --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_package", ModuleNotFoundError),
        ("raise AttributeError('at import')", AttributeError),
        ("raise TypeError('at import')", TypeError),
        ("def build(:", SyntaxError),
        ("def build():\n    return {}['weights']", KeyError),
        ("def build():\n    return open('/nowhere/w.pth')", FileNotFoundError),
    ],
)
def test_what_the_users_own_code_raises_is_not_taken_for_a_wrong_name(
    code: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"mine_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(error):
        build_architecture(f"{module}:build")


# --- what names build -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("forensic-une", ConfigError, "Nearest: forensic-unet"),
        ("resnet18", ConfigError, "Known: .*forensic-unet, module:function"),
        ("smp:Unett", LocalizerError, "Nearest: Unet"),
        ("smp:Unet?encoder_name=resnet43", LocalizerError, "Nearest: resnet34"),
        ("smp:Unet?encoder_name=tu-resnet43", LocalizerError, "Unknown model"),
        ("smp:Unet?encoder_depth=9", LocalizerError, "depth should be in range"),
        ("smp:Unet?depth", LocalizerError, "bad query field"),
        ("smp:UnetPlusPlus?encoder_name=mit_b0", LocalizerError, "not support"),
        ("timm:convnext_tinyy", LocalizerError, "Nearest: convnext_tiny"),
        ("timm:resnet18?bogus=2", LocalizerError, "bogus"),
        ("timm:resnet18?width=0", LocalizerError, "width is 0"),
        ("timm:hf-hub:timm/resnet18", LocalizerError, "not on this machine"),
        ("nosuchmodule:build", LocalizerError, "No module named 'nosuchmodule'"),
        ("json:nosuch", LocalizerError, "no attribute 'nosuch'"),
        ("math:sqrt", LocalizerError, "needs no argument"),
        ("math:pi", LocalizerError, "not a callable"),
        ("platform:node", LocalizerError, r"returned str; it must return a torch\.nn\.Module"),
    ],
)
def test_names_that_cannot_be_built_get_a_useful_answer(
    name: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        build_architecture(name)


def test_pretrained_weights_are_never_downloaded() -> None:
    model = build_architecture("smp:Unet?encoder_name=resnet18&encoder_weights=imagenet")
    assert isinstance(model, nn.Module)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("64,32", (64, 32)), ("true", True), ("None", None), ("a.b", "a.b")],
)
def test_option_values(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_a_function_of_the_users_own_code_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_forensics.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Conv2d(3, 1, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    weights = write_tensors(nn.Conv2d(3, 1, 1).state_dict(), tmp_path / "w.safetensors", {})
    localizer = build_localizer(f"my_forensics:build@{weights}")
    assert not localizer.training
    assert isinstance(localizer, nn.Conv2d)


def test_weights_behind_a_name_are_loaded_strictly(tmp_path: Path) -> None:
    name = "smp:Unet?encoder_name=resnet18&decoder_channels=16,16,8,8,8"
    model = build_architecture(name)
    path = write_tensors(model.state_dict(), tmp_path / "w.safetensors", {})
    assert fingerprint(build_localizer(f"{name}@{path}")) == fingerprint(model)
    with pytest.raises(WeightsError, match="does not fit FPN"):
        build_localizer(f"smp:FPN?encoder_name=resnet18@{path}")
    with pytest.raises(WeightsError, match="no weights file"):
        build_localizer(f"{DEFAULT_LOCALIZER}@{tmp_path / 'nothing.safetensors'}")


def test_every_packaged_localizer_is_built() -> None:
    assert DEFAULT_LOCALIZER in packaged()
    assert all(isinstance(build_architecture(name), nn.Module) for name in packaged())
