"""IMDLBenCo through its test double: names, signatures, post functions, mistakes."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from host_models import HostModel

from ansm_plugin.errors import ConfigError
from ansm_plugin.toolkits import imdlbenco
from ansm_plugin.toolkits.host_model import DefendedHostModel

Registry = types.ModuleType
Batch = dict[str, Any]


def test_every_model_has_a_defended_name(benco: Registry) -> None:
    assert imdlbenco.register() == ["ANSM_HostModel", "ANSM_TwoStreams"]
    assert benco.MODELS.has("ANSM_HostModel")
    assert isinstance(benco.MODELS.get("ANSM_HostModel")(), DefendedHostModel)


def test_a_model_registered_later_has_one_too(benco: Registry) -> None:
    imdlbenco.register()

    class MyModel(HostModel):
        pass

    assert not benco.MODELS.has("ANSM_MyModel")
    benco.MODELS.register_module(module=MyModel)
    assert isinstance(benco.MODELS.get("ANSM_MyModel")().localizer, MyModel)


def test_nothing_is_built_or_listed_before_it_is_asked_for(benco: Registry) -> None:
    imdlbenco.register()
    assert list(benco.MODELS.module_dict) == ["HostModel", "TwoStreams"]


@pytest.mark.parametrize("name", ["ANSM_Unknown", "ANSM_", "ANSM_ANSM_HostModel", "ansm_HostModel"])
def test_other_names_stay_unknown(benco: Registry, name: str) -> None:
    imdlbenco.register()
    assert not benco.MODELS.has(name)
    with pytest.raises(KeyError):
        benco.MODELS.get(name)


def test_registering_twice_changes_nothing(benco: Registry) -> None:
    imdlbenco.register()
    table = benco.MODELS.module_dict
    imdlbenco.register()
    assert benco.MODELS.module_dict is table


def test_a_model_registered_anew_is_the_one_that_is_built(benco: Registry) -> None:
    imdlbenco.register()
    benco.MODELS.get("ANSM_HostModel")

    class Newer(HostModel):
        pass

    benco.MODELS.register_module(name="HostModel", force=True, module=Newer)
    assert isinstance(benco.MODELS.get("ANSM_HostModel")().localizer, Newer)


def as_the_host_reads(build: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Return type and default per option, as the host's create_argparser takes them."""
    assert isinstance(build, types.FunctionType)  # else the host reads build.__init__
    assert build.__name__
    parameters = inspect.signature(build).parameters
    assert not {"args", "kwargs", "self"} & parameters.keys()
    return {name: (p.annotation, p.default) for name, p in parameters.items()}


def test_the_host_reads_real_types_and_prefixed_options(benco: Registry) -> None:
    def build(width: int = 4, name="x") -> HostModel:  # type: ignore[no-untyped-def]
        return HostModel(width, name)

    build.__annotations__["width"] = int  # as without `from __future__ import annotations`
    benco.MODELS.register_module(name="Built", module=build)
    imdlbenco.register()
    options = as_the_host_reads(benco.MODELS.get("ANSM_Built"))
    assert options["width"] == (int, 4)
    assert options["name"] == (inspect.Parameter.empty, "x")
    ours = {name: option for name, option in options.items() if name not in ("width", "name")}
    assert all(name.startswith("ansm_") for name in ours)
    assert ours["ansm_weights"] == (str, "")
    assert ours["ansm_eps_255"] == (float, 8.0)


def test_options_reach_the_model_and_the_ansm(benco: Registry) -> None:
    imdlbenco.register()
    pair = benco.MODELS.get("ANSM_HostModel")(width=6, ansm_preset="base", ansm_attack="pgd")
    assert pair.localizer.head.in_channels == 6
    assert pair.ansm.architecture.unshuffle == 1
    assert pair.training_attack.eps_255 == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ansm_attack": "pgx"}, "unknown attack 'pgx'"),
        ({"ansm_attack": "pgd", "ansm_eps_255": 0.0}, r"ansm_eps_255 is 0\.0"),
        ({"ansm_preset": "smal"}, "unknown ANSM preset 'smal'"),
    ],
)
def test_wrong_options_are_named(benco: Registry, options: dict[str, Any], said: str) -> None:
    imdlbenco.register()
    with pytest.raises(ConfigError, match=said):
        benco.MODELS.get("ANSM_HostModel")(**options)


def test_a_parameter_of_var_keywords_stays_last() -> None:
    def base(width: int = 4, **rest: int) -> HostModel:
        return HostModel(width)

    names = list(inspect.signature(imdlbenco.defended_factory("ANSM_X", base)).parameters)
    assert names[0] == "width"
    assert names[-1] == "rest"


def test_the_hosts_constants_are_imagenets() -> None:
    assert imdlbenco.SPEC.mean == (0.485, 0.456, 0.406)
    assert imdlbenco.SPEC.std == (0.229, 0.224, 0.225)
    assert torch.allclose(imdlbenco.SPEC.denormalise(torch.zeros(1, 3, 1, 1))[0, :, 0, 0],
                          torch.tensor(imdlbenco.SPEC.mean))  # fmt: skip


# --- post functions -------------------------------------------------------------------------------


def test_post_functions_are_found_under_the_defended_name(benco: Registry) -> None:
    def cat_net_post_func(data: Batch) -> None:
        """Stands in for the host's."""

    def My_post_func(data: Batch) -> None:  # noqa: N802
        """Registered later, by a user."""

    benco.POSTFUNCS.register_module(module=cat_net_post_func)
    imdlbenco.register()
    benco.POSTFUNCS.register_module(module=My_post_func)
    assert benco.POSTFUNCS.get_lower("ansm_cat_net_post_func") is cat_net_post_func
    assert benco.POSTFUNCS.get_lower("ansm_my_post_func") is My_post_func


def test_partial_defence_is_said_although_the_host_silences_warnings(benco: Registry) -> None:
    imdlbenco.register()
    with pytest.warns(UserWarning, match="TwoStreams is defended partially"):
        benco.MODELS.get("ANSM_TwoStreams")()


def test_our_warnings_are_heard_behind_the_hosts_blanket_filter(benco: Registry) -> None:
    imdlbenco.register()
    with warnings.catch_warnings(record=True) as heard:  # the filters stay as they are
        benco.MODELS.get("ANSM_TwoStreams")()
        warnings.warn("another's", FutureWarning, stacklevel=1)
    assert ["defended partially" in str(w.message) for w in heard] == [True]


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_doubles")
def test_a_missing_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IMDLBenCo", None)
    with pytest.raises(
        ConfigError, match=r"IMDLBenCo cannot be imported .*ansm_plugin\[imdlbenco\]"
    ):
        imdlbenco.register()


def test_an_old_host_is_named(benco: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.import_module("IMDLBenCo.version")
    monkeypatch.setattr(version, "__version__", "0.1.9")
    with pytest.raises(ConfigError, match=r"IMDLBenCo 0\.1\.9 in .* is older than 0\.1\.22"):
        imdlbenco.register()


@pytest.mark.parametrize("release", ["0.1.22", "0.1.45", "0.2.0"])
def test_newer_hosts_are_taken_with_the_registry_of_the_oldest(
    release: str, benco: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cat_net_post_func(data: Batch) -> None:
        """Stands in for the host's."""

    monkeypatch.setattr(importlib.import_module("IMDLBenCo.version"), "__version__", release)
    monkeypatch.delattr(benco.Registry, "get_lower")  # 0.1.22 asks `has`, then `get`
    benco.POSTFUNCS.register_module(module=cat_net_post_func)
    assert imdlbenco.register() == ["ANSM_HostModel", "ANSM_TwoStreams"]
    assert benco.POSTFUNCS.has("ansm_cat_net_post_func")
    assert benco.POSTFUNCS.get("ansm_cat_net_post_func") is cat_net_post_func


def test_what_takes_no_image_is_no_model(benco: Registry) -> None:
    class SparseViTBackbone(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class Keywords(torch.nn.Module):
        def forward(self, **data: Any) -> dict[str, Any]:
            return data

    for made in (SparseViTBackbone, Keywords):
        benco.MODELS.register_module(module=made)
    assert imdlbenco.register() == ["ANSM_HostModel", "ANSM_TwoStreams", "ANSM_Keywords"]
    assert benco.MODELS.has("SparseViTBackbone")
    assert not benco.MODELS.has("ANSM_SparseViTBackbone")


def test_another_kind_of_registry_is_named(
    benco: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benco, "MODELS", types.SimpleNamespace(name="MODELS"))
    with pytest.raises(
        ConfigError, match="registry MODELS of this IMDLBenCo keeps no _module_dict"
    ):
        imdlbenco.register()
