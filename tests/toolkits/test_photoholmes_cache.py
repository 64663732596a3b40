"""The cache of photoholmes' benchmark: its name of a method tells whatever changes outputs."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_models import active_weights

from ansm_plugin.toolkits.photoholmes import wrap_method, wrap_pipeline


def reported(folder: Path, method: Any, preprocessing: Any) -> float:
    """Return what the host's benchmark reports, with outputs in a folder that others use too."""
    host_benchmark = importlib.import_module("photoholmes.benchmark")
    datasets = importlib.import_module("photoholmes.datasets.columbia")
    metrics = importlib.import_module("photoholmes.metrics.factory").MetricFactory.load(["auroc"])
    dataset = datasets.ColumbiaDataset("x", preprocessing_pipeline=preprocessing)
    found = host_benchmark.Benchmark(output_folder=str(folder)).run(method, dataset, metrics)
    return float(found["heatmap"]["heatmapBinaryAUROC"])


@pytest.mark.parametrize("way", ["pipeline", "method"])
def test_two_ansms_in_one_folder_report_their_own_results(
    way: str, host: ModuleType, tmp_path: Path
) -> None:
    files = [active_weights(tmp_path / f"{i}.safetensors", 0.5, seed=i) for i in (1, 2)]

    def pair(file: str | None) -> tuple[Any, Any]:
        method, preprocessing = host.MethodFactory.load("trufor")
        if file is None:
            return method, preprocessing
        if way == "method":
            return wrap_method(method, file, preprocessing=preprocessing), preprocessing
        return wrap_pipeline(method, preprocessing, file)

    alone = [reported(tmp_path / str(i), *pair(f)) for i, f in enumerate([None, *files])]
    together = [reported(tmp_path / "out", *pair(f)) for f in [None, *files]]
    assert len(set(alone)) == 3
    assert together == alone


def test_the_name_tells_what_changes_outputs(host: ModuleType, weights: str) -> None:
    load = host.MethodFactory.load

    def name(*file: str, **options: Any) -> str:
        return type(wrap_pipeline(*load("trufor", config=options), *file)[0]).__name__

    retrained, preprocessing = load("trufor")
    torch.nn.init.ones_(retrained.head.weight)
    names = [
        name(weights),
        name(weights, use_confidence=False),
        name(),
        type(wrap_pipeline(retrained, preprocessing, weights)[0]).__name__,
        type(wrap_pipeline(*load("trufor"), weights, to_8_bit=True)[0]).__name__,
        type(wrap_method(load("trufor")[0], weights, scale=1)).__name__,
        type(wrap_method(load("trufor")[0], weights, scale=255)).__name__,
        type(wrap_pipeline(*load("exif_as_language"), weights)[0]).__name__,
    ]
    assert len(set(names)) == len(names)
    assert names[0] == name(weights)  # and from one process to the next
    assert all(n.startswith(("ANSM_TruFor_", "ANSM_EXIFAsLanguage_")) for n in names)


def test_steps_of_the_users_own_have_another_name(host: ModuleType, weights: str) -> None:
    """A pipeline that does something else makes other outputs: they are not mixed in the cache."""

    class Fade:
        def __init__(self, share: float) -> None:
            self.share = share

        def __call__(self, **data: Any) -> dict[str, Any]:
            return {**data, "image": data["image"] * self.share}

    def name(*own: Fade) -> str:
        method, preprocessing = host.MethodFactory.load("trufor")
        preprocessing.transforms = [*own, *preprocessing.transforms]
        return type(wrap_pipeline(method, preprocessing, weights)[0]).__name__

    names = [name(), name(Fade(0.5)), name(Fade(0.9)), name(Fade(0.9), Fade(0.5))]
    assert len(set(names)) == 4
    assert name(Fade(0.5)) == names[1]


def test_settings_that_are_objects_are_told_by_the_name(host: ModuleType, weights: str) -> None:
    methods = importlib.import_module("photoholmes.methods.methods")

    def name(**options: Any) -> str:
        pair = host.MethodFactory.load("splicebuster", config=options)
        return type(wrap_pipeline(*pair, weights)[0]).__name__

    assert name() == name(features=methods.FeaturesConfig())
    finer = name(features=methods.FeaturesConfig(stride=4))
    assert len({name(), finer, name(mixture="gaussian")}) == 3
