"""Baselines that learn by gradient descent: HGD in front of the localizer, or a new localizer.

All loops are small, seeded and leave the given localizer alone: HGD trains a network of its own,
fine-tuning trains a deep copy.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ansm_plugin.ansm import ANSM, add
from ansm_plugin.attacks import Forward, attack_spec, run_attack
from ansm_plugin.baselines.base import (
    Baseline,
    Examples,
    Filter,
    Fitting,
    Wrap,
    filtering,
    mean_f1,
    require_steps,
)
from ansm_plugin.errors import LocalizerError, TrainingError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import set_eval
from ansm_plugin.localizer.taps import taps
from ansm_plugin.training.losses import dual_mask
from ansm_plugin.training.randomness import seeded

BATCH = 16
SNAPSHOTS = 4  # how often validation images are asked during training
EPS_255 = (2.0, 4.0, 8.0)  # radii of adversarial fine-tuning, one drawn per image
ATTACK_STEPS = 5
RATES = {"hgd": 5e-4, "norm": 1e-3, "all": 1e-4, "second": 1e-3}  # peak learning rates of Adam
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)  # timm's norms derive from these


@dataclass(frozen=True)
class Training:
    """What a baseline trains, and how.

    Attributes:
        name: in `BASELINES`.
        label: what to print before the number of steps.
        module: keeps the result.
        parameters: the part of it that is trained.
        loss: of some examples, on the localizer's device.
        wrap: what the module does to a forward pass.
        learning_rate: of Adam, falling to 0 by half a cosine.
        filter: the change of pixels, where that is all it does.
        is_new: whether it is a network of its own, in train mode while it learns; denoisers are.
    """

    name: str
    label: str
    module: nn.Module
    parameters: list[nn.Parameter]
    loss: Callable[[Examples], Tensor]
    wrap: Wrap
    learning_rate: float
    filter: Filter | None = None
    is_new: bool = False


def fit_hgd(fitting: Fitting) -> Baseline:
    """Train HGD at its full size."""
    return _fit_hgd(fitting, "hgd", "hgd")


def fit_hgd_small(fitting: Fitting) -> Baseline:
    """Train HGD with the trunk of our default module."""
    return _fit_hgd(fitting, "hgd-small", "small")


def fit_finetune_norm(fitting: Fitting) -> Baseline:
    """Fine-tune scales and offsets of the normalisation layers of a copy of the localizer."""
    localizer = copy.deepcopy(fitting.defended.localizer)
    norms = [m for m in localizer.modules() if isinstance(m, _NORMS)]
    parameters = [p for m in norms for p in m.parameters()]
    if not parameters:
        raise LocalizerError(
            f"{type(localizer).__name__} has no normalisation layer with parameters, which "
            "finetune-norm trains; use finetune-all."
        )
    return _finetune(fitting, "finetune-norm", localizer, parameters, learning_rate=RATES["norm"])


def fit_finetune_all(fitting: Fitting) -> Baseline:
    """Fine-tune all parameters of a copy of the localizer."""
    localizer = copy.deepcopy(fitting.defended.localizer)
    parameters = list(localizer.parameters())
    if not parameters:
        raise LocalizerError(f"{type(localizer).__name__} has no parameter to fine-tune.")
    return _finetune(fitting, "finetune-all", localizer, parameters, learning_rate=RATES["all"])


def _fit_hgd(fitting: Fitting, name: str, preset: str) -> Baseline:
    """Train a denoiser so that the localizer's features agree (Liao et al., CVPR 2018)."""
    with seeded(fitting.draw_seed()):
        denoiser = ANSM(preset).to(fitting.device)

    def denoise(pixels: Tensor) -> Tensor:
        return add(pixels, denoiser(pixels))

    def loss(examples: Examples) -> Tensor:
        # One batch of both kinds, as in HGD: a denoiser must leave originals alone.
        given = torch.cat((examples.attacked, examples.originals))
        wanted = torch.cat((examples.originals, examples.originals))
        with torch.no_grad():
            originals = _features(fitting, wanted)
        return _relative_l1(_features(fitting, denoise(given)), originals)

    parameters = list(denoiser.parameters())
    wrap = filtering(denoise)
    return run_training(
        Training(
            name,
            f"HGD, trunk {preset}",
            denoiser,
            parameters,
            loss,
            wrap,
            RATES["hgd"],
            denoise,
            is_new=True,
        ),
        fitting,
    )


def _finetune(
    fitting: Fitting,
    name: str,
    localizer: nn.Module,
    parameters: list[nn.Parameter],
    *,
    learning_rate: float,
) -> Baseline:
    """Train a copy on originals and on attacks on its present weights (Madry et al., ICLR 2018).

    In eval mode throughout: originals and attacked images are two populations, and statistics of
    a batch of both would be those of neither.
    """
    set_eval(localizer)
    localizer.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    forward = mask_forward(localizer, fitting.defended.spec, precision=fitting.precision)
    spec = attack_spec("pgd", steps=ATTACK_STEPS)

    def loss(examples: Examples) -> Tensor:
        images, masks, _ = examples
        choice = torch.randint(len(EPS_255), (len(images),), generator=fitting.generator)
        eps = torch.tensor(EPS_255)[choice].to(images.device) / 255
        attacked = run_attack(forward, images, masks, eps, spec, generator=fitting.generator)
        return dual_mask(forward(attacked), forward(images), masks)

    label = f"localizer fine-tuned ({name.removeprefix('finetune-')})"
    wrap = replacing(forward)
    baseline = run_training(
        Training(name, label, localizer, parameters, loss, wrap, learning_rate), fitting
    )
    localizer.requires_grad_(False)
    return baseline


def replacing(forward: Forward) -> Wrap:
    """Return the wrap that ignores the given localizer: its fine-tuned copy answers."""
    return lambda _: forward


def run_training(training: Training, fitting: Fitting) -> Baseline:
    """Run the loop; the best of a few snapshots on validation images is the result."""
    require_steps(fitting.steps)
    optimiser = torch.optim.Adam(training.parameters, training.learning_rate)
    best, best_step, state = -1.0, 0, copy.deepcopy(training.module.state_dict())
    asked = {math.ceil(fitting.steps * k / SNAPSHOTS) for k in range(1, SNAPSHOTS + 1)}
    for step in range(1, fitting.steps + 1):
        rate = 0.5 * (1 + math.cos(math.pi * (step - 1) / fitting.steps))
        optimiser.param_groups[0]["lr"] = training.learning_rate * rate
        value = _step(training, optimiser, _draw(fitting))
        fitting.progress(training.name, step, fitting.steps, {"loss": value})
        if step in asked and (f1 := _validate(training, fitting)) > best:
            best, best_step, state = f1, step, copy.deepcopy(training.module.state_dict())
    training.module.load_state_dict(state)
    return Baseline(
        name=training.name,
        label=f"{training.label}, {best_step} of {fitting.steps} steps",
        wrap=training.wrap,
        filter=training.filter,
        module=training.module.eval(),
        f1=best,
    )


def _step(training: Training, optimiser: torch.optim.Optimizer, examples: Examples) -> float:
    training.module.train(training.is_new)
    with torch.enable_grad():
        loss = training.loss(examples)
    if not bool(torch.isfinite(loss)):
        raise TrainingError(
            f"the loss of baseline {training.name} is {loss.item()}; it must be finite. Use "
            "precision fp32, or check the localizer's weights."
        )
    gradients = torch.autograd.grad(loss, training.parameters, allow_unused=True)
    for parameter, gradient in zip(training.parameters, gradients, strict=True):
        parameter.grad = gradient
    nn.utils.clip_grad_norm_(training.parameters, 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return float(loss.detach())


def _validate(training: Training, fitting: Fitting) -> float:
    training.module.eval()
    return mean_f1(training.wrap(fitting.forward), fitting)


def _draw(fitting: Fitting) -> Examples:
    count = len(fitting.training.masks)
    index = torch.randint(count, (min(BATCH, count),), generator=fitting.generator)
    return Examples(*(t.to(fitting.device) for t in fitting.training.rows(index)))


def _features(fitting: Fitting, pixels: Tensor) -> list[Tensor]:
    """Return the localizer's tapped stages, or its logits where none is known (LGD of HGD)."""
    names = fitting.defended.spec.taps
    with taps(fitting.defended.localizer, names) as tapped:
        logits = fitting.forward(pixels)
    return [tapped[name] for name in names] if names else [logits]


def _relative_l1(given: Iterable[Tensor], wanted: Iterable[Tensor]) -> Tensor:
    """Return the mean over stages of the L1 distance, each by the size of what is wanted."""
    terms = [
        (g.float() - w.float()).abs().mean() / w.float().abs().mean().clamp_min(1e-8)
        for g, w in zip(given, wanted, strict=True)
    ]
    return torch.stack(terms).mean()
