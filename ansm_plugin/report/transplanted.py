"""What table and page say of the transplant test."""

from __future__ import annotations

from collections.abc import Iterator

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


def transplant_cells(found: Transplant) -> Iterator[tuple[str, str]]:
    """Yield the cells of one figure each, under `TRANSPLANT_HEAD`."""
    yield "bare F1 against the forgery's mask, perturbation on grey", f"{found.f1:.3f}"
    yield "control: another picture's perturbation on grey", f"{found.control_f1:.3f}"
    yield "perturbation with its sign turned on grey", f"{found.negated_f1:.3f}"
    yield "perturbation on an unrelated authentic photograph", f"{found.authentic_f1:.3f}"
    yield "that photograph alone", f"{found.authentic_clean_f1:.3f}"
    yield "verdict", verdict(found)
    yield "rms of the perturbation, grey levels, originals", f"{found.rms_255:.2f}"
    yield "its cosine with the picture's fine detail", f"{found.detail_cosine:.2f}"
    attacked = {
        "rms of the perturbation": found.attacked_rms_255,
        "rms from the original before the module": found.attacked_distance_255,
        "rms from the original behind it": found.suppressed_distance_255,
        "behind over before": found.distance_ratio,
        "cosine of the perturbation with minus the noise": found.noise_cosine,
    }
    for name, value in attacked.items():
        if value is not None:
            yield f"{name}, {found.attack}", f"{value:.2f}"
