"""Attacks on a localizer, pure and seeded by a passed generator."""

from ansm_plugin.attacks.ball import draw_region
from ansm_plugin.attacks.objectives import OBJECTIVES, objective
from ansm_plugin.attacks.run import run_attack
from ansm_plugin.attacks.spec import ATTACKS, AttackSpec, Expectation, Transform, attack_spec
from ansm_plugin.localizer.call import Forward

__all__ = [
    "ATTACKS",
    "OBJECTIVES",
    "AttackSpec",
    "Expectation",
    "Forward",
    "Transform",
    "attack_spec",
    "draw_region",
    "objective",
    "run_attack",
]
