"""Plugins by entry point: found by name, loaded one at a time, failures with their culprit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from ansm_plugin import plugins
from ansm_plugin.ansm import ANSM
from ansm_plugin.cli import main
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import WeightsError
from ansm_plugin.offer import DEFENSE, DEFENSES, create
from ansm_plugin.plugins import PluginError, discover, load, origin

ROOT = Path(__file__).parents[1]
GROUP = "forensics.defenses"


def install(folder: Path, name: str, entries: str, code: str = "", group: str = GROUP) -> None:
    """Put a distribution into a folder as pip would: its metadata and one module."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entries}\n")
    (folder / f"{name}_module.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder on the import path, for distributions of a test; forget its modules after."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("FORENSICS_PLUGINS", raising=False)
    before = set(sys.modules)
    yield tmp_path
    for module in set(sys.modules) - before:
        if module.endswith("_module"):
            del sys.modules[module]


def test_nothing_is_imported_to_discover(site: Path) -> None:
    install(site, "lazy", "lazy = lazy_module:PLUGIN", "raise SystemExit('imported')")
    assert "lazy" in discover(GROUP)
    assert "lazy_module" not in sys.modules


def test_only_the_named_plugin_is_imported(site: Path) -> None:
    install(site, "good", "good = good_module:PLUGIN", "PLUGIN = 7")
    install(site, "idle", "idle = idle_module:PLUGIN", "raise RuntimeError('broken on purpose')")
    assert load(GROUP, "good") == 7
    assert "idle_module" not in sys.modules


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('broken on purpose')", "broken on purpose"),
        ("import no_such_package", "no_such_package"),
        ("raise SystemExit(3)", "SystemExit"),
        ("", "PLUGIN"),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_distribution(
    site: Path, code: str, reason: str
) -> None:
    install(site, "bad", "bad = bad_module:PLUGIN", code)
    with pytest.raises(PluginError, match=rf"'bad' of bad 1\.0 \(bad_module:PLUGIN\).*{reason}"):
        load(GROUP, "bad")


def test_of_two_plugins_with_one_name_one_is_used_and_both_are_named(site: Path) -> None:
    install(site, "first", "same = first_module:PLUGIN", "PLUGIN = 1")
    install(site, "second", "same = second_module:PLUGIN", "PLUGIN = 2")
    with pytest.warns(UserWarning, match=r"first 1\.0 .* is used, second 1\.0 .* is not"):
        assert load(GROUP, "same") == 1


def test_one_plugin_seen_twice_is_no_duplicate(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "again").mkdir()
    monkeypatch.syspath_prepend(str(site / "again"))
    for folder in (site, site / "again"):  # a checkout beside its installed copy
        install(folder, "calm", "calm = calm_module:PLUGIN")
    assert "calm" in discover(GROUP)  # a warning would be an error here


@pytest.mark.parametrize(
    ("allowed", "seen"), [(None, {"one", "two"}), ("", set()), (" two , three", {"two"})]
)
def test_the_allow_list_is_honoured(
    site: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, seen: set[str]
) -> None:
    install(site, "both", "one = both_module:A\ntwo = both_module:B", group="forensics.tested")
    if allowed is not None:
        monkeypatch.setenv("FORENSICS_PLUGINS", allowed)
    assert set(discover("forensics.tested")) == seen


def test_another_api_version_is_refused(site: Path) -> None:
    install(site, "new", "new = new_module:Plugin", "class Plugin:\n    api_version = 2")
    with pytest.raises(PluginError, match=r"'new' of new 1\.0 .* has API 2; 1 is needed"):
        load(GROUP, "new")


def test_a_missing_plugin_lists_what_is_there(site: Path) -> None:
    install(site, "calm", "calm = calm_module:PLUGIN", group="forensics.tested")
    with pytest.raises(PluginError, match=r"no forensics\.tested plugin 'clam'; installed: calm"):
        load("forensics.tested", "clam")


def test_a_plugin_without_distribution_is_still_described() -> None:
    assert "an unknown package" in origin(EntryPoint("a", "b:c", GROUP))


def test_the_module_to_copy_is_short_and_needs_the_standard_library_alone(site: Path) -> None:
    text = Path(plugins.__file__).read_text()
    (lines,) = re.findall(r"plugins\.py` \(under (\d+) lines", (ROOT / "HOSTS.md").read_text())
    assert len(text.splitlines()) < int(lines)
    install(site, "calm", "calm = calm_module:PLUGIN", "PLUGIN = 5")
    (site / "copied.py").write_text(text)
    # -S: what is installed beside the standard library is not there, so nothing of it is needed.
    code = f"import copied, sys; assert copied.load({GROUP!r}, 'calm') == 5"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=site, env={}, check=True)


def test_the_patch_for_host_toolkits_calls_the_good_and_names_the_broken(site: Path) -> None:
    text = (ROOT / "HOSTS.md").read_text().split("### The patch we offer upstream")[1]
    (patch,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    group = "imdlbenco.tested"  # a group without our own plugin, which would look for the host
    patch = patch.replace("imdlbenco.plugins", group)
    install(site, "fails", "fails = fails_module:register", "raise OSError('broken')", group)
    code = "def register():\n    called.append(1)\ncalled = []"
    install(site, "works", "works = works_module:register", code, group)
    with pytest.warns(UserWarning, match=r"plugin fails \(fails_module:register\) was not loaded"):
        exec(compile(patch, "HOSTS.md", "exec"), {})
    assert sys.modules["works_module"].called == [1]


# --- what we offer --------------------------------------------------------------------------------


def test_our_spec_is_read_without_torch() -> None:
    code = "import sys; from ansm_plugin.offer import DEFENSE; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (DEFENSE.name, DEFENSE.api_version, DEFENSE.input_range) == ("ansm", 1, (0.0, 1.0))


def test_our_entry_points_exist() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    ours = {group: EntryPoint("ansm", entries["ansm"], group) for group, entries in groups.items()
            if "ansm" in entries}  # fmt: skip
    wanted = {DEFENSES, "forensics.models", "imdlbenco.plugins", "forensichub.plugins"}
    assert wanted <= set(ours)
    assert all(callable(entry.load()) for group, entry in ours.items() if group != DEFENSES)
    assert ours[DEFENSES].load() is DEFENSE


def test_build_returns_an_identity_on_images_until_it_is_trained() -> None:
    images = torch.rand(2, 3, 20, 28)
    assert torch.equal(DEFENSE.build()(images), images)


def test_build_keeps_the_range_and_the_bound() -> None:
    suppress = DEFENSE.build()
    assert isinstance(suppress.ansm, ANSM)
    torch.nn.init.normal_(suppress.ansm.trunk.head.weight)
    images = torch.rand(2, 3, 16, 16)
    out = suppress(images).detach()
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert 0 < float((out - images).abs().max()) <= DEFENSE.max_linf + 1e-6


def test_build_refuses_missing_weights() -> None:
    with pytest.raises(WeightsError, match=r"no weights file absent\.safetensors"):
        DEFENSE.build("absent.safetensors")


def test_wrap_and_create_return_defended_localizers(tiny: torch.nn.Module) -> None:
    with pytest.warns(UserWarning, match="ImageNet mean"):
        assert isinstance(DEFENSE.wrap(tiny), DefendedLocalizer)
    made = create("forensic-unet", preset="base")
    assert isinstance(made, DefendedLocalizer)
    assert isinstance(made.ansm, ANSM)
    assert made.ansm.is_identity


# --- ansm plugins ---------------------------------------------------------------------------------


def test_the_command_lists_without_loading(
    site: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install(site, "bad", "bad = bad_module:PLUGIN", "raise RuntimeError('broken on purpose')")
    assert main(["plugins", "--json", str(tmp_path / "plugins.json")]) == 0
    assert "bad 1.0 (bad_module:PLUGIN)" in capsys.readouterr().out
    listed = json.loads((tmp_path / "plugins.json").read_text())
    assert [p["group"] for p in listed if p["name"] == "bad"] == [GROUP]
    assert {p["state"] for p in listed} == {""}


def test_the_check_loads_all_and_names_the_broken_one(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, "bad", "bad = bad_module:PLUGIN", "raise RuntimeError('broken on purpose')")
    install(site, "good", "good = good_module:PLUGIN", "PLUGIN = 7")
    assert main(["plugins", "--check"]) == 2
    said = capsys.readouterr()
    assert any("good 1.0" in line and line.endswith("loads") for line in said.out.splitlines())
    assert "1 of " in said.err
    assert "do not load: bad of bad 1.0" in said.err
    assert "broken on purpose" in said.out


def test_no_plugin_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORENSICS_PLUGINS", "")
    assert main(["plugins"]) == 0
    assert "no plugin is installed" in capsys.readouterr().out
