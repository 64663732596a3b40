"""One plot of an evaluation: F1 against the strength of the attack."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansm_plugin.evaluation.results import BARE, DEFENDED, Evaluation, Row
from ansm_plugin.report.style import COLOURS, MARKERS, new_figure, save_figure, title_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _POINTS = 8.0, 11.0  # of the figure in inches, of its title


def save_summary(path: str | Path, evaluation: Evaluation) -> Path:
    """Write one PNG: F1 against eps for each attack, bare and defended, and without attack.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    figure = new_figure(_WIDTH, 4.8)
    axes = figure.subplots()
    _clean_lines(axes, evaluation)
    pairs = list(evaluation.rows.pairs())
    names = list(dict.fromkeys(bare.attack for bare, _ in pairs))
    for index, name in enumerate(names):
        style: dict[str, Any] = {
            "color": COLOURS[index % 6],
            "marker": MARKERS[index % 6],
            "markersize": 6,
        }
        bare, defended = zip(*(pair for pair in pairs if pair[0].attack == name), strict=True)
        shift = 0.08 * (index - (len(names) - 1) / 2)  # equal scores stay visible side by side
        _curve(axes, defended, f"{name}, defended", shift, **style)
        _curve(axes, bare, f"{name}, bare", shift, **style, linestyle="--", markerfacecolor="w")
    white = evaluation.rows.strongest_white_box()
    if white:
        style = {"color": "black", "marker": "*", "markersize": 12, "linestyle": ":"}
        _curve(axes, white, "white box, defended", 0.0, **style)
    _decorate(axes, evaluation)
    title = f"{evaluation.localizer}, {evaluation.images} images, bars: 95 % interval"
    # Above the legend too: over the axes alone a long name is cut. Names may hold dollar signs.
    figure.suptitle(title_lines(title, _WIDTH, _POINTS), fontsize=_POINTS, parse_math=False)
    return save_figure(figure, path)


def _clean_lines(axes: Axes, evaluation: Evaluation) -> None:
    bare, defended = (evaluation.rows.clean(defence) for defence in (BARE, DEFENDED))
    for row, style, name in ((bare, "--", "bare"), (defended, "-", "defended")):
        axes.axhline(
            row.f1, color="0.55", linestyle=style, linewidth=1.5, label=f"original images, {name}"
        )


def _curve(axes: Axes, rows: Iterable[Row], label: str, shift: float, **style: Any) -> None:
    ordered = sorted(rows, key=lambda row: row.eps_255)
    eps, f1 = [row.eps_255 + shift for row in ordered], [row.f1 for row in ordered]
    # Rounding can put the mean of equal scores a hair outside its interval.
    below = [max(0.0, row.f1 - row.f1_low) * row.has_interval for row in ordered]
    above = [max(0.0, row.f1_high - row.f1) * row.has_interval for row in ordered]
    axes.errorbar(eps, f1, [below, above], label=label, capsize=3, elinewidth=0.8, **style)


def _decorate(axes: Axes, evaluation: Evaluation) -> None:
    radii = sorted({row.eps_255 for row in evaluation.rows if row.eps_255})
    axes.set_xticks(radii, [f"{eps:g}/255" for eps in radii])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("strength of the attack (eps)")
    axes.set_ylabel("mean F1 of forged images")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
