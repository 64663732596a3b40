"""Reasons to distrust an evaluation."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace

import pytest

from ansm_plugin.evaluation import Row
from ansm_plugin.evaluation.checks.alarm import Alarm
from ansm_plugin.evaluation.checks.alarms import find_alarms
from ansm_plugin.evaluation.results import Rows


def _row(threat: str, defence: str, f1: float, eps: float = 0, attack: str = "pgd") -> Row:
    name = attack if eps else "none"
    scores = {"f1": f1, "f1_low": f1, "f1_high": f1, "iou": f1, "auc": None, "images": 9}
    return Row(threat=threat, attack=name, eps_255=eps, steps=5, defence=defence, **scores)  # type: ignore[arg-type]


def _table(*attacked: Row) -> Rows:
    """Return rows of a localizer with clean F1 0.9 and the given attacked rows."""
    return Rows((_row("T0", "none", 0.9), _row("T0", "ansm", 0.9), *attacked))


def _grey(eps: float, bare: float, defended: float) -> tuple[Row, Row]:
    return _row("T1", "none", bare, eps), _row("T1", "ansm", defended, eps)


def test_no_alarm_where_nothing_is_suspicious() -> None:
    """F1 that falls with eps and a white box below the grey box are as they should be."""
    rows = _table(*_grey(4, 0.3, 0.85), *_grey(8, 0.1, 0.8), _row("T4", "ansm", 0.3, 8))
    assert find_alarms(rows, is_untrained=False) == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (_table(*_grey(8, 0.895, 0.9)), "pgd@8 does nothing"),
        (_table(*_grey(4, 0.1, 0.8), *_grey(8, 0.3, 0.8)), "does not fall with eps: T1 pgd@4"),
        (_table(_row("T4", "ansm", 0.1, 4), _row("T4", "ansm", 0.3, 8)), "fall with eps: T4 pgd@4"),
        (_table(*_grey(8, 0.1, 0.5), _row("T4", "ansm", 0.6, 8)), "white-box attack pgd@8"),
        (_table(*_grey(4, 0.1, 0.96), *_grey(8, 0.1, 0.9)), "0.960 under T1 pgd@4, 0.900 without"),
    ],
)
def test_each_alarm_names_its_attack(rows: Rows, message: str) -> None:
    """Suspicious rows raise one alarm that says which."""
    (alarm,) = find_alarms(rows, is_untrained=False)
    assert message in alarm


def _near_the_ceiling(attacked: float, *others: Row) -> Rows:
    """Return rows of a localizer with clean F1 0.97 and one attack behind the module."""
    clean = (_row("T0", "none", 0.97), _row("T0", "ansm", 0.97))
    return Rows((*clean, _row("T1", "none", 0.1, 8), _row("T1", "ansm", attacked, 8), *others))


def test_a_leak_is_told_near_the_ceiling_too() -> None:
    """Above F1 0.95 no attacked image can be 0.05 better; half of the room counts there."""
    (alarm,) = find_alarms(_near_the_ceiling(0.995), is_untrained=False)
    assert (alarm.name, "0.995 under T1 pgd@8" in alarm) == ("leak", True)
    assert find_alarms(_near_the_ceiling(0.98), is_untrained=False) == ()


@pytest.mark.parametrize(
    ("bare", "defended", "leaks"),
    [
        (0.6, 0.7, True),  # the bare localizer is harmed less by a wrong mask, the defended more
        (0.6, 0.92, False),
        (0.6, 0.99, False),
        (0.0, 0.86, False),  # a little more, as the bare one shows
        (0.6, 0.9, False),
    ],
)
def test_noise_told_a_wrong_mask_takes_no_more_than_the_truth(
    bare: float, defended: float, leaks: bool
) -> None:
    """Where originals leave no room at all, a wrong mask still tells who goes by masks."""
    decoys = [
        replace(_row("T1", defence, f1, 8, "pgd, decoy"), aim="decoy")
        for defence, f1 in (("none", bare), ("ansm", defended))
    ]
    found = find_alarms(_near_the_ceiling(0.95, *decoys), is_untrained=False)
    assert [alarm.name for alarm in found] == ["leak"] * leaks
    assert all("told a wrong mask takes more" in alarm for alarm in found)


def test_an_alarm_is_its_words_and_has_a_name() -> None:
    """It is sent between processes, and written as its words."""
    alarm = Alarm("leak", "it leaks")
    assert (alarm, alarm.name, alarm.text, f"{alarm}") == (
        "it leaks",
        "leak",
        "it leaks",
        "it leaks",
    )
    assert [copied.name for copied in (pickle.loads(pickle.dumps(alarm)), copy.copy(alarm))] == [
        "leak",
        "leak",
    ]
    assert json.dumps([alarm]) == '["it leaks"]'


@pytest.mark.parametrize(("threat", "attack"), [("T2", "hide"), ("T2", "apgd-hide"), ("T3", "pgd")])
def test_noise_made_without_the_mask_gives_nothing_away(threat: str, attack: str) -> None:
    """F1 above that of originals is no leak where the attack never saw the mask."""
    rows = _table(*_grey(8, 0.1, 0.8), _row(threat, "ansm", 0.96, 8, attack))
    assert find_alarms(rows, is_untrained=False) == ()


@pytest.mark.parametrize("clean", [0.0, 0.049])
def test_a_localizer_that_finds_nothing_is_to_blame_not_the_attacks(clean: float) -> None:
    """There is nothing to take: one alarm for all attacks, about the localizer."""
    originals = (_row("T0", "none", clean), _row("T0", "ansm", clean))
    rows = Rows((*originals, *_grey(4, clean, clean), *_grey(8, clean, clean)))
    (alarm,) = find_alarms(rows, is_untrained=False)
    assert f"the localizer finds next to nothing: F1 {clean:.3f} on original images" in alarm
    assert "pgd@4, pgd@8" in alarm
    assert "no fault of the attacks" in alarm
    assert "raise eps" not in alarm


def test_a_localizer_that_finds_little_may_still_be_attacked() -> None:
    originals = (_row("T0", "none", 0.04), _row("T0", "ansm", 0.04))
    assert find_alarms(Rows((*originals, *_grey(8, 0.0, 0.02))), is_untrained=False) == ()


@pytest.mark.parametrize("attack", ["pgd-l2", "apgd-l2", "worst, l2", "pgd-l2 from twin"])
def test_an_attack_in_another_ball_says_nothing_of_the_white_box(attack: str) -> None:
    """A radius of l2 is a root mean square: its ball holds far more than that of T4."""
    grey = (*_grey(8, 0.1, 0.8), _row("T2", "ansm", 0.3, 8, attack))
    assert find_alarms(_table(*grey, _row("T4", "ansm", 0.6, 8)), is_untrained=False) == ()
    (alarm,) = find_alarms(_table(*grey, _row("T4", "ansm", 0.6, 8, "apgd-l2")), is_untrained=False)
    assert f"0.300 that T2 {attack}@8" in alarm


def test_who_trained_modules_of_his_own_knows_less_than_the_white_box() -> None:
    own = _row("T3.5", "ansm", 0.3, 8, "margin from all")
    (alarm,) = find_alarms(_table(own, _row("T4", "ansm", 0.6, 8)), is_untrained=False)
    assert "0.300 that T3.5 margin from all@8 leaves without knowing the module" in alarm


def test_an_untrained_ansm_is_the_first_alarm() -> None:
    """It explains every other one, and says what to do."""
    idle = _table(*_grey(8, 0.9, 0.9))
    first, second = find_alarms(idle, is_untrained=True)
    assert "ansm train" in first
    assert "does nothing" in second
