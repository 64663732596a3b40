"""Measure the attack score, also against an attacker who attacks it; print tables, draw the curves.

    PYTHONPATH=recipes python -m lab.score OUTPUT.png [--images N]

The embedded localizer with its packaged ANSM, on the forged crops of `ansm demo` (photographs of
the test split; the score was fitted on the train split). Numbers go to OUTPUT.json; a run that was
killed goes on from OUTPUT.records.json. Attacks run in bf16, scores in fp32.

- T1: the localizer is attacked, against originals and each harmless processing.
- T4: margin through the module; "gate": margin through the module with its gate (straight-through).
- joint: margin through the module minus a weight times the score, above 1 below its threshold;
  "hidden" has the bare mask in it, which is what the gate gives where the score is low.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ansm_plugin.attack_score import FALSE_ALARMS
from ansm_plugin.attacks import AttackSpec, Forward, attack_spec, objective, run_attack
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.backbones.reference import SMALL_LOCALIZER, ansm_of, build_localizer, crops_of
from ansm_plugin.data.crops import load_crops
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.evaluation.calibration import HARMLESS, harmless
from ansm_plugin.evaluation.material import demo_data
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.metrics.masks import f1_scores

ATTACKS = ("pgd", "mifgsm", "cospgd", "margin")
EPS = (2.0, 4.0, 8.0)  # grey levels
WHITE_EPS = (4.0, 8.0)
WHITE_STEPS = 20
WEIGHTS = (0.1, 1.0)  # of the score in the joint objective, whose other part is a mean of logits
BATCH = 32
LARGE, LARGE_IMAGES = 256, 12  # a check of another size than that of the calibration
COLOURS = ("#56B4E9", "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#009E73", "#000000")


class Seen(NamedTuple):
    """One value per image, `(B,)`: the score, and F1 of bare, defended and gated mask."""

    score: Tensor
    bare: Tensor
    defended: Tensor

    @property
    def gated(self) -> Tensor:
        """F1 of the mask that the gate chooses."""
        return torch.where(self.score > 0, self.defended, self.bare)


Defended = DefendedLocalizer[Any]


def auc(unattacked: Tensor, attacked: Tensor) -> float:
    """Return the share of pairs in the right order; a tie counts half."""
    difference = attacked[:, None] - unattacked
    return float((difference > 0).double().mean() + (difference == 0).double().mean() / 2)


def caught(unattacked: Tensor, attacked: Tensor) -> float:
    """Return the share of attacked images above 99 % of the unattacked ones."""
    threshold = unattacked.double().quantile(1 - FALSE_ALARMS, interpolation="higher")
    return float((attacked > threshold).double().mean())


def see(defended: Defended, images: Tensor, masks: Tensor) -> Seen:
    """Score images and both their masks."""
    parts = []
    for part, truth in zip(torch.split(images, BATCH), torch.split(masks, BATCH), strict=True):
        with torch.no_grad():
            found = defended.pixels.examine(part)
            f1 = (f1_scores(logits, truth) for logits in (found.bare, found.defended))
            parts.append(Seen(defended.judge(found).double(), *f1))
    return Seen(*(torch.cat(values) for values in zip(*parts, strict=True)))


def joint_forward(
    defended: Defended, masks: Tensor, weight: float, *, bare: bool = False
) -> Forward:
    """Return what the attacker of mask (which one?) and score climbs, `(B, 1, 1, 1)`."""

    def forward(pixels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, torch.bfloat16):
            found = defended.pixels.examine(pixels)
        mask = found.bare if bare else found.defended
        wrong = objective("margin")(mask, masks, 0.0) / masks[0].numel()
        seen = (defended.judge(found) + 1).clamp_min(0)  # unseen is enough
        return (wrong - weight * seen).view(-1, 1, 1, 1)

    return forward


def attacked(
    forward: Callable[[Tensor], Forward],
    images: Tensor,
    masks: Tensor,
    eps: float,
    spec: AttackSpec,
    name: str,
) -> Tensor:
    """Return attacked images; `forward` is told the masks of each batch."""
    generator = attack_generator(0, name, eps, 0)
    batches = zip(torch.split(images, BATCH), torch.split(masks, BATCH), strict=True)
    return torch.cat(
        [run_attack(forward(m), x, m, eps / 255, spec, generator=generator) for x, m in batches]
    )


def white_box(defended: Defended) -> dict[str, tuple[Callable[[Tensor], Forward], AttackSpec]]:
    """Return the attacks through the module by name: what is climbed, and how."""
    through = mask_forward(defended, defended.spec, precision="bf16")
    ansm, spec, score = defended.ansm, defended.spec, defended.score
    gated = DefendedLocalizer(defended.localizer, ansm, spec, score=score, gate=True)
    through_gate = mask_forward(gated.eval(), spec, precision="bf16")
    margin = attack_spec("margin", steps=WHITE_STEPS)
    joint = AttackSpec(objective="output", steps=WHITE_STEPS, random_start=True)
    found: dict[str, tuple[Callable[[Tensor], Forward], AttackSpec]] = {
        "T4": (lambda masks: through, margin),
        "gate": (lambda masks: through_gate, margin),
    }
    for weight in WEIGHTS:
        found[f"joint {weight:g}"] = (lambda m, w=weight: joint_forward(defended, m, w), joint)  # type: ignore[misc]
    return found | {"hidden 1": (lambda m: joint_forward(defended, m, 1.0, bare=True), joint)}


def measure(defended: Defended, count: int, records: Path) -> dict[str, Seen]:
    """Return what is seen of every group of images, by its name; keep each part in a file."""
    data = demo_data(count, crops_of(SMALL_LOCALIZER))
    crops = load_crops(data)
    images, masks = crops.images.float().div(255), crops.masks.float()
    found = _kept(records)
    for name in HARMLESS:
        changed = harmless(name, images, attack_generator(1, name, 0, 0))
        found[name] = see(defended, changed, masks)
    plain = load_crops(replace(data, forgeries=replace(data.forgeries, authentic=1.0)))
    found["authentic"] = see(defended, plain.images.float().div(255), plain.masks.float())
    bare = mask_forward(defended.localizer, defended.spec, precision="bf16")
    plans = [(name, e, lambda m: bare, attack_spec(name)) for name in ATTACKS for e in EPS]
    plans += [(n, e, f, s) for n, (f, s) in white_box(defended).items() for e in WHITE_EPS]
    for name, eps, forward, spec in plans:
        if (group := f"{name}@{eps:g}") not in found:
            changed = attacked(forward, images, masks, eps, spec, name)
            found[group] = see(defended, changed, masks)
            _keep(found, records)
    return found | _large(defended, bare)


def _keep(found: Mapping[str, Seen], path: Path) -> None:
    values = {name: [v.tolist() for v in seen] for name, seen in found.items()}
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(values))
    aside.replace(path)


def _kept(path: Path) -> dict[str, Seen]:
    if not path.exists():
        return {}
    values = json.loads(path.read_text())
    return {n: Seen(*(torch.tensor(v, dtype=torch.float64) for v in s)) for n, s in values.items()}


def _large(defended: Defended, bare: Forward) -> dict[str, Seen]:
    data = demo_data(LARGE_IMAGES, crops_of(SMALL_LOCALIZER))
    crops = load_crops(replace(data, forgeries=replace(data.forgeries, size=LARGE)))
    images, masks = crops.images.float().div(255), crops.masks.float()
    noisy = torch.cat(
        [
            attacked(lambda m: bare, x, m, 4.0, attack_spec("pgd"), "large")
            for x, m in zip(torch.split(images, 2), torch.split(masks, 2), strict=True)
        ]
    )
    jpeg = harmless("jpeg-90", images, torch.Generator())
    groups = {"none": images, "jpeg-90": jpeg, "pgd@4": noisy}
    return {f"{LARGE} px {name}": see(defended, x, masks) for name, x in groups.items()}


def pooled(found: Mapping[str, Seen], names: Sequence[str]) -> Seen:
    """Return several groups as one."""
    return Seen(*(torch.cat(v) for v in zip(*(found[n] for n in names), strict=True)))


def tables(found: Mapping[str, Seen]) -> dict[str, Any]:
    """Return all figures, ready for JSON."""
    against = (*HARMLESS, "authentic")
    blind = {f"T1@{e:g}": pooled(found, [f"{a}@{e:g}" for a in ATTACKS]) for e in EPS}
    large = f"{LARGE} px "
    shown = {n: s for n, s in found.items() if n not in against and not n.startswith(large)}
    groups = blind | shown
    return {
        "false_alarms": {n: float((found[n].score > 0).double().mean()) for n in against},
        "roc": {
            name: {
                n: {"auc": auc(found[n].score, s.score), "tpr": caught(found[n].score, s.score)}
                for n in against
            }
            for name, s in groups.items()
        },
        "shown": {
            name: {
                "above_threshold": float((s.score > 0).double().mean()),
                "f1_bare": float(s.bare.mean()),
                "f1_defended": float(s.defended.mean()),
                "f1_gated": float(s.gated.mean()),
                "f1_unseen": _mean(s.gated[s.score <= 0]),
            }
            for name, s in ({n: found[n] for n in HARMLESS} | groups).items()
        },
        "large": {
            "false_alarms": float((found[large + "none"].score > 0).double().mean()),
            **{
                n: auc(found[large + n].score, found[large + "pgd@4"].score)
                for n in ("none", "jpeg-90")
            },
        },
        "risk": {
            name: risk(pooled(found, ["none", name]))
            for name in found
            if name.endswith("@8") and name.split("@")[0] not in (*ATTACKS[1:], "hidden 1")
        },
    }


def risk(seen: Seen) -> list[tuple[float, float]]:
    """Return (coverage, mean 1 - F1 of the defended mask) as the most suspicious are left out."""
    order = seen.score.argsort(stable=True)
    loss = (1 - seen.defended[order]).cumsum(0) / torch.arange(1, len(order) + 1)
    return [((i + 1) / len(order), float(v)) for i, v in enumerate(loss)]


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the tables in Markdown."""
    against = list(figures["false_alarms"])
    lines = [f"| attack | {' | '.join(against)} |", "|---" * (len(against) + 1) + "|"]
    for name, row in figures["roc"].items():
        cells = (f"{row[n]['auc']:.3f} / {row[n]['tpr']:.2f}" for n in against)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    alarms = (f"{share:.3f}" for share in figures["false_alarms"].values())
    lines += [f"| above 0 | {' | '.join(alarms)} |", ""]
    lines += ["| images | above 0 | F1 bare | F1 defended | F1 gated | F1 of those not above 0 |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, row in figures["shown"].items():
        cells = ("none" if v is None else f"{v:.2f}" for v in row.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{LARGE} px, pgd@4: {figures['large']}"])


def draw(found: Mapping[str, Seen], figures: Mapping[str, Any], path: Path) -> None:
    """Draw the ROC against all unattacked images, and the risk-coverage curves."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    unattacked = pooled(found, [*HARMLESS, "authentic"]).score.sort(descending=True).values
    groups = {f"T1 at {e:g}/255": [f"{a}@{e:g}" for a in ATTACKS] for e in EPS}
    groups |= {n: [n] for n in found if n.startswith("joint") and n.endswith("@8")}
    false = torch.arange(len(unattacked)) / len(unattacked)
    for (label, names), colour in zip(groups.items(), COLOURS, strict=False):
        score = pooled(found, names).score
        left.plot(false, [(score > t).double().mean() for t in unattacked], c=colour, label=label)
    left.set(xlabel="false alarms", ylabel="attacked images found", ylim=(0, 1.02))
    left.set_xscale("symlog", linthresh=FALSE_ALARMS)
    left.legend(fontsize="small")
    for (name, curve), colour in zip(figures["risk"].items(), COLOURS, strict=False):
        right.plot(*zip(*curve, strict=True), c=colour, label=f"originals and {name}, half each")
    right.set(xlabel="share of images that are answered", ylabel="1 - F1 of these", ylim=(0, 1))
    right.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, draw, and keep the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("picture", type=Path)
    options.add_argument("--images", type=int, default=96)
    given = options.parse_args()
    defended = wrap_with_ansm(build_localizer(SMALL_LOCALIZER), str(ansm_of(SMALL_LOCALIZER)))
    defended.ansm.requires_grad_(False)  # attacks need the gradient of the image alone
    records = given.picture.with_suffix(".records.json")
    figures = tables(found := measure(defended, given.images, records))
    print(markdown(figures))
    given.picture.with_suffix(".json").write_text(json.dumps(figures, indent=1))
    draw(found, figures, given.picture)
    records.unlink()


if __name__ == "__main__":
    main()
