"""The house: which way imports go, at the level of modules and of rooms, and how large things are.

Every import counts: in a module's body, inside a function, under TYPE_CHECKING. The list of rooms
is read from ARCHITECTURE.md, so that the page cannot be wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOMES = {"": ROOT / "ansm_plugin", "backbones": ROOT / "backbones", "recipes": ROOT / "recipes"}
MOST_FLAT = 14
MOST_LINES, MOST_FUNCTION, MOST_PARAMETERS = 300, 50, 8
# Names that are resolved when asked for: who calls importlib with a name of ours.
BY_NAME = {
    "": "public names, when they are first used",
    "cli": "the module of a command",
    "localizer.families": "the modules of families",
    "moved": "where the old paths lead",
    "recipes.registry": "the modules of recipes",
    "toolkits.attack_host": "its own name, in the command that a result records",
    "toolkits.attack_hub": "likewise",
}
REEXPORTING = {"attacks", "baselines"}  # packages that other rooms may import as a whole


def sources(homes: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of the package by dotted name below it; "" is the package itself."""
    found = {}
    for room, folder in homes.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            is_linked = room == "" and parts[0] in homes
            if is_linked or "lab" in parts:
                continue
            names = [room, *(p for p in parts if p != "__init__")]
            found[".".join(name for name in names if name)] = path
    return found


def imports(path: Path, names: set[str]) -> Iterator[str]:
    """Yield what a file imports of the package anywhere in it, below `ansm_plugin.`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their module in full"
            root, _, below = str(node.module).partition(".")
            if root == "ansm_plugin":
                for alias in node.names:
                    whole = f"{below}.{alias.name}".strip(".")
                    yield whole if whole in names else below
        elif isinstance(node, ast.Import):
            for alias in node.names:
                root, _, below = alias.name.partition(".")
                if root == "ansm_plugin":
                    yield below


def graph(homes: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return for each module those that it imports."""
    found = sources(homes)
    return {name: set(imports(path, set(found))) - {name} for name, path in found.items()}


def room(name: str) -> str:
    return name.partition(".")[0]


def of_rooms(modules: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return for each room those that it imports; the root package is left out."""
    found: dict[str, set[str]] = {}
    for name, others in modules.items():
        if name:
            found.setdefault(room(name), set()).update(room(o) for o in others if o)
    return {name: others - {name} for name, others in found.items()}


def rows() -> list[list[str]]:
    """Return the rooms as ARCHITECTURE.md lists them, lowest first."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    block = re.findall(r"```rooms\n(.*?)```", text, re.DOTALL)[0]
    return [re.split(r"[,\s]+", line.strip()) for line in block.strip().splitlines()]


MODULES = graph(HOMES)
RANK = {name: rank for rank, row in enumerate(rows()) for name in row}


def test_every_module_has_its_place() -> None:
    assert {room(name) for name in MODULES if name} == RANK.keys()


def test_modules_import_in_no_circle() -> None:
    TopologicalSorter(MODULES).prepare()


def test_rooms_import_in_no_circle() -> None:
    TopologicalSorter(of_rooms(MODULES)).prepare()


@pytest.mark.parametrize("name", sorted(of_rooms(MODULES)))
def test_a_room_imports_only_from_rows_before_its_own(name: str) -> None:
    upward = [other for other in of_rooms(MODULES)[name] if RANK[other] >= RANK[name]]
    assert not upward, f"{name} imports {upward}: see the list in ARCHITECTURE.md"


def test_rooms_are_entered_by_the_module_that_holds_a_thing() -> None:
    """A package that re-exports for users would hide arrows, and load more than is needed."""
    packages = {name.rpartition(".")[0] for name in MODULES} - {"", *REEXPORTING}
    found = {(n, o) for n, others in MODULES.items() for o in others & packages}
    assert not found


def test_few_modules_lie_flat() -> None:
    flat = [p.stem for p in HOMES[""].glob("*.py")]
    assert len(flat) <= MOST_FLAT, flat


def test_who_resolves_names_of_ours_is_known() -> None:
    found = sources(HOMES)
    calls = {n for n, p in found.items() if resolves_our_names(p)}
    assert calls == BY_NAME.keys()


def resolves_our_names(path: Path) -> bool:
    """Return whether a file calls importlib, and names a module of ours in some string."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    calls = "import_module" in {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    ours = any(isinstance(s, str) and re.match(r"ansm_plugin\.\w", s) for s in strings)
    own_name = "__name__" in {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return calls and (ours or own_name)


# --- the test itself: what it must see ------------------------------------------------------------

HIDDEN = {
    "in a function": "def f():\n    from ansm_plugin.cli import main\n",
    "under TYPE_CHECKING": "if TYPE_CHECKING:\n    from ansm_plugin.cli import main\n",
    "as a module": "import ansm_plugin.cli\n",
    "from the package": "from ansm_plugin import cli\n",
    "in a class": "class A:\n    import ansm_plugin.cli as c\n",
}


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_hidden_import_is_seen(hidden: str, tmp_path: Path) -> None:
    (tmp_path / "errors.py").write_text(HIDDEN[hidden])
    (tmp_path / "cli.py").write_text("from ansm_plugin.errors import AnsmError\n")
    planted = graph({"": tmp_path})
    assert planted["errors"] == {"cli"}
    with pytest.raises(CycleError):
        TopologicalSorter(planted).prepare()
    with pytest.raises(CycleError):
        TopologicalSorter(of_rooms(planted)).prepare()


# --- how large things are -------------------------------------------------------------------------

FILES = [
    p
    for folder in (HOMES[""], HOMES["backbones"], HOMES["recipes"])
    for p in sorted(folder.rglob("*.py"))
    if folder != HOMES[""] or p.relative_to(folder).parts[0] not in HOMES
]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([n for n in names if n not in ("self", "cls")])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_has_one_topic_and_its_functions_are_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES
    long = [f.name for f in functions(path) if (f.end_lineno or 0) - f.lineno >= MOST_FUNCTION]
    many = [f.name for f in functions(path) if parameters(f) > MOST_PARAMETERS]
    assert (long, many) == ([], [])


def test_most_functions_are_short() -> None:
    lengths = sorted((f.end_lineno or 0) - f.lineno + 1 for path in FILES for f in functions(path))
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[int(0.9 * len(lengths))] <= 35
