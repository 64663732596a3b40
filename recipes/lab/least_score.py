"""Say what `ansm localize --least-score` costs and spares on whole photographs of several sets.

    PYTHONPATH=recipes python -m lab.least_score OUTPUT.json LOCALIZER ANSM|none NAME=FOLDER ...

The arguments are those of `lab.sets`. A table says what each least score leaves: F1 over forged
photographs, pixels marked on authentic ones, and the share of these with more than 1 % marked.
Behind
it stand the scores as the card of the weights has them, `[[scores]]`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.data.pairs import find_pairs
from ansm_plugin.data.samples import WholeImages
from lab.sets import MARKED, Photograph, Row, forwards_of, looked_at, table

LEAST = (0.0, 0.95, 0.97, 0.98, 0.985, 0.99)


def main(output: Path, localizer: str, ansm: str, sets: Sequence[str]) -> None:
    """Measure every set behind the ANSM, or bare; write all numbers, print table and scores."""
    forwards = forwards_of(build_localizer(localizer), None if ansm == "none" else ansm)
    defence, forward = list(forwards.items())[-1]
    rows: list[Row] = []
    blocks = []
    for text in sets:
        name, _, folder = text.partition("=")
        pairs = find_pairs(Path(folder) / "images", Path(folder) / "masks")
        seen = [one for s in WholeImages(pairs) for one in looked_at(forward, s.images, s)]
        rows += rows_of(name, seen)
        blocks.append(scores_block(name, seen))
    said = {"localizer": Path(localizer).name, "ansm": Path(ansm).name, "defence": defence}
    output.write_text(json.dumps({**said, "rows": rows}, indent=1))
    print(table(rows), *blocks, sep="\n\n")


def rows_of(name: str, photographs: Sequence[Photograph]) -> Iterator[Row]:
    """Yield what each least score leaves of a set: where it marks nothing, F1 and marks are 0."""
    forged = [p for p in photographs if p.is_forged]
    authentic = [p for p in photographs if not p.is_forged]
    for least in LEAST:
        f1 = [p.f1 * (p.score >= least) for p in forged]
        marked = [p.marked * (p.score >= least) for p in authentic]
        yield {
            "set": name,
            "least_score": least,
            "f1": float(np.mean(f1)) if f1 else None,
            "marked": float(np.mean(marked)) if marked else None,
            "authentic_marked": float(np.mean(np.array(marked) > MARKED)) if marked else None,
        }


def scores_block(name: str, photographs: Sequence[Photograph]) -> str:
    """Return the scores of a set as a card holds them, lowest first."""
    kinds = {"authentic": False, "forged": True}
    lines = [
        f"{kind} = [{', '.join(f'{p:.3f}' for p in sorted(_scores(photographs, is_forged)))}]"
        for kind, is_forged in kinds.items()
    ]
    return "\n".join(["[[scores]]", f'set = "{name}"', *lines])


def _scores(photographs: Sequence[Photograph], is_forged: bool) -> list[float]:
    return [p.score for p in photographs if p.is_forged is is_forged]


if __name__ == "__main__":
    if len(sys.argv) < 5 or not all("=" in text for text in sys.argv[4:]):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
