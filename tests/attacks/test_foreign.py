"""Attacks and objectives of other packages: found by name, run as ours, held to what they owe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import foreign_attacks
from torch import Tensor, nn

from ansm_plugin.attacks import AttackSpec, attack_spec, objective, run_attack
from ansm_plugin.attacks.aims import MARK
from ansm_plugin.attacks.foreign import ATTACK_GROUP, find, name_of
from ansm_plugin.attacks.objectives import towards
from ansm_plugin.attacks.spec import Expectation, ForeignAttack
from ansm_plugin.errors import AnsmError, ConfigError, LocalizerError
from ansm_plugin.evaluation.config import EvaluationConfig, full
from ansm_plugin.evaluation.manifest import AttackPlan
from ansm_plugin.recipes.knowing import Hardened
from ansm_plugin.training.cache import AttackMixture, attack_batch

EPS = 8 / 255
MODULE = "support.foreign_attacks"
Victim = Any  # the fixture of conftest.py


def attacked_by(name: str, victim: Victim, seed: int = 0, **options: Any) -> Tensor:
    """Run the attack of a name from a seeded start."""
    generator = torch.Generator().manual_seed(seed)
    spec = attack_spec(name if ":" in name else f"{MODULE}:{name}")
    return run_attack(
        victim.forward, victim.images, victim.masks, EPS, spec, generator=generator, **options
    )


def test_a_function_attacks_as_ours_do(victim: Victim) -> None:
    attacked = attacked_by("signs", victim)
    change = (attacked - victim.images).abs()
    assert victim.f1(attacked) < 0.5 * victim.f1(victim.images)
    assert float(change.max()) <= EPS + 1e-6
    assert torch.equal(attacked.mul(255).round(), attacked.mul(255))  # 8 bit
    assert not attacked.requires_grad


def test_the_localizer_has_no_gradient_left(victim: Victim) -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1)).eval()
    spec = attack_spec(f"{MODULE}:signs")
    with torch.no_grad():
        run_attack(model, victim.images, victim.masks, EPS, spec)
    assert model[0].weight.grad is None
    assert model[0].weight.requires_grad


def test_a_function_is_handed_copies_and_what_the_protocol_says(victim: Victim) -> None:
    before, radii = victim.images.clone(), torch.linspace(1, 6, 6) / 255
    spec = attack_spec(f"{MODULE}:curious")
    foreign_attacks.CALLS.clear()
    found = run_attack(victim.forward, victim.images, victim.masks, radii, spec)
    (call,) = foreign_attacks.CALLS
    assert torch.equal(call["eps"].flatten(), radii)  # type: ignore[attr-defined]
    assert torch.equal(call["pixels"], before)  # type: ignore[arg-type]
    assert call["grad"] is True
    assert torch.equal(found, victim.images)
    assert torch.equal(victim.images, before)


def test_what_is_random_comes_from_the_generator(victim: Victim) -> None:
    """Of an attack that draws from the global generator too, which stays as it was."""
    state = torch.get_rng_state()
    first, again, other = (attacked_by("walk", victim, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_steps_reach_who_counts_them() -> None:
    walk = attack_spec(f"{MODULE}:walk", steps=7)
    assert (walk.steps, attack_spec(f"{MODULE}:walk").steps) == (7, 10)
    assert attack_spec(f"{MODULE}:signs", steps=7).steps == 1


def test_restarts_keep_the_most_successful(victim: Victim) -> None:
    spec = attack_spec(f"{MODULE}:walk", steps=1)
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    one, best = (
        run_attack(victim.forward, victim.images, victim.masks, EPS, s, generator=g)
        for s, g in zip((spec, replace(spec, restarts=3)), generators, strict=True)
    )
    assert bool((victim.f1_of(best) <= victim.f1_of(one)).all())
    assert not torch.equal(best, one)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("too_far", r"8/255 more than its radius"),
        ("unclamped", r"pixels from -1\.\d+ to -1\.\d+; it must return finite pixels in \[0, 1\]"),
        ("not_finite", "returned NaN"),
        ("smaller", r"\(6, 3, 24, 23\); it must return float pixels"),
        ("nothing", "returned NoneType"),
        ("of_two", "cannot be called .*it takes pixels, masks, eps, forward, generator"),
    ],
)
def test_a_bad_answer_is_refused_with_whose_mistake_it_is(
    victim: Victim, name: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"attack {MODULE}:{name}.*{said}"):
        attacked_by(name, victim)


def test_what_a_function_raises_comes_through(victim: Victim) -> None:
    with pytest.raises(KeyError, match="on purpose"):
        attacked_by("broken", victim)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pgdd", r"Nearest: pgd.*module:function"),
        (f"{MODULE}:missing", "has no attribute 'missing'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        (f"{MODULE}:", "write module:name"),
        (f"{MODULE}:NUMBER", "is int; allowed: a function"),
        (f"{MODULE}:Attacker", "is the class Attacker"),
        (f"{MODULE}:IN_L2", "has the norm l2"),
    ],
)
def test_a_name_without_an_attack_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        attack_spec(name)


def test_attacks_are_plugins_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: Victim, fresh: None
) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    entries = "".join(f"{name} = {MODULE}:{name}\n" for name in ("signs", "too_far", "BRIGHT"))
    (info / "entry_points.txt").write_text(f"[{ATTACK_GROUP}]\n{entries}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert AttackPlan(attacks=("signs", "BRIGHT", "pgd")).attacks[0] == "signs"
    spec = attack_spec("signs")
    assert isinstance(spec, ForeignAttack)
    assert victim.f1(run_attack(victim.forward, victim.images, victim.masks, EPS, spec)) < 0.5
    far = attack_spec("too_far")
    with pytest.raises(ConfigError, match=r"too_far of theirs 1\.0 \(support\.foreign_attacks"):
        run_attack(victim.forward, victim.images, victim.masks, EPS, far)
    with pytest.raises(ConfigError, match=r"Nearest: signs"):
        attack_spec("signz")


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget what was found, before and after: entry points are there for a test alone."""
    find.cache_clear()
    yield
    find.cache_clear()


def test_code_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attack_of_a_user.py").write_text("def mine(*call): return call[0]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = attack_spec("attack_of_a_user:mine")
    assert isinstance(spec, ForeignAttack)
    assert len(spec.code) == 12  # so that results of other code are told apart


def test_what_decides_an_attack_names_the_code_of_others() -> None:
    """So a run that goes on does not mix noise of two versions of it."""
    assert attack_spec("pgd").identity == str(attack_spec("pgd"))
    code = find(f"{MODULE}:brightness").code
    assert attack_spec(f"{MODULE}:BRIGHT").identity.endswith(f" {code}")
    assert (
        replace(attack_spec("pgd"), objective=f"towards {MODULE}:brightness").identity[-12:] == code
    )
    assert f"code='{code}'" in attack_spec(f"{MODULE}:signs").identity


def test_code_that_fails_to_import_says_so_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_attack.py").write_text("raise ZeroDivisionError('mine')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZeroDivisionError, match="mine"):
        attack_spec("broken_attack:mine")


# --- objectives -----------------------------------------------------------------------------------


def test_an_objective_of_another_package_is_climbed(victim: Victim) -> None:
    spec = AttackSpec(objective=f"{MODULE}:brightness", steps=5, random_start=True)
    generator = torch.Generator().manual_seed(0)
    attacked = run_attack(
        victim.forward, victim.images, victim.masks, EPS, spec, generator=generator
    )
    assert victim.f1(attacked) < 0.3
    assert torch.equal(attacked, attacked_by("BRIGHT", victim))  # the same, as a spec of theirs


def test_an_objective_of_another_package_leads_towards_a_mask(victim: Victim) -> None:
    away = objective(f"{MODULE}:brightness")(victim.masks, victim.masks, 0.0)
    back = objective(towards(f"{MODULE}:brightness"))(victim.masks, 1 - victim.masks, 0.0)
    assert torch.equal(away, back)


@pytest.mark.parametrize(
    ("name", "said"),
    [("scalar", r"must return one value per image, \(6,\)"), ("detached", "without a gradient")],
)
def test_a_bad_objective_is_refused(victim: Victim, name: str, said: str) -> None:
    spec = AttackSpec(objective=f"{MODULE}:{name}")
    with pytest.raises(ConfigError, match=rf"objective {MODULE}:{name} .*{said}"):
        run_attack(victim.forward, victim.images, victim.masks, EPS, spec)


def test_an_objective_may_be_whose_nan_it_is(victim: Victim) -> None:
    spec = AttackSpec(objective=f"{MODULE}:rooted")
    with pytest.raises(LocalizerError, match=rf"Or objective {MODULE}:rooted"):
        run_attack(victim.forward, victim.images, victim.masks, EPS, spec)


# --- where they serve -----------------------------------------------------------------------------


def test_training_mixes_them_in(victim: Victim) -> None:
    mixture = AttackMixture(attacks=(f"{MODULE}:signs",))
    generator = torch.Generator().manual_seed(0)
    attacked = attack_batch(victim.forward, victim.images, victim.masks, mixture, generator)
    assert victim.f1(attacked) < victim.f1(victim.images)


def test_what_takes_no_start_is_refused_before_the_run(victim: Victim) -> None:
    name = f"{MODULE}:signs"
    with pytest.raises(ConfigError, match=r"warm-start.*takes neither a start"):
        replace(full(), white_box_attacks=(name,))
    assert replace(full(), white_box_attacks=("apgd-margin", name)).white_box == "estimate"
    with pytest.raises(ConfigError, match="never towards it"):
        EvaluationConfig(aims=(MARK,), aim_attacks=(name,))
    with pytest.raises(ConfigError, match=r"hardened\.attacks names"):
        Hardened(attacks=(name,))
    for options in ({"start": victim.images}, {"expectation": Expectation(lambda x, _: x)}):
        with pytest.raises(ConfigError, match="takes neither a start"):
            attacked_by("signs", victim, **options)


def test_a_function_is_named_as_it_is_found_again() -> None:
    assert name_of(foreign_attacks.signs) == f"{MODULE}:signs"
    with pytest.raises(AnsmError, match="at the top of a module"):
        name_of(lambda *call: call[0])
