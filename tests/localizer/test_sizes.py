"""Which sizes a plain localizer takes is tried; a size that it takes is never padded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import wrap_with_ansm
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.sizes import Sizes, probed_sizes
from tests.support.cutting import HALF

Takes = Callable[[int, int], bool]


class Picky(nn.Module):
    """Marks red pixels of images whose size it takes.

    Args:
        takes: height, width -> whether it does.
    """

    pretrained_cfg = HALF

    def __init__(self, takes: Takes) -> None:
        super().__init__()
        self.takes = takes
        self.sizes: list[tuple[int, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        self.sizes.append((height, width))
        if not self.takes(height, width):
            raise RuntimeError(f"{height}x{width} is not taken")
        return images[:, :1] - images[:, 1:2]


def multiples(stride: int) -> Takes:
    return lambda height, width: height % stride == width % stride == 0


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32, 64, 14, 7, 128])
def test_the_smallest_stride_is_found(stride: int) -> None:
    spec = describe(Picky(multiples(stride)))
    assert (spec.stride, spec.smallest, spec.square) == (stride, 1, False)


@pytest.mark.parametrize("side", [64, 224, 256, 512])
def test_one_size_alone_is_found(side: int) -> None:
    spec = describe(Picky(lambda height, width: height == width == side))
    assert (spec.stride, spec.smallest) == (side, side)


def test_squares_alone_are_found() -> None:
    spec = describe(Picky(lambda height, width: height == width and height % 8 == 0))
    assert (spec.stride, spec.square) == (8, True)


@pytest.mark.parametrize("stride", [1, 16])
@pytest.mark.parametrize("size", [(48, 32), (70, 97), (16, 16)])
def test_a_fresh_wrap_changes_no_bit_and_takes_any_size(stride: int, size: tuple[int, int]) -> None:
    model = Picky(multiples(stride))
    inputs = torch.randn(1, 3, *size)
    output = wrap_with_ansm(model)(inputs)
    assert torch.equal(output, inputs[:, :1] - inputs[:, 1:2])


def test_a_mask_of_another_size_is_handed_on_as_it_is() -> None:
    """Padding would change it: only sizes that fail are padded."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 1, 2, 2))
    model.pretrained_cfg = HALF  # type: ignore[assignment]
    assert describe(model).stride == 1
    inputs = torch.randn(1, 3, 65, 67)
    with torch.no_grad():
        assert torch.equal(wrap_with_ansm(model)(inputs), model(inputs))


def test_what_is_said_goes_before_what_is_tried() -> None:
    model = Picky(multiples(8))
    spec = replace(describe(model), stride=32)
    model.sizes.clear()
    wrap_with_ansm(model, spec=spec)(torch.rand(1, 3, 40, 40))
    assert model.sizes == [(64, 64)]


def test_a_localizer_that_takes_nothing_is_wrapped_all_the_same() -> None:
    assert describe(Picky(lambda *_: False)).stride == 1


def test_looking_leaves_modes_and_random_numbers_alone(tiny: nn.Module) -> None:
    tiny.train()
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in tiny.state_dict().items()}
    assert probed_sizes(tiny, 64) == Sizes(1, 1, square=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, state[k]) for k, v in tiny.state_dict().items())
    assert all(module.training for module in tiny.modules())
