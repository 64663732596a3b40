"""Adversarial robustness of photoholmes' methods, in photoholmes' own benchmark and metrics.

The attack changes the raw image, before the pipeline, as an attacker changes a file.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.behind import modules_behind
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1
from ansm_plugin.localizer.call import Forward
from ansm_plugin.localizer.gradient import Way, gradient_share
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.toolkits.photoholmes import wrap_pipeline
from ansm_plugin.toolkits.photoholmes_step import IMAGE, MARK
from ansm_plugin.toolkits.robustness import SQUARE, HostAttack, attack_plan

Item = tuple[dict[str, Any], Tensor, str]  # data, mask (H, W), name: as a dataset gives them
_EPS_255 = (2.0, 4.0, 8.0)
_STEPS, _QUERIES = 10, 100
_PROBED = 128  # pixels a side of the image that shows whether a gradient comes back
Heatmap = Callable[[Any, dict[str, Any]], Tensor]


def evaluate_method(
    method: Any,
    preprocessing: Any,
    dataset: Any,
    metrics: Any,
    weights: str,
    *,
    plan: Sequence[HostAttack] | None = None,
    seed: int = 0,
    heatmap: Heatmap | None = None,
) -> list[dict[str, Any]]:
    """Return a row per attack and defence, with photoholmes' metrics of a method under attack.

    Attacks by gradient need a differentiable way to the heatmap. It is known of TruFor and of
    methods whose `predict` is decorated by `torch.no_grad`, such as PSCCNet, and tried on one small
    image. For others give `heatmap`, or attack by scores alone ("square"), which serves all.

    Args:
        method: bare, as `MethodFactory.load` gives it; it computes where it is.
        preprocessing: its pipeline, bare too.
        dataset: of photoholmes, with `load=["image"]` and no `preprocessing_pipeline`.
        metrics: what `MetricFactory.load` gives. Those that are no single number are left out.
        weights: safetensors of the ANSM.
        plan: the attacks; None takes `method_plan()` where there is a gradient, else by scores.
        seed: decides random starts.
        heatmap: method and what its pipeline made -> probabilities `(H, W)`, differentiable.

    Raises:
        ConfigError: the method cannot be wrapped, no gradient comes back for an attack by it, or
            the dataset does not give raw images.
    """
    device = str(method.device)
    pairs = {
        BARE: _Pair(method, preprocessing),
        DEFENDED: _Pair(*wrap_pipeline(method, preprocessing, weights, device=device)),
    }
    way = heatmap or differentiable_heatmap(method)
    plan = _possible(plan, pairs[BARE], way)
    rows = []
    for attack in plan:
        through = pairs[BARE if attack.threat == T1 else DEFENDED]
        attacked = [_attacked(item, through, attack, way, seed, i) for i, item in _raw(dataset)]
        judged = pairs if attack.threat in (T0, T1) else {DEFENDED: pairs[DEFENDED]}
        rows += [
            {**vars(attack), "defence": name, **_scored(pair, attacked, dataset, metrics)}
            for name, pair in judged.items()
        ]
    return rows


def method_plan(
    attacks: Sequence[str] = ("pgd",),
    eps_255: Sequence[float] | None = None,
    *,
    steps: int | None = None,
) -> list[HostAttack]:
    """Return T0, every attack at every radius (T1), and what knows the ANSM as well.

    That is PGD through it (T4), or for "square" again, by its scores (T6).

    Args:
        attacks: names in `ATTACKS`, or "square".
        eps_255: radii in grey levels; 2, 4 and 8 by default.
        steps: gradient steps, 10 by default; of "square" the questions it asks, 100 by default.

    Raises:
        ConfigError: an attack is unknown, or a number is out of range.
    """
    if steps is None:
        steps = _QUERIES if SQUARE in attacks else _STEPS
    return attack_plan(attacks, eps_255 or _EPS_255, steps, is_defended=True)


@dataclass(frozen=True)
class _Pair:
    """A method and its pipeline, bare or defended."""

    method: Any
    pipeline: Any

    def forward(self, way: Heatmap) -> Forward:
        """Return pixels `(1, 3, H, W)` in [0, 1] -> logits `(1, 1, H, W)` of the heatmap."""
        method = self.method  # by name, so that attacks see the module behind

        def forward(pixels: Tensor) -> Tensor:
            data = self.pipeline(**{IMAGE: 255 * pixels[0]})
            probabilities = way(method, {k: v for k, v in data.items() if k != MARK})
            return torch.logit(probabilities.float(), eps=1e-6)[None, None]

        return forward

    def scores(self, pixels: Tensor) -> Tensor:
        """Return the same by the method's own `benchmark`, without a gradient."""
        image = (255 * pixels[0]).round().to(torch.uint8)
        answer = self.method.benchmark(**_as_floats(self.pipeline(**{IMAGE: image}), pixels))
        found = answer["mask"] if answer["heatmap"] is None else answer["heatmap"]
        probabilities = found.to(pixels.device).float().view(1, 1, *found.shape[-2:])
        return torch.logit(probabilities, eps=1e-6)


@dataclass(frozen=True)
class _Attacked(Sequence[Item]):
    """A dataset of items that are made already; the benchmark asks no more of one."""

    items: Sequence[Item]
    tampered_only: bool = field(default=False)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


def _raw(dataset: Any) -> Iterator[tuple[int, Item]]:
    for index in range(len(dataset)):
        data, mask, name = dataset[index]
        image = data.get(IMAGE)
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 3:
            raise ConfigError(
                "attacks change raw images: make the dataset with load=['image'] and without a "
                "preprocessing_pipeline; the pipeline is given beside it."
            )
        yield index, (data, mask, name)


def _attacked(
    item: Item, through: _Pair, attack: HostAttack, way: Heatmap | None, seed: int, index: int
) -> Item:
    """Return an item with an attacked image, 8 bit as before."""
    data, mask, name = item
    if attack.attack == NO_ATTACK:
        return item
    device = through.method.device
    pixels = (data[IMAGE].float() / 255)[None].to(device)
    masks = (mask > 0).float()[None, None].to(device)
    eps, generator = attack.eps_255 / 255, _generator(seed, attack, index)
    if attack.attack == SQUARE:
        done = square_attack(
            through.scores, pixels, masks, eps, queries=attack.steps, generator=generator
        )
    else:
        assert way is not None  # _possible
        spec = attack_spec(attack.attack, steps=attack.steps)
        done = run_attack(through.forward(way), pixels, masks, eps, spec, generator=generator)
    image = (255 * done[0]).round().to(torch.uint8).cpu()
    return {**data, IMAGE: image}, mask, name


def _generator(seed: int, attack: HostAttack, index: int) -> torch.Generator:
    return attack_generator(seed, attack.attack, attack.eps_255, index)


def _scored(pair: _Pair, items: list[Item], dataset: Any, metrics: Any) -> dict[str, Any]:
    """Return photoholmes' metrics by their own names, with nothing kept on disk."""
    host = importlib.import_module("photoholmes.benchmark")
    benchmark = host.Benchmark(
        save_method_outputs=False,
        save_metrics=False,
        use_existing_output=False,
        device=str(pair.method.device),
        verbose=0,
    )
    made = [(pair.pipeline(**{IMAGE: data[IMAGE]}), mask, name) for data, mask, name in items]
    found = benchmark.run(pair.method, _Attacked(made, dataset.tampered_only), metrics)
    numbers = {name: value for group in found.values() for name, value in group.items()}
    single = {k: float(v) for k, v in numbers.items() if isinstance(v, Tensor) and v.numel() == 1}
    return {**single, "images": len(items)}


def _possible(
    plan: Sequence[HostAttack] | None, bare: _Pair, way: Heatmap | None
) -> Sequence[HostAttack]:
    """Return the plan, or the default one; by scores alone where no gradient comes back."""
    wanted = {attack.attack for attack in plan or ()} - {NO_ATTACK, SQUARE}
    problem = _gradient_problem(bare, way) if plan is None or wanted else ""
    if plan is None:
        return method_plan(attacks=[SQUARE]) if problem else method_plan()
    if problem:
        raise ConfigError(
            f"no gradient of {type(bare.method).__name__} {problem}, which "
            f"{', '.join(sorted(wanted))} would need: attack by {SQUARE!r}, or give heatmap=."
        )
    return plan


def _gradient_problem(bare: _Pair, way: Heatmap | None) -> str:
    """Return why a method cannot be attacked by gradient, "" where it can; warn of a part."""
    if way is None:
        return "is known"
    forward = bare.forward(way)
    networks = nn.ModuleList(modules_behind(forward))
    found = gradient_share(networks, LocalizerSpec(), Way(forward, _PROBED, _PROBED))
    if found.is_partial:
        warnings.warn(found.caution(type(bare.method).__name__), stacklevel=4)
    return f"comes back ({found.reason})" if found.is_cut else ""


def differentiable_heatmap(method: Any) -> Heatmap | None:
    """Return the way to a method's heatmap around its own `no_grad`; None where none is known."""
    kinds = type(method).__mro__
    if any(kind.__name__ == "TruFor" for kind in kinds):
        return _of_trufor
    own = next((vars(kind)["predict"] for kind in kinds if "predict" in vars(kind)), None)
    undecorated = getattr(own, "__wrapped__", None)
    if undecorated is None:
        return None

    def heatmap(defended_or_bare: Any, data: dict[str, Any]) -> Tensor:
        return _first(undecorated(defended_or_bare, **data))

    return heatmap


def _of_trufor(method: Any, data: Mapping[str, Any]) -> Tensor:
    out, confidence, *_ = method.forward(data[IMAGE][None])
    heatmap: Tensor = out[0].softmax(0)[1]
    return heatmap * confidence[0, 0].sigmoid() if method.use_confidence else heatmap


def _first(answer: Any) -> Tensor:
    found: Tensor = answer[0] if isinstance(answer, tuple) else answer
    return found


def _as_floats(data: Mapping[str, Any], like: Tensor) -> dict[str, Any]:
    """Return tensors as the benchmark hands them over: fp32, where the method is."""
    return {
        k: v.to(like.device, torch.float32) if isinstance(v, Tensor) else v for k, v in data.items()
    }
