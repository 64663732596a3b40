"""Measure what defences leave against the attacker who knows them; print a table, draw the curves.

    PYTHONPATH=recipes python -m lab.hardened OUTPUT.png LABEL=LOCALIZER[+ANSM.safetensors] ...

Each defence is a localizer by its command-line name (with its adapter, if it has one), and its ANSM
unless it has none. Images are the forged crops of `ansm demo`, or, with `--images` and `--masks`,
64x64 crops of those; the first defence is the reference that shares and harm are held against.
Numbers go to OUTPUT.json; a label that is there already is not measured again. F1 at a radius is
that of the worst of `WHITE_BOX` for each image, all through the module; "blind" is the same margin
attack on the localizer alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ansm_plugin.attacks import AttackSpec, Forward, attack_spec, run_attack
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.backbones.reference import SMALL_LOCALIZER, build_localizer, crops_of
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.evaluation.material import demo_data
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.metrics.defence import harm, recovery
from ansm_plugin.metrics.masks import f1_scores

EPS = (1.0, 2.0, 4.0)  # grey levels
WHITE_BOX: dict[str, AttackSpec] = {
    "cospgd-100": attack_spec("cospgd", steps=100),
    "margin-100": attack_spec("margin", steps=100),
    "apgd-margin-50 x3": replace(attack_spec("apgd-margin", steps=50), restarts=3),
}
WANTED = {"frozen": (0.60, 0.50, 0.25), "tuned": (0.80, 0.65, 0.45)}  # shares of F1 without attack
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


class Model(NamedTuple):
    """A defence as the attacker sees it in bf16, as it is scored, and its localizer alone."""

    attacked: Forward
    scored: Forward
    bare_attacked: Forward
    bare_scored: Forward


def load(name: str) -> Model:
    """Build a defence from `LOCALIZER[+ANSM]`."""
    localizer, _, ansm = name.partition("+")
    bare = build_localizer(localizer)
    spec = describe(bare)
    model = wrap_with_ansm(bare, ansm) if ansm else bare.requires_grad_(False)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    views = [mask_forward(m, spec, precision=p) for m in (model, bare) for p in ("bf16", "fp32")]
    return Model(*views)


def f1_of(forward: Forward, images: Tensor, masks: Tensor) -> Tensor:
    """Return F1 per image."""
    with torch.no_grad():
        return f1_scores(forward(images), masks)


def measure(model: Model, images: Tensor, masks: Tensor) -> dict[str, Any]:
    """Return F1 without attack, under each attack with knowledge, and under attacks without."""

    def after(forward: Forward, spec: AttackSpec, name: str, eps: float) -> Tensor:
        generator = attack_generator(0, name, eps, 0)
        return run_attack(forward, images, masks, eps / 255, spec, generator=generator)

    white: dict[str, dict[str, float]] = {}
    blind: dict[str, float] = {}
    for eps in EPS:
        left = {
            name: f1_of(model.scored, after(model.attacked, spec, name, eps), masks)
            for name, spec in WHITE_BOX.items()
        }
        worst = torch.stack(list(left.values())).amin(0)
        white[f"{eps:g}"] = {k: float(v.mean()) for k, v in left.items()} | {
            "worst": float(worst.mean())
        }
        unknowing = after(model.bare_attacked, WHITE_BOX["margin-100"], "blind", eps)
        blind[f"{eps:g}"] = float(f1_of(model.scored, unknowing, masks).mean())
    known = after(model.bare_attacked, attack_spec("pgd"), "t1", 8.0)
    return {
        "clean": float(f1_of(model.scored, images, masks).mean()),
        "bare_clean": float(f1_of(model.bare_scored, images, masks).mean()),
        "white": white,
        "blind": blind,
        "t1_bare": float(f1_of(model.bare_scored, known, masks).mean()),
        "t1": float(f1_of(model.scored, known, masks).mean()),
    }


def table(found: Mapping[str, Any]) -> str:
    """Return the numbers as a markdown table; shares are of the bare localizer's clean F1."""
    reference = found["clean"]
    lines = [
        "| defence | F1 original | harm | worst at 1 / 2 / 4 | share of clean | blind margin-100 "
        "at 1 / 2 / 4 | T1 PGD at 8: bare, defended | recovery |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, row in found["models"].items():
        worst = [row["white"][f"{eps:g}"]["worst"] for eps in EPS]
        blind = [row["blind"][f"{eps:g}"] for eps in EPS]
        back = recovery(row["bare_clean"], row["t1_bare"], row["t1"])
        lines.append(
            f"| {label} | {row['clean']:.3f} | {harm(reference, row['clean']):+.3f} | "
            f"{_slashed(worst)} | {_slashed([w / reference for w in worst])} | {_slashed(blind)} | "
            f"{row['t1_bare']:.3f}, {row['t1']:.3f} | {'-' if back is None else f'{back:.3f}'} |"
        )
    return "\n".join(lines)


def _slashed(values: list[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in values)


def draw(found: Mapping[str, Any], target: Path) -> None:
    """Write the PNG: F1 of the worst attack against its radius."""
    figure = Figure(figsize=(11.0, 5.0), layout="constrained")
    axes = figure.subplots()
    styles = product(("o-", "s--"), COLOURS)
    for (label, row), (line, colour) in zip(found["models"].items(), styles, strict=False):
        left = [row["clean"], *(row["white"][f"{eps:g}"]["worst"] for eps in EPS)]
        axes.plot([0.0, *EPS], left, line, color=colour, label=label)
    for label, shares in WANTED.items():
        goal = [share * found["clean"] for share in shares]
        axes.plot(EPS, goal, "_" if label == "frozen" else "x", color="black", markersize=14,
                  label=f"goal, {label}")  # fmt: skip
    axes.set_xlabel("radius of the attack through the module, grey levels")
    axes.set_ylabel(f"F1 that the worst attack leaves ({found['images']} crops)")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(target, dpi=120)


def load_inputs(data: DataConfig) -> tuple[Tensor, Tensor]:
    """Return crops in [0, 1] and their masks, as floats."""
    crops = load_crops(data)
    return crops.images.float().div(255), crops.masks.float()


def main() -> None:
    """Measure what is missing, then write numbers and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("models", nargs="+", metavar="LABEL=LOCALIZER[+ANSM]")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--pattern", default="*", help="which of the images")
    given = parser.parse_args()
    data = replace(
        demo_data(given.count, crops_of(SMALL_LOCALIZER)),
        images=given.images,
        masks=given.masks,
        pattern=given.pattern,
    )
    images, masks = load_inputs(data)
    if not masks.flatten(1).any(1).all():
        parser.error("some crops have no forged pixel, which F1 is about; give --pattern")
    numbers = given.output.with_suffix(".json")
    named = [(label, name) for label, _, name in (text.partition("=") for text in given.models)]
    reference = load(named[0][1])
    found: dict[str, Any] = {
        "images": given.count,
        "clean": float(f1_of(reference.bare_scored, images, masks).mean()),
        "models": {},
    }
    if numbers.exists():
        found = json.loads(numbers.read_text(encoding="utf-8"))
    given.output.parent.mkdir(parents=True, exist_ok=True)
    for label, name in named:
        if label in found["models"]:
            continue
        began = time.process_time()
        found["models"][label] = measure(load(name), images, masks)
        found["models"][label]["cpu_seconds"] = round(time.process_time() - began)
        numbers.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(table(found), flush=True)
    draw(found, given.output)
    print(table(found))


if __name__ == "__main__":
    main()
