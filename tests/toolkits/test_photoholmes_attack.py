"""Attacks on photoholmes' methods, scored by its benchmark, through a test double of it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_models import active_weights
from torch import Tensor

from ansm_plugin.errors import ConfigError
from ansm_plugin.toolkits.photoholmes_attack import (
    differentiable_heatmap,
    evaluate_method,
    method_plan,
)
from ansm_plugin.weights.ansm_file import load_ansm

F1 = "BinaryF1Score"
SHORT = {"eps_255": [8.0], "steps": 3}


def columbia(**options: Any) -> Any:
    return importlib.import_module("photoholmes.datasets.columbia").ColumbiaDataset("x", **options)


def metrics(*names: str) -> Any:
    return importlib.import_module("photoholmes.metrics.factory").MetricFactory.load(list(names))


def centred(method: Any) -> Any:
    """Let a method mark about half of the pixels, so that an attack has something to take."""
    with torch.no_grad():
        method.head.weight.mul_(4)
        images = torch.stack([data["image"].float() / 255 for data, _, _ in columbia()])
        logits = method.head(images)
        method.head.bias -= logits.transpose(0, 1).flatten(1).median(1).values
    return method


def names(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["threat"], row["attack"], row["defence"]) for row in rows]


@pytest.mark.parametrize("name", ["trufor", "psccnet"])
def test_attacks_by_gradient_go_around_the_methods_own_no_grad(
    name: str, host: ModuleType, weights: str
) -> None:
    # With its confidence the double of TruFor stays below one half everywhere.
    config = {"use_confidence": False} if name == "trufor" else None
    method, preprocessing = host.MethodFactory.load(name, config)
    plan = method_plan(["fgsm", "pgd"], **SHORT)
    rows = evaluate_method(
        centred(method), preprocessing, columbia(), metrics("f1"), weights, plan=plan
    )
    assert names(rows) == [
        ("T0", "none", "none"),
        ("T0", "none", "ansm"),
        ("T1", "fgsm", "none"),
        ("T1", "fgsm", "ansm"),
        ("T1", "pgd", "none"),
        ("T1", "pgd", "ansm"),
        ("T4", "pgd", "ansm"),
    ]
    assert {row["images"] for row in rows} == {2}
    f1 = [row[f"heatmap{F1}"] for row in rows]
    assert f1[2] < f1[0]
    assert f1[4] < f1[0]
    assert f1[6] < f1[1]


@pytest.mark.parametrize("name", ["trufor", "psccnet"])
def test_what_is_attacked_is_the_heatmap_of_the_benchmark(name: str, host: ModuleType) -> None:
    method, preprocessing = host.MethodFactory.load(name)
    data = preprocessing(**columbia()[0][0])
    way = differentiable_heatmap(method)
    assert way is not None
    assert torch.equal(way(method, data), method.benchmark(**data)["heatmap"])


def test_an_untrained_ansm_scores_what_the_bare_method_scores(
    host: ModuleType, tmp_path: Path
) -> None:
    untrained = active_weights(tmp_path / "u.safetensors", 0.0, spread=0)
    assert load_ansm(untrained).is_identity
    pair = host.MethodFactory.load("trufor")
    plan = method_plan(["pgd"], **SHORT)
    rows = evaluate_method(*pair, columbia(), metrics("f1", "auroc"), untrained, plan=plan)
    values = [[v for k, v in row.items() if k.startswith("heatmap")] for row in rows]
    assert values[0] == values[1]
    assert values[2] == values[3]
    assert len(values[0]) == 2


@pytest.mark.parametrize(
    "name",
    ["focal", "exif_as_language", "adaptive_cfa_net", "noisesniffer", "splicebuster", "zero"],
)
def test_every_method_can_be_attacked_by_its_scores(
    name: str, host: ModuleType, weights: str
) -> None:
    pair = host.MethodFactory.load(name)
    plan = method_plan(["square"], **SHORT)
    rows = evaluate_method(*pair, columbia(), metrics("f1"), weights, plan=plan)
    assert names(rows) == [
        ("T0", "none", "none"),
        ("T0", "none", "ansm"),
        ("T1", "square", "none"),
        ("T1", "square", "ansm"),
        ("T6", "square", "ansm"),
    ]
    assert rows[2]["steps"] == 3


def test_the_host_gets_8_bit_images_within_the_radius(host: ModuleType, weights: str) -> None:
    method, preprocessing = host.MethodFactory.load("focal")
    plan = method_plan(["square"], **SHORT)
    evaluate_method(method, preprocessing, columbia(), metrics("f1"), weights, plan=plan)
    originals = [data["image"].float() for data, _, _ in columbia()]
    whole = [image for image in method.seen if torch.equal(image, image.round())]
    distances = [min(float((image - o).abs().max()) for o in originals) for image in whole]
    assert max(distances) == 8


def test_a_way_to_the_heatmap_can_be_given(host: ModuleType, weights: str) -> None:
    method, preprocessing = host.MethodFactory.load("exif_as_language")
    asked = []

    def heatmap(given: Any, data: dict[str, Any]) -> Tensor:
        asked.append(type(given).__name__)
        return given.net(data["image"][None])[0, 0].sigmoid()

    plan = method_plan(["fgsm"], **SHORT)
    evaluate_method(
        method, preprocessing, columbia(), metrics("f1"), weights, plan=plan, heatmap=heatmap
    )
    assert asked[0] == "EXIFAsLanguage"
    assert asked[-1].startswith("ANSM_EXIFAsLanguage_")


def test_without_a_plan_the_attack_is_what_the_method_allows(
    host: ModuleType, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_EPS_255", (8.0,)), ("_STEPS", 2), ("_QUERIES", 4)):
        monkeypatch.setattr(f"ansm_plugin.toolkits.photoholmes_attack.{name}", value)
    asked = {}
    for name in ("psccnet", "focal", "adaptive_cfa_net"):
        pair = host.MethodFactory.load(name)
        rows = evaluate_method(*pair, columbia(), metrics("f1"), weights)
        asked[name] = {row["attack"] for row in rows}
    by_scores = {"none", "square"}
    expected = {"psccnet": {"none", "pgd"}, "focal": by_scores, "adaptive_cfa_net": by_scores}
    assert asked == expected


def test_metrics_that_are_no_number_are_left_out(host: ModuleType, weights: str) -> None:
    pair = host.MethodFactory.load("trufor")
    plan = method_plan(["fgsm"], **SHORT)[:1]
    rows = evaluate_method(*pair, columbia(), metrics("f1", "roc"), weights, plan=plan)
    assert [k for k in rows[0] if k.startswith("heatmap")] == [f"heatmap{F1}"]


def test_an_attack_without_a_gradient_is_refused(host: ModuleType, weights: str) -> None:
    pair = host.MethodFactory.load("zero")
    plan = method_plan(["pgd"], **SHORT)
    with pytest.raises(ConfigError, match="no gradient of Zero is known, which pgd would need"):
        evaluate_method(*pair, columbia(), metrics("f1"), weights, plan=plan)


def test_a_gradient_that_does_not_come_back_is_refused(host: ModuleType, weights: str) -> None:
    """Its `predict` is decorated by `no_grad`, but writes over its own numbers."""
    pair = host.MethodFactory.load("adaptive_cfa_net")
    plan = method_plan(["fgsm", "pgd"], **SHORT)
    with pytest.raises(
        ConfigError, match=r"AdaptiveCFANet comes back \(.*inplace.*which fgsm, pgd"
    ):
        evaluate_method(*pair, columbia(), metrics("f1"), weights, plan=plan)


def test_a_part_of_the_gradient_is_warned_of(host: ModuleType, weights: str) -> None:
    method, preprocessing = host.MethodFactory.load("psccnet")

    def heatmap(given: Any, data: dict[str, Any]) -> Tensor:
        image = data["image"][None]
        return (given.head(image) + given.head(image.detach()))[0, 0].sigmoid()

    plan = method_plan(["fgsm"], **SHORT)
    with pytest.warns(UserWarning, match=r"\d\d% of the gradient comes back through PSCCNet"):
        evaluate_method(
            method, preprocessing, columbia(), metrics("f1"), weights, plan=plan, heatmap=heatmap
        )


def test_a_dataset_that_is_preprocessed_already_is_refused(host: ModuleType, weights: str) -> None:
    method, preprocessing = host.MethodFactory.load("trufor")
    dataset = columbia(preprocessing_pipeline=preprocessing)
    with pytest.raises(ConfigError, match="without a preprocessing_pipeline"):
        evaluate_method(method, preprocessing, dataset, metrics("f1"), weights)


def test_nothing_is_kept_on_disk(
    host: ModuleType, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pair = host.MethodFactory.load("trufor")
    plan = method_plan(["fgsm"], **SHORT)
    evaluate_method(*pair, columbia(), metrics("f1"), weights, plan=plan)
    assert list(tmp_path.iterdir()) == []
