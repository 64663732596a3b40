"""Everything that we go by when we talk to a localizer, found out at once and put in words."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from torch import nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.explanation import Explanation, Fact
from ansm_plugin.localizer.facts import Facts
from ansm_plugin.localizer.families import describe, inner
from ansm_plugin.localizer.gradient import gradient_share, probing_side
from ansm_plugin.localizer.guesses import Guess, how_to_say
from ansm_plugin.localizer.maps import lies_over
from ansm_plugin.localizer.modes import device_of, dtype_of
from ansm_plugin.localizer.probe import activation_of, probed_mask, takes
from ansm_plugin.localizer.seen import Seen, look
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.stated import stated
from ansm_plugin.localizer.tapped import try_tap
from ansm_plugin.localizer.verdicts import verdicts
from ansm_plugin.localizer.wrappers import layers, through_wrappers

_STRIDES = (2, 4, 8, 16, 32, 64)  # pixels, tried where masks do not lie over their images


def explain(
    localizer: nn.Module, spec: LocalizerSpec | None = None, *, facts: Facts | None = None
) -> Explanation:
    """Return what is known of a localizer, and what that rests on; nothing of it changes.

    Runs it on a few small images, some of them with a gradient.

    Args:
        localizer: bare, in any mode, on any device.
        spec: how to talk to it, where you know it; by default what `describe` finds.
        facts: single fields that you know better.

    Raises:
        LocalizerError: no torch module, or a defended localizer.
        ConfigError: one of the facts is out of its range.
    """
    _require_bare(localizer)
    given = Facts() if facts is None else facts
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = given.applied(spec or describe(localizer))
    warned = [warning.message for warning in caught]
    is_whole = spec is not None or stated(localizer) is not None
    known = _Known(
        localizer=through_wrappers(localizer),
        spec=found,
        said=frozenset(asdict(found)) if is_whole else frozenset(given.given()),
        guesses=tuple(w for w in warned if isinstance(w, Guess) and not given.overrules(w)),
    )
    seen = look(known.localizer, found, known.side, known.side)
    gradient = gradient_share(known.localizer, found)
    tapped = tuple(try_tap(known.localizer, found, name) for name in found.taps)
    core = inner(localizer)
    return Explanation(
        localizer=type(core).__name__,
        around=tuple(type(module).__name__ for module in layers(localizer, core)),
        spec=found,
        family=_family(known),
        normalisation=_normalisation(known),
        sizes=_sizes(known),
        output=_output(known, seen),
        activation=_activation(known),
        taps=tapped,
        gradient=gradient,
        dtype=str(dtype_of(localizer) or "").removeprefix("torch."),
        device=str(device_of(localizer)),
        parameters=sum(p.numel() for p in localizer.parameters()),
        commands=verdicts(_useless(seen), gradient, tapped),
        remarks=(*(str(w) for w in warned if not isinstance(w, Guess)), *_stretched(known)),
    )


def _require_bare(localizer: nn.Module) -> None:
    if any(kind.__module__ == "ansm_plugin.defended" for kind in type(localizer).__mro__):
        raise LocalizerError(
            "this localizer is defended; explain the localizer itself: explain(defended.localizer)."
        )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the facts are made of.

    Attributes:
        localizer: without wrappers.
        spec: how to talk to it.
        said: fields of the spec that somebody has said.
        guesses: about the others.
    """

    localizer: nn.Module
    spec: LocalizerSpec
    said: frozenset[str]
    guesses: tuple[Guess, ...]

    @property
    def side(self) -> int:
        """Of a small square image that it takes, in pixels."""
        return probing_side(self.spec)

    @property
    def other_size(self) -> tuple[int, int]:
        """Height and width that it should take, of which a larger stride takes neither."""
        longer = self.side + (1 if self.spec.square else 3) * self.spec.stride
        return self.side + self.spec.stride, longer

    def guess(self, field: str) -> str:
        """Return what was guessed of a field of the spec, "" where nothing was."""
        return " ".join(str(guess) for guess in self.guesses if field in guess.fields)


def _family(known: _Known) -> Fact:
    if "family" in known.said:
        return Fact(known.spec.family, "its spec was given")
    if known.spec.family == "plain":
        return Fact("plain", "no family knows its class: what follows was read off it, or tried")
    return Fact(known.spec.family, "by its class")


def _normalisation(known: _Known) -> Fact:
    spec = known.spec
    mean, std = (", ".join(f"{v:g}" for v in values) for values in (spec.mean, spec.std))
    order = "" if spec.colour_order == "rgb" else ", blue first"
    value = f"(pixels in [0, 1] - mean) / std; mean {mean}; std {std}{order}"
    return Fact(value, f"source: {spec.normalisation}", known.guess("mean"))


def _sizes(known: _Known) -> Fact:
    """Return what sizes it takes; one that it should take is tried."""
    spec = known.spec
    value = "any height and width" if spec.stride == 1 else f"multiples of {spec.stride} pixels"
    value += f" from {spec.smallest} pixels on" if spec.smallest > 1 else ""
    value += ", squares alone" if spec.square else ""
    if (spec.stride, spec.smallest, spec.square) != (1, 1, False):
        value += "; other images are padded"
    source = "tried" if spec.family == "plain" else f"family {spec.family}"
    source = "as you say" if "stride" in known.said else source
    height, width = known.other_size
    if takes(known.localizer, height, width):
        return Fact(value, f"{source}: it answers an image of {width}x{height}")
    if spec.stride == spec.smallest > 1:
        fixed = f"it is taken for one of a fixed size, as it fails on {width}x{height}"
        return Fact(value, f"{source}: {fixed}")
    return Fact(value, f"{source}, but it fails on {width}x{height}", how_to_say("stride"))


def _output(known: _Known, seen: Seen) -> Fact:
    if seen.mask is None:
        return Fact(seen.form, seen.problem, "spec=LocalizerSpec(mask_key=...) in Python names it.")
    value, why, fields = f"{seen.form}; the mask is {seen.place}", [], []
    if (classes := seen.mask.shape[1]) > 1 and "tamper_class" not in known.said:
        why += [f"of {classes} classes number {known.spec.tamper_class} is taken for forged"]
        fields += ["tamper_class=..."]
    if seen.several and known.spec.mask_key is None:
        why += ["the mask is taken by its name or place"]
        fields += ["mask_key=..."]
    guess = f"{', and '.join(why)}; spec=LocalizerSpec({', '.join(fields)}) in Python says which"
    height, width = seen.mask.shape[-2:]
    source = f"seen: {width}x{height} for an image of {known.side}x{known.side}"
    return Fact(value, source, f"{guess}." if why else "")


def _useless(seen: Seen) -> str:
    """Return why nothing can be done with what was seen, "" where something can."""
    if seen.mask is None:
        return "no mask comes out of it"
    return "its mask holds NaN" if bool(seen.mask.isnan().any()) else ""


def _activation(known: _Known) -> Fact:
    """Return what the mask holds, held against what it is seen to hold."""
    spec, guess = known.spec, known.guess("activation")
    value = spec.activation if spec.activation == "logits" else f"{spec.activation} probabilities"
    mask = probed_mask(known.localizer, (known.side,))
    if mask is None:
        return Fact(value, "no mask was seen", guess or how_to_say("activation"))
    low, high = float(mask.min()), float(mask.max())
    source = f"seen: from {low:.3g} to {high:.3g} on two small images, one of them extreme"
    looks = activation_of(mask)
    if (looks == "logits") != (spec.activation == "logits"):
        guess = f"they look like {looks}; say it by {how_to_say('activation')}."
    return Fact(value, source, guess)


def _stretched(known: _Known) -> Iterator[str]:
    """Yield a sentence on masks that do not lie over their image, and the stride that helps."""
    height, width = known.other_size
    mask = look(known.localizer, known.spec, height, width).mask
    if mask is None or lies_over((mask.shape[-2], mask.shape[-1]), (height, width)):
        return
    better = next((n for n in _STRIDES if n > known.spec.stride and _fits(known, n)), None)
    yield (
        f"its mask of an image of {width}x{height} has {mask.shape[-1]}x{mask.shape[-2]}, and is "
        f"stretched over the image. A stride of {better or 'more pixels'} pads images to sizes "
        f"where it fits, and changes what comes back for others: {how_to_say('stride')}."
    )


def _fits(known: _Known, stride: int) -> bool:
    """Return whether masks lie over images of which no larger stride takes the size."""
    size = (known.side + stride, known.side + 3 * stride)
    mask = look(known.localizer, known.spec, *size).mask
    return mask is not None and lies_over((mask.shape[-2], mask.shape[-1]), size)
