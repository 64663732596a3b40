"""A localizer inside DataParallel, torch.compile and their kin is known as the bare one is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ansm_plugin import ANSM, LocalizerSpec, wrap_with_ansm
from ansm_plugin.ansm import Architecture
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.localizer.families import describe, inner
from ansm_plugin.localizer.taps import taps
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.ansm_file import Provenance, identify, save_ansm

Around = Callable[[nn.Module], nn.Module]
THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())


class Lit(nn.Module):
    """A Lightning module as people write them: a model, and a loss with a buffer beside it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = nn.BCEWithLogitsLoss(pos_weight=torch.ones(1))

    def forward(self, images: Tensor) -> Any:
        return self.model(images)

    def training_step(self, batch: Any) -> Any:
        return self.loss(self(batch[0]), batch[1])


class Normalising(Lit):
    """Takes pixels, as the example of SMP does: its input is another than its model's."""

    def forward(self, images: Tensor) -> Any:
        return self.model((images - 0.485) / 0.229)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def described(model: nn.Module) -> tuple[LocalizerSpec, str]:
    """Return the spec of a model, and all warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        spec = describe(model)
    return spec, " ".join(str(w.message) for w in said)


ALWAYS: dict[str, Around] = {
    "DataParallel": nn.DataParallel,
    "compile": compiled,
    "AveragedModel": AveragedModel,
    "compile of DataParallel": lambda m: compiled(nn.DataParallel(m)),
}
OF_KNOWN: dict[str, Around] = {
    "Sequential": nn.Sequential,
    "Lightning": Lit,
    "Lightning of DataParallel": lambda m: Lit(nn.DataParallel(m)),
    "DataParallel of Lightning": lambda m: nn.DataParallel(Lit(m)),
    "Sequential of Sequential": lambda m: nn.Sequential(nn.Sequential(m)),
}
KNOWN: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": lambda: smp.Unet("resnet18", encoder_weights=None, activation="sigmoid"),
    "softmax": lambda: smp.FPN("resnet18", encoder_weights=None, classes=2, activation="softmax2d"),
    "inception": lambda: smp.Unet("xception", encoder_weights=None),
    "timm": lambda: build_architecture("timm:test_resnet"),
}


@pytest.mark.parametrize("around", [*ALWAYS, *OF_KNOWN])
@pytest.mark.parametrize("name", ["sigmoid", "softmax", "timm"])
def test_a_wrapped_model_is_described_as_the_bare_one(name: str, around: str) -> None:
    model = KNOWN[name]().eval()
    wrapped = (ALWAYS | OF_KNOWN)[around](model)
    within = inner(wrapped)
    assert within is model or around == "AveragedModel"  # which copies it
    assert describe(wrapped) == describe(model)
    assert fingerprint(wrapped) == fingerprint(model)
    assert identify(wrapped, describe(wrapped)) == identify(model, describe(model))


@pytest.mark.parametrize("around", ALWAYS)
def test_a_plain_module_in_a_wrapper_is_the_bare_one_too(around: str, tiny: nn.Module) -> None:
    wrapped = ALWAYS[around](tiny)
    assert fingerprint(wrapped) == fingerprint(tiny)
    with pytest.warns(UserWarning, match="TinyLocalizer does not say"):
        assert describe(wrapped) == describe(tiny)


@pytest.mark.parametrize("around", OF_KNOWN)
def test_what_no_family_knows_is_not_looked_into(around: str) -> None:
    """Else files of localizers that are a Sequential themselves would be those of others."""
    layer = nn.Linear(2, 2)
    assert fingerprint(OF_KNOWN[around](layer)) != fingerprint(layer)


@pytest.mark.parametrize("around", [*ALWAYS, *OF_KNOWN])
def test_the_localizer_of_an_ansm_is_recognised(around: str, tmp_path: Path) -> None:
    model = smp.Unet("resnet18", encoder_weights=None)
    wrap = (ALWAYS | OF_KNOWN)[around]
    for saved, given in ((model, wrap(model)), (wrap(model), model)):
        belongs_to = identify(saved, LocalizerSpec())
        path = save_ansm(ANSM(THIN), tmp_path / "a.safetensors", Provenance(localizer=belongs_to))
        wrap_with_ansm(given, str(path))  # warnings are errors here


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_files_that_were_written_for_a_wrapper_still_know_the_bare_one(
    prefix: str, tmp_path: Path, tiny: nn.Module
) -> None:
    """Releases before looked through no wrapper: names in their fingerprints had its prefix."""

    class Old(nn.Module):
        """Has the names that a wrapper gives, and is none."""

        def __init__(self) -> None:
            super().__init__()
            self.add_module(prefix.removesuffix("."), tiny)

    belongs_to = {"class": "DataParallel", "sha256": fingerprint(Old())}
    path = save_ansm(ANSM(THIN), tmp_path / "a.safetensors", Provenance(localizer=belongs_to))
    wrap_with_ansm(tiny, str(path), spec=LocalizerSpec())
    with pytest.warns(UserWarning, match="was trained for DataParallel"):
        wrap_with_ansm(nn.Conv2d(3, 1, 1), str(path), spec=LocalizerSpec())


def test_a_module_that_normalises_itself_is_not_taken_for_its_model() -> None:
    lit = Normalising(smp.FPN("resnet18", encoder_weights=None))
    spec, said = described(lit)
    assert "Normalising gives another mask than the FPN inside it" in said
    assert "Normalising does not say how its input is normalised" in said
    assert (spec.family, spec.stride) == ("plain", 32)


def test_a_sigmoid_behind_a_known_model_is_seen() -> None:
    model = nn.Sequential(smp.FPN("resnet18", encoder_weights=None), nn.Sigmoid())
    spec, said = described(model)
    assert spec.activation == "sigmoid"
    assert "probabilities" in said


def test_a_defence_is_never_taken_for_its_localizer() -> None:
    class Brighten(nn.Module):
        """A defence without parameters."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.full_like(images, 0.1)

    model = smp.Unet("resnet18", encoder_weights=None)
    defended = DefendedLocalizer(model, Brighten(), LocalizerSpec())
    assert inner(defended) is defended
    assert fingerprint(defended) != fingerprint(model)


@pytest.mark.parametrize("around", [*ALWAYS, *OF_KNOWN])
def test_stages_are_tapped_through_wrappers(around: str) -> None:
    model = smp.Unet("resnet18", encoder_weights=None).eval()
    wrapped = (ALWAYS | OF_KNOWN)[around](model).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        wrapped(images)  # compiled code that ran before calls no hooks
        with taps(wrapped, describe(wrapped).taps) as found:
            wrapped(images)
        with taps(model, describe(model).taps) as expected:
            model(images)
    assert found.keys() == expected.keys()
    assert len(found) == 2
    for name, feature in expected.items():
        torch.testing.assert_close(found[name], feature)


@pytest.mark.parametrize("around", ALWAYS)
def test_a_fresh_wrap_of_a_wrapper_changes_no_bit(around: str) -> None:
    wrapped = ALWAYS[around](smp.Unet("resnet18", encoder_weights=None)).eval()
    inputs = torch.randn(1, 3, 64, 32)
    with torch.no_grad():  # torch.compile warns of gradients, and warnings are errors here
        assert torch.equal(wrap_with_ansm(wrapped)(inputs), wrapped(inputs))


@pytest.mark.parametrize("given", ["bare", "DataParallel", "compile"])
@pytest.mark.parametrize("into", ["bare", "DataParallel", "compile"])
@pytest.mark.parametrize("pair", [False, True])
def test_states_go_in_and_out_of_wrappers(given: str, into: str, pair: bool) -> None:
    """The state of a pair and that of its localizer, whatever wrapper either of them is in."""
    wrappers = {"bare": lambda m: m} | ALWAYS
    torch.manual_seed(1)
    source = wrappers[given](nn.Sequential(nn.Conv2d(3, 1, 1)))
    target = wrappers[into](nn.Sequential(nn.Conv2d(3, 1, 1)))
    state = wrap_with_ansm(source, spec=LocalizerSpec()) if pair else source
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrap_with_ansm(target, spec=LocalizerSpec()).load_state_dict(state.state_dict())
    assert fingerprint(source) == fingerprint(target)
