"""One evaluation: original, attacked without (T1) and with (T4) knowledge of the module."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, PRESETS
from ansm_plugin.attacks import Forward, linf_attack
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import LocalizerError
from ansm_plugin.evaluation.alarms import UNTRAINED, find_alarms
from ansm_plugin.evaluation.metrics import (
    auc_scores,
    bootstrap_interval,
    f1_scores,
    false_positive_share,
    iou_scores,
)
from ansm_plugin.evaluation.plan import (
    Cell,
    EvaluationConfig,
    Sample,
    attack_generator,
    plan,
    require_samples,
)
from ansm_plugin.evaluation.results import Defence, Evaluation, Row, summarise
from ansm_plugin.localizer import mask_forward
from ansm_plugin.training import Report, silent
from ansm_plugin.weights import identify

_PACKAGES = ("torch", "timm", "segmentation_models_pytorch", "ansm_plugin")


class _Scores(NamedTuple):
    """Values per image, `(B,)`; `false_positives` of authentic images, the others of forged."""

    f1: Tensor
    iou: Tensor
    auc: Tensor
    false_positives: Tensor


def evaluate(
    defended: DefendedLocalizer[Any],
    samples: Sequence[Sample],
    config: EvaluationConfig | None = None,
    *,
    localizer: str = "",
    ansm: str = "",
    command: str = "",
    report: Report = silent,
) -> Evaluation:
    """Score bare and defended localizer on original and attacked images.

    Only forged images count in F1, IoU and AUC, and only they are attacked; authentic ones give
    the false-positive share of the T0 rows. Modules are put in eval mode meanwhile.

    Args:
        defended: made by `wrap_with_ansm`; its device is used.
        samples: batches; a batch is attacked at once, so its size decides the memory.
        config: the attacks.
        localizer: name for the result; by default family, class and hash.
        ansm: name for the result; by default preset or class.
        command: the command line, for the result.
        report: called with "evaluate", finished and all batches over all attacks, and no logs.

    Raises:
        LocalizerError: not a defended localizer, no gradient reaches the image, or NaN comes out.
        ImageError: no forged image, or images and masks of wrong shape or range.
    """
    config = config or EvaluationConfig()
    if not isinstance(defended, DefendedLocalizer):
        raise LocalizerError(
            f"evaluate takes a defended localizer; given {type(defended).__name__}. "
            "Make one with wrap_with_ansm(localizer, weights)."
        )
    images = require_samples(samples)
    if is_untrained := _is_untrained(defended.ansm):
        warnings.warn(UNTRAINED, stacklevel=2)
    forwards: dict[Defence, Forward] = {
        "none": mask_forward(defended.localizer, defended.spec, precision=config.precision),
        "ansm": mask_forward(defended, defended.spec, precision=config.precision),
    }
    with _eval_mode(defended):
        rows = tuple(_rows(forwards, _placed(samples, defended), len(samples), config, report))
    return Evaluation(
        localizer=localizer or _localizer_name(defended),
        ansm=ansm or _ansm_name(defended.ansm),
        images=images,
        rows=rows,
        summary=summarise(rows),
        alarms=find_alarms(rows, is_untrained=is_untrained),
        command=command,
        versions={name: _version(name) for name in _PACKAGES},
        seed=config.seed,
    )


def _rows(
    forwards: dict[Defence, Forward],
    samples: Callable[[], Iterator[Sample]],
    batches: int,
    config: EvaluationConfig,
    report: Report,
) -> Iterator[Row]:
    cells = plan(config)
    total, done = len(cells) * batches, 0
    for cell in cells:
        found: dict[Defence, list[_Scores]] = {defence: [] for defence in cell.scored}
        for index, sample in enumerate(samples()):
            generator = attack_generator(config.seed, cell.attack, cell.eps_255, index)
            attacked = _attacked(cell, sample, forwards[cell.through], generator)
            for defence in cell.scored:
                found[defence].append(_score(forwards[defence], attacked))
            done += 1
            report("evaluate", done, total, {})
        for defence, parts in found.items():
            scores = _Scores(*(torch.cat(values) for values in zip(*parts, strict=True)))
            yield _row(cell, defence, scores, config.seed)


def _attacked(cell: Cell, sample: Sample, forward: Forward, generator: torch.Generator) -> Sample:
    """Return the attacked forged images of a batch; the whole batch where there is no attack."""
    if cell.spec is None:
        return sample
    forged = sample.masks.flatten(1).any(1)
    images, masks = sample.images[forged], sample.masks[forged]
    if len(images):
        images = linf_attack(
            forward, images, masks, cell.eps_255 / 255, cell.spec, generator=generator
        )
    return Sample(images, masks, ())


def _score(forward: Forward, sample: Sample) -> _Scores:
    if not len(sample.images):
        nothing = torch.zeros(0, dtype=torch.float64)
        return _Scores(nothing, nothing, nothing, nothing)
    with torch.no_grad():
        logits = forward(sample.images).cpu()
    if bool(logits.isnan().any()):
        # Counted as "not forged" it would pass for a successful attack.
        raise LocalizerError(
            "the localizer returned NaN for finite pixels; check its weights, or use "
            "precision fp32."
        )
    masks = sample.masks.cpu()
    forged = masks.flatten(1).any(1)
    found, true = logits[forged], masks[forged]
    return _Scores(
        f1_scores(found, true),
        iou_scores(found, true),
        auc_scores(found, true),
        false_positive_share(logits[~forged]),
    )


def _row(cell: Cell, defence: Defence, scores: _Scores, seed: int) -> Row:
    low, high = bootstrap_interval(scores.f1, seed=seed)
    auc = float(scores.auc.nanmean())
    return Row(
        threat=cell.threat,
        attack=cell.attack,
        eps_255=cell.eps_255,
        steps=cell.spec.steps if cell.spec else 0,
        defence=defence,
        f1=float(scores.f1.mean()),
        f1_low=low,
        f1_high=high,
        iou=float(scores.iou.mean()),
        auc=None if auc != auc else auc,
        images=len(scores.f1),
        false_positive_share=float(scores.false_positives.mean())
        if len(scores.false_positives)
        else None,
    )


def _placed(samples: Sequence[Sample], defended: nn.Module) -> Callable[[], Iterator[Sample]]:
    """Return an iteration over samples on the device of the localizer, one batch at a time."""
    device = next((p.device for p in defended.parameters()), torch.device("cpu"))

    def iterate() -> Iterator[Sample]:
        for images, masks, names in samples:
            yield Sample(images.float().to(device), masks.float().to(device), names)

    return iterate


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule in eval mode and back into the mode it had."""
    before = [(m, m.training) for m in module.modules()]
    for m, _ in before:
        m.training = False
    try:
        yield
    finally:
        for m, mode in before:
            m.training = mode


def _is_untrained(ansm: nn.Module) -> bool:
    return isinstance(ansm, ANSM) and ansm.is_identity


def _localizer_name(defended: DefendedLocalizer[Any]) -> str:
    known = identify(defended.localizer, defended.spec)
    return f"{known['family']}:{known['class']} {known['sha256'][:12]}"


def _ansm_name(ansm: nn.Module) -> str:
    if not isinstance(ansm, ANSM):
        return type(ansm).__name__
    name = next((n for n, arch in PRESETS.items() if arch == ansm.architecture), "custom")
    return f"{name}, untrained" if ansm.is_identity else name


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
