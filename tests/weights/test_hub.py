"""`load_pretrained("owner/name")`: a folder here first, then the hub, of which two files are read.

The hub is played by a function that has the signature of `snapshot_download`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from torch import nn

from ansm_plugin import DefendedLocalizer, LocalizerSpec, load_pretrained, unwrap, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.errors import WeightsError

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
Calls = list[dict[str, Any]]


@pytest.fixture
def defended(tiny: nn.Module) -> DefendedLocalizer[nn.Module]:
    return wrap_with_ansm(tiny, ansm=ANSM(THIN), spec=LocalizerSpec(stride=8))


@pytest.fixture
def asked(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Calls:
    """A hub that has one repository, and what it was asked for; the working folder is empty."""
    calls: Calls = []
    signature = inspect.signature(huggingface_hub.snapshot_download)

    def snapshot(*args: Any, **kwargs: Any) -> str:
        calls.append(dict(signature.bind(*args, **kwargs).arguments))
        return str(defended.save_pretrained(tmp_path / "cache"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return calls


def test_a_repository_is_fetched_by_its_name(
    defended: DefendedLocalizer[nn.Module], asked: Calls
) -> None:
    again = load_pretrained("ada/ansm-unet", unwrap(defended), revision="v1")
    assert again.spec.stride == 8
    assert all(torch.equal(value, again.ansm.state_dict()[name])
               for name, value in defended.ansm.state_dict().items())  # fmt: skip
    assert asked == [{
        "repo_id": "ada/ansm-unet", "revision": "v1",
        "allow_patterns": ["ansm.safetensors", "config.json"],
    }]  # fmt: skip


def test_a_folder_here_comes_first(defended: DefendedLocalizer[nn.Module], asked: Calls) -> None:
    defended.save_pretrained("ada/ansm-unet")
    load_pretrained("ada/ansm-unet", unwrap(defended))
    assert not asked
    with pytest.raises(WeightsError, match="a folder here, which has no revision 'v1'"):
        load_pretrained("ada/ansm-unet", unwrap(defended), revision="v1")


@pytest.mark.parametrize(
    "name", ["nowhere", "./ada/unet", "a/b/c", "/a/b", "../b", "-a/b", "a/b\n", Path("ada/unet")]
)
def test_what_is_no_repository_is_not_asked_for(
    defended: DefendedLocalizer[nn.Module], asked: Calls, name: str | Path
) -> None:
    with pytest.raises(WeightsError, match=r"holds no config\.json"):
        load_pretrained(name, unwrap(defended))
    with pytest.raises(WeightsError, match="a repository of the Hugging Face hub is named"):
        load_pretrained(name, unwrap(defended), revision="v1")
    assert not asked


def test_a_hub_that_cannot_be_reached_is_an_error_of_ours(
    defended: DefendedLocalizer[nn.Module], asked: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    said = "no folder ada/unet.*revision 'v1'.*ConnectionError: no route to host.*HF_HUB_OFFLINE"
    with pytest.raises(WeightsError, match=said) as raised:
        load_pretrained("ada/unet", unwrap(defended), revision="v1")
    assert "much more" not in str(raised.value)
    assert not asked


def test_offline_the_hub_itself_refuses_without_a_network(
    defended: DefendedLocalizer[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: Any, **__: Any) -> Callable[..., Any]:
        raise AssertionError("a network was asked for")

    monkeypatch.setattr("socket.create_connection", called)
    monkeypatch.setattr("socket.getaddrinfo", called)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="cannot be had from the Hugging Face hub") as raised:
        load_pretrained("ada/unet", unwrap(defended))
    assert "AssertionError" not in str(raised.value)


def test_without_the_package_the_message_says_what_to_install(
    defended: DefendedLocalizer[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match="pip install huggingface_hub"):
        load_pretrained("ada/unet", unwrap(defended))
