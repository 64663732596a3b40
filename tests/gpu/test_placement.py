"""On a real accelerator: numbers are those of the CPU, memory halves batches, resuming is exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ansm_plugin.backbones import reference
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.material import demo_data, made_samples
from ansm_plugin.evaluation.results import T0, T1
from ansm_plugin.export import export_onnx
from ansm_plugin.system.device import find_device, tf32
from ansm_plugin.system.memory import Capacity

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator"),
]
TOLERANCE = 0.002  # of F1, between the CPU and an accelerator
CONFIG = EvaluationConfig(threats=(T0, T1), attacks=("pgd", "mifgsm"), eps_255=(4,), steps=5)


def embedded(device: str) -> DefendedLocalizer[nn.Module]:
    localizer = reference.build_localizer(reference.DEFAULT_LOCALIZER)
    return wrap_with_ansm(localizer, str(reference.packaged_ansm()), device=device)


def figures(evaluation: Evaluation) -> dict[tuple[str, str], float]:
    return {(row.key, row.defence): row.f1 for row in evaluation.rows}


@pytest.fixture(name="samples", scope="module")
def _samples() -> list[object]:
    return list(made_samples(demo_data(96), authentic=False))


@pytest.fixture(name="on_device", scope="module")
def _on_device(samples: list[object]) -> Evaluation:
    return evaluate(embedded("auto"), samples, CONFIG)  # type: ignore[arg-type]


def test_f1_of_a_fixed_set_is_that_of_the_cpu(samples: list[object], on_device: Evaluation) -> None:
    """Originals, and images attacked on the CPU: the noise is the same, and so is what is found."""
    near = evaluate(embedded("cpu"), samples, CONFIG)  # type: ignore[arg-type]
    found, expected = figures(on_device), figures(near)
    assert on_device.computed is not None
    assert on_device.computed.device == str(find_device())
    clean = [key for key in expected if key[0] == "none@0"]
    assert {k: found[k] for k in clean} == pytest.approx(
        {k: expected[k] for k in clean}, abs=TOLERANCE
    )
    # Attacks follow the sign of a gradient, which rounding turns where it is nearly 0.
    assert found == pytest.approx(expected, abs=10 * TOLERANCE)


def test_the_same_images_are_scored_alike(samples: list[object]) -> None:
    images = samples[0].images  # type: ignore[attr-defined]
    near, far = embedded("cpu"), embedded("auto")
    place = find_device()
    with torch.no_grad(), tf32(place, on=False):
        expected = near(near.spec.normalise(images))
        found = far(far.spec.normalise(images.to(place))).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)
    assert float(((found > 0) != (expected > 0)).float().mean()) < 1e-3


def test_an_interrupted_evaluation_goes_on_to_the_same_rows(
    samples: list[object], on_device: Evaluation, tmp_path: Path
) -> None:
    """Half of the records of a run are taken over, the rest is computed again."""
    records = tmp_path / "records.jsonl"
    whole = evaluate(embedded("auto"), samples, CONFIG, records=records)  # type: ignore[arg-type]
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(lines[::2]))
    resumed = evaluate(embedded("auto"), samples, CONFIG, records=records)  # type: ignore[arg-type]
    assert whole.rows == on_device.rows
    assert resumed.rows == whole.rows


def test_memory_that_runs_out_halves_the_batch() -> None:
    place = find_device()
    asked: list[int] = []

    def work(rows: slice) -> torch.Tensor:
        count = rows.stop - rows.start
        asked.append(count)
        if count > 2:
            torch.empty(2**46, dtype=torch.uint8, device=place)  # more than any card has
        return torch.ones(count, device=place)

    assert Capacity().run(work, 8, "work").sum() == 8
    assert asked == [8, 4, 2, 2, 2, 2]


def test_inputs_elsewhere_are_refused_and_a_model_stays_where_it_is() -> None:
    place = find_device()
    localizer = reference.build_localizer(reference.DEFAULT_LOCALIZER).to(place)
    defended = wrap_with_ansm(localizer)
    assert {p.device for p in defended.parameters()} == {place}
    with pytest.raises(Exception, match="the image is on cpu"):
        defended(torch.rand(1, 3, 64, 64))


def test_a_graph_is_exported_from_there(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = export_onnx(embedded("auto"), tmp_path / "pair.onnx", side=64)
    assert done.path.exists()
    assert done.max_difference <= 1e-4


def test_bf16_attacks_do_the_same_harm(samples: list[object], on_device: Evaluation) -> None:
    config = replace(CONFIG, attack_precision="bf16")
    half = evaluate(embedded("auto"), samples, config)  # type: ignore[arg-type]
    assert half.computed is not None
    assert half.computed.precision["attacks"] == "bf16"
    assert figures(half) == pytest.approx(figures(on_device), abs=0.03)
