"""Colours, sizes and files of all figures.

matplotlib is imported where it is used. Figures are objects of their own, never pyplot's, so
nothing of the caller's plotting changes.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.system.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


GAIN = 20  # how much noise and perturbation are amplified to be seen
# Okabe and Ito: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_WIDEST = 0.75  # letters of a title are 0.6 of their size wide on average, capitals up to this
MARKERS = "os^Dv<"


def title_lines(title: str, width: float, points: float) -> str:
    """Return a title broken into lines that fit a figure, long words such as paths too.

    Args:
        title: on one line.
        width: of the figure in inches.
        points: size of its letters.
    """
    per_line = int(72 * width / (_WIDEST * points))
    return "\n".join(textwrap.wrap(title, per_line, break_on_hyphens=False))


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    return write_whole(Path(path), lambda stream: figure.savefig(stream, format="png", dpi=130))
