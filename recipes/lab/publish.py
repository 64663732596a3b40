"""Publish pairs of the proof.

    PYTHONPATH=recipes python -m lab.publish RUNS BEDS

For every `RUNS/truth-PAIR.json`, which `truth.sh` made, beside `truth-PAIR-t4.json`: these
numbers and a page without photographs, which are not ours to publish, to `results`, and a model
card to `weights` beside this module. There go the ANSM, `RUNS/PAIR-ansm.safetensors` of
`independent.sh`, and the localizer, `RUNS/PAIR/localizer.safetensors` of `row.sh`, where they are.
Every other evaluation, `RUNS/NAME.json`, goes to `results` too.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1, T4, WORST
from ansm_plugin.report.page import write_html
from ansm_plugin.weights.tensors import read_metadata, read_tensors, write_tensors
from lab.tables import Result
from lab.truth import joined, left

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
ANSM = "ANSM: `bash recipes/lab/independent.sh {row} BEDS RUNS`."
NOTE = """\
Wrong masks and foreign noise are among the attacks of T1. Intervals, every attack, and what the
module writes: `../results/truth-{row}.json` and `../results/truth-{row}.html`. T4, where it
was measured, is an estimate on fewer images: `../results/truth-{row}-t4.json`."""
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

Localizer: `bash recipes/lab/row.sh {bed} {kind} BEDS RUNS ENCODER`, seed 0, 2 CPU cores; its
configuration is `{row}.toml`. {ansm}
`ansm info` prints the configuration in the metadata of the ANSM's file.

## Measured

{metrics}

{note}

## Limits

- The last lines are what is left when the attacker knows the module: it does not hold against that.
- Other photographs, forgeries and compressions than those above were not measured. Clean F1 is a
  property of this test set.
- The ANSM belongs to this localizer in exactly this precision; before another it warns.
"""


def publish(row: str, runs: Path, beds: Path) -> None:
    """Copy what there is of one pair's weights; write its numbers, page and card."""
    run = runs / row
    if (run / "localizer.safetensors").exists():
        copy_weights(run / "localizer.safetensors", WEIGHTS / f"{row}.safetensors", runs, beds)
        settings = (run / "full" / "localizer.toml").read_text()
        (WEIGHTS / f"{row}.toml").write_text(_anonymous(settings, runs, beds))
    if (ansm := runs / f"{row}-ansm.safetensors").exists():
        copy_weights(ansm, WEIGHTS / ansm.name, runs, beds)
    evaluation = Result(RESULTS / f"truth-{row}.json").evaluation
    write_html(evaluation, [], RESULTS / f"truth-{row}.html")
    (WEIGHTS / f"{row}.md").write_text(card(row))


def measured(row: str) -> list[Path]:
    """Return the published evaluations that the figures of a card come from."""
    names = (f"truth-{row}", f"truth-{row}-t4")
    return [path for path in (RESULTS / f"{name}.json" for name in names) if path.exists()]


def copy_weights(source: Path, path: Path, runs: Path, beds: Path) -> None:
    """Copy a file of weights to a path, with the same tensors and anonymous metadata."""
    metadata = {key: _anonymous(text, runs, beds) for key, text in read_metadata(source).items()}
    if path.exists() and read_metadata(path) == metadata:
        return  # safetensors orders metadata at random: the same weights would be another file
    write_tensors(read_tensors(source), path, metadata)


def _anonymous(text: str, runs: Path, beds: Path) -> str:
    """Return text without the folders of the machine that made it."""
    text = text.replace(str(runs), "runs").replace(str(beds), "beds")
    return re.sub(r"""(?<=["@ ])/[^"'\\\s@]*/""", "", text)


def card(row: str) -> str:
    """Return the model card of a row, with the figures that are published of it."""
    bed, _, kind = row.partition("-")
    encoder = "Its encoder started from MobileNetV2's ImageNet weights (Apache-2.0).\n"
    return CARD.format(
        row=row,
        bed=bed,
        kind=kind,
        name=NAMES[kind],
        data=DATA[bed],
        encoder=encoder if kind == "cnn" else "",
        ansm=ANSM.format(row=row),
        note=NOTE.format(row=row),
        metrics=_metrics(joined(",".join(str(path) for path in measured(row)))),
    )


def _metrics(result: Result) -> str:
    lines = ["| | F1 bare | F1 defended |", "|---|---|---|"]
    for title, place in (
        ("originals", (T0, NO_ATTACK, 0.0)),
        *((f"T1, worst attack, {e:g}/255", (T1, WORST, e)) for e in (2.0, 4.0, 8.0)),
    ):
        bare, defended = (result.f1(*place, defence) for defence in (BARE, DEFENDED))
        lines.append(f"| {title} | {bare:.3f} | {defended:.3f} |")
    for eps in (1.0, 2.0, 4.0):
        if (f1 := left(T4, eps)(result)) is not None:
            lines.append(f"| T4, knows the module, {eps:g}/255 | - | {f1:.3f} |")
    return "\n".join(lines)


def main(runs: Path, beds: Path) -> dict[str, Any]:
    """Publish every measured pair; return the weights with their size in MB."""
    WEIGHTS.mkdir(exist_ok=True)
    for path in runs.glob("*.json"):
        (RESULTS / path.name).write_text(_anonymous(path.read_text(), runs, beds))
    for row in sorted(p.stem for p in WEIGHTS.glob("*.md")):
        if (runs / f"truth-{row}.json").exists():
            publish(row, runs, beds)
    return {p.name: round(p.stat().st_size / 1e6, 1) for p in WEIGHTS.glob("*.safetensors")}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(main(Path(sys.argv[1]), Path(sys.argv[2])))
