"""`ansm export`: a defended localizer becomes one ONNX graph, its ANSM a folder for the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansm_plugin.commands.groups import ModelOptions, device_option, force_flag, output_option
from ansm_plugin.commands.options import group, option
from ansm_plugin.commands.values import filled, path, positive
from ansm_plugin.errors import ConfigError
from ansm_plugin.system.text import say


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and where to."""

    model: ModelOptions = group(ModelOptions)
    output: Path | None = output_option("one ONNX graph", None, "FILE.onnx")
    hub: Path | None = option(
        None,
        parse=path,
        metavar="DIR",
        help="instead: ANSM, config and model card as the Hugging Face hub has them; uploads "
        "nothing",
    )
    results: Path | None = option(
        None,
        parse=path,
        metavar="FILE",
        help="evaluation.json of `ansm evaluate`, for the model card",
    )
    licence: str | None = option(
        None,
        parse=filled,
        metavar="NAME",
        help="of the ANSM, as the hub names it, such as mit (default: "
        "what `ansm models` says of one that comes with its localizer)",
    )
    size: int | None = option(
        None,
        parse=positive,
        metavar="PIXELS",
        help="fix height and width (default: free where the localizer allows it)",
    )
    force: bool = force_flag()
    device: str = device_option()


OPTIONS = ExportOptions


def run(options: ExportOptions) -> None:
    """Write the graph or the folder, and say what became of it.

    Raises:
        AnsmError: a name or a file cannot be used, the graph differs from torch, or options do not
            go together.
    """
    if (options.output is None) == (options.hub is None):
        given = "neither" if options.hub is None else "both"
        raise ConfigError(
            f"{given} of --output FILE.onnx and --hub DIR were given; give one of them."
        )
    if options.hub is not None:
        _write_folder(options, options.hub)
    elif options.results is not None or options.licence is not None:
        raise ConfigError(
            "--results and --licence are for a model card, which an ONNX graph has not; give "
            "--hub DIR, or leave them out."
        )
    elif options.output is not None:
        _write_graph(options, options.output)


def _write_folder(options: ExportOptions, folder: Path) -> None:
    """Write what `save_pretrained` writes, with all that the ANSM's file knows of itself."""
    from ansm_plugin.backbones.reference import ansm_of
    from ansm_plugin.commands.loading import load_defended
    from ansm_plugin.localizer.traits import fingerprint
    from ansm_plugin.weights.ansm_file import AnsmFile
    from ansm_plugin.weights.folder import WEIGHTS, write_folder

    if options.size is not None:
        raise ConfigError("--size is for an ONNX graph; a folder has none: leave it out.")
    model = options.model
    if (folder / WEIGHTS).exists() and not options.force:
        raise ConfigError(f"{folder} holds an ANSM; pass --force to replace it, or another --hub.")
    defended = load_defended(model.localizer, model.ansm, facts=model.facts)  # warns of another one
    weights = model.ansm or ansm_of(model.localizer)
    assert weights is not None  # else there was none to load
    file = AnsmFile.read(weights)
    if model.localizer is None and not file.is_for(fingerprint(defended.localizer)):
        raise ConfigError(
            f"{weights} was trained for another localizer than the packaged one, and the folder "
            f"says how to call it; add --localizer NAME. `ansm info {weights}` may know the name."
        )
    licence = options.licence or _licence_of(model)
    write_folder(folder, file, defended.spec, results=options.results, licence=licence)
    say("measured " + ("not; --results FILE adds figures" if options.results is None else "yes"))
    say(f"wrote    {folder}; nothing was uploaded")
    say(f"upload   hf upload OWNER/NAME {folder}")


def _licence_of(model: ModelOptions) -> str | None:
    """Return the licence of an ANSM that comes with its localizer's name, as the hub writes it."""
    from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, split_name
    from ansm_plugin.weights.catalogue import find

    base, weights, _ = split_name(model.localizer or DEFAULT_LOCALIZER)
    listed = None if model.ansm or weights else find(base)
    if listed is None:
        return None
    said = listed.card.licence
    return "other" if said.startswith("LicenseRef-") else said.lower()  # the hub knows no reference


def _write_graph(options: ExportOptions, output: Path) -> None:
    from ansm_plugin.commands.loading import load_defended
    from ansm_plugin.commands.placement import placed
    from ansm_plugin.export import INPUT, OUTPUT, TOLERANCE, export_onnx

    if output.suffix != ".onnx":
        raise ConfigError(f"--output is {output}; it must end in .onnx.")
    if output.exists() and not options.force:
        raise ConfigError(f"{output} exists; pass --force to replace it, or another --output.")
    with placed(options.device, export="fp32") as device:
        model = options.model
        defended = load_defended(model.localizer, model.ansm, facts=model.facts).to(device)
        done = export_onnx(defended, output, side=options.size)
    free = f"multiples of {done.multiple} from {done.smallest} up"
    height_width = f"{done.side} x {done.side}" if done.side else free
    compared = ", ".join(f"{height}x{width}" for height, width in done.sizes)
    print(f"input    {INPUT}: (batch, 3, height, width), float32 in [0, 1], not normalised")
    print(f"sizes    any batch; height and width: {height_width}")
    print(f"output   {OUTPUT}: (batch, 1, height, width), of tampering, in [0, 1]")
    print(f"compared with torch at {compared}")
    print(f"largest difference {done.max_difference:.2g} (allowed: {TOLERANCE:g})")
    print(f"wrote    {output}")
