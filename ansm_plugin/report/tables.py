"""A table of a page, and the same as Markdown and as LaTeX for a paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ansm_plugin.system.text import one_line

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_TEXT_COLUMNS = {"threat", "attack", "defence", "what", "setting"}


class Cell(NamedTuple):
    """One place of a table; its hint is shown where one points at it."""

    text: str
    hint: str = ""
    is_best: bool = False


class Line(NamedTuple):
    """One line of a table; that of the worst of all attacks is set off."""

    cells: tuple[Cell, ...]
    is_worst: bool = False


class Table(NamedTuple):
    """A table with what stands above it: its title, and in a sentence what its figures mean."""

    title: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    meaning: str = ""

    @property
    def markdown(self) -> str:
        """The table as Markdown of GitHub; what is best is bold."""
        rule = ["---" if name in _TEXT_COLUMNS else "---:" for name in self.head]
        lines = [[_marked_down(cell) for cell in line.cells] for line in self.lines]
        heads = [_markdown_text(name) for name in self.head]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))

    @property
    def latex(self) -> str:
        """The table as a LaTeX `tabular` with the rules of booktabs; what is best is bold."""
        columns = "".join("l" if name in _TEXT_COLUMNS else "r" for name in self.head)
        return "\n".join(
            (
                "% needs \\usepackage{booktabs}",
                f"\\begin{{tabular}}{{{columns}}}",
                "\\toprule",
                _latex_line(map(_latex_text, self.head)),
                "\\midrule",
                *self._latex_lines(),
                "\\bottomrule",
                "\\end{tabular}",
            )
        )

    def _latex_lines(self) -> Iterator[str]:
        for line in self.lines:
            texts = [_latex_text(cell.text) for cell in line.cells]
            bold = [cell.is_best for cell in line.cells]
            pairs = zip(texts, bold, strict=True)
            yield _latex_line(f"\\textbf{{{t}}}" if is_best else t for t, is_best in pairs)


def plain(title: str, head: tuple[str, ...], lines: Iterable[Iterable[str]], meaning: str) -> Table:
    """Return a table of texts alone."""
    return Table(title, head, tuple(Line(tuple(map(Cell, line))) for line in lines), meaning)


def _marked_down(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return f"**{text}**" if cell.is_best else text


def _markdown_text(text: str) -> str:
    escaped = one_line(text)
    for character in "\\|*_`<[":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped


def _latex_line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in one_line(text))
