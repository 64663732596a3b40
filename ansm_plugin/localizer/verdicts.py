"""Which commands work on a localizer, from what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansm_plugin.localizer.explanation import Verdict
from ansm_plugin.localizer.gradient import GradientShare
from ansm_plugin.localizer.guesses import how_to_say
from ansm_plugin.localizer.tapped import Tapped

# What they need besides the localizer.
_ATTACKING = {
    "attack": "",
    "evaluate": "",
    "calibrate": "with --ansm FILE",
    "train mgr": "with --ansm FILE",
    "train hardened": "with --ansm FILE or --preset NAME",
}
_ALIGNING = ("train ffa", "train two-stage")  # they attack, too
_PASSING = ("localize", "export")


def verdicts(reason: str, gradient: GradientShare, tapped: Sequence[Tapped]) -> tuple[Verdict, ...]:
    """Return whether each command works.

    Args:
        reason: why no command works; "" where a mask comes out of the localizer.
        gradient: which share of it comes back.
        tapped: its taps, each tried.
    """
    if reason:
        every = (*_PASSING, *_ATTACKING, *_ALIGNING)
        return tuple(Verdict(command, False, reason) for command in every)
    return (*_passing(), *_attacking(gradient), *_aligning(gradient, tapped))


def _passing() -> Iterator[Verdict]:
    yield Verdict("localize", True, "by the ANSM of its name, by --ansm FILE, or --bare")
    yield Verdict("export", True, "as far as can be told: whether ONNX has all of it was not tried")


def _attacking(gradient: GradientShare) -> Iterator[Verdict]:
    for command, needed in _ATTACKING.items():
        if not gradient.is_cut:
            yield Verdict(command, True, "; ".join(filter(None, (needed, _doubt(gradient)))))
        elif command == "evaluate":
            yield Verdict(
                command, False, "no gradient comes back; --threat T0,T6 --baselines none needs none"
            )
        else:
            yield Verdict(command, False, "no gradient comes back")


def _aligning(gradient: GradientShare, tapped: Sequence[Tapped]) -> Iterator[Verdict]:
    broken = [tap.name for tap in tapped if tap.shape is None]
    reason = ""
    if gradient.is_cut:
        reason = "no gradient comes back"
    elif not tapped:
        reason = f"it needs taps; give {how_to_say('taps')}; `train hardened` needs none"
    elif broken:
        reason = f"{', '.join(broken)} gives no feature; give {how_to_say('taps')}"
    for command in _ALIGNING:
        yield Verdict(command, not reason, reason or _doubt(gradient))


def _doubt(gradient: GradientShare) -> str:
    if gradient.is_partial:
        return "but it sees a part of the gradient alone"
    return "" if gradient.share is not None else "as far as can be told: no gradient was measured"
