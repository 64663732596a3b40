"""Attacks on a localizer, pure and seeded by a passed generator."""

from ansm_plugin.attacks.ball import draw_region
from ansm_plugin.attacks.gradient import linf_attack
from ansm_plugin.attacks.objectives import OBJECTIVES, objective
from ansm_plugin.attacks.run import WorstCase, run_attack, worst_case
from ansm_plugin.attacks.spec import ATTACKS, AttackSpec, Forward, Transform, attack_spec

__all__ = [
    "ATTACKS",
    "OBJECTIVES",
    "AttackSpec",
    "Forward",
    "Transform",
    "WorstCase",
    "attack_spec",
    "draw_region",
    "linf_attack",
    "objective",
    "run_attack",
    "worst_case",
]
