"""The picture of the threat models: what the attacker of each knows, on the way of an image.

`python docs/threats_picture.py FILE.svg` writes it; the site is built with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

WAY = ("image", "channel", "ANSM", "localizer", "mask")
# What the attacker has: "known" in full, "like" one of its kind, "asks" for answers alone.
THREATS = {
    "T0": ({}, "no attack"),
    "T1": ({"localizer": "known"}, "the localizer"),
    "T2": ({"localizer": "known"}, "the localizer; unseen attacks"),
    "T3": ({"localizer": "like"}, "another localizer"),
    "T3.5": ({"ANSM": "like", "localizer": "known"}, "the localizer; modules like ours"),
    "T4": ({"ANSM": "known", "localizer": "known"}, "localizer and module"),
    "T5": ({"localizer": "known"}, "the localizer; a channel between"),
    "T6": ({"mask": "asks"}, "scores alone"),
}
_FILL = {"known": "#c62828", "like": "#ef9a9a", "asks": "#ffe082"}
_TEXT = {"known": "#ffffff"}
_WORDS = {"known": "known", "like": "one like it", "asks": "answers"}
_LEFT, _WIDTH, _HEIGHT, _STEP, _ROW = 70, 92, 32, 112, 46


def drawn() -> str:
    """Return the picture as SVG."""
    width, height = _LEFT + _STEP * len(WAY) + 320, 20 + _ROW * len(THREATS) + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="16" role="img">',
        "<title>What the attacker of each threat model knows</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, threat in enumerate(THREATS):
        parts += _row(threat, 20 + _ROW * number)
    return "\n".join([*parts, *_legend(20 + _ROW * len(THREATS) + 8), "</svg>"]) + "\n"


def _row(threat: str, top: int) -> Iterator[str]:
    known, words = THREATS[threat]
    middle = top + _HEIGHT / 2 + 5
    yield _text(10, middle, threat, weight="bold")
    for number, part in enumerate(WAY):
        if part == "channel" and threat != "T5":
            yield _line(_LEFT + _STEP * number - 20, _LEFT + _STEP * (number + 1) - 20, top)
            continue
        left = _LEFT + _STEP * number
        if number:
            yield _line(left - 20, left, top)
        yield _box(left, top, part, known.get(part, ""))
    yield _text(_LEFT + _STEP * len(WAY), middle, words)


def _legend(top: int) -> Iterator[str]:
    yield _text(10, top + _HEIGHT / 2 + 5, "he has")
    for number, kind in enumerate(_FILL):
        yield _box(_LEFT + _STEP * number, top, _WORDS[kind], kind)


def _box(left: int, top: int, words: str, kind: str) -> str:
    fill = _FILL.get(kind, "#f5f5f5")
    frame = (
        f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" '
        f'fill="{fill}" stroke="#616161"/>'
    )
    colour = _TEXT.get(kind, "#212121")
    middle = left + _WIDTH / 2
    return frame + _text(middle, top + _HEIGHT / 2 + 5, words, anchor="middle", fill=colour)


def _line(start: int, end: int, top: int) -> str:
    y = top + _HEIGHT / 2
    return f'<line x1="{start}" y1="{y:g}" x2="{end}" y2="{y:g}" stroke="#616161"/>'


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    fill: str = "#212121",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(drawn(), encoding="utf-8")
