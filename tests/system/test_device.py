"""The device: found by name or refused in words, chosen for a while, and what depends on it."""

from __future__ import annotations

import pytest
import torch

from ansm_plugin.errors import ConfigError
from ansm_plugin.system import device as home
from ansm_plugin.system.device import (
    Computed,
    computed,
    computing_on,
    current_device,
    devices,
    find_device,
    tf32,
)


@pytest.fixture(name="two_accelerators")
def _two_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 2)


def pretend(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let this machine have CUDA devices, as far as names go."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


def launch(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", str(rank))


@pytest.mark.parametrize(
    ("name", "found"),
    [("auto", "cuda:0"), ("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")],
)
def test_names_of_what_is_there_are_found(name: str, found: str, two_accelerators: None) -> None:
    assert find_device(name) == torch.device(found)
    assert find_device(torch.device(found)) == torch.device(found)


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    assert find_device("auto") == torch.device("cpu")
    assert devices() == ("cpu",)


@pytest.mark.parametrize("name", ["cuda:2", "mps", "xpu:0", "gpu", "", "cuda:x", "meta"])
def test_other_names_are_refused_with_those_that_are_there(
    name: str, two_accelerators: None
) -> None:
    with pytest.raises(ConfigError, match=r"Allowed: auto, cpu, cuda, cuda:0, cuda:1\.") as refused:
        find_device(name)
    assert f"device is {name!r}" in str(refused.value)


def test_without_cuda_it_is_said_what_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    with pytest.raises(ConfigError, match=r"Allowed: auto, cpu\. torch .* CUDA"):
        find_device("cuda")


def test_each_process_of_a_launch_has_its_own(
    monkeypatch: pytest.MonkeyPatch, two_accelerators: None
) -> None:
    launch(monkeypatch, 1)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="leave out the number"):
        find_device("cuda:1")
    launch(monkeypatch, 2)
    with pytest.raises(ConfigError, match="process 3 of this machine has no cuda device"):
        find_device("auto")


def test_what_is_chosen_holds_inside_the_block_alone(two_accelerators: None) -> None:
    assert current_device() == torch.device("cuda:0")
    with computing_on("cuda:1") as outer:
        assert outer == current_device() == torch.device("cuda:1")
        with computing_on(None) as same, computing_on("cpu"):
            assert same == torch.device("cuda:1")
            assert current_device() == torch.device("cpu")
        assert current_device() == torch.device("cuda:1")
    with pytest.raises(ZeroDivisionError), computing_on("cpu"):
        raise ZeroDivisionError
    assert current_device() == torch.device("cuda:0")


def test_a_result_says_device_hardware_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found = computed(torch.device("cpu"), scores="fp32", attacks="fp32")
    assert found == Computed(
        device="cpu", hardware="2 threads", precision={"scores": "fp32", "attacks": "fp32"}
    )
    assert str(found) == "cpu (2 threads): scores fp32, attacks fp32"


@pytest.mark.parametrize(("capability", "name"), [((9, 0), "tf32"), ((7, 5), "fp32")])
def test_attacks_in_fp32_are_tf32_where_there_is_such_a_thing(
    capability: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(home, "hardware", lambda _: "a card")
    found = computed(torch.device("cuda:0"), scores="fp32", attacks="fp32")
    assert found.precision == {"scores": "fp32", "attacks": name}
    half = computed(torch.device("cuda:0"), attacks="bf16")
    assert half.precision == {"attacks": "bf16"}


def settings() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("on", [True, False])
def test_tf32_is_switched_for_a_block_and_given_back(on: bool) -> None:
    before = settings()
    with tf32(torch.device("cuda"), on=on):
        assert settings() == (on, on)
        with tf32(torch.device("cuda"), on=not on):
            assert settings() == (not on, not on)
        assert settings() == (on, on)
    assert settings() == before


def test_on_other_devices_tf32_stays_as_it_is() -> None:
    before = settings()
    with tf32(torch.device("cpu"), on=not before[0]):
        assert settings() == before


def test_settings_by_the_words_of_torch_2_9_are_switched_too() -> None:
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    if not hasattr(convolutions, "fp32_precision"):
        pytest.skip("this torch has no such words")
    old = settings()
    convolutions.fp32_precision = "ieee"  # recurrent layers keep tf32: the old words fail now
    try:
        with tf32(torch.device("cuda"), on=True):
            assert convolutions.fp32_precision == "tf32"
        assert convolutions.fp32_precision == "ieee"
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = old
