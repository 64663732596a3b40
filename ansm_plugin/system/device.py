"""The device that something computes on: found by name, said, and what depends on its kind.

A device is the CPU or one accelerator that torch knows here (CUDA, ROCm, MPS, XPU). Names are those
of torch: "cuda" is this process's CUDA device, "cuda:1" the second one; "auto" is the accelerator
if there is one, else the CPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from ansm_plugin.errors import ConfigError

AUTO = "auto"
CPU = torch.device("cpu")
_TF32_SINCE = (8, 0)  # compute capability of CUDA devices that have tf32

_chosen: list[torch.device] = []  # innermost last, see `computing_on`


@dataclass(frozen=True, kw_only=True)
class Computed:
    """Where numbers were computed, and in which precision.

    Attributes:
        device: as torch writes it: "cpu", "cuda:0".
        hardware: what it is, such as "NVIDIA H100 80GB HBM3"; of the CPU its number of threads.
        precision: "fp32", "tf32" or "bf16" of each part that was computed, by its name.
    """

    device: str
    hardware: str
    precision: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return one line: "cpu (2 threads): scores fp32, attacks bf16"."""
        parts = ", ".join(f"{part} {name}" for part, name in self.precision.items())
        return f"{self.device} ({self.hardware})" + (f": {parts}" if parts else "")


def find_device(name: str | torch.device = AUTO) -> torch.device:
    """Return the device of a name, with its index: "cuda" -> cuda:0, or that of this process.

    Args:
        name: "auto", "cpu", or an accelerator's, with or without its index.

    Raises:
        ConfigError: there is none of that name here; the message says which there are.
    """
    if name == AUTO:
        kind, count = _accelerator()
        return torch.device(kind, _own_index(kind, count)) if count else CPU
    here = devices()
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(_unknown(name, here)) from error
    if device.type == CPU.type:
        return CPU
    kind, count = _accelerator()
    if not count or device.type != kind or (device.index or 0) >= count:
        raise ConfigError(_unknown(name, here))
    if device.index is None:
        return torch.device(kind, _own_index(kind, count))
    if _processes() > 1:
        raise ConfigError(
            f"device is {name} and {_processes()} processes were started; each takes one of its "
            f"own: leave out the number ({kind}), or start one process."
        )
    return device


def devices() -> tuple[str, ...]:
    """Return the names of all devices here: "cpu", then those of accelerators."""
    kind, count = _accelerator()
    return (CPU.type, *(f"{kind}:{index}" for index in range(count)))


@contextlib.contextmanager
def computing_on(device: str | torch.device | None) -> Iterator[torch.device]:
    """Let whatever builds models inside the block build them on a device; None changes nothing.

    Trainings ask `current_device`, which threads of this process share.

    Raises:
        ConfigError: there is no such device here.
    """
    if device is None:
        yield current_device()
        return
    _chosen.append(find_device(device))
    try:
        yield _chosen[-1]
    finally:
        _chosen.pop()


def current_device() -> torch.device:
    """Return the device of the innermost `computing_on`; outside of all that of "auto"."""
    return _chosen[-1] if _chosen else find_device()


def hardware(device: torch.device) -> str:
    """Return what a device is: its name, or the threads of the CPU."""
    if device.type == CPU.type:
        threads = torch.get_num_threads()
        return f"{threads} thread{'s' if threads > 1 else ''}"
    module = torch.get_device_module(device)
    name = getattr(module, "get_device_name", None)  # MPS has none
    return str(name(device)) if name else device.type


def computed(device: torch.device, **precision: str) -> Computed:
    """Return what a result says of where it was computed.

    Args:
        device: where.
        precision: "fp32" or "bf16" of each part by its name; fp32 of `attacks` is tf32 on devices
            that have it, see `tf32`.
    """
    is_fast = precision.get("attacks") == "fp32" and _has_tf32(device)
    changed = {"attacks": "tf32"} if is_fast else {}
    return Computed(
        device=str(device), hardware=hardware(device), precision={**precision, **changed}
    )


@contextlib.contextmanager
def tf32(device: torch.device, *, on: bool) -> Iterator[None]:
    """Let fp32 products and convolutions of the block round their factors to 10 bits, or not.

    Three times as fast and enough for the sign of a gradient; scores are to be those of the CPU.
    Does nothing on devices other than CUDA's. The settings are those of the process, as before
    afterwards.
    """
    if device.type != "cuda":
        yield
        return
    settings = _tf32_settings(on)
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


def _accelerator() -> tuple[str, int]:
    """Return the kind of the accelerators here and their number; ("", 0) where there is none."""
    if not torch.accelerator.is_available():
        return "", 0
    found = torch.accelerator.current_accelerator()
    return (found.type, torch.accelerator.device_count()) if found is not None else ("", 0)


def _own_index(kind: str, count: int) -> int:
    """Return which accelerator is this process's under a launcher; without one the first."""
    index = int(os.environ.get("LOCAL_RANK", "0")) if _processes() > 1 else 0
    if index >= count:
        raise ConfigError(
            f"process {index + 1} of this machine has no {kind} device of its own: there are "
            f"{count}. Start at most {count} processes, or pass --device cpu."
        )
    return index


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _unknown(name: object, here: tuple[str, ...]) -> str:
    kinds = dict.fromkeys(device.partition(":")[0] for device in here)
    allowed = ", ".join(dict.fromkeys((AUTO, *kinds, *here)))
    said = f"device is {str(name)!r}; this machine has none of that name. Allowed: {allowed}."
    if str(name).startswith("cuda") and "cuda" not in kinds:
        why = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA device"
        said += f" torch {torch.__version__} {why}."
    return said


def _has_tf32(device: torch.device) -> bool:
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= _TF32_SINCE


def _tf32_settings(on: bool) -> list[tuple[object, str, object]]:
    """Return owner, name and value of each setting, in the words that this process uses."""
    owners = (torch.backends.cudnn, torch.backends.cuda.matmul)
    try:
        for owner in owners:
            getattr(owner, "allow_tf32")  # noqa: B009 - it answers, or raises
    except RuntimeError:  # somebody set them by the words of torch 2.9, which differ more finely
        value = "tf32" if on else "ieee"
        new: tuple[object, ...] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
        return [(owner, "fp32_precision", value) for owner in new]
    return [(owner, "allow_tf32", on) for owner in owners]
