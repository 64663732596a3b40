"""Names and words of the command line, drawn: a slip of the finger is refused, never obeyed."""

from __future__ import annotations

import inspect
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.commands.loading import load_defended
from ansm_plugin.commands.localize import LocalizeOptions
from ansm_plugin.commands.options import parsed
from ansm_plugin.errors import AnsmError, ConfigError, LocalizerError, nearest
from ansm_plugin.localizer.families import family_names
from ansm_plugin.system.differences import differences
from ansm_plugin.system.paths import path_text, user_path
from ansm_plugin.system.text import any_encoding, harmless, say
from ansm_plugin.weights.catalogue import packaged

F = TypeVar("F", bound=Callable[..., None])
ARCHITECTURES = [kind.__name__ for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789_-. "


def cases(number: int) -> Callable[[F], F]:
    """Run a property on so many cases, always the same ones."""
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def slipped(draw: st.DrawFn, names: list[str]) -> tuple[str, str]:
    """Draw a name, and what a slip of the finger makes of it."""
    right = draw(st.sampled_from(names))
    place = draw(st.integers(0, len(right) - 1))
    letter = draw(st.sampled_from(LETTERS))
    other = {
        "left out": right[:place] + right[place + 1 :],
        "put in": right[:place] + letter + right[place:],
        "another": right[:place] + letter + right[place + 1 :],
        "doubled": right[: place + 1] + right[place:],
        "exchanged": right[:place] + right[place : place + 2][::-1] + right[place + 2 :],
        "case": right.swapcase(),
    }
    return right, draw(st.sampled_from(sorted(other.values())))


def options_of(architecture: str) -> list[str]:
    kind = getattr(smp, architecture)
    return [name for name in inspect.signature(kind).parameters if name != "kwargs"]


@cases(150)
@given(st.data())
def test_a_slip_in_an_option_of_smp_is_refused_with_the_right_one(data: st.DataObject) -> None:
    architecture = data.draw(st.sampled_from(ARCHITECTURES))
    known = options_of(architecture)
    right, wrong = data.draw(slipped(known))
    assume(wrong not in known and wrong.strip())
    encoder = "tu-test_vit" if architecture == "DPT" else "resnet18"
    # Of the option itself: encoder_name may not be given twice.
    name = (
        f"smp:{architecture}?{wrong}=1"
        if right == "encoder_name"
        else (f"smp:{architecture}?encoder_name={encoder}&{wrong}=1")
    )
    with torch.device("meta"), pytest.raises(LocalizerError) as raised:
        build_architecture(name)
    assert wrong.strip() in str(raised.value)


@cases(60)
@given(slipped(["drop_rate", "width", "out_indices", "stem_width"]))
def test_a_slip_in_an_option_of_timm_is_refused(case: tuple[str, str]) -> None:
    _, wrong = case
    assume(wrong.strip() and wrong not in ("width", "drop_rate", "out_indices", "stem_width"))
    with torch.device("meta"), pytest.raises(LocalizerError) as raised:
        build_architecture(f"timm:resnet10t?{wrong}=1")
    assert wrong.strip() in str(raised.value)


NAMES = [*packaged(), *(f"smp:{a}" for a in ARCHITECTURES), "timm:resnet18", "timm:convnext_tiny"]


@cases(200)
@given(slipped(NAMES))
@example(("smp:Unet", "simp:Unet"))
@example(("smp:Unet", "smp;Unet"))
@example(("forensic-unet", "forensic-unett"))
def test_a_slip_in_a_localizer_is_told_as_such(case: tuple[str, str]) -> None:
    """Never by the ANSM that it lacks, and not by a warning of its random weights."""
    _, wrong = case
    family, _, rest = wrong.partition(":")
    exists = wrong in NAMES or (family == "smp" and rest in ARCHITECTURES)
    assume(not exists and not (family == "timm" and rest in timm.list_models()))
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AnsmError) as raised:
            load_defended(wrong, None)
    assert "no ANSM is known" not in str(raised.value)


@cases(200)
@given(slipped([*packaged(), *family_names(), *ARCHITECTURES]))
def test_the_right_name_is_among_the_nearest(case: tuple[str, str]) -> None:
    right, wrong = case
    assume(len(wrong) > 2)
    assert right in nearest(wrong, [*packaged(), *family_names(), *ARCHITECTURES])


def _localize(words: list[str]) -> LocalizeOptions | None:
    """Return the options of `ansm localize WORDS`, None where they are refused."""
    try:
        return parsed("localize", LocalizeOptions, words, "")
    except ConfigError:
        return None


PHOTOGRAPHS = st.text("ab.0123,~ \u5199-", min_size=1, max_size=5).filter(
    lambda name: name.strip() and not name.startswith("-")
)


@cases(200)
@given(st.lists(PHOTOGRAPHS, min_size=1, max_size=4), st.integers(0, 4), st.booleans())
def test_no_photograph_is_lost_to_an_option_that_stands_alone(
    photographs: list[str], place: int, is_there: bool
) -> None:
    """Where files of these names are there, all of them are photographs, numbers as well."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            for name in photographs if is_there else ():
                Path(name).touch()
            words = [*photographs[:place], "--abstain", *photographs[place:]]
            options = _localize([*words, "--output", "o"])
        finally:
            os.chdir(before)
    assert options is not None or not is_there
    if options is None:  # the only word was a number, and taken for one
        return
    was_taken = len(options.photos) < len(photographs)
    kept = [name for n, name in enumerate(photographs) if not (was_taken and n == place)]
    assert list(options.photos) == [user_path(name) for name in kept]
    assert not (was_taken and is_there)
    assert options.abstain == (float(photographs[place]) if was_taken else 0.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@cases(300)
@given(JSON, JSON)
def test_differences_are_named_where_there_are_any_and_harmless(there: Any, now: Any) -> None:
    said = differences(there, now)
    assert (said == "") == (there == now)
    assert "\n" not in said
    assert harmless(said, kept="") == said


@cases(300)
@given(st.text(st.characters(exclude_categories=()), max_size=20),
       st.sampled_from(["ascii", "cp1252", "shift_jis", "utf-8", "cp037"]))  # fmt: skip
def test_any_text_can_be_said_in_any_encoding(text: str, encoding: str) -> None:
    stdout = sys.stdout
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    try:
        with any_encoding():
            say(text)
            print(text)
    finally:
        sys.stdout = stdout


@cases(200)
@given(st.text(max_size=20))
def test_any_text_is_a_path_and_comes_back_from_a_config(text: str) -> None:
    assume("\0" not in text and not text.startswith("~"))
    assert user_path(path_text(text)) == Path(text)
