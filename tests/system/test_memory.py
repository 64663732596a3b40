"""How many images fit: all at once, else half as many, never another number in the result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.memory import Capacity, is_out_of_memory


class Device:
    """Doubles images, up to `fits` of them at once; keeps how many it was asked for."""

    def __init__(self, images: Tensor, fits: int) -> None:
        self.images, self.fits = images, fits
        self.asked: list[int] = []

    def __call__(self, rows: slice) -> Tensor:
        part = self.images[rows]
        self.asked.append(len(part))
        if len(part) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return 2 * part


IMAGES = torch.arange(11.0).view(11, 1)


@pytest.mark.parametrize("fits", [1, 2, 3, 5, 11, 50])
def test_any_memory_gives_the_same(fits: int) -> None:
    found = Capacity().run(Device(IMAGES, fits), 11, "work")
    assert torch.equal(found, 2 * IMAGES)


def test_what_did_not_fit_is_halved_and_remembered() -> None:
    device, capacity = Device(IMAGES, 3), Capacity()
    capacity.run(device, 11, "work")
    assert device.asked == [11, 6, 3, 3, 3, 2]
    device.asked.clear()
    capacity.run(device, 11, "work")
    assert device.asked == [3, 3, 3, 2]
    device.asked.clear()
    capacity.run(device, 11, "other work")
    assert device.asked[0] == 11


def test_a_smaller_number_may_be_asked_for_to_begin_with() -> None:
    device = Device(IMAGES, 50)
    assert torch.equal(Capacity().run(device, 11, "work", most=4), 2 * IMAGES)
    assert device.asked == [4, 4, 3]


def test_no_images_are_worked_on_once() -> None:
    device = Device(IMAGES[:0], 5)
    assert Capacity().run(device, 0, "work").shape == (0, 1)
    assert device.asked == [0]


def test_one_image_that_does_not_fit_is_an_error_in_words() -> None:
    with pytest.raises(ConfigError, match="one image does not fit into the memory"):
        Capacity().run(Device(IMAGES, 0), 11, "work")


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(rows: slice) -> Tensor:
        raise RuntimeError("the size of tensor a must match")

    with pytest.raises(RuntimeError, match="must match"):
        Capacity().run(broken, 4, "work")


def test_a_forward_takes_what_fits() -> None:
    images = torch.rand(5, 3, 2, 2)
    asked: list[int] = []

    def forward(part: Tensor) -> Tensor:
        asked.append(len(part))
        if len(part) > 2:
            raise RuntimeError("MPS backend out of memory")
        return part.mean(1, keepdim=True)

    assert torch.equal(Capacity().bounded(forward, "scores")(images), images.mean(1, keepdim=True))
    assert asked == [5, 3, 2, 2, 1]


def test_what_a_lack_of_memory_looks_like() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert not is_out_of_memory(MemoryError("out of memory"))
    assert not is_out_of_memory(RuntimeError("no kernel image is available"))
