"""Images with masks from wherever the user has them become the same batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import pairs_in, photograph, saved, square
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ansm_plugin.api.given import material_of, samples_of
from ansm_plugin.data.pairs import Pair
from ansm_plugin.data.samples import Sample, WholeImages
from ansm_plugin.errors import ImageError
from ansm_plugin.evaluation.material import Source

PIXELS, MASK = photograph(), square() > 0  # (40, 50, 3) bytes and (40, 50) booleans
IMAGE = torch.tensor(PIXELS).permute(2, 0, 1)  # (3, 40, 50) bytes
TRUTH = torch.tensor(MASK)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (IMAGE, TRUTH),
        (IMAGE.float() / 255, TRUTH[None].float()),
        (IMAGE[None].double() / 255, TRUTH[None, None].long()),
        (PIXELS, MASK),
        (PIXELS[None], MASK.astype(np.uint8) * 255),
        (PIXELS / 255.0, MASK[None]),
        (Image.fromarray(PIXELS), Image.fromarray(MASK.astype(np.uint8) * 255)),
    ],
)
def test_arrays_of_every_kind_are_the_same_batch(image: Any, mask: Any) -> None:
    (sample,) = samples_of(image, mask)
    torch.testing.assert_close(sample.images, IMAGE[None].float() / 255)
    assert torch.equal(sample.masks, TRUTH[None, None].float())
    assert sample.names == ("image 1",)


def test_what_is_given_stays_as_it_is() -> None:
    image, mask = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    before = image.clone()
    (sample,) = samples_of(image, mask)
    sample.images.zero_()
    assert torch.equal(image, before)


def test_authentic_images_have_no_mask() -> None:
    samples = samples_of([(PIXELS, None), (PIXELS, MASK)])
    assert [bool(mask.any()) for sample in samples for mask in sample.masks] == [False, True]


class Items(Dataset[Any]):
    """A dataset as torch wants it: a length and items, nothing to iterate over."""

    def __init__(self, *items: Any) -> None:
        """Hold the items."""
        self.items = items

    def __len__(self) -> int:
        """Return their number."""
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        """Return one."""
        return self.items[index]


FOUR = TensorDataset(torch.rand(4, 3, 16, 16), (torch.rand(4, 1, 16, 16) > 0.5).float())


@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        (DataLoader(FOUR, batch_size=3), [3, 1]),
        (FOUR, [4]),
        ([*FOUR], [4]),
        ((pair for pair in FOUR), [4]),
        (DataLoader([{"image": i, "mask": m, "label": 1} for i, m in FOUR], batch_size=4), [4]),
        (Items(*FOUR, (torch.rand(3, 9, 9), None)), [4, 1]),
    ],
)
def test_loaders_and_datasets_are_gone_through(images: Any, sizes: list[int]) -> None:
    samples = samples_of(images)
    assert [len(sample.images) for sample in samples] == sizes
    whole = torch.cat([s.images for s in samples if s.images.shape[-1] == 16])
    assert torch.equal(whole, FOUR.tensors[0])
    names = [name for sample in samples for name in sample.names]
    assert names == [f"image {i}" for i in range(1, sum(sizes) + 1)]


def test_names_of_a_loader_are_kept() -> None:
    items = [{"image": i, "mask": m, "name": f"{n}.png"} for n, (i, m) in enumerate(FOUR)]
    (sample,) = samples_of(DataLoader(items, batch_size=4))
    assert sample.names == ("0.png", "1.png", "2.png", "3.png")


def test_batches_of_ones_own_are_taken_as_they_are() -> None:
    mine = Sample(*FOUR.tensors, ("a", "b", "c", "d"), ("x", "x", "y", "y"))
    assert samples_of([mine])[0] is mine


def test_files_are_read_when_they_are_needed(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b", "a b")
    a, b = images / "a.jpg", images / "b.jpg"
    listed = [(str(a), masks / "a.png"), (b, "Negative")]
    samples = samples_of(listed)
    assert isinstance(samples, WholeImages)
    assert samples[0].names == ("a.jpg", "b.jpg")
    assert [bool(mask.any()) for mask in samples[0].masks] == [True, False]
    assert samples.facts == samples_of([Pair(a, masks / "a.png"), Pair(b, None)]).facts  # type: ignore[attr-defined]


def test_folders_and_lists_are_those_of_the_commands(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b", "a b")
    (tmp_path / "list.json").write_text(json.dumps([["images/a.jpg", "masks/a.png"]]))
    for given in ((str(images), masks), (Source(images, masks), None)):
        assert samples_of(*given)[0].names == ("a.jpg", "b.jpg")  # type: ignore[arg-type]
    assert samples_of(tmp_path / "list.json")[0].names == ("a.jpg",)


def test_baselines_of_loaders_are_tuned_on_other_images() -> None:
    said: list[str] = []
    material = material_of(FOUR, None, 2, progress=lambda name, *_: said.append(name))
    assert {*said} == {"read images", "forging crops"}
    assert sum(len(sample.images) for sample in material.scored) == 4
    assert material.validation[0].images.shape == (2, 3, 64, 64)


def test_reading_says_how_far_it_is() -> None:
    said: list[tuple[str, int, int]] = []
    samples_of(FOUR, progress=lambda name, i, n, _: said.append((name, i, n)))
    assert said == [("read images", i, 4) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("images", "masks", "said"),
    [
        (7, None, r"images is int; allowed: a folder"),
        ([], None, "yields nothing"),
        ([7], None, r"yields int; allowed: \(image, mask\)"),
        ([{"image": PIXELS, "label": 1}], None, "with image, label and without mask"),
        ([("x", PIXELS)], None, "beside files"),
        ([(PIXELS, "mask.png")], None, "a mask is str"),
        (PIXELS, "folder", "a mask is str"),
        (Path("folder"), MASK, "give the folder of the masks"),
        (FOUR, MASK, r"let the images yield \(image, mask\)"),
        (IMAGE[0], TRUTH, r"has shape \(40, 50\)"),
        (np.zeros((3, 8, 9)), MASK, r"channels last; give torch\.from_numpy"),
        (np.array([[["a"] * 3]]), MASK, "an array holds <U1"),
        (IMAGE.float(), TRUTH, r"spans \[0, 255\].*Divide 8-bit pixels by 255"),
        (IMAGE.float() / 255 - 0.5, TRUTH, "look normalised"),
        (IMAGE.long(), TRUTH, r"Give images.float\(\) / 255"),
        (IMAGE * float("nan"), TRUTH, "NaN"),
        (IMAGE, TRUTH[:-1], r"masks has shape"),
        (IMAGE, TRUTH.float() / 2, r"other values than 0 and 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_words(images: Any, masks: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        samples_of(images, masks)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    image = saved(tmp_path / "a.png", photograph())
    with pytest.raises(ImageError, match="nowhere"):
        samples_of([(image, tmp_path / "nowhere.png")])
