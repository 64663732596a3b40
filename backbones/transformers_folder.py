"""Folders of Hugging Face models on this machine: weights and image processor, never a download."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ansm_plugin.backbones.transformers_kinds import Input
from ansm_plugin.errors import LocalizerError, WeightsError
from ansm_plugin.localizer.spec import Triple

PROCESSOR = "preprocessor_config.json"


def read_model(folder: Path, architectures: set[str]) -> nn.Module:
    """Return the segmentation model of a folder with config.json and safetensors, in eval mode.

    Args:
        folder: as `save_pretrained` of transformers writes it, or `hf download` fetches it.
        architectures: classes that are allowed.

    Raises:
        LocalizerError: no such model.
        WeightsError: no safetensors, or they lack tensors of the model.
    """
    import transformers

    named = _architecture(folder)
    kind = getattr(transformers, named, None) if named in architectures else None
    if kind is None:
        raise LocalizerError(
            f"{folder} holds {named or 'a model without a name'}; allowed: "
            f"{', '.join(sorted(architectures))}."
        )
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{folder} holds no safetensors; a pickle (pytorch_model.bin) can run code when read "
            "and is never loaded. Load it where you trust it, and write safetensors: "
            f"{named}.from_pretrained(FOLDER).save_pretrained(ANOTHER)."
        )
    with nothing_fetched():
        try:
            model, report = kind.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # of whatever transformers does with what is in the files
            raise LocalizerError(f"transformers cannot load {folder}: {error}") from error
    _require_complete(report, folder, named)
    loaded: nn.Module = model.eval()
    return loaded


def _architecture(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        return str((config.get("architectures") or [""])[0])
    except (OSError, ValueError, AttributeError) as error:
        raise LocalizerError(
            f"{folder} holds no config.json of a Hugging Face model: {error}. Give a folder that "
            "`hf download NAME --local-dir FOLDER` or save_pretrained wrote."
        ) from error


def _require_complete(report: dict[str, Any], folder: Path, named: str) -> None:
    """Raise WeightsError where tensors of the model were made at random; warn of others."""
    missing = sorted(report["missing_keys"])
    shapes = sorted(str(entry) for entry in report["mismatched_keys"])
    if missing or shapes:
        raise WeightsError(
            f"{folder} does not fit {named}: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(shapes)} of another shape {shapes[:3]}."
        )
    if foreign := sorted(report["unexpected_keys"]):
        warnings.warn(
            f"{folder} holds {len(foreign)} tensors that {named} has no place for {foreign[:3]}; "
            "they are left out.",
            stacklevel=4,
        )


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Run what may ask the hub for files as with HF_HUB_OFFLINE=1, and in silence."""
    import huggingface_hub.constants as hub
    from transformers.utils import logging

    before, level = hub.HF_HUB_OFFLINE, logging.get_verbosity()
    has_bars = logging.is_progress_bar_enabled()
    hub.HF_HUB_OFFLINE = True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()


def find_processor(name: str) -> Path | None:
    """Return the image processor's config of a model, or None where there is none.

    Args:
        name: of the model, as transformers notes where it was loaded from: a folder, or a name on
            the hub, of which the cache on this machine is asked.
    """
    if not name:
        return None
    file = Path(name) / PROCESSOR
    if file.is_file():
        return file
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, PROCESSOR)
    except ValueError:  # no name that the hub could have
        return None
    return Path(cached) if isinstance(cached, str) else None


def read_processor(file: Path, default: Input) -> Input:
    """Return what an image processor's config makes of pixels; what it leaves out is the type's.

    Raises:
        LocalizerError: it cannot be read.
    """
    try:
        config = json.loads(file.read_text("utf-8"))
        scale = 255 * float(config.get("rescale_factor", 1 / 255))
        scale = scale if config.get("do_rescale", True) else 255.0  # of pixels in [0, 1]
        mean, std = default.mean, default.std
        if config.get("do_normalize") is False:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        elif "image_mean" in config and config.get("do_normalize", mean != (0.0, 0.0, 0.0)):
            mean, std = _triple(config["image_mean"]), _triple(config["image_std"])
        is_bgr = config.get("do_flip_channel_order", default.colour_order == "bgr")
        return Input(
            str(file), _divided(mean, scale), _divided(std, scale), "bgr" if is_bgr else "rgb"
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LocalizerError(
            f"{file} does not say how the input is normalised: {error!r}. Mend it, or pass "
            "spec=LocalizerSpec(mean=..., std=...)."
        ) from error


def _triple(values: Any) -> Triple:
    """Return three numbers; one alone is that of every channel."""
    red, green, blue = values if isinstance(values, list) else [values] * 3
    return float(red), float(green), float(blue)


def _divided(values: Triple, scale: float) -> Triple:
    if scale == 1.0:
        return values
    red, green, blue = values
    return red / scale, green / scale, blue / scale
