"""`attack`, `evaluate`, `localize` and `train`: one call each for what the commands do.

Their work lies in the modules beside this one, which are imported when a call is made: names of the
package must not load what is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor

from ansm_plugin.system.progress import Progress, silent

if TYPE_CHECKING:
    from ansm_plugin.api.arrays import Array
    from ansm_plugin.api.attacking import AttackLike
    from ansm_plugin.api.given import Images, Masks
    from ansm_plugin.api.models import Device, Model
    from ansm_plugin.api.photographs import Localized, Pictures
    from ansm_plugin.data.samples import Sample
    from ansm_plugin.evaluation.config import EvaluationConfig
    from ansm_plugin.evaluation.measure import Opponents
    from ansm_plugin.evaluation.results import Evaluation

_TILE = 1024  # `data.tiles.TILE`, which would load what is not used


@overload
def attack(  # type: ignore[overload-overlap] # a tensor alone gives a tensor back
    model: Model,
    images: Tensor,
    masks: Array,
    *,
    attack: AttackLike = ...,
    eps_255: float = ...,
    seed: int = ...,
    progress: Progress = ...,
    device: Device = ...,
) -> Tensor: ...
@overload
def attack(
    model: Model,
    images: Images = ...,
    masks: Masks = ...,
    *,
    attack: AttackLike = ...,
    eps_255: float = ...,
    seed: int = ...,
    progress: Progress = ...,
    device: Device = ...,
) -> list[Sample]: ...
def attack(
    model: Model,
    images: Images = None,
    masks: Masks = None,
    *,
    attack: AttackLike = "pgd",
    eps_255: float = 8.0,
    seed: int = 0,
    progress: Progress = silent,
    device: Device = None,
) -> Tensor | list[Sample]:
    """Return images attacked through a model, rounded to 8 bit and in the ball around the images.

    Through a bare localizer that is threat model T1, through a defended one T4. A batch is attacked
    at once, which decides the memory; what is attacked, and the model, stay as they are.

    Args:
        model: a localizer, bare or defended; (localizer, LocalizerSpec) says how to talk to a bare
            one; or the name of one as on the command line.
        images: see `api.given.samples_of`: a tensor `(B, 3, H, W)` or `(3, H, W)` in [0, 1] or of
            bytes, an array `(H, W, 3)`, a folder, a list of pairs of files, or a DataLoader that
            yields (image, mask) or dicts with both.
        masks: of images that hold none themselves: where they are forged.
        attack: a name of `ansm attack`, an `AttackSpec`, or a function of your own (see
            `attacks.foreign.AttackFunction`); `attack_spec("pgd", steps=50)` makes it stronger.
        eps_255: radius in grey levels of 255.
        seed: decides random starts.
        progress: called with the name of a phase, its finished and all parts, and no logs.
        device: where to compute; None: where the model is.

    Returns:
        of a tensor a tensor of its shape, fp32 in [0, 1], on its device; of anything else batches
        of attacked images with their masks and names.

    Raises:
        AnsmError: something given cannot be used, or no gradient reaches the image.
    """
    from ansm_plugin.api.attacking import Choice, attacked

    done = attacked(model, images, masks, Choice(attack, eps_255, seed), progress, device)
    if isinstance(images, Tensor):
        return done[0].images.to(images.device).view(images.shape)
    return done


def evaluate(
    model: Model,
    images: Images = None,
    masks: Masks = None,
    *,
    config: EvaluationConfig | None = None,
    opponents: Opponents | None = None,
    output: str | Path | None = None,
    progress: Progress = silent,
    device: Device = None,
) -> Evaluation:
    """Score a localizer with and without its ANSM, on originals and under attack.

    What `ansm evaluate` does; `Evaluation` has rows, summary and alarms, and `as_json`.

    Args:
        model: what `wrap_with_ansm` returned; a bare localizer as in `attack`, which a fresh ANSM
            leaves as it is; the name of one as on the command line, or "NAME+ANSM.safetensors".
            A name of `ansm models` brings its ANSM.
        images: as in `attack`; None: forgeries of the built-in test photographs.
        masks: as in `attack`. Empty ones mark authentic images.
        config: what is attacked, and how hard: `evaluation.config.full()`, which is the default,
            `quick()`, or one of your own; its attacks may be `module:function`.
        opponents: other defences, surrogates, and modules of an attacker's own.
        output: folder that receives the report, its JSON and pictures; the same call goes on there
            after a kill. One that holds a finished report is refused.
        progress: called with the name of a phase, its finished and all parts, and no logs.
        device: where to compute; None: where the model is.

    Raises:
        AnsmError: something given cannot be used, or no gradient reaches the image.
    """
    from ansm_plugin.api.evaluating import evaluated
    from ansm_plugin.evaluation.config import full
    from ansm_plugin.evaluation.measure import Opponents

    folder = None if output is None else Path(output)
    hard, others = config or full(), opponents or Opponents()
    return evaluated(model, images, masks, hard, others, folder, progress, device)


def localize(
    model: Model,
    photographs: Pictures,
    *,
    tile: int = _TILE,
    with_score: bool = False,
    progress: Progress = silent,
    device: Device = None,
) -> list[Localized]:
    """Return where photographs look tampered, one result each, in their order.

    Args:
        model: a localizer, defended or bare; or the name of a defended one as in `evaluate`.
        photographs: a file, a folder, an array `(H, W, 3)` of bytes or of floats in [0, 1], a
            tensor `(3, H, W)` or `(B, 3, H, W)`, a picture of PIL, or several of them.
        tile: longest side in pixels that is worked on at once; larger ones are cut into
            overlapping tiles.
        with_score: whether to say how much each looks attacked; three passes instead of one. Needs
            a defended localizer whose ANSM was calibrated.
        progress: called with "photographs", finished and all, and no logs.
        device: where to compute; None: where the model is.

    Raises:
        ImageError: nothing to localize, or a photograph cannot be read (it is named).
        AnsmError: the model, the tile or the device cannot be used.
    """
    from ansm_plugin.api.photographs import Choice, localized

    return localized(model, photographs, Choice(tile, with_score), progress, device)


def train(
    recipe: str | Any,
    output: str | Path,
    *,
    localizer: Model | None = None,
    images: Images = None,
    masks: Masks = None,
    steps: int | None = None,
    progress: Progress = silent,
    device: Device = None,
) -> Path:
    """Train a localizer or its ANSM by a recipe, and return the file of the weights.

    What `ansm train RECIPE` does: `wrap_with_ansm(localizer, path)` defends with the result. The
    same call goes on after a kill. A localizer of yours is copied, and stays as it is.

    Args:
        recipe: "two-stage", "ffa", "mgr", "hardened" or "localizer"; or the config of one with
            choices of your own, such as `TwoStageRecipe(ansm="base")`.
        output: folder that receives the weights, the config and checkpoints to go on from.
        localizer: yours, (yours, LocalizerSpec), or a name as on the command line; None: that of
            the recipe. The recipe "localizer" begins with the weights that yours has.
        images: as in `attack`; None: those of the recipe. What are no files is written there as
            8-bit PNG, so that the run can go on.
        masks: as in `attack`.
        steps: of each stage; None: those of the recipe.
        progress: called with the name of a phase, finished and all steps, and logs.
        device: where to train; None: an accelerator if there is one, else the CPU.

    Raises:
        AnsmError: something given cannot be used, or training stopped.
    """
    from ansm_plugin.api.training import Data, trained

    return trained(recipe, Path(output), localizer, Data(images, masks), steps, progress, device)
