"""The result of an evaluation as one self-contained page: no script, no external request.

Made from the JSON alone, so that a page can be made again from a kept result. Everything that comes
from outside, such as names of files and commands, is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ansm_plugin.evaluation.results import THREATS, WORST
from ansm_plugin.report.curves import draw_curves
from ansm_plugin.system.files import write_whole

Fields = Mapping[str, Any]  # the JSON of an evaluation, or one row of it
Picture = tuple[str, Path]  # caption and PNG file
_KNOWN = {"none": "bare", "ansm": "ANSM"}


def write_html(result: Fields, pictures: Sequence[Picture], path: str | Path) -> Path:
    """Write the page; the file appears whole or not at all.

    Args:
        result: as `Evaluation.as_json` returns it, or read back from its file.
        pictures: PNG files with captions; they are copied into the page.
        path: the HTML file.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
        OSError: a picture cannot be read.
    """
    text = page(result, pictures)
    return write_whole(Path(path), lambda stream: stream.write(text.encode()))


def page(result: Fields, pictures: Sequence[Picture] = ()) -> str:
    """Return the page as text."""
    style = files("ansm_plugin").joinpath("assets/report.css").read_text(encoding="utf-8")
    title = f"Attack bench: {result['localizer']}"
    body = "\n".join(_sections(result, pictures))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _sections(result: Fields, pictures: Sequence[Picture]) -> Iterator[str]:
    yield f'<p class="lead">{escape(headline(result))}</p>'
    yield f"<p>ANSM: {escape(str(result['ansm']))}. Images: {result['images']}.</p>"
    yield _alarms(result["alarms"])
    yield "<h2>F1 by what the attacker knows</h2>"
    yield from _threat_tables(result)
    yield "<h2>F1 against the strength of the attack</h2>"
    yield draw_curves(result["rows"])
    if result.get("cost"):
        yield _cost_table(result["cost"])
    if pictures:
        yield "<h2>Images</h2>"
        yield from (_figure(caption, path) for caption, path in pictures)
    yield _origin(result)


def headline(result: Fields) -> str:
    """Return what was found in one sentence, with the white-box figure in it."""
    summary = result["summary"]
    recoveries = [value for value in summary["recovery"].values() if value is not None]
    white = summary["f1_white_box"]
    text = f"On original images the localizer reaches F1 {summary['f1_clean']:.3f}"
    if recoveries:
        text += (
            f"; of what attackers take who do not know the module, ANSM gives back "
            f"{min(recoveries):.0%} to {max(recoveries):.0%}"
        )
    text += f", at a loss of {summary['harm']:+.3f} on original images."
    if not white:
        return text + " The attacker who knows the module was not run."
    key = min(white, key=white.__getitem__)
    return text + f" An attacker who knows the module leaves F1 {white[key]:.3f} ({key}/255)."


def _alarms(alarms: Sequence[str]) -> str:
    if not alarms:
        return '<p class="calm">No alarm: no reason was found to distrust these numbers.</p>'
    items = "\n".join(f"<li>{escape(alarm)}</li>" for alarm in alarms)
    return f'<section class="alarm"><h2>Alarms</h2>\n<ul>\n{items}\n</ul></section>'


def _threat_tables(result: Fields) -> Iterator[str]:
    rows = result["rows"]
    for threat in dict.fromkeys(row["threat"] for row in rows):
        group = [row for row in rows if row["threat"] == threat]
        meaning = THREATS.get(threat, "")
        yield f"<h3>{escape(threat)}: the attacker {escape(_verb(threat, meaning))}</h3>"
        yield _table(group, result["summary"]["recovery"] if threat == "T1" else {})


def _verb(threat: str, meaning: str) -> str:
    return {"T0": "is absent", "T2": f"knows {meaning}", "T5": f"knows {meaning}"}.get(
        threat, meaning
    )


def _table(rows: Sequence[Fields], recovery: Fields) -> str:
    defences = list(dict.fromkeys(row["defence"] for row in rows))
    by_attack: dict[tuple[str, float], dict[str, Fields]] = {}
    for row in rows:
        by_attack.setdefault((row["attack"], row["eps_255"]), {})[row["defence"]] = row
    head = ["attack", "eps", *(_KNOWN.get(d, d) for d in defences)]
    head += ["recovery"] if recovery else []
    lines = []
    for (attack, eps), found in by_attack.items():
        cells = [escape(attack), f"{eps:g}" if eps else "0"]
        best = max(row["f1"] for row in found.values())
        cells += [_cell(found.get(defence), best) for defence in defences]
        if recovery:
            share = recovery.get(f"{attack}@{eps:g}")
            cells.append("no damage" if share is None else f"{share:.3f}")
        kind = ' class="worst"' if attack == WORST else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    return _scrolling(f"<thead><tr>{titles}</tr></thead>\n<tbody>\n" + "\n".join(lines))


def _cell(row: Fields | None, best: float) -> str:
    if row is None:
        return "-"
    text = f"{row['f1']:.3f}"
    interval = f"{row['f1_low']:.3f} to {row['f1_high']:.3f}, {row['images']} images"
    strong = f"<strong>{text}</strong>" if row["f1"] == best else text
    return f'<span title="95 % interval {interval}">{strong}</span>'


def _cost_table(cost: Fields) -> str:
    lines = []
    for defence, values in cost.items():
        ratio = values.get("gmac_ratio")
        cells = (
            escape(_KNOWN.get(defence, defence)),
            f"{values['parameters']:,}",
            f"{values['gmac']:.2f}",
            "-" if ratio is None else f"{ratio:.2f}",
            f"{values['time_ratio']:.2f}",
        )
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = ("defence", "parameters", "GMAC", "x localizer's GMAC", "x localizer's time")
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    table = _scrolling(f"<thead><tr>{titles}</tr></thead>\n<tbody>\n" + "\n".join(lines))
    return f"<h2>What a defence costs</h2>\n{table}"


def _scrolling(inner: str) -> str:
    return f'<div class="wide"><table>\n{inner}\n</tbody></table></div>'


def _figure(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    shown = escape(caption)
    return (
        f'<figure><img alt="{shown}" src="data:image/png;base64,{data}">'
        f"<figcaption>{shown}</figcaption></figure>"
    )


def _origin(result: Fields) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        "<h2>How it was made</h2>\n"
        f"<pre><code>{escape(result['command'] or 'from Python')}</code></pre>\n"
        f"<p>Seed {result['seed']}. {escape(versions)}.</p>\n"
        "<p>F1 is the mean per-image pixel F1 at 0.5 over forged images. Intervals are bootstrap "
        "95 % intervals over images (point at a figure). Every number is a claim about the attacks "
        "that were run, on the images that were used.</p>"
    )
