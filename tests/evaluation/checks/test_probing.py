"""Probes say how far they are, and a run that goes on does not repeat them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.colour_blinded import forged_sample
from torch import Tensor, nn

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.checks import every, search
from ansm_plugin.evaluation.checks.probing import Probing
from ansm_plugin.evaluation.records import Records

Defended = DefendedLocalizer[nn.Module]
PROBES = ("gradient probes", "search probes")


class Said(defaultdict[str, list[tuple[int, int]]]):
    """Progress that keeps finished and all parts by phase, and stops the run where it is told to.

    Args:
        stop: phase in which it does.
        after: so many calls of it.
    """

    def __init__(self, stop: str = "", after: int = 0) -> None:
        """Start with no phase."""
        super().__init__(list)
        self.stop, self.after = stop, after

    def __call__(self, name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        """Note one call."""
        self[name].append((step, steps))
        if name == self.stop and len(self[name]) > self.after:
            raise KeyboardInterrupt


def test_every_phase_is_named_and_reaches_its_end(
    defended: Defended, quick: EvaluationConfig
) -> None:
    said = Said()
    evaluate(defended, [forged_sample()], quick, progress=said)
    assert list(said) == ["evaluate", *PROBES]
    for name, calls in said.items():
        steps = [step for step, _ in calls]
        assert len({total for _, total in calls}) == 1
        assert steps == sorted(steps)
        assert steps[-1] == calls[-1][1], name
    # Nobody waits for a whole search in silence: passes are counted, not searches.
    assert len(said["search probes"]) > 20


def test_without_a_white_box_there_is_nothing_to_search(
    defended: Defended, quick: EvaluationConfig
) -> None:
    said = Said()
    evaluate(defended, [forged_sample()], replace(quick, threats=("T0", "T1")), progress=said)
    assert "search probes" not in said
    assert said["gradient probes"]


def run(defended: Defended, config: EvaluationConfig, path: Path, said: Said) -> Evaluation:
    """Evaluate with records."""
    return evaluate(defended, [forged_sample()], config, records=path, progress=said)


@pytest.mark.parametrize(("stop", "after"), [("search probes", 20), ("gradient probes", 40)])
def test_finished_probes_are_not_repeated(
    defended: Defended, quick: EvaluationConfig, tmp_path: Path, stop: str, after: int
) -> None:
    """The result is that of a run which was not stopped, and less is run for it."""
    calls = count_passes(defended)
    whole = evaluate(defended, [forged_sample()], quick)
    passes = calls.pop()
    with pytest.raises(KeyboardInterrupt):
        run(defended, quick, tmp_path / "r.jsonl", Said(stop, after))
    stopped = calls.pop()
    assert run(defended, quick, tmp_path / "r.jsonl", Said()) == whole
    # What is not kept is the one probe that was stopped.
    assert 0 < calls.pop() < passes < stopped + passes


def test_a_finished_run_probes_nothing_again(
    defended: Defended,
    quick: EvaluationConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = run(defended, quick, tmp_path / "r.jsonl", Said())
    for module, name in ((search, "run_attack"), (every, "probe"), (every, "probe_bare")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("probed again"))
    said = Said()
    assert run(defended, quick, tmp_path / "r.jsonl", said) == first
    assert said["search probes"][-1][0] == said["search probes"][-1][1]


def test_other_searches_are_run(
    defended: Defended, quick: EvaluationConfig, tmp_path: Path
) -> None:
    """More steps are another search; what is the same of it is not run again."""
    run(defended, quick, tmp_path / "r.jsonl", Said())
    calls, more = count_passes(defended), replace(quick, white_box_steps=8)
    found = run(defended, more, tmp_path / "r.jsonl", Said())
    assert calls.pop() > 0
    assert found == evaluate(defended, [forged_sample()], more)


def kept(path: Path, identity: str, number: float) -> tuple[tuple[str, ...], list[float]]:
    """Return what a new run finds of two probes, of which one would say and one be a number."""
    probing = Probing("probes", 4, Records(path, identity))
    texts = probing.texts("a", 2, lambda: (f"said {number}",))
    return texts, probing.numbers("b", 2, lambda: {"f1": number})["f1"]


def test_texts_and_numbers_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    assert kept(path, "mine", 1.0) == kept(path, "mine", 2.0) == (("said 1.0",), [1.0])
    assert kept(path, "another", 2.0) == (("said 2.0",), [2.0])


def test_what_is_not_finite_is_found_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    assert kept(path, "mine", float("inf"))[1] == [float("inf")]
    assert kept(path, "mine", 1.0)[1] == [1.0]


def count_passes(defended: Defended) -> list[int]:
    """Return a list in which the number of passes of the localizer since its last pop stands."""

    class Count(list[int]):
        def pop(self, *_: Any) -> int:
            found, self[0] = self[0], 0
            return found

    calls, forward = Count([0]), defended.localizer.forward

    def counted(inputs: Tensor) -> Tensor:
        calls[0] += 1
        result: Tensor = forward(inputs)
        return result

    defended.localizer.forward = counted  # type: ignore[method-assign]
    assert torch.is_grad_enabled()
    return calls
