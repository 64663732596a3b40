"""What CONTRIBUTING names is there, and what stands in two files agrees."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEMPLATES = ("wrong-mask", "new-host")


def targets() -> dict[str, str]:
    """Return the targets of the Makefile and what is said of each."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z]+): *## *(.+)$", text, re.MULTILINE))


def test_the_page_names_every_make_command_and_no_other() -> None:
    named = re.findall(r"(?:^|`)make ([a-z]+)\b", PAGE, re.MULTILINE)
    assert set(named) == set(targets()) - {"help"}


def test_every_target_is_declared_phony() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (declared,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert set(declared.split()) == set(targets())


def test_the_files_and_names_of_the_page_are_there() -> None:
    named = re.findall(r"`((?:ansm_plugin|tests)/[\w/]+\.py)", PAGE)
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []
    objectives = (ROOT / "ansm_plugin/attacks/objectives.py").read_text(encoding="utf-8")
    assert "OBJECTIVES" in objectives
    assert "def margin(" in objectives
    assert "TWINS" in (ROOT / "tests/attacks/test_objectives.py").read_text(encoding="utf-8")
    assert '_pgd("margin")' in (ROOT / "ansm_plugin/attacks/spec.py").read_text(encoding="utf-8")


def test_the_version_is_the_same_in_both_files() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, re.MULTILINE) == [project["version"]]
    assert re.findall(r"^license: (\S+)$", citation, re.MULTILINE) == [project["license"]]


def test_hooks_use_the_tools_of_the_checkout() -> None:
    """A hook of its own version would disagree with `make lint`."""
    yaml = pytest.importorskip("yaml")
    path = ROOT / ".pre-commit-config.yaml"
    if not path.exists():
        pytest.skip("the sdist has no hidden files")
    (repository,) = yaml.safe_load(path.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    commands = " ".join(hook["entry"] for hook in repository["hooks"])
    named = re.findall(r"\btests/[\w./]+", commands)
    assert named
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_issue_template_is_a_form(name: str) -> None:
    """Name, description and fields of known types, each with an id of its own and a label."""
    yaml = pytest.importorskip("yaml")
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml"
    if not path.exists():
        pytest.skip("the sdist has no hidden files")
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    kinds = {"input", "textarea", "dropdown", "checkboxes"}
    assert {part["type"] for part in fields} <= kinds
    assert len({part["id"] for part in fields}) == len(fields)
    assert all(part["attributes"]["label"] for part in fields)
    options = [o for p in fields for o in p["attributes"].get("options", [])]
    assert all(isinstance(o, (str, dict)) for o in options)  # a bare yes is no text in YAML
