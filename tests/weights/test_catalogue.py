"""The catalogue of weights: cards are read strictly, names lead to localizer, ANSM and score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.distributions import offer_weights

from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, ansm_of, build_localizer, crops_of
from ansm_plugin.commands.loading import load_defended, load_localizer
from ansm_plugin.data.cautions import TrainedOn
from ansm_plugin.errors import AnsmError, ConfigError, WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.offer import create
from ansm_plugin.weights import catalogue
from ansm_plugin.weights.catalogue_card import FAILS, CardScores, MadeCrops, TrainedRange, read_card
from ansm_plugin.weights.tensors import read_metadata

RESEARCH = Path(__file__).parents[2] / "recipes" / "lab" / "weights"
in_checkout = pytest.mark.skipif(not RESEARCH.is_dir(), reason="an sdist has no research weights")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder for distributions; forget their modules after."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith("_weights_module"):
            del sys.modules[name]


@pytest.fixture
def shop(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with a pair named `shop-unet`; return its folder."""
    return offer_weights(site, monkeypatch, "shop-unet")


# --- cards ----------------------------------------------------------------------------------------


def test_a_card_says_all_that_is_in_it(shop: Path) -> None:
    card = read_card(shop / "shop-unet.card.toml")
    assert card.architecture.startswith("smp:Unet?")
    assert card.fails == (FAILS["decodes"], FAILS["overwrites"])
    assert card.trained_on == TrainedRange(sides=(64, 64), formats=("PNG",))
    assert card.crops == MadeCrops(style="planted", size=64)
    assert card.figures[0].f1 == 0.988
    assert card.figures[1].marking_everything is None


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("summary =", "sumary =", ConfigError, "'sumary'. Nearest: summary"),
        ('licence = "Apache-2.0"', "licence = 2", ConfigError, "licence is 2; it must be of type"),
        ('licence = "Apache-2.0"', "", ConfigError, "has no licence"),
        ('licence = "Apache-2.0"', 'licence = " "', ConfigError, "licence is ' '.*one line"),
        ('"overwrites"', '"overrides"', ConfigError, "does .*'overrides'. Nearest: overwrites"),
        ("sides = [64, 64]", "sides = [64]", ConfigError, "sides has 1 entries"),
        ("sides = [64, 64]", "sides = [65, 64]", ConfigError, "lowest and the highest"),
        ("size = 64", "size = 6", ConfigError, "size is 6"),
        ("images = 96", "picures = 96", ConfigError, "figures.*'picures'. Nearest: source, images"),
        ('name = "shop-unet"', 'name = "Shop:unet"', ConfigError, "small letters"),
        ('name = "shop-unet"', 'name = "another"', ConfigError, r"must be another\.card\.toml"),
        ('"shop-unet.safetensors"', '"../a.safetensors"', ConfigError, "beside the card"),
        ('"shop-unet.safetensors"', '"a.safetensors"', WeightsError, r"a\.safetensors, which is n"),
        ("name =", "name", ConfigError, "cannot be read"),
        ("[[figures]]", "[[scores]]", ConfigError, "scores"),
    ],
)
def test_a_card_that_is_wrong_is_named(
    shop: Path, old: str, new: str, error: type[AnsmError], said: str
) -> None:
    file = shop / "shop-unet.card.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(error, match=said) as raised:
        read_card(file)
    assert str(file) in str(raised.value)


def test_a_score_is_as_high_as_those_from_it_on() -> None:
    known = CardScores(set="bed", authentic=(0.1, 0.98, 0.4, 0.99), forged=(0.98, 0.97))
    assert known.as_high(0.98) == (0.5, 0.5)
    assert known.as_high(0.9804) == (0.5, 0.5)  # cards have three digits
    assert known.as_high(0.9806) == (0.25, 0.0)
    assert CardScores(set="bed", authentic=(0.5,)).as_high(0.4) == (1.0, None)


@pytest.mark.parametrize(
    ("authentic", "forged"), [((), (0.5,)), ((1.2,), ()), ((0.5,), (-0.1,)), ((float("nan"),), ())]
)
def test_scores_of_a_card_are_shares(
    authentic: tuple[float, ...], forged: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="scores of 'bed'"):
        CardScores(set="bed", authentic=authentic, forged=forged)


def test_the_range_of_a_card_is_that_of_the_warnings() -> None:
    fields = vars(TrainedRange(sides=(1, 2), formats=("JPEG",), jpeg_quality=(75, 90)))
    assert TrainedOn(**fields) == TrainedOn.from_table(
        {"sides": [1, 2], "formats": ["JPEG"], "jpeg_quality": [75, 90]}
    )


# --- where they are found -------------------------------------------------------------------------


def test_the_package_and_distributions_are_one_catalogue(shop: Path) -> None:
    found = catalogue.catalogue()
    assert found.keys() >= {DEFAULT_LOCALIZER, "shop-unet"}
    assert found[DEFAULT_LOCALIZER].origin == catalogue.PACKAGE
    assert found["shop-unet"].origin == "shop"
    assert found["shop-unet"].ansm == shop / "shop-unet-ansm.safetensors"
    assert found["shop-unet"].bytes == found[DEFAULT_LOCALIZER].bytes


def test_the_default_comes_first(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [shop / f"{name}.card.toml" for name in ("a-unet", "z-unet")]
    for name in names:
        stem = name.name.removesuffix(".card.toml")
        text = (shop / "shop-unet.card.toml").read_text()
        name.write_text(text.replace('name = "shop-unet"', f'name = "{stem}"'))
    monkeypatch.setattr(catalogue, "ASSETS", shop)
    monkeypatch.setattr(catalogue, "DEFAULT_LOCALIZER", "shop-unet")
    assert list(catalogue.packaged()) == ["shop-unet", "a-unet", "z-unet"]


def test_a_name_of_the_package_imports_no_distribution(shop: Path) -> None:
    assert catalogue.find(DEFAULT_LOCALIZER) is not None
    assert catalogue.find("smp:Unet") is None
    assert "shop_weights_module" not in sys.modules
    assert catalogue.find("shop-unet") is not None
    assert "shop_weights_module" in sys.modules


def test_the_package_keeps_its_names(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_weights(site, monkeypatch, DEFAULT_LOCALIZER)
    with pytest.warns(UserWarning, match="shop has weights named 'forensic-unet'"):
        found = catalogue.catalogue()
    assert found[DEFAULT_LOCALIZER].origin == catalogue.PACKAGE


def test_what_a_distribution_breaks_is_named_and_left_out(shop: Path) -> None:
    (shop / "broken.card.toml").write_text("name = 3\n")
    with pytest.warns(UserWarning, match=r"shop: .*broken\.card\.toml.*left out"):
        assert "broken" not in (found := catalogue.catalogue())
    assert "shop-unet" in found


@pytest.mark.parametrize(
    ("code", "said"),
    [("FOLDER = 7\n", "offers 7 as weights, which is no folder"), ("1 / 0\n", "ZeroDivision")],
)
def test_a_distribution_without_a_folder_is_left_out(shop: Path, code: str, said: str) -> None:
    (shop / "__init__.py").write_text(code)
    with pytest.warns(UserWarning, match=f"shop.*{said}"):
        assert catalogue.find("shop-unet") is None


def test_the_catalogue_is_read_without_torch() -> None:
    code = "from ansm_plugin.weights import catalogue; import sys; catalogue.catalogue(); "
    code += "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


# --- what a name leads to -------------------------------------------------------------------------


def test_a_short_name_brings_localizer_ansm_and_score(shop: Path) -> None:
    named = load_defended("shop-unet", None)
    ours = load_defended(None, None)
    assert fingerprint(named.localizer) == fingerprint(ours.localizer)
    assert fingerprint(named.ansm) == fingerprint(ours.ansm)
    assert named.score == ours.score is not None
    assert fingerprint(load_localizer("shop-unet")) == fingerprint(ours.localizer)
    made = create("shop-unet")
    assert fingerprint(made) == fingerprint(named)
    assert fingerprint(create("shop-unet", preset="tiny")) != fingerprint(named)


def test_other_weights_behind_a_short_name_have_no_ansm_of_it(shop: Path) -> None:
    name = f"shop-unet@{shop / 'shop-unet.safetensors'}"
    assert ansm_of(name) is None
    assert fingerprint(build_localizer(name)) == fingerprint(build_localizer("shop-unet"))
    with pytest.raises(ConfigError, match="no ANSM is known for shop-unet@"):
        load_defended(name, None)


def test_crops_that_are_made_follow_the_card(shop: Path) -> None:
    file = shop / "shop-unet.card.toml"
    made = 'style = "photographic"\nsize = 224'
    file.write_text(file.read_text().replace('style = "planted"\nsize = 64', made))
    wanted = MadeCrops(style="photographic", size=224)
    assert crops_of("shop-unet") == crops_of("shop-unet@x.safetensors") == wanted
    assert crops_of(None) == crops_of("smp:Unet") == MadeCrops(style="planted", size=64)


def test_a_misspelt_name_is_told_the_nearest_of_all(shop: Path) -> None:
    with pytest.raises(ConfigError, match="Nearest: shop-unet"):
        build_localizer("shop-unett")


@pytest.mark.parametrize("name", ["casia1-cnn", "casia-cnn"])
def test_weights_that_are_not_installed_say_how(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORENSICS_PLUGINS", "")  # whatever is installed here
    with pytest.raises(ConfigError, match=r"casia1-cnn is one of.*pip install \./recipes/lab/we"):
        build_localizer(name)


# --- the weights for research ---------------------------------------------------------------------


@in_checkout
def test_the_research_weights_are_those_that_are_known() -> None:
    names = {file.name.removesuffix(".card.toml") for file in RESEARCH.glob("*.card.toml")}
    assert names == set(catalogue.RESEARCH)


@in_checkout
@pytest.mark.parametrize("name", catalogue.RESEARCH)
def test_a_research_card_agrees_with_its_page(name: str) -> None:
    card = read_card(RESEARCH / f"{name}.card.toml")  # its files are there
    page = (RESEARCH / f"{name}.md").read_text(encoding="utf-8")
    assert f"`{card.weights}` | the localizer `{card.architecture}`" in page
    assert f"`{card.ansm}` | its ANSM" in page
    figures = card.figures[0]
    assert f"| originals | {figures.f1:.3f} | {figures.f1_defended:.3f} |" in page
    assert card.licence == "LicenseRef-research-only"
    localizer = read_metadata(RESEARCH / card.weights)
    trained_for = json.loads(read_metadata(RESEARCH / str(card.ansm))["localizer"])
    assert localizer["name"] == card.architecture
    assert localizer["sha256"] == trained_for["sha256"]


@in_checkout
@pytest.mark.slow
def test_the_research_distribution_holds_its_folder(tmp_path: Path) -> None:
    import shutil
    import zipfile

    copy = shutil.copytree(RESEARCH, tmp_path / "weights")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = (".safetensors", ".toml", ".md")
    wanted = {f.name for f in RESEARCH.iterdir() if f.suffix in kinds} - {"pyproject.toml"}
    inside = {n.rpartition("/")[2] for n in names if n.startswith("ansm_plugin_research_weights/")}
    assert inside == {*wanted, "__init__.py"}


def test_the_default_is_for_photographs_and_the_environment_may_name_another() -> None:
    code = (
        "from ansm_plugin.weights.catalogue import DEFAULT_LOCALIZER, find; "
        "found = find(DEFAULT_LOCALIZER); "
        "print(DEFAULT_LOCALIZER, found and found.ansm and found.ansm.is_file())"
    )
    said = []
    for named in (None, "forensic-unet", "smp:Unet?encoder_name=resnet18"):
        others = {k: v for k, v in os.environ.items() if k != "ANSM_LOCALIZER"}
        environment = others if named is None else others | {"ANSM_LOCALIZER": named}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        said += [done.stdout.split()]
    assert said == [
        ["photo", "True"],
        ["forensic-unet", "True"],
        ["smp:Unet?encoder_name=resnet18", "None"],
    ]


def test_a_pair_where_a_localizer_is_wanted_is_told_apart() -> None:
    said = catalogue.unknown("photo+mine.safetensors", [])
    assert said.endswith(
        "the name is 'photo'; commands that use an ANSM take `--ansm mine.safetensors`."
    )
    assert "--ansm" not in catalogue.unknown("fotografie+mine.safetensors", [])


def test_a_wrong_name_from_the_environment_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ANSM_LOCALIZER" not in catalogue.unknown("fotografie", [])
    monkeypatch.setenv("ANSM_LOCALIZER", "fotografie")
    said = catalogue.unknown("fotografie", [])
    assert said.endswith("The environment variable ANSM_LOCALIZER names it.")
    assert "ANSM_LOCALIZER" not in catalogue.unknown("foto", [])
