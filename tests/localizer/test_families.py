"""One contract for every family: described, tapped, wrapped as identity, any size."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from torch import nn

from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_architecture
from ansm_plugin.cli import main
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer import families as registry
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import IMAGENET_MEAN
from ansm_plugin.localizer.taps import taps

HALF = (0.5, 0.5, 0.5)
OURS = ["smp", "timm", "transformers", "torchvision"]
# Name, family, stride, mean of the normalisation.
LOCALIZERS = [
    (DEFAULT_LOCALIZER, "smp", 1, IMAGENET_MEAN),
    ("smp:Unet?encoder_name=resnet18&decoder_channels=16,16,8,8,8", "smp", 1, IMAGENET_MEAN),
    ("smp:UnetPlusPlus?encoder_name=resnet18&decoder_channels=16,16,8,8,8", "smp", 32, None),
    ("smp:FPN?encoder_name=resnet18", "smp", 32, None),
    ("smp:PSPNet?encoder_name=resnet18", "smp", 8, None),
    ("smp:DeepLabV3Plus?encoder_name=resnet18", "smp", 16, None),
    ("smp:Linknet?encoder_name=vgg11", "smp", 32, None),
    ("smp:Segformer?encoder_name=mit_b0", "smp", 32, None),
    ("smp:Unet?encoder_name=tu-convnext_atto", "smp", 1, IMAGENET_MEAN),
    ("smp:DPT?encoder_name=tu-vit_tiny_patch16_224&dynamic_img_size=true", "smp", 32, HALF),
    ("timm:resnet10t", "timm", 32, IMAGENET_MEAN),
    ("timm:convnext_atto?width=16", "timm", 32, IMAGENET_MEAN),
    ("timm:swin_s3_tiny_224?img_size=64", "timm", 64, IMAGENET_MEAN),
    ("timm:vit_tiny_patch16_224?dynamic_img_size=true", "timm", 16, HALF),
]


@pytest.mark.parametrize(("name", "family", "stride", "mean"), LOCALIZERS)
def test_every_family_keeps_the_contract(
    name: str, family: str, stride: int, mean: tuple[float, float, float] | None
) -> None:
    localizer = build_architecture(name).eval()
    spec = describe(localizer)
    assert (spec.family, spec.stride, spec.activation) == (family, stride, "logits")
    assert spec.mean == (mean or IMAGENET_MEAN)
    forward = mask_forward(localizer, spec)
    pixels = torch.rand(2, 3, 64, 64, requires_grad=True)
    with taps(localizer, spec.taps) as features:
        logits = forward(pixels)
    assert logits.shape == (2, 1, 64, 64)
    assert torch.autograd.grad(logits.sum(), pixels)[0].any()
    assert len(features) == 2
    assert all(f.ndim == 3 and f.shape[1] > 8 and f.shape[2] < 64**2 for f in features.values())
    with torch.no_grad():
        for size in ((50, 37), (5, 9)):
            assert forward(torch.rand(1, 3, *size)).shape == (1, 1, *size)
        inputs = spec.normalise(pixels)
        assert torch.equal(wrap_with_ansm(localizer)(inputs), localizer(inputs))


def test_swin_stages_are_tapped_as_channels_by_pixels() -> None:
    """Swin gives channels last: the channels of the encoder come first at the tap."""
    localizer = build_architecture("timm:swin_s3_tiny_224?img_size=64").eval()
    names = describe(localizer).taps
    with torch.no_grad(), taps(localizer, names) as features:
        localizer(torch.rand(1, 3, 64, 64))
    channels = localizer.channels  # type: ignore[union-attr]
    assert [features[n].shape[1] for n in names] == channels[1:3]


@pytest.mark.parametrize(
    ("options", "classes", "activation"),
    [({}, 1, "logits"), ({"activation": "sigmoid"}, 1, "sigmoid"),
     ({"activation": "softmax2d"}, 2, "softmax"), ({"activation": "identity"}, 2, "logits")],
)  # fmt: skip
def test_the_activation_of_the_head_is_found(
    options: dict[str, Any], classes: int, activation: str
) -> None:
    model = smp.Unet("resnet18", encoder_weights=None, classes=classes, **options).eval()
    spec = describe(model)
    assert spec.activation == activation
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        found = torch.sigmoid(mask_forward(model, spec)(pixels))
        output = model(spec.normalise(pixels))
    expected = {"logits": output.sigmoid() if classes == 1 else output.softmax(1)}
    torch.testing.assert_close(found, expected.get(activation, output)[:, -1:])


def test_an_activation_we_do_not_know_is_refused() -> None:
    model = smp.Unet("resnet18", encoder_weights=None, activation="tanh")
    with pytest.raises(LocalizerError, match=r"head ends in Tanh.*LocalizerSpec\(activation"):
        describe(model)


def test_subclasses_of_smp_models_are_of_the_family() -> None:
    class Mine(smp.Unet):
        """A user's own class."""

    assert describe(Mine("resnet18", encoder_weights=None)).family == "smp"


# --- the registry ---------------------------------------------------------------------------------


def test_families_are_asked_in_order_and_plain_last() -> None:
    names = registry.family_names()
    assert names[:4] == OURS
    assert names[-1] == "plain"
    for name in names:
        assert {"matches", "describe", "build"} <= set(dir(registry.family(name)))


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown localizer family 'tim'"):
        registry.family("tim")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the import path, as pip fills it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("FORENSICS_PLUGINS", raising=False)
    return tmp_path


def install(site: Path, module: str, code: str, entry: str) -> None:
    """Install a distribution of one module, with what `pip` would note of its entry point."""
    sys.modules.pop(module, None)
    (site / f"{module}.py").write_text(code)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.LOCALIZER_GROUP}]\n{entry}\n")


def test_the_family_of_the_guide_is_found_by_its_entry_point(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file and two lines of metadata: built by name, described, wrapped and exported."""
    guides = Path(__file__).parents[2] / "recipes" / "guides"
    guide = (guides / "write-your-own.md").read_text()
    (code,) = re.findall(r'```python title="my_family\.py"\n(.*?)```', guide, re.DOTALL)
    (metadata,) = re.findall(r'```toml title="pyproject\.toml"\n(.*?)```', guide, re.DOTALL)
    table = tomllib.loads(metadata)["project"]["entry-points"][registry.LOCALIZER_GROUP]
    install(site, "my_family", code, "\n".join(f"{k} = {v}" for k, v in table.items()))
    assert registry.family_names() == [*OURS, "mine", "plain"]
    localizer = build_architecture("mine:16")
    defended = wrap_with_ansm(localizer)
    assert (defended.spec.family, defended.spec.stride) == ("mine", 8)
    pixels = torch.rand(1, 3, 13, 20)
    assert mask_forward(defended, defended.spec)(pixels).shape == (1, 1, 13, 20)
    with taps(localizer, defended.spec.taps) as features:
        localizer(torch.rand(1, 3, 16, 16))
    assert all(f.shape[1] == 16 for f in features.values())
    photograph = site / "x.png"
    Image.new("RGB", (16, 16)).save(photograph)
    command = ["localize", "--localizer", "mine:4", str(photograph), "--output", str(site)]
    assert main(command) == 2
    assert "no ANSM is known for mine:4" in capsys.readouterr().err


def test_a_family_that_fails_to_load_is_named_and_left_out(site: Path) -> None:
    install(site, "broken_family", "import no_such_package", "broken = broken_family")
    plain = nn.Conv2d(3, 1, 1)
    plain.pretrained_cfg = {"mean": HALF, "std": HALF}  # type: ignore[assignment]
    with pytest.warns(UserWarning, match=r"'broken' of broken_family.*no_such_package.*left out"):
        assert describe(plain).family == "plain"
    with pytest.raises(ConfigError, match=r"broken_family.*no_such_package"):
        build_architecture("broken:x")
    assert describe(smp.Unet("resnet18", encoder_weights=None)).family == "smp"


def quiet() -> nn.Module:
    """Return a localizer that says how its input is normalised."""
    plain = nn.Conv2d(3, 1, 1)
    plain.pretrained_cfg = {"mean": HALF, "std": HALF}  # type: ignore[assignment]
    return plain


TAKES_ALL = "def matches(localizer):\n    return True\n"
BUILDS = "def build(query):\n    return None\n"
DESCRIBES = "def describe(localizer):\n    return None\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "has no function matches, describe, build"),
        (DESCRIBES + BUILDS, "has no function matches"),
        (TAKES_ALL + BUILDS, "has no function describe"),
        (TAKES_ALL + DESCRIBES, "has no function build"),
        ("matches = 3\n" + DESCRIBES + BUILDS, "has no function matches"),
        (
            "def matches(it):\n    return it.config\n" + DESCRIBES + BUILDS,
            "fails on .*no attribute",
        ),
        ("def matches(it):\n    raise SystemExit\n" + DESCRIBES + BUILDS, "fails on .*SystemExit"),
        (TAKES_ALL + DESCRIBES + BUILDS, "by NoneType, no LocalizerSpec"),
        (TAKES_ALL + "def describe(it):\n    return it.config\n" + BUILDS, "fails on Conv2d"),
    ],
)
def test_a_family_that_matches_badly_is_named_and_left_out(
    site: Path, code: str, said: str
) -> None:
    install(site, "bad_family", code, "bad = bad_family")
    with pytest.warns(UserWarning, match=rf"'bad' of bad_family 1\.0.*{said}.*left out"):
        assert wrap_with_ansm(quiet()).spec.family == "plain"
    assert describe(smp.Unet("resnet18", encoder_weights=None)).family == "smp"


@pytest.mark.parametrize(
    ("code", "said"),
    [("return None", "built NoneType"), ("return int(query)", "ValueError"),
     ("raise LocalizerError('give a number.')", r"^give a number\.$")],
)  # fmt: skip
def test_a_family_that_cannot_build_is_named(site: Path, code: str, said: str) -> None:
    imports = "from ansm_plugin.errors import LocalizerError\n"
    code = f"{imports}{TAKES_ALL}{DESCRIBES}def build(query):\n    {code}\n"
    install(site, "bad_family", code, "bad = bad_family")
    with pytest.raises(LocalizerError, match=said) as caught:
        build_architecture("bad:x")
    assert "'bad' of bad_family 1.0" in str(caught.value) or said.startswith("^")


def test_a_foreign_family_takes_no_name_of_ours(site: Path) -> None:
    install(site, "thief", "raise RuntimeError", "smp = thief")
    assert registry.family_names() == [*OURS, "plain"]
    assert registry.family("smp").__name__.startswith("ansm_plugin")  # type: ignore[attr-defined]
