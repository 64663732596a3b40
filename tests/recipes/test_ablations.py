"""The table and the plot of the ablations, from made-up evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lab import ablations


def write(path: Path, clean: float, left: float) -> None:
    """Write an evaluation of a localizer with F1 0.9, of which T1 leaves 0.1 without its ANSM."""
    scores = {"none": (0.9, 0.1), "ansm": (clean, left)}
    rows = [
        {"threat": threat, "attack": attack, "eps_255": eps, "defence": defence, "f1": f1}
        for defence, (original, attacked) in scores.items()
        for threat, attack, eps, f1 in (
            ("T0", "none", 0.0, original),
            *(("T1", "worst", eps, attacked) for eps in (2.0, 4.0, 8.0)),
        )
    ]
    path.write_text(json.dumps({"rows": rows}))


def test_the_reference_leads_and_every_variant_has_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "l2cos.json", 0.85, 0.3)
    write(tmp_path / "reference.json", 0.9, 0.5)
    picture = tmp_path / "pictures" / "ablations.png"
    picture.parent.mkdir()
    ablations.main(tmp_path, picture)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| reference | 0.500 / 0.500 / 0.500 | +0.000 |",
        "| l2cos | 0.250 / 0.250 / 0.250 | +0.050 |",
    ]
    with Image.open(picture) as opened:
        assert opened.size[0] > 500
    assert [v["name"] for v in json.loads(picture.with_suffix(".json").read_text())] == [
        "reference",
        "l2cos",
    ]
