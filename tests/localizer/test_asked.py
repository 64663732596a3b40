"""A defended localizer is called as the localizer is: the image first, or by its own keyword."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.errors import ImageError
from ansm_plugin.localizer.call import first_parameter

PLAIN = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), stride=8)
THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())


class ByKeyword(nn.Module):
    """Takes the image as `pixel_values` and keeps what else it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 1)
        self.given: dict[str, Any] = {}

    def forward(self, pixel_values: Tensor, inputs: Any = None, **others: Any) -> Tensor:
        self.given = {"inputs": inputs, **others}
        mask: Tensor = self.head(pixel_values)
        return mask


class KeywordOnly(nn.Module):
    """Takes the image by keyword and no other way."""

    def forward(self, *, image: Tensor) -> Tensor:
        return image.mean(1, keepdim=True)


class NoName(nn.Module):
    """Has no name for the image."""

    def forward(self, *images: Tensor) -> Tensor:
        return images[0].mean(1, keepdim=True)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 13, 20)


def trained() -> ANSM:
    ansm = ANSM(THIN)
    nn.init.normal_(ansm.trunk.head.weight)  # type: ignore[arg-type]
    return ansm


def test_every_way_gives_the_same(image: Tensor) -> None:
    defended = wrap_with_ansm(ByKeyword(), ansm=trained(), spec=PLAIN)
    first = defended(image)
    assert not torch.equal(first, wrap_with_ansm(ByKeyword(), spec=PLAIN)(image))
    assert torch.equal(defended(pixel_values=image), first)
    assert torch.equal(defended(inputs=image), first)  # as every release took it


@pytest.mark.parametrize("by_name", [True, False])
def test_other_arguments_are_not_touched(image: Tensor, by_name: bool) -> None:
    localizer = ByKeyword()
    defended = wrap_with_ansm(localizer, spec=PLAIN)
    others = {"inputs": "mine", "labels": image, "image_sizes": [(13, 20)]}
    defended(pixel_values=image, **others) if by_name else defended(image, **others)
    assert localizer.given.keys() == others.keys()
    assert all(localizer.given[key] is value for key, value in others.items())


def test_positional_arguments_behind_the_image_pass_through(image: Tensor) -> None:
    localizer = ByKeyword()
    wrap_with_ansm(localizer, spec=PLAIN)(image, "second")
    assert localizer.given == {"inputs": "second"}


def test_a_localizer_that_takes_keywords_alone_is_defended(image: Tensor) -> None:
    output = wrap_with_ansm(KeywordOnly(), ansm=ANSM(THIN), spec=PLAIN)(image=image)
    torch.testing.assert_close(output, image.mean(1, keepdim=True))


@pytest.mark.parametrize("around", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_the_keyword_is_found_inside_wrappers(image: Tensor, around: Any) -> None:
    localizer = ByKeyword()
    wrapped = around(localizer)
    assert first_parameter(wrapped) == "pixel_values"
    with torch.no_grad():
        found = wrap_with_ansm(wrapped, spec=PLAIN)(pixel_values=image)
    torch.testing.assert_close(found, localizer.head(image))


@pytest.mark.parametrize(
    ("localizer", "named", "said"),
    [
        (ByKeyword(), {}, r"no image; .*pixel_values= or inputs="),
        (ByKeyword(), {"labels": 1}, r"no image, but labels; .*pixel_values="),
        (NoName(), {"image": 1}, r"no image, but image; .*by keyword as inputs=\."),
    ],
)
def test_a_call_without_an_image_is_refused(
    localizer: nn.Module, named: dict[str, Any], said: str
) -> None:
    with pytest.raises(ImageError, match=said):
        wrap_with_ansm(localizer, spec=PLAIN)(**named)


def test_what_is_no_image_is_refused_by_keyword_too() -> None:
    with pytest.raises(ImageError, match="was given list"):
        wrap_with_ansm(ByKeyword(), spec=PLAIN)(pixel_values=[1])
