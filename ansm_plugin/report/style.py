"""Colours, sizes and files of all figures.

matplotlib is imported where it is used. Figures are objects of their own, never pyplot's, so
nothing of the caller's plotting changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.system.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


GAIN = 20  # how much noise and perturbation are amplified to be seen
# Okabe and Ito: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "os^Dv<"


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    return write_whole(Path(path), lambda stream: figure.savefig(stream, format="png", dpi=130))
