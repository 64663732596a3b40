"""The public names, and what importing them costs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ansm_plugin

ROOT = Path(__file__).parents[1]
HEAVY = (
    "timm",
    "segmentation_models_pytorch",
    "kornia",
    "accelerate",
    "matplotlib",
    "torchmetrics",
)


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
        "attack",
        "evaluate",
        "explain",
        "load_ansm",
        "load_pretrained",
        "localize",
        "save_ansm",
        "train",
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


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert ansm_plugin.__version__ == project["version"]


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


# --- the README's example -------------------------------------------------------------------------


def test_the_example_of_the_readme_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    exec(compile(example, "README.md", "exec"), {})
