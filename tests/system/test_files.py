"""Files appear whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.files import write_json

RESULT = {"rows": [{"f1": 0.5, "auc": None}], "name": "größer"}


def test_json_reads_back_equal(tmp_path: Path) -> None:
    """The file holds exactly the value, in a folder made for it."""
    path = write_json(tmp_path / "new" / "result.json", RESULT)
    assert json.loads(path.read_text(encoding="utf-8")) == RESULT
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_an_unwritable_path_is_one_clear_error(tmp_path: Path) -> None:
    """A file in the place of the folder is a ConfigError that names the target."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*result\.json"):
        write_json(tmp_path / "file" / "result.json", RESULT)


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new file cannot be completed, the earlier result stays and no draft is left."""
    target = tmp_path / "result.json"
    target.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ConfigError, match="No space left"):
        write_json(target, RESULT)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert target.read_text() == "old"
