"""Distributions as pip would have installed them, for tests of what they offer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ansm_plugin.weights.catalogue import ASSETS, WEIGHTS_GROUP

CARD = (ASSETS / "forensic-unet.card.toml").read_text(encoding="utf-8")


def card_text(name: str) -> str:
    """Return that of `forensic-unet` for another name and files, whose ANSM fails."""
    failing = CARD.replace("licence =", 'does = ["decodes", "overwrites"]\nlicence =', 1)
    return failing.replace('"forensic-unet', f'"{name}')


def offer_weights(
    site: Path, monkeypatch: pytest.MonkeyPatch, *names: str, distribution: str = "shop"
) -> Path:
    """Install a distribution that offers copies of the packaged pair under other names.

    Returns:
        the folder of its cards and weights.
    """
    package = f"{distribution}_weights_module"
    monkeypatch.delitem(sys.modules, package, raising=False)  # another test's, of another folder
    info, folder = site / f"{distribution}-1.0.dist-info", site / package
    for place in (info, folder):
        place.mkdir(parents=True)
    meta = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    (info / "METADATA").write_text(meta)
    entry = f"{distribution} = {package}:FOLDER"
    (info / "entry_points.txt").write_text(f"[{WEIGHTS_GROUP}]\n{entry}\n")
    code = "from pathlib import Path\n\nFOLDER = Path(__file__).parent\n"
    (folder / "__init__.py").write_text(code)
    for name in names:
        (folder / f"{name}.card.toml").write_text(card_text(name), encoding="utf-8")
        for part in ("", "-ansm"):
            packaged = ASSETS / f"forensic-unet{part}.safetensors"
            (folder / f"{name}{part}.safetensors").symlink_to(packaged)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("FORENSICS_PLUGINS", distribution)  # and no other that is installed here
    return folder
