"""Gradient passes that are captured once and replayed.

What a pass launches, one small piece of work after the other, costs the host more time than the
device needs for it where images are few. A CUDA graph holds all of it and is launched as one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ansm_plugin.attacks.behind import modules_behind
from ansm_plugin.attacks.objectives import OBJECTIVES
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.localizer.quick import quick_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.memory import free_memory, is_out_of_memory

_MOST_HELD = 4  # graphs of one forward; each keeps its shape's memory
_SAME = 1e-2  # of the largest number, that a replay may differ from a plain pass


class Pass(NamedTuple):
    """The gradient of an objective at points, `(B, 3, H, W)`, and the logits, `(B, 1, H, W)`."""

    gradient: Tensor
    logits: Tensor


Run = Callable[[], Pass]
State = tuple[object, ...]
Capture = Callable[[Run, torch.device], Run]


def attack_forward(
    localizer: nn.Module, spec: LocalizerSpec, *, precision: str = "fp32", as_it_is: bool = False
) -> Forward:
    """Return pixels -> mask logits, for attacks: on the CPU `mask_forward`, bit for bit.

    On a device that computes by itself it answers the same up to rounding, from a quick copy
    (`quick_forward`), and on CUDA its gradient passes are captured.

    Args:
        localizer: in eval mode.
        spec: how to talk to it.
        precision: "fp32" or "bf16".
        as_it_is: run the module itself and no copy: a defended pair, or one whose weights change
            while this forward is in use.
    """
    kind = device_of(localizer).type
    make = mask_forward if as_it_is or kind in ("cpu", "meta") else quick_forward
    forward = make(localizer, spec, precision=precision)
    return Captured(forward, cuda_graph) if kind == "cuda" else forward


def plain_pass(
    forward: Forward, objective: str, points: Tensor, masks: Tensor, elapsed: float
) -> Pass:
    """Return gradient and logits at points, without a look at whether they are finite."""
    with torch.enable_grad():
        leaf = points.detach().requires_grad_(True)
        logits = forward(leaf).float()
        total = OBJECTIVES[objective](logits, masks, elapsed).sum()
        (gradient,) = torch.autograd.grad(total, leaf)
    return Pass(gradient.float(), logits.detach())


class Captured:
    """A forward whose gradient passes are captured, for each objective and shape, and replayed.

    Called it is the forward itself. The first pass of an objective and shape is left to the caller,
    who looks at what comes out; the second one is captured, and held against a plain pass: it must
    not draw or count anything on the host. What cannot be captured runs plainly, and says so once.

    Args:
        forward: pixels -> mask logits.
        capture: returns a run that does the same as the one given, without its launches; what it
            returns is overwritten by the next run.
    """

    def __init__(self, forward: Forward, capture: Capture) -> None:
        self.forward, self._capture = forward, capture
        self._held: OrderedDict[tuple[Any, ...], _Replay | None] = OrderedDict()
        self._too_large: set[torch.Size] = set()  # shapes that the memory does not hold
        self._refused = ""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> logits `(B, 1, H, W)`."""
        return self.forward(pixels)

    def state(self) -> State:
        """Return what captured passes depend on beside their input, a millisecond's look.

        Where weights lie, modes, and settings of torch. Weights that change in their place are seen
        by the next replay.
        """
        modules = modules_behind(self.forward)
        places = [t.data_ptr() for m in modules for t in (*m.parameters(), *m.buffers())]
        modes = [part.training for module in modules for part in module.modules()]
        convolutions = getattr(torch.backends.cudnn, "conv", None)
        # The new word for it, where torch has it: it refuses to be asked by the old one then.
        tf32 = getattr(convolutions, "fp32_precision", None) or torch.backends.cudnn.allow_tf32
        return (tuple(places), tuple(modes), tf32, torch.is_autocast_enabled("cuda"))

    def gradient(
        self, state: State, objective: str, points: Tensor, masks: Tensor, elapsed: float
    ) -> Pass | None:
        """Return the pass at points, or None where the caller is to run it plainly.

        Args:
            state: as it is now; the same for all passes of an attack.
            objective: name in `OBJECTIVES`; None is returned for others.
            points: `(B, 3, H, W)`.
            masks: `(B, 1, H, W)`.
            elapsed: share of the attack that is over, in [0, 1].
        """
        if self._refused or objective not in OBJECTIVES or points.shape in self._too_large:
            return None
        key = (objective, points.shape, state)
        if key not in self._held:
            self._held[key] = None
            self._forget_old()
            return None
        self._held.move_to_end(key)
        replay = self._held[key] or self._captured(key, points, masks)
        return None if replay is None else replay(points, masks, elapsed)

    def _captured(self, key: tuple[Any, ...], points: Tensor, masks: Tensor) -> _Replay | None:
        """Capture the pass of a key; return None, and say why, where that cannot be done."""
        try:
            replay = _Replay(self.forward, key[0], points, masks, self._capture)
            self._held[key] = replay
        except RuntimeError as error:  # of torch and of ours
            if is_out_of_memory(error):
                self._too_large.add(points.shape)
                self._held.clear()
                free_memory()  # a plain pass may yet have room
                return None
            self._refuse(str(error))
            return None
        return replay

    def _refuse(self, reason: str) -> None:
        self._refused = reason or "no reason was given"
        self._held.clear()
        modules = modules_behind(self.forward)
        name = type(modules[0]).__name__ if modules else "this forward"
        warnings.warn(
            f"attacks on {name} run their passes plainly, in more time: they cannot be captured "
            f"({self._refused.splitlines()[0].rstrip('.')}). The noise is the same.",
            stacklevel=6,
        )

    def _forget_old(self) -> None:
        while len(self._held) > _MOST_HELD:
            self._held.popitem(last=False)


class _Replay:
    """One captured pass, with the memory that it reads points and masks from.

    Raises:
        RuntimeError: the pass cannot be captured, or a replay finds something else than a pass.
    """

    def __init__(
        self, forward: Forward, objective: str, points: Tensor, masks: Tensor, capture: Capture
    ) -> None:
        self._points, self._masks = points.detach().clone(), masks.detach().clone()
        self._elapsed = torch.zeros((), device=points.device)
        elapsed = cast(float, self._elapsed)  # as a number on the device: a graph keeps no floats

        def run() -> Pass:
            return plain_pass(forward, objective, self._points, self._masks, elapsed)

        self._run = capture(run, points.device)
        found, expected = self(points, masks, 0.5), run()
        if not all(_is_same(a, b) for a, b in zip(found, expected, strict=True)):
            raise RuntimeError("two passes on the same images differ")

    def __call__(self, points: Tensor, masks: Tensor, elapsed: float) -> Pass:
        self._points.copy_(points)
        self._masks.copy_(masks)
        self._elapsed.fill_(elapsed)
        return Pass(*(numbers.clone() for numbers in self._run()))


def cuda_graph(run: Run, device: torch.device) -> Run:
    """Return `run` as one CUDA graph.

    Raises:
        RuntimeError: it waits for the device, or does something else that no graph holds.
    """
    with torch.cuda.device(device), _kernels_by_trial():
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            run()  # chooses kernels, and makes what is made once
            with _no_waiting():
                run()
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may write a checkpoint meanwhile.
        with torch.cuda.graph(graph, _pool(), capture_error_mode="thread_local"):
            made = run()

    def replay() -> Pass:
        graph.replay()
        return made

    return replay


@cache
def _pool() -> Any:
    """Return the memory that graphs share: what one found is copied before the next runs."""
    return torch.cuda.graph_pool_handle()


@contextlib.contextmanager
def _kernels_by_trial() -> Iterator[None]:
    """Let cuDNN try its kernels on the shapes at hand, unless it is to be deterministic."""
    settings = torch.backends.cudnn
    before = settings.benchmark
    settings.benchmark = before or not settings.deterministic
    try:
        yield
    finally:
        settings.benchmark = before


@contextlib.contextmanager
def _no_waiting() -> Iterator[None]:
    """Raise RuntimeError where something waits for the device: a failed capture is worse."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _is_same(found: Tensor, expected: Tensor) -> bool:
    limit = _SAME * expected.abs().max()
    return bool(((found - expected).abs() <= limit).all())
