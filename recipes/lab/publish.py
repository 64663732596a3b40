"""Publish finished rows of the proof.

    PYTHONPATH=recipes python -m lab.publish RUNS BEDS

For every `RUNS/BED-KIND` with a report: weights and model card to `weights` beside this module, the
numbers and the page without photographs, which are not ours to publish, to `results`. Every other
evaluation, `RUNS/NAME.json`, goes there too.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    NO_ATTACK,
    T0,
    T1,
    WORST,
    Evaluation,
)
from ansm_plugin.report.page import write_html
from ansm_plugin.weights.tensors import read_metadata, read_tensors, write_tensors
from lab.tables import Result

WEIGHTS, RESULTS = (Path(__file__).parent / name for name in ("weights", "results"))
DATA = {
    "bsds": "Forgeries made of BSDS500's `train_` photographs (Arbelaez et al., TPAMI 2011; "
    "research that is not commercial), measured on forgeries of its `test_` ones, 128x128 pixels.",
    "casia1": "CASIA ITDE v1.0, split by host photograph (Dong, Wang, Tan, ChinaSIP 2013; masks "
    "by Pham et al., Symmetry 2019; research use), measured on whole spliced images of `test`. The "
    "localizer started from the one of the bed `bsds`.",
}
NAMES = {
    "cnn": "smp:Unet?encoder_name=mobilenet_v2&decoder_channels=128,64,32,16,16",
    "transformer": "smp:Segformer?encoder_name=mit_b0",
}
CARD = """\
# {row}

A localizer of forged pixels and the ANSM that was trained for it.

| file | what |
|---|---|
| `{row}.safetensors` | the localizer `{name}`, half precision |
| `{row}-ansm.safetensors` | its ANSM, half precision, with network and recipe in the metadata |

```bash
pip install ./recipes/lab/weights    # once, from a checkout
ansm localize PHOTOGRAPH --output masks/ --localizer {row}    # its ANSM comes with the name
ansm models {row}    # figures, data, terms and limits
```

## Data

{data}
{encoder}The photographs are not part of this project; the weights are for research.

## How it was trained

`bash recipes/lab/row.sh {bed} {kind} BEDS RUNS ENCODER`, seed 0, 2 CPU cores. Configurations:
`{row}.toml` (localizer), and the metadata of the ANSM's file (`ansm info` prints them).

## Measured

{metrics}

Intervals and other attacks: `../results/{row}.json` and `../results/{row}.html`.

## Limits

- The last lines are what is left when the attacker knows the module: it does not hold against that.
- Other photographs, forgeries and compressions than those above were not measured. Clean F1 is a
  property of this test set.
- The ANSM belongs to this localizer in exactly this precision; before another it warns.
"""


def publish(run: Path, beds: Path) -> None:
    """Copy one row's weights; write its numbers, page and card."""
    row = run.name
    copy_weights(run, "localizer", WEIGHTS / f"{row}.safetensors", beds)
    copy_weights(run, "ansm", WEIGHTS / f"{row}-ansm.safetensors", beds)
    settings = (run / "full" / "localizer.toml").read_text()
    (WEIGHTS / f"{row}.toml").write_text(_anonymous(settings, run, beds))
    fields = (run / "report" / "evaluation.json").read_text()
    numbers = RESULTS / f"{row}.json"
    numbers.write_text(_anonymous(fields, run, beds))
    write_html(Evaluation.from_json(json.loads(numbers.read_text())), [], RESULTS / f"{row}.html")
    (WEIGHTS / f"{row}.md").write_text(card(row, Result(numbers)))


def copy_weights(run: Path, name: str, path: Path, beds: Path) -> None:
    """Copy `name`.safetensors of a run to a path, with the same tensors and anonymous metadata."""
    source = run / f"{name}.safetensors"
    metadata = {key: _anonymous(text, run, beds) for key, text in read_metadata(source).items()}
    if path.exists() and read_metadata(path) == metadata:
        return  # safetensors orders metadata at random: the same weights would be another file
    write_tensors(read_tensors(source), path, metadata)


def _anonymous(text: str, run: Path, beds: Path) -> str:
    """Return text without the folders of the machine that made it."""
    text = text.replace(str(run.parent), "runs").replace(str(beds), "beds")
    return re.sub(r'(?<=")/[^"\\\s]*/', "", text)


def card(row: str, result: Result) -> str:
    """Return the model card of a row."""
    bed, _, kind = row.partition("-")
    encoder = "Its encoder started from MobileNetV2's ImageNet weights (Apache-2.0).\n"
    return CARD.format(
        row=row,
        bed=bed,
        kind=kind,
        name=NAMES[kind],
        data=DATA[bed],
        encoder=encoder if kind == "cnn" else "",
        metrics=_metrics(result),
    )


def _metrics(result: Result) -> str:
    lines = ["| | F1 bare | F1 defended |", "|---|---|---|"]
    for title, place in (
        ("originals", (T0, NO_ATTACK, 0.0)),
        *((f"T1, worst attack, {e:g}/255", (T1, WORST, e)) for e in (2.0, 4.0, 8.0, 12.0)),
    ):
        bare, defended = (result.f1(*place, defence) for defence in (BARE, DEFENDED))
        lines.append(f"| {title} | {bare:.3f} | {defended:.3f} |")
    for eps in (2.0, 4.0, 8.0):
        lines.append(f"| T4, knows the module, {eps:g}/255 | - | {result.white_box(eps):.3f} |")
    return "\n".join(lines)


def main(runs: Path, beds: Path) -> dict[str, Any]:
    """Publish every finished row; return their names with the size of their weights in MB."""
    WEIGHTS.mkdir(exist_ok=True)
    finished = sorted(p.parents[1] for p in runs.glob("*/report/evaluation.json"))
    for run in finished:
        publish(run, beds)
    for path in runs.glob("*.json"):
        (RESULTS / path.name).write_text(_anonymous(path.read_text(), path, beds))
    return {p.name: round(p.stat().st_size / 1e6, 1) for p in WEIGHTS.glob("*.safetensors")}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(main(Path(sys.argv[1]), Path(sys.argv[2])))
