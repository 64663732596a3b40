"""The work of `train`, over the recipes that the command runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from ansm_plugin.api.given import Images, Masks, items_of, source_of
from ansm_plugin.api.models import Device, Model, unpacked
from ansm_plugin.commands.recipe_options import field_paths
from ansm_plugin.data.lists import NEGATIVE
from ansm_plugin.data.paint import save_png
from ansm_plugin.data.pairs import Pair
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.evaluation.material import Source
from ansm_plugin.localizer.handed import handed_over
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.recipes.registry import Recipe, recipe_module, recipe_names
from ansm_plugin.recipes.run import run_alone
from ansm_plugin.system.device import computing_on
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.processes import processes
from ansm_plugin.system.progress import Progress


class Data(NamedTuple):
    """Images and masks as the user gave them; None for both leaves those of the recipe."""

    images: Images
    masks: Masks


def trained(
    recipe: object,
    output: Path,
    localizer: Model | None,
    data: Data,
    steps: int | None,
    progress: Progress,
    device: Device,
) -> Path:
    """Return the file of the weights that a recipe made: see `calls.train`."""
    config, module = _config(recipe)
    with ExitStack() as stack:
        stack.enter_context(computing_on(device))
        changes: dict[str, Any] = {} if steps is None else {"fit.steps": steps}
        if isinstance(localizer, str):
            changes["localizer"] = localizer
        elif localizer is not None:
            changes["localizer"] = stack.enter_context(handed_over(*_bare(localizer)))
        if data != (None, None):
            changes |= _fields(data, output, progress)
        return run_alone(module, changed(config, changes), output, progress)


def _config(recipe: object) -> tuple[Any, Recipe]:
    """Return the config of a recipe by its name, or that which was given, and its module."""
    if isinstance(recipe, str):
        module = recipe_module(recipe)
        return module.RECIPE(), module
    for name in recipe_names():
        if type(recipe) is recipe_module(name).RECIPE:
            return recipe, recipe_module(name)
    raise ConfigError(
        f"recipe is {type(recipe).__name__}; allowed: {', '.join(recipe_names())}, or the config "
        "of one of them."
    )


def _bare(localizer: object) -> tuple[nn.Module, LocalizerSpec | None]:
    """Return a bare localizer, and how to talk to it where that was said."""
    module, spec = unpacked(localizer)
    if isinstance(module, DefendedLocalizer):
        raise LocalizerError(
            "localizer is defended already; pass unwrap(defended), and its ANSM as the recipe's "
            "start."
        )
    return module, spec


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """Return a config with other values in each field whose dotted path ends as a key does.

    Raises:
        ConfigError: the recipe has no such field, or a value is out of range.
    """
    paths = list(field_paths(type(config)))
    for key, value in changes.items():
        found = [path for path in paths if path == key or path.endswith(f".{key}")]
        if not found:
            raise ConfigError(f"this recipe has no {key}; its fields are {', '.join(paths)}.")
        for path in found:
            config = _with(config, path, value)
    return config


def _with(config: Any, path: str, value: Any) -> Any:
    name, _, below = path.partition(".")
    inner = _with(getattr(config, name), below, value) if below else value
    return dataclasses.replace(config, **{name: inner})


def _fields(data: Data, output: Path, progress: Progress) -> dict[str, Any]:
    """Return the fields of the data that say where images are; what are no files become some."""
    source = source_of(*data)
    if source is None:
        given = items_of(*data, progress)
        source = processes().once(lambda: _as_source(given, output))
    fields = dataclasses.asdict(source)
    return {f"data.{name}": value for name, value in fields.items() if value is not None}


def _as_source(given: Sequence[Pair] | Sequence[Sample], output: Path) -> Source:
    """Write pairs into the output folder, once: of files their list, of arrays new files."""
    make_folder(output)
    files = [one for one in given if isinstance(one, Pair)]
    if files:
        entries = [[str(f.resolve()) if f else NEGATIVE for f in pair] for pair in files]
        name = hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:12]
        return Source(write_json(output / f"pairs-{name}.json", entries), allow_outside=True)
    arrays = [one for one in given if isinstance(one, Sample)]
    folder = output / f"pairs-{_digest(arrays)}"
    for number, (image, mask) in enumerate(_singles(arrays), start=1):
        for kind, pixels in (("images", image), ("masks", mask)):
            path = folder / kind / f"{number:06d}.png"
            if not path.exists():  # whole, or not there
                make_folder(path.parent)
                save_png(path, pixels)
    return Source(folder / "images", folder / "masks")


def _digest(samples: Sequence[Sample]) -> str:
    """Return what names the folder of arrays: other images are another training."""
    digest = hashlib.sha256()
    for image, mask in _singles(samples):
        digest.update(repr(image.shape).encode())
        digest.update(image.data)
        digest.update(mask.data)
    return digest.hexdigest()[:12]


def _singles(
    samples: Sequence[Sample],
) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.uint8]]]]:
    """Yield each image `(H, W, 3)` and its mask `(H, W)`, as bytes in [0, 255]."""
    for images, masks, _ in samples:
        for image, mask in zip(images, masks, strict=True):
            yield _bytes(image.permute(1, 2, 0)), _bytes(mask[0])


def _bytes(pixels: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return pixels.mul(255).round().clamp(0, 255).byte().contiguous().cpu().numpy()
