"""The public names, what importing them costs, and which way imports go."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ansm_plugin

ROOT = Path(__file__).parents[1]
PACKAGE = Path(ansm_plugin.__file__).parent
HEAVY = (
    "timm",
    "segmentation_models_pytorch",
    "kornia",
    "accelerate",
    "matplotlib",
    "torchmetrics",
)

# Modules may import from their own row or from rows above it.
LAYERS = [
    ("errors",),
    ("registry", "files", "plugins", "options", "processes", "text", "tiles"),
    ("localizer", "ansm", "metadata", "forgeries"),
    ("taps", "folding", "losses", "attack_score", "attacks", "augment", "photographs"),
    ("defended", "data"),
    (
        "weights",
        "adapters",
        "pretrained",
        "export",
        "training",
        "evaluation",
        "baselines",
        "anti_forensics",
        "attacked",
        "checkpoints",
        "convert",
        "lists",
        "localize",
        "score_file",
        "calibration",
        "samples",
        "pictures",
    ),
    ("backbones",),
    ("recipes",),
    ("toolkits",),
    ("demo",),
    ("bench",),
    ("commands",),
    ("cli",),
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_the_public_names_are_exactly_these() -> None:
    assert ansm_plugin.__all__ == [
        "ANSM",
        "AnsmError",
        "DefendedLocalizer",
        "LocalizerSpec",
        "__version__",
        "apply_adapter",
        "load_ansm",
        "load_pretrained",
        "save_ansm",
        "unwrap",
        "wrap_with_ansm",
    ]


@pytest.mark.parametrize("name", ansm_plugin.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(ansm_plugin, name)
    assert name in dir(ansm_plugin)
    assert isinstance(value, str) or value.__doc__


def test_other_names_are_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'wrap'"):
        ansm_plugin.wrap  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+|0\+unknown", ansm_plugin.__version__)


def test_all_public_names_together_import_nothing_heavy() -> None:
    loaded = run(
        "import ansm_plugin; [getattr(ansm_plugin, n) for n in ansm_plugin.__all__];"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert loaded == "[]"


def test_the_package_alone_does_not_import_torch() -> None:
    assert run("import ansm_plugin; print('torch' in sys.modules)") == "False"


def test_every_error_is_an_ansm_error() -> None:
    from ansm_plugin import errors

    kinds = [
        v
        for k, v in vars(errors).items()
        if isinstance(v, type) and v.__module__ == errors.__name__
    ]
    assert len(kinds) == 7
    assert all(issubclass(kind, errors.AnsmError) for kind in kinds)


# --- which way imports go -------------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Return the files of the package by dotted name below it."""
    found = {}
    folders = [PACKAGE, *(p for p in PACKAGE.iterdir() if (p / "__init__.py").exists())]
    for path in sorted(p for folder in folders for p in folder.glob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = path
    found.pop("")
    return found


def imported(path: Path) -> set[str]:
    """Return what a file imports of the package when it is loaded, below `ansm_plugin.`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            below = node.module.removeprefix("ansm_plugin").removeprefix(".")
            if node.module.split(".")[0] != "ansm_plugin":
                continue
            candidates = {f"{below}.{alias.name}".strip(".") for alias in node.names}
            submodules = candidates & modules().keys()
            names |= submodules or {below}
        elif isinstance(node, ast.Import):
            inside = [a.name for a in node.names if a.name.startswith("ansm_plugin.")]
            names |= {name.removeprefix("ansm_plugin.") for name in inside}
    return names


def test_every_module_has_its_place() -> None:
    assert {name.split(".")[0] for name in modules()} == RANK.keys()


@pytest.mark.parametrize("name", modules())
def test_imports_go_one_way(name: str) -> None:
    own = RANK[name.split(".")[0]]
    for other in imported(modules()[name]):
        assert RANK[other.split(".")[0]] <= own, f"{name} must not import {other}"


def test_imports_have_no_circle() -> None:
    graph = {name: imported(path) for name, path in modules().items()}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("errors") < order.index("cli")


# --- the README's example -------------------------------------------------------------------------


def test_the_example_of_the_readme_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    exec(compile(example, "README.md", "exec"), {})
