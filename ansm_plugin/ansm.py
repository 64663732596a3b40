"""The Adversarial Noise Suppression Module: image -> bounded defensive perturbation.

Shape suffixes: B batch, C channels, H height, W width (pixels).
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.errors import ConfigError, ImageError, unknown_name
from ansm_plugin.system.text import parse_value

DEFAULT_PRESET = "small"
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All that is needed to rebuild an ANSM.

    Attributes:
        unshuffle: side of the pixel block that is folded into channels before the trunk (1: none).
        widths: channels of each level of the U-shaped trunk, finest first.
        encoder_blocks: 3x3 convolutions per level on the way down.
        decoder_blocks: 3x3 convolutions per level on the way up, finest first (one level fewer).
        norm: "none", or "batch" for BatchNorm after each convolution.
        bound_255: e_d, the largest change of any pixel, in grey levels of 255.
    """

    unshuffle: int = 1
    widths: tuple[int, ...] = (32, 64, 128)
    encoder_blocks: tuple[int, ...] = (2, 2, 2)
    decoder_blocks: tuple[int, ...] = (1, 2)
    norm: Literal["none", "batch"] = "none"
    bound_255: float = 16.0

    def __post_init__(self) -> None:
        """Raise ConfigError where the fields do not describe a network."""
        if not 0 < self.bound_255 <= 255:
            raise ConfigError(f"bound_255 is {self.bound_255}; allowed: above 0, at most 255.")
        if self.norm not in ("none", "batch"):
            raise ConfigError(f"norm is {self.norm!r}; allowed: none, batch.")
        if self.unshuffle < 1 or not self.widths or min(self.widths) < 1:
            raise ConfigError(
                f"unshuffle {self.unshuffle} and widths {self.widths} must be positive."
            )
        if (len(self.encoder_blocks), len(self.decoder_blocks)) != (
            len(self.widths),
            len(self.widths) - 1,
        ):
            raise ConfigError(
                f"widths {self.widths} need {len(self.widths)} encoder_blocks and one fewer "
                f"decoder_blocks; given {self.encoder_blocks} and {self.decoder_blocks}."
            )

    @property
    def stride(self) -> int:
        """Height and width are padded to a multiple of this many pixels inside."""
        return int(self.unshuffle * 2 ** (len(self.widths) - 1))

    def as_dict(self) -> dict[str, object]:
        """Return the fields as JSON-ready values."""
        return asdict(self)


# GMAC at 512x512 as multiples of smp.Unet("resnet34") (31.3): see recipes/README.md.
PRESETS: dict[str, Architecture] = {
    # As wide at its finest level as the 48 numbers of a folded block of 4x4 pixels need: narrower
    # could not cancel noise that differs from pixel to pixel.
    "tiny": Architecture(unshuffle=4, widths=(64, 128), encoder_blocks=(2, 2), decoder_blocks=(2,)),
    "small": Architecture(
        unshuffle=2, widths=(32, 64, 128), encoder_blocks=(2, 2, 3), decoder_blocks=(2, 2)
    ),
    "base": Architecture(),
    # The accuracy reference: the denoising U-Net of HGD (Liao et al., CVPR 2018).
    "hgd": Architecture(
        widths=(64, 128, 256, 256, 256),
        encoder_blocks=(2, 3, 3, 3, 3),
        decoder_blocks=(2, 3, 3, 3),
        norm="batch",
    ),
}


def architecture(name: str) -> Architecture:
    """Return the architecture of a preset, with changes behind it: `small?bound_255=8&norm=batch`.

    Raises:
        ConfigError: an unknown preset or field (the nearest names are offered), or a bad value.
    """
    preset, _, changes = name.partition("?")
    if preset not in PRESETS:
        raise ConfigError(unknown_name("ANSM preset", preset, PRESETS))
    try:
        given = dict(parse_qsl(changes, strict_parsing=bool(changes)))
        # "none" is a name here, not the absence of a value.
        fields: dict[str, Any] = {k: v if v == "none" else parse_value(v) for k, v in given.items()}
        for field in fields:
            if field not in PRESETS[preset].as_dict():
                raise ConfigError(
                    unknown_name("field of a preset", field, PRESETS[preset].as_dict())
                )
        return replace(PRESETS[preset], **fields)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"preset {name!r}: {error}; write small?bound_255=8&norm=batch."
        ) from error


class ANSM(nn.Module):
    """Map an image to its defensive perturbation `e_d * tanh(G(image))`.

    The last convolution starts at zero, so a fresh module returns exactly 0 everywhere.

    The attribute `precision` may be set at any time. "bf16" runs the convolutions in bfloat16,
    whatever autocast the caller has set; tanh and bound stay fp32, so the result is as bounded as
    before and still exactly 0 where the head is. It is not stored with the weights.

    Args:
        preset: name in `PRESETS`, with changes as in `architecture`; or an `Architecture`.
        precision: "fp32" computes as the caller does, "bf16" halves the time of convolutions on
            processors that have it.

    Raises:
        ConfigError: an unknown preset or precision.
    """

    def __init__(
        self, preset: str | Architecture = DEFAULT_PRESET, *, precision: Precision = "fp32"
    ) -> None:
        super().__init__()
        if precision not in get_args(Precision):
            raise ConfigError(
                f"precision is {precision!r}; allowed: {', '.join(get_args(Precision))}."
            )
        self.architecture = architecture(preset) if isinstance(preset, str) else preset
        self.precision: Precision = precision
        self.trunk = _Trunk(self.architecture)
        # Else every forward pass copies the weights into this layout: a fifth of its time on CPUs.
        self.to(memory_format=torch.channels_last)

    @property
    def bound(self) -> float:
        """e_d: the largest change of any pixel, in units of the pixel range [0, 1]."""
        return self.architecture.bound_255 / 255

    @property
    def is_identity(self) -> bool:
        """Whether it is untrained: its perturbation is exactly 0. False on the meta device."""
        return not any(p.is_meta or bool(p.detach().any()) for p in self.trunk.head.parameters())

    def raw(self, images: Tensor) -> Tensor:
        """Return the perturbation before tanh and bound, in fp32, of images of any dtype.

        Shape: `(B, 3, H, W)` in [0, 1] -> the same shape, unbounded. Any H and W.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(
                f"ANSM was given shape {tuple(images.shape)}; it takes (B, 3, H, W) in [0, 1]."
            )
        height, width = images.shape[-2:]
        images = images.to(self.trunk.head.weight.dtype)
        stride = self.architecture.stride
        padding = (0, -width % stride, 0, -height % stride)
        padded = functional.pad(images, padding, mode="replicate") if any(padding) else images
        with self._autocast(images.device.type):
            raw: Tensor = self.trunk(padded)
        raw = raw[..., :height, :width].float()
        return raw.nan_to_num(0.0) if images.dtype is torch.float16 else raw  # may overflow there

    def bounded(self, raw: Tensor) -> Tensor:
        """Squash a raw perturbation into [-e_d, e_d]."""
        return self.bound * torch.tanh(raw)

    def forward(self, images: Tensor) -> Tensor:
        """Return the defensive perturbation of `images`.

        Shape: `(B, 3, H, W)` in [0, 1] -> the same shape in [-e_d, e_d], fp32.
        """
        return self.bounded(self.raw(images))

    def _autocast(self, device: str) -> contextlib.AbstractContextManager[object]:
        # "fp32" is as the caller has it, who may train under autocast; "meta" has no autocast.
        if self.precision == "fp32" or not torch.amp.is_autocast_available(device):
            return contextlib.nullcontext()
        return torch.autocast(device, torch.bfloat16)

    def extra_repr(self) -> str:
        """Say what the module is, and whether it does anything yet."""
        state = ", untrained: identity" if self.is_identity else ""
        inside = ", bf16" if self.precision == "bf16" else ""
        return f"bound={self.architecture.bound_255:g}/255{inside}{state}"


class _Trunk(nn.Module):
    """U-shaped network with additive skips; the last convolution starts at zero."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        folded = 3 * arch.unshuffle**2
        r = arch.unshuffle
        self.fold = Rearrange("b c (h r) (w s) -> b (c r s) h w", r=r, s=r) if r > 1 else None
        ins = (folded, *arch.widths[:-1])
        self.down = nn.ModuleList(
            _stage(i, o, n, arch.norm, stride=1 if level == 0 else 2)
            for level, (i, o, n) in enumerate(
                zip(ins, arch.widths, arch.encoder_blocks, strict=True)
            )
        )
        pairs = list(zip(arch.widths[1:], arch.widths[:-1], arch.decoder_blocks, strict=True))
        self.lateral = nn.ModuleList(nn.Conv2d(deep, fine, 1) for deep, fine, _ in pairs)
        self.up = nn.ModuleList(_stage(fine, fine, n, arch.norm) for _, fine, n in pairs)
        self.head = nn.Conv2d(arch.widths[0], folded, 1)
        unfold = Rearrange("b (c r s) h w -> b c (h r) (w s)", r=r, s=r)
        self.unfold = unfold if r > 1 else None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias if self.head.bias is not None else torch.empty(0))

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> `(B, 3, H, W)`; H and W are multiples of the stride."""
        x = images - 0.5  # centred input: zero-mean first layer without a normalisation
        x = self.fold(x) if self.fold is not None else x
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](_added_twofold(self.lateral[level](x), skips[level]))
        out: Tensor = self.head(x)
        return self.unfold(out) if self.unfold is not None else out


def _added_twofold(coarse: Tensor, fine: Tensor) -> Tensor:
    """Return `fine` plus `coarse` at twice its height and width, in the memory of one of them.

    Shape: `(B, C, H, W)` and `(B, C, 2H, 2W)` -> the latter. Both ways give the same bits.
    """
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if torch.is_grad_enabled() or is_traced:  # a gradient may need `fine`; exporters know "nearest"
        return functional.interpolate(coarse, scale_factor=2.0, mode="nearest").add_(fine)
    height, width = coarse.shape[-2:]
    # Broadcast: an upsampled map of its own costs more than the sum, most of it in fresh memory.
    blocks = fine.view(*fine.shape[:2], height, 2, width, 2)
    blocks.add_(coarse[:, :, :, None, :, None])
    return fine


def _stage(ins: int, outs: int, blocks: int, norm: str, stride: int = 1) -> nn.Sequential:
    """Return `blocks` times 3x3 convolution, optional BatchNorm, ReLU; the first may stride.

    ReLU works in place: a fresh map costs more time than the comparison, and no gradient needs
    what was there before.
    """
    layers: list[nn.Module] = []
    for index in range(blocks):
        given, step = (ins, stride) if index == 0 else (outs, 1)
        conv = nn.Conv2d(given, outs, 3, stride=step, padding=1, bias=norm == "none")
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        norms = [nn.BatchNorm2d(outs)] if norm == "batch" else []
        layers += [conv, *norms, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def clip(pixels: Tensor) -> Tensor:
    """Return pixels cut to [0, 1]. Shape: any -> the same."""
    return pixels.clamp(0, 1)


def add(pixels: Tensor, delta: Tensor) -> Tensor:
    """Return clip(x + delta), the method's one equation, for who needs the image alone.

    Shape: both `(B, 3, H, W)`, pixels in [0, 1], delta in pixel units -> the same in [0, 1].
    `pixels + cut(pixels, delta)` is the same but for rounding in the last bit.
    """
    return clip(pixels + delta)


def cut(pixels: Tensor, delta: Tensor) -> Tensor:
    """Return `delta` cut so that `pixels + delta` stays in [0, 1], for who needs delta itself.

    Shape: both `(B, 3, H, W)`, as in `add` -> the same between -pixels and 1 - pixels. What needs
    no cut comes back bit for bit: a delta of 0 stays exactly 0, in any input range.
    """
    return torch.minimum(torch.maximum(delta, -pixels), 1 - pixels)


def saturated_share(raw: Tensor, threshold: float = 2.0) -> Tensor:
    """Return the share of entries of a raw perturbation where tanh is nearly flat.

    Above |raw| = 2 tanh is within 3.6 % of its bound and passes 7 % of the gradient.
    """
    return (raw.detach().abs() > threshold).float().mean()
