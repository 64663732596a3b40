"""What a recompression leaves of the attack score and of the mask.

    PYTHONPATH=recipes python -m lab.recompressed OUTPUT.json LOCALIZER [COUNT]

LOCALIZER is a name of the catalogue whose ANSM has an attack score. Forged crops, as `ansm demo`
makes them, are attacked through the bare localizer, and they and their originals pass JPEG. The
score's AUC says how often an attacked crop scores above an original that passed the same; F1 is the
defended one, beside that of originals.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.seeds import image_generators
from ansm_plugin.backbones.reference import crops_of
from ansm_plugin.commands.loading import load_defended
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.evaluation.material import demo_data, made_samples
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.metrics.masks import f1_scores

ATTACKS = ("pgd", "mifgsm")
EPS = (4.0, 8.0)  # grey levels
WAYS = ("as it is", "jpeg-90", "jpeg-75")
Row = dict[str, float | str]


def rows(name: str, count: int) -> Iterator[Row]:
    """Yield a row for each attack, radius and way."""
    pair = load_defended(name, None)
    bare = mask_forward(pair.localizer, pair.spec)
    samples = made_samples(demo_data(count, crops_of(name)), authentic=False)
    images = torch.cat([sample.images for sample in samples])
    masks = torch.cat([sample.masks for sample in samples])
    for attack in ATTACKS:
        for eps in EPS:
            generators = image_generators(0, attack, eps, range(len(images)))
            spec = attack_spec(attack)
            noisy = run_attack(bare, images, masks, eps / 255, spec, generator=generators)
            for way in WAYS:
                seen = _seen(pair, _passed(noisy, way), _passed(images, way), masks)
                yield {"attack": attack, "eps_255": eps, "way": way, **seen}


@torch.no_grad()
def _seen(
    pair: DefendedLocalizer[nn.Module], attacked: Tensor, originals: Tensor, masks: Tensor
) -> dict[str, float]:
    """Return what score and mask say of attacked crops and of originals."""
    forward = mask_forward(pair, pair.spec)
    scores = [pair.attack_score(pixels) for pixels in (attacked, originals)]
    f1 = [float(f1_scores(forward(pixels), masks).mean()) for pixels in (attacked, originals)]
    return {
        "auc": _auc(*scores),
        "alarms": float((scores[0] > 0).float().mean()),
        "false_alarms": float((scores[1] > 0).float().mean()),
        "f1_attacked": f1[0],
        "f1_original": f1[1],
    }


def _passed(images: Tensor, way: str) -> Tensor:
    return images if way == WAYS[0] else channel(way)(images, images[:, :1]).images


def _auc(attacked: Tensor, originals: Tensor) -> float:
    difference = attacked[:, None] - originals[None]
    return float(((difference > 0).float() + 0.5 * (difference == 0).float()).mean())


def main(output: Path, name: str, count: int) -> None:
    """Measure, write the numbers and print the table."""
    found = list(rows(name, count))
    output.write_text(json.dumps({"localizer": name, "count": count, "rows": found}, indent=1))
    columns = list(found[0])
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in found:
        cells = (f"{v:.3f}" if isinstance(v, float) else v for v in row.values())
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [output, name]:
            main(Path(output), name, 24)
        case [output, name, count] if count.isdecimal():
            main(Path(output), name, int(count))
        case _:
            sys.exit(__doc__)
