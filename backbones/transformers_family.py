"""Segmentation models of Hugging Face's transformers, e.g. `transformers:FOLDER`.

A model of two labels (0 original, 1 forged) or of one is a localizer as it is. Its output passes
through; the mask in it is `logits`, or the product of class and mask queries (MaskFormer and its
kin). Like the model, the defended one may be called as `defended(pixel_values=...)`. Never
downloads, never reads a pickle.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from ansm_plugin.backbones.labels import FORGED, forged_class
from ansm_plugin.backbones.query import nested, parse_query, refuse_option
from ansm_plugin.backbones.transformers_folder import (
    find_processor,
    nothing_fetched,
    read_model,
    read_processor,
)
from ansm_plugin.backbones.transformers_kinds import IMAGENET, KINDS, Input, taps_of
from ansm_plugin.errors import LocalizerError, unknown_name
from ansm_plugin.localizer.guesses import Guess, how_to_say
from ansm_plugin.localizer.sizes import Sizes
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.paths import user_path

_TASKS = (
    "ForSemanticSegmentation",
    "ForUniversalSegmentation",
    "MaskFormerForInstanceSegmentation",
)
# Options of configs that name a second model, which transformers would look up on the hub.
_FETCHING = {"backbone", "use_pretrained_backbone", "use_timm_backbone", "backbone_kwargs"}


def matches(localizer: nn.Module) -> bool:
    """Return whether the localizer is a segmentation model of transformers, or a subclass."""
    kinds = [k for k in type(localizer).__mro__ if k.__module__.startswith("transformers.")]
    is_model = any(kind.__name__ == "PreTrainedModel" for kind in kinds)
    return is_model and any(kind.__name__.endswith(_TASKS) for kind in kinds)


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to it: image processor, labels, sizes, encoder stages.

    The image processor's config is looked for where the model was loaded from; else the type
    decides. A warning says so where neither does.

    Raises:
        LocalizerError: more than two labels, and nobody says which means forged.
    """
    config: Any = localizer.config
    kind = KINDS.get(config.model_type)
    given = _input_of(localizer, None if kind is None else kind.input)
    said = getattr(localizer, FORGED, getattr(config, FORGED, None))
    return LocalizerSpec(
        family="transformers",
        mean=given.mean,
        std=given.std,
        normalisation=given.called,
        colour_order=given.colour_order,
        tamper_class=forged_class(
            type(localizer).__name__, int(config.num_labels), said, config.id2label
        ),
        taps=() if kind is None else taps_of(localizer, kind, config),
        **(Sizes() if kind is None else kind.sizes(config))._asdict(),
    )


def build(query: str) -> nn.Module:
    """Return the model of a folder, or one of a type with random weights. Never downloads.

    `FOLDER` holds config.json and safetensors. `type?option=value&...` takes options of the type's
    config, those of a config inside it with a dot (`backbone_config.depths=1,1,1,1`). Both take
    `forged=INDEX`, the label that means forged.

    Raises:
        LocalizerError: transformers is missing, no such folder or type, an unknown option (nearest
            names offered), or transformers refuses a value.
        WeightsError: as in `read_model`.
    """
    _require_installed()
    name, options = parse_query(query)
    forged = options.pop(FORGED, None)
    folder = user_path(name)
    if name in KINDS:
        model = _untrained(name, options)
    elif folder.is_dir():
        if options:
            raise refuse_option(next(iter(options)), f"the model in {folder}", {FORGED})
        model = read_model(folder, {kind.architecture for kind in KINDS.values()})
    else:
        raise LocalizerError(_not_here(name))
    if forged is not None:
        config: Any = model.config
        config.forged = forged
        forged_class(type(model).__name__, config.num_labels, forged, config.id2label)
    return model


def _input_of(localizer: nn.Module, by_type: Input | None) -> Input:
    """Return what the image processor makes of pixels, and where that was found."""
    config: Any = localizer.config
    default = by_type or IMAGENET
    if (file := find_processor(str(getattr(localizer, "name_or_path", "")))) is not None:
        return read_processor(file, default)
    if by_type is None:
        text = (
            f"transformers' {config.model_type} does not say how its input is normalised; ImageNet "
            f"mean and std are assumed. Say it by {how_to_say('mean', 'std')}."
        )
        warnings.warn(Guess(text, "mean", "std"), stacklevel=3)
        return Input("assumed ImageNet", default.mean, default.std)
    called = f"transformers' type {config.model_type}: {by_type.called}"
    return Input(called, by_type.mean, by_type.std, by_type.colour_order)


def _untrained(model_type: str, options: dict[str, Any]) -> nn.Module:
    import transformers

    fields = nested(options)
    with nothing_fetched():
        try:
            config = _config(model_type, fields)
            made: nn.Module = getattr(transformers, KINDS[model_type].architecture)(config)
        except LocalizerError:
            raise
        except Exception as error:  # of whatever transformers does with a value
            raise LocalizerError(f"transformers cannot build {model_type}: {error}") from error
    return made.eval()


def _config(model_type: str, fields: dict[str, Any]) -> Any:
    """Return a config of a type, with configs inside it; configs themselves swallow any option."""
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise LocalizerError(unknown_name("type of transformers", model_type, list(CONFIG_MAPPING)))
    kind: Any = CONFIG_MAPPING[model_type]
    known = {*kind().to_dict(), *kind.attribute_map, "num_labels", "out_features", "out_indices"}
    values: dict[str, Any] = {}
    for option, value in fields.items():
        if option in _FETCHING or option not in known:
            raise refuse_option(option, f"transformers:{model_type}", known - _FETCHING)
        if isinstance(value, dict):
            inside = dict(value)
            value = _config(str(inside.pop("model_type", "")), inside)
        values[option] = value
    return kind(**values)


def _require_installed() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise LocalizerError(
            "localizers of transformers need that package: pip install "
            f"'ansm_plugin[transformers]' ({error})."
        ) from error


def _not_here(name: str) -> str:
    fetch = f"hf download {name} --local-dir FOLDER" if name.count("/") == 1 else ""
    how = f" Nothing is downloaded here; fetch it by `{fetch}`." if fetch else ""
    return (
        f"there is no folder {name!r}, and {unknown_name('type of transformers', name, KINDS)}{how}"
        " Write transformers:FOLDER or transformers:type?option=value."
    )
