"""Evaluations to look at: JSON, a table, one panel per image and a summary plot.

matplotlib and rich are imported where they are used. Figures are objects of their own, never
pyplot's, so nothing of the caller's plotting changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ansm_plugin.evaluation.metrics import f1_scores
from ansm_plugin.evaluation.results import Evaluation, Row, clean_row, strongest_white_box
from ansm_plugin.files import write_whole
from ansm_plugin.text import harmless, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

GAIN = 20  # how much noise and perturbation are amplified to be seen
# Okabe and Ito: told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "os^Dv<"


def write_json(evaluation: Evaluation, path: str | Path) -> Path:
    """Write the evaluation as JSON; the file appears whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    text = json.dumps(evaluation.as_json(), indent=2, allow_nan=False) + "\n"
    return write_whole(Path(path), lambda stream: stream.write(text.encode()))


def print_table(evaluation: Evaluation, console: Console) -> None:
    """Print F1 per attack and radius, then the summary and the alarms."""
    from rich.text import Text

    console.print(_table(evaluation))
    lines = [Text(harmless(line)) for line in summary_lines(evaluation)]
    lines += [Text(harmless(f"ALARM: {alarm}"), style="bold red") for alarm in evaluation.alarms]
    for line in lines:
        # A log keeps one line per fact; a terminal wraps between words.
        console.print(line, soft_wrap=not console.is_terminal)


def summary_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the summary in plain words."""
    summary, rows = evaluation.summary, evaluation.rows
    recoveries = [value for value in summary["recovery"].values() if value is not None]
    if recoveries:
        yield (
            f"Recovery: {min(recoveries):.3f} to {max(recoveries):.3f} of the lost F1 comes back "
            "(1 is all of it)."
        )
    yield f"Harm: {summary['harm']:+.3f} F1 lost on original images (0 is none)."
    for row in strongest_white_box(rows)[-1:]:
        yield (
            f"White box: an attacker who knows the module too ({row.attack.upper()}, {row.steps} "
            f"steps, {row.eps_255:g}/255) leaves the defended localizer F1 {row.f1:.3f}."
        )
    shares = [clean_row(rows, defence).false_positive_share for defence in ("none", "ansm")]
    if None not in shares:
        yield (
            f"Authentic images: {shares[0]:.2%} of pixels falsely marked bare, {shares[1]:.2%} "
            "defended."
        )


def save_panel(
    path: str | Path,
    *,
    image: Tensor,
    noise: Tensor,
    mask: Tensor,
    bare: Tensor,
    perturbation: Tensor,
    defended: Tensor,
    title: str,
) -> Path:
    """Write one PNG of six tiles that shows what happened to one image.

    Args:
        path: the PNG file.
        image: `(3, H, W)` in [0, 1], as the localizers got it.
        noise: `(3, H, W)` in pixel units: what the attacker added.
        mask: `(1, H, W)` in {0, 1}: the truth.
        bare: `(1, H, W)` in [0, 1]: probabilities of the bare localizer.
        perturbation: `(3, H, W)` in pixel units: what the ANSM added.
        defended: `(1, H, W)` in [0, 1]: probabilities of the defended localizer.
        title: above the tiles.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    tiles = (
        ("image", image),
        (f"adversarial noise x{GAIN}", 0.5 + GAIN * noise),
        ("true mask", mask),
        (f"bare mask{_f1(bare, mask)}", bare),
        (f"defensive perturbation x{GAIN}", 0.5 + GAIN * perturbation),
        (f"defended mask{_f1(defended, mask)}", defended),
    )
    height, width = image.shape[-2:]
    figure = _figure(9.0, min(12.0, 0.4 + 2 * (0.35 + 2.93 * height / width)))
    for axes, (name, pixels) in zip(figure.subplots(2, 3).flat, tiles, strict=True):
        _tile(axes, name, pixels)
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    return _save_figure(figure, path)


def save_summary(path: str | Path, evaluation: Evaluation) -> Path:
    """Write one PNG: F1 against eps for each attack, bare and defended, and without attack.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    figure = _figure(8.0, 4.8)
    axes = figure.subplots()
    _clean_lines(axes, evaluation)
    pairs = list(evaluation.pairs())
    names = list(dict.fromkeys(bare.attack for bare, _ in pairs))
    for index, name in enumerate(names):
        style: dict[str, Any] = {
            "color": _COLOURS[index % 6],
            "marker": _MARKERS[index % 6],
            "markersize": 6,
        }
        bare, defended = zip(*(pair for pair in pairs if pair[0].attack == name), strict=True)
        shift = 0.08 * (index - (len(names) - 1) / 2)  # equal scores stay visible side by side
        _curve(axes, defended, f"{name}, defended", shift, **style)
        _curve(axes, bare, f"{name}, bare", shift, **style, linestyle="--", markerfacecolor="w")
    white = strongest_white_box(evaluation.rows)
    if white:
        style = {"color": "black", "marker": "*", "markersize": 12, "linestyle": ":"}
        _curve(axes, white, "white box, defended", 0.0, **style)
    _decorate(axes, evaluation)
    return _save_figure(figure, path)


def _table(evaluation: Evaluation) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"{evaluation.localizer}, ANSM {evaluation.ansm}, {evaluation.images} images"
    # ASCII keeps the table readable in logs and on consoles of any encoding.
    table = Table(title=escape(one_line(title)), box=box.ASCII2)
    names = ("threat", "attack", "eps", "bare F1", "defended F1", "95 % interval", "recovery")
    for name in names:
        table.add_column(
            name, justify="left" if name in names[:2] else "right", no_wrap=name != "attack"
        )
    has_baselines = any(row.defence not in ("none", "ansm") for row in evaluation.rows)
    if has_baselines:
        table.add_column("best baseline", justify="right", no_wrap=True)
    for *cells, baseline in _table_rows(evaluation):
        table.add_row(*cells, *([baseline] if has_baselines else []))
    return table


def _table_rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Yield the cells of one attack each: both localizers, recovery and the best baseline."""
    groups: dict[tuple[str, str, float], dict[str, Row]] = {}
    for row in evaluation.rows:
        groups.setdefault((row.threat, row.attack, row.eps_255), {})[row.defence] = row
    for (threat, attack, _), found in groups.items():
        bare, defended = found.get("none"), found["ansm"]
        name = {"none": "none (original)"}.get(attack, attack)
        others = [row for d, row in found.items() if d not in ("none", "ansm")]
        best = max(others, key=lambda row: row.f1, default=None)
        baseline = f"{best.f1:.3f} {best.defence.partition(' ')[0].lower()}" if best else "-"
        yield (
            *(threat, name, _eps(defended), *_f1_cells(bare, defended)),
            _recovered(evaluation, defended),
            baseline,
        )


def _recovered(evaluation: Evaluation, row: Row) -> str:
    if row.threat != "T1":
        return "-"
    share = evaluation.summary["recovery"][row.key]
    return "no damage" if share is None else f"{share:.3f}"


def _f1_cells(bare: Row | None, defended: Row) -> tuple[str, str, str]:
    return (
        f"{bare.f1:.3f}" if bare else "-",
        f"{defended.f1:.3f}",
        f"{defended.f1_low:.3f} to {defended.f1_high:.3f}",
    )


def _eps(row: Row) -> str:
    return f"{row.eps_255:g}/255" if row.eps_255 else "0"


def _f1(probabilities: Tensor, mask: Tensor) -> str:
    if not bool(mask.any()):
        return ""  # F1 says nothing about an authentic image
    return f", F1 {float(f1_scores(probabilities.detach()[None] - 0.5, mask[None])):.2f}"


def _tile(axes: Axes, name: str, pixels: Tensor) -> None:
    shown = pixels.detach().float().clamp(0, 1).cpu().permute(1, 2, 0).numpy()
    # "auto" shows the pixels of a small crop as they are, and a large image without aliasing.
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="auto")
    axes.set_title(name, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def _clean_lines(axes: Axes, evaluation: Evaluation) -> None:
    bare, defended = (clean_row(evaluation.rows, defence) for defence in ("none", "ansm"))
    for row, style, name in ((bare, "--", "bare"), (defended, "-", "defended")):
        axes.axhline(
            row.f1, color="0.55", linestyle=style, linewidth=1.5, label=f"original images, {name}"
        )


def _curve(axes: Axes, rows: Iterable[Row], label: str, shift: float, **style: Any) -> None:
    ordered = sorted(rows, key=lambda row: row.eps_255)
    eps, f1 = [row.eps_255 + shift for row in ordered], [row.f1 for row in ordered]
    # Rounding can put the mean of equal scores a hair outside its interval.
    below = [max(0.0, row.f1 - row.f1_low) for row in ordered]
    above = [max(0.0, row.f1_high - row.f1) for row in ordered]
    axes.errorbar(eps, f1, [below, above], label=label, capsize=3, elinewidth=0.8, **style)


def _decorate(axes: Axes, evaluation: Evaluation) -> None:
    radii = sorted({row.eps_255 for row in evaluation.rows if row.eps_255})
    axes.set_xticks(radii, [f"{eps:g}/255" for eps in radii])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("strength of the attack (eps)")
    axes.set_ylabel("mean F1 of forged images")
    axes.set_title(
        f"{evaluation.localizer}, {evaluation.images} images, bars: 95 % interval",
        fontsize=11,
        parse_math=False,  # names may hold dollar signs
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save_figure(figure: Figure, path: str | Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    return write_whole(Path(path), lambda stream: figure.savefig(stream, format="png", dpi=130))
