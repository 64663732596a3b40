"""Attacks on a localizer, pure and seeded by a passed generator."""

from ansm_plugin.attacks.gradient import (
    ATTACKS,
    AttackSpec,
    Forward,
    Transform,
    attack_spec,
    linf_attack,
)
from ansm_plugin.attacks.objectives import OBJECTIVES, objective

__all__ = [
    "ATTACKS",
    "OBJECTIVES",
    "AttackSpec",
    "Forward",
    "Transform",
    "attack_spec",
    "linf_attack",
    "objective",
]
