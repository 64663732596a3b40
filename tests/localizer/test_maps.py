"""Maps of an output: what is one, and the part of it that lies over the image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin import LocalizerSpec, wrap_with_ansm
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import call_padded, mask_forward
from ansm_plugin.localizer.maps import cut_to_image, lies_over
from ansm_plugin.localizer.output import find_mask

PLAIN = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), stride=32)


class Strided(nn.Module):
    """Marks red pixels on a grid of every 4th pixel; takes multiples of 32 only, as many do."""

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H / 4, W / 4)`."""
        assert images.shape[-1] % 32 == images.shape[-2] % 32 == 0
        return functional.avg_pool2d(images[:, :1] - images[:, 1:2], 4)


def with_block(size: tuple[int, int], top: int, left: int, side: int = 8) -> Tensor:
    """Return a black image `(1, 3, H, W)` with a red block."""
    image = torch.zeros(1, 3, *size)
    image[:, 0, top : top + side, left : left + side] = 1
    return image


# --- which grids are maps -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "size"),
    [((64, 48), (64, 48)), ((16, 12), (64, 48)), ((18, 25), (70, 97)), ((17, 24), (70, 97)),
     ((5, 7), (70, 97)), ((1, 1), (9, 5)), ((128, 96), (64, 48)), ((27, 27), (382, 382))],
)  # fmt: skip
def test_grids_of_a_stride_lie_over_the_image(
    cells: tuple[int, int], size: tuple[int, int]
) -> None:
    assert lies_over(cells, size)


@pytest.mark.parametrize(
    ("cells", "size"),
    [((6, 324), (224, 224)), ((100, 3), (64, 64)), ((16, 16), (64, 96)), ((17, 17), (64, 64)),
     ((0, 0), (64, 64)), ((128, 97), (64, 48)), ((96, 96), (64, 64))],
)  # fmt: skip
def test_other_grids_do_not(cells: tuple[int, int], size: tuple[int, int]) -> None:
    assert not lies_over(cells, size)


@pytest.mark.parametrize("shape", [(1, 6, 324), (2, 100, 3), (1, 65, 16)])
def test_boxes_and_tokens_are_no_mask(shape: tuple[int, ...]) -> None:
    """YOLO returns boxes as (B, 4 + classes, boxes), which were taken for a mask."""

    class Detector(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean() * torch.ones(shape)

    said = rf"shape \({shape[0]}, {shape[1]}, {shape[2]}\).*no mask \(B, H, W\).*mask_key"
    defended = wrap_with_ansm(Detector(), spec=PLAIN)
    for localizer in (defended, defended.localizer):
        with pytest.raises(LocalizerError, match=said):
            mask_forward(localizer, PLAIN)(torch.rand(shape[0], 3, 96, 64))


@pytest.mark.parametrize("step", [1, 2, 4])
def test_masks_without_a_channel_are_taken(step: int) -> None:
    mask = torch.rand(2, 96 // step, 64 // step)
    assert find_mask(mask, None, (96, 64)) is mask
    assert PLAIN.mask_logits({"mask": mask}, (96, 64)).shape == (2, 1, 96, 64)


# --- the part over the image ----------------------------------------------------------------------


def test_a_map_of_a_fraction_is_cut_in_proportion() -> None:
    """70 pixels were padded to 96, and all 24 cells of those came back, stretched over 70."""
    output = wrap_with_ansm(Strided(), spec=PLAIN)(torch.rand(1, 3, 70, 97))
    assert output.shape == (1, 1, 18, 25)


def test_a_marked_block_is_where_it_is_in_the_image() -> None:
    image = with_block((72, 40), 48, 24)
    output = wrap_with_ansm(Strided(), spec=PLAIN)(image)
    assert torch.equal(output[0, 0].nonzero(), torch.tensor([[r, c] for r in (12, 13)
                                                             for c in (6, 7)]))  # fmt: skip


@pytest.mark.parametrize("size", [(70, 70), (97, 70), (33, 62)])
def test_a_block_is_in_its_place_where_the_image_ends_inside_a_cell(size: tuple[int, int]) -> None:
    top, left = size[0] - 16, size[1] - 20
    output = wrap_with_ansm(Strided(), spec=PLAIN)(with_block(size, top, left))
    mask = functional.interpolate(output, size=size, mode="bilinear").detach()[0, 0]
    for axis, (start, length) in enumerate(zip((top, left), size, strict=True)):
        places = torch.arange(length) + 0.5
        centre = (mask.sum(1 - axis) * places).sum() / mask.sum()
        assert float(centre) == pytest.approx(start + 4, abs=0.25)


def test_both_ways_to_the_mask_agree() -> None:
    image = with_block((70, 97), 30, 40, 20)
    direct = mask_forward(Strided(), PLAIN)(image)
    output = wrap_with_ansm(Strided(), spec=PLAIN)(image)
    passed = functional.interpolate(output, size=(70, 97), mode="bilinear")
    marked, again = direct > 0.5, passed > 0.5  # resampled once more: the edge may blur
    assert int((marked & again).sum()) >= 0.95 * int((marked | again).sum()) > 350


def test_gradients_pass_a_resampled_map() -> None:
    image = with_block((70, 70), 10, 10).requires_grad_()
    output = wrap_with_ansm(Strided(), spec=PLAIN)(image)
    (gradient,) = torch.autograd.grad(output.sum(), image)
    assert float((gradient[:, 0] > 0).float().mean()) > 0.95


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16, torch.float64])
def test_a_map_keeps_its_type(dtype: torch.dtype) -> None:
    cut = cut_to_image(torch.ones(1, 2, 24, 24, dtype=dtype), (96, 96), (70, 70))
    assert (cut.shape, cut.dtype) == ((1, 2, 18, 18), dtype)
    assert bool((cut == 1).all())


def test_labels_are_taken_from_the_nearest_cell() -> None:
    labels = torch.arange(24).expand(1, 24, 24)
    cut = cut_to_image(labels, (96, 96), (70, 70))
    assert cut[0, 0].tolist() == list(range(18))


@pytest.mark.parametrize(
    "shape", [(3,), (1, 10), (1, 100, 3), (1, 17, 24), (1, 4, 6, 3), (1, 0, 0), (1, 1, 0, 4)]
)
def test_what_is_no_map_stays_as_it_is(shape: tuple[int, ...]) -> None:
    given = torch.rand(shape)
    assert cut_to_image(given, (96, 96), (70, 70)) is given


# --- square images --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "padded"), [((70, 97), 112), ((5, 9), 32), ((64, 64), 64), ((16, 48), 48)]
)
def test_a_localizer_of_square_images_gets_square_images(
    size: tuple[int, int], padded: int
) -> None:
    seen: list[Any] = []

    def localizer(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape[-2:]))
        return images

    output = call_padded(localizer, torch.rand(1, 3, *size), 16, 32, square=True)
    assert seen == [(padded, padded)]
    assert output.shape[-2:] == size
