"""`~` in paths, and names of files in texts of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.paths import path_text, user_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_a_tilde_at_the_start_is_the_home_folder(home: Path) -> None:
    assert user_path("~") == home
    assert user_path("~/a/b.png") == home / "a" / "b.png"


@pytest.mark.parametrize("text", ["a~/b", "a/~/b", "~nobody-of-that-name/a", "./~", "a~", "a.png"])
def test_other_tildes_stay_as_a_shell_leaves_them(text: str, home: Path) -> None:
    assert user_path(text) == Path(text)


def test_names_that_the_locale_lacks_are_text_in_files() -> None:
    """Under LANG=C Python holds the bytes of a name as surrogates."""
    under_ascii = "\u5199\u771f/a".encode().decode("ascii", "surrogateescape")
    assert path_text(under_ascii) == "\u5199\u771f/a"
    assert user_path("\u5199\u771f/a") == Path("\u5199\u771f/a")
    assert path_text("a b.png") == "a b.png"
    with pytest.raises(ConfigError, match=r"no text in UTF-8.*rename"):
        path_text("caf\udce9")
