"""What table and page say of the transplant test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ansm_plugin.evaluation.transplant import MARGIN, Transplant

TRANSPLANT = "Transplant: what the module adds, without the picture that it adds it to"
TRANSPLANT_MEANING = (
    "A defence that finds the forgery itself could write its mask into the picture. So what it "
    "adds is laid on flat grey: marked there no better than the control, it carries no mask."
)
TRANSPLANT_HEAD = ("what", "figure")


def transplant_lines(found: Transplant | None) -> Iterator[str]:
    """Yield what was found in plain words; nothing where it was not measured."""
    if found is None:
        return
    yield (
        f"Transplant: what the module adds to {found.images} original forgeries "
        f"({found.rms_255:.1f} grey levels rms), on flat grey without them, makes the bare "
        f"localizer mark their masks with F1 {found.f1:.3f}, that of another picture "
        f"{found.control_f1:.3f} ({verdict(found)})."
    )
    if found.noise_cosine is not None and found.distance_ratio is not None:
        yield (
            f"Under {found.attack} the image lies {found.attacked_distance_255:.1f} grey levels "
            f"rms from the original before the module and {found.suppressed_distance_255:.1f} "
            f"behind it ({found.distance_ratio:.2f} times as far); cosine of what is added with "
            f"minus the noise {found.noise_cosine:.2f} (1 undoes it)."
        )


def verdict(found: Transplant) -> str:
    """Return in a few words what the F1 on grey means."""
    if found.overwrites:
        return "it writes a mask of its own"
    if found.excess > MARGIN and found.takes_away:
        return (
            f"no message: a filter leaves in the difference what it takes from the picture, and "
            f"with its sign turned it gives {found.negated_f1:.3f}"
        )
    return "no more than chance"


class Figure(NamedTuple):
    """One figure of the test: its name, a number or a verdict, and digits behind the point."""

    name: str
    value: float | str
    digits: int = 3

    @property
    def text(self) -> str:
        """The value as it is shown."""
        return self.value if isinstance(self.value, str) else f"{self.value:.{self.digits}f}"


def transplant_cells(found: Transplant) -> Iterator[tuple[str, str]]:
    """Yield the cells of one figure each, under `TRANSPLANT_HEAD`."""
    for figure in transplant_figures(found):
        yield figure.name, figure.text


def transplant_figures(found: Transplant | None) -> Iterator[Figure]:
    """Yield every figure that was measured; none where the test was not run."""
    if found is None:
        return
    yield Figure("bare F1 against the forgery's mask, perturbation on grey", found.f1)
    yield Figure("control: another picture's perturbation on grey", found.control_f1)
    yield Figure("perturbation with its sign turned on grey", found.negated_f1)
    yield Figure("perturbation on an unrelated authentic photograph", found.authentic_f1)
    yield Figure("that photograph alone", found.authentic_clean_f1)
    yield Figure("verdict", verdict(found))
    yield Figure("rms of the perturbation, grey levels, originals", found.rms_255, 2)
    yield Figure("its cosine with the picture's fine detail", found.detail_cosine, 2)
    attacked = {
        "rms of the perturbation": found.attacked_rms_255,
        "rms from the original before the module": found.attacked_distance_255,
        "rms from the original behind it": found.suppressed_distance_255,
        "behind over before": found.distance_ratio,
        "cosine of the perturbation with minus the noise": found.noise_cosine,
    }
    for name, value in attacked.items():
        if value is not None:
            yield Figure(f"{name}, {found.attack}", value, 2)
