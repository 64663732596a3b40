"""Attack a defence with knowledge and around its gradient, at one radius; print what is left.

    PYTHONPATH=recipes python -m lab.adaptive LOCALIZER ANSM.safetensors EPS

`ansm evaluate` has the variants of `ADAPTIVE` at 8 grey levels alone, where a hardened module has
fallen already. Images are the forged crops of `ansm demo`.
"""

from __future__ import annotations

import sys

from ansm_plugin.backbones.reference import build_localizer, crops_of
from ansm_plugin.data.crops import load_crops
from ansm_plugin.data.samples import crop_samples
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.evaluation import EvaluationConfig, Labels, evaluate
from ansm_plugin.evaluation.material import demo_data
from ansm_plugin.evaluation.results import DEFENDED, T0, T1, T4

COUNT = 16
ADAPTIVE = ("straight-through", "unsaturated", "bypass", "warm-start")


def main(localizer: str, ansm: str, eps: float) -> None:
    """Print a line for every attack, and the alarms."""
    config = EvaluationConfig(
        threats=(T0, T1, T4),
        attacks=("pgd",),
        eps_255=(eps,),
        white_box_attacks=("apgd-margin", "margin"),
        white_box_steps=50,
        white_box_eps_255=(eps,),
        adaptive=ADAPTIVE,
        attack_precision="bf16",
    )
    defended = wrap_with_ansm(build_localizer(localizer), ansm)
    samples = crop_samples(load_crops(demo_data(COUNT, crops_of(localizer))))
    labels = Labels(localizer=localizer, command=" ".join(sys.argv))
    found = evaluate(defended, samples, config, labels=labels)
    for row in found.rows:
        if row.defence == DEFENDED:
            print(f"{row.threat} {row.attack:32} {row.eps_255:g} {row.f1:.3f}")
    print("alarms:", *(found.alarms or ["none"]), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
