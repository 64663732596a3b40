"""A defended localizer as one ONNX graph: pixels in, probability of tampering out.

Normalisation, ANSM and localizer are inside, so that whoever runs the graph needs no torch and
knows no constants. Batch and, unless the localizer takes one size only, height and width are free.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.modes import device_of, frozen_eval
from ansm_plugin.localizer.traits import find_fixed_side
from ansm_plugin.system.device import tf32
from ansm_plugin.system.files import write_whole

TOLERANCE = 1e-4
INPUT, OUTPUT = "pixels", "probability"
_HALVINGS = 32  # encoders halve the image five times; sizes between make their shapes uneven
Shape = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        path: the ONNX file.
        side: the only height and width it takes, or None where they are free.
        multiple: height and width are multiples of this where they are free.
        smallest: and at least this.
        max_difference: largest difference of a probability between torch and onnxruntime.
        sizes: heights and widths that were compared.
    """

    path: Path
    side: int | None
    multiple: int
    smallest: int
    max_difference: float
    sizes: tuple[Shape, ...]


class PixelsToProbability(nn.Module):
    """Pixels `(B, 3, H, W)` in [0, 1] -> probability of tampering `(B, 1, H, W)`, fp32.

    Args:
        defended: the pair to put behind a plain interface.
    """

    def __init__(self, defended: DefendedLocalizer[Any]) -> None:
        super().__init__()
        self.defended = defended

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the mask whatever form the localizer's own output has."""
        spec = self.defended.spec
        output = self.defended(spec.normalise(pixels))
        return spec.mask_logits(output, (pixels.shape[-2], pixels.shape[-1])).sigmoid()


def export_onnx(
    defended: DefendedLocalizer[Any], path: str | Path, *, side: int | None = None
) -> Exported:
    """Write a defended localizer as ONNX after comparing it with torch in onnxruntime.

    Args:
        defended: in fp32, on any device.
        path: the file; it appears only where the two agree within `TOLERANCE`.
        side: fixes height and width; by default they are free where the localizer allows it.

    Raises:
        ConfigError: the extra `export` is not installed, or the file cannot be written.
        LocalizerError: torch cannot export this localizer, or the graph gives other numbers.
    """
    _require_extra()
    side = side or find_fixed_side(defended.localizer)
    multiple, smallest = _steps(defended)
    sizes = ((side, side),) if side else _free_sizes(multiple, smallest)
    model, device = PixelsToProbability(defended), device_of(defended)
    # As it was afterwards: the ANSM may be in the midst of its training.
    with tf32(device, on=False), frozen_eval(model):
        graph = _graph(model, sizes[-1], multiple, smallest, is_fixed=side is not None)
        try:
            difference = _largest_difference(graph, model, sizes)
        except Exception as error:  # onnxruntime's kinds are not public
            what = "onnxruntime cannot run the exported graph"
            raise _cannot_export(what, error, side is not None) from error
    if not difference <= TOLERANCE:  # also where it is no number
        raise LocalizerError(
            f"the exported {type(defended.localizer).__name__} differs from torch by "
            f"{difference:.2g} (allowed: {TOLERANCE:g}); nothing was written. Another torch or "
            "onnxruntime may convert it rightly."
        )
    write_whole(Path(path), lambda stream: stream.write(graph))
    return Exported(
        path=Path(path),
        side=side,
        multiple=multiple,
        smallest=smallest,
        max_difference=difference,
        sizes=sizes,
    )


def _require_extra() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"exporting needs {error.name or 'onnx'}, which is not installed: "
            "pip install 'ansm_plugin[export]'."
        ) from error


def _steps(defended: DefendedLocalizer[Any]) -> tuple[int, int]:
    """Return of what heights and widths must be multiples, and the least they can be."""
    ansm = defended.ansm
    inner = ansm.architecture.stride if isinstance(ansm, ANSM) else 1
    multiple = math.lcm(defended.spec.stride, inner, _HALVINGS)
    return multiple, multiple * math.ceil(defended.spec.smallest / multiple)


def _free_sizes(multiple: int, smallest: int) -> tuple[Shape, ...]:
    low = smallest + multiple
    return (smallest, smallest), (low, smallest), (low, low + multiple)


def _graph(model: nn.Module, size: Shape, multiple: int, smallest: int, *, is_fixed: bool) -> bytes:
    pixels = _pixels(2, size, torch.Generator().manual_seed(0), model)
    free: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=2**31 - 1)}
    if not is_fixed:
        least = smallest // multiple
        free[2] = multiple * torch.export.Dim("rows", min=least)
        free[3] = multiple * torch.export.Dim("columns", min=least)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter warns of its own internals
            exported = torch.export.export(
                model, (pixels,), dynamic_shapes={"pixels": free}, strict=False
            )
            program = torch.onnx.export(
                exported, input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False
            )
    except Exception as error:  # torch raises many kinds here, none of them promised
        raise _cannot_export("torch cannot export this localizer", error, is_fixed) from error
    if program is None:
        raise LocalizerError("torch returned no ONNX program; nothing was written.")
    graph: bytes = program.model_proto.SerializeToString()
    return graph


def _cannot_export(what: str, error: BaseException, is_fixed: bool) -> LocalizerError:
    """Return the error with its first cause; torch wraps it in pages of advice."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    said = next(iter(str(cause).strip().splitlines()), type(cause).__name__).rstrip(".")
    remedy = "" if is_fixed else " Fix the size: --size PIXELS, or side= in Python."
    return LocalizerError(f"{what}: {said}.{remedy}")


def _largest_difference(graph: bytes, model: nn.Module, sizes: Sequence[Shape]) -> float:
    """Return the largest difference to torch over batches of 1, 2, ... at the given sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch, size in enumerate(sizes, 1):
        pixels = _pixels(batch, size, generator, model)
        with torch.no_grad():
            expected = model(pixels).cpu()
        (found,) = session.run(None, {INPUT: pixels.cpu().numpy()})
        differences.append((torch.from_numpy(found) - expected).abs().max())
    return float(torch.stack(differences).max())


def _pixels(batch: int, size: Shape, generator: torch.Generator, model: nn.Module) -> Tensor:
    """Return random pixels where the model is."""
    return torch.rand(batch, 3, *size, generator=generator).to(device_of(model))
