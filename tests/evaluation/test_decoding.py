"""How often an evaluation decodes its images, and when it finds a bad one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ansm_plugin.data import read
from ansm_plugin.data.pairs import Pair
from ansm_plugin.data.samples import WholeImages, count_images, first_size, require_samples
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ImageError
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.evaluation.attack_set import Victim, write_attacked
from ansm_plugin.evaluation.manifest import AttackPlan
from ansm_plugin.evaluation.material import Source, read_material
from ansm_plugin.system.processes import Processes

Defended = DefendedLocalizer[nn.Module]
SIZES = ((40, 48), (64, 48), (40, 48), (40, 48))
CONFIG = EvaluationConfig(
    threats=("T0", "T1", "T4"), attacks=("fgsm",), eps_255=(8,), white_box_steps=2
)


def write_pairs(folder: Path) -> list[Pair]:
    """Write grey images of two sizes with their masks; the first one is authentic."""
    rng, pairs = np.random.default_rng(0), []
    for number, (height, width) in enumerate(SIZES):
        mask = np.zeros((height, width), np.uint8)
        if number:
            mask[8:24, 8:30] = 255
        grey = 122 + 10 * (mask > 0) + rng.integers(-2, 3, mask.shape)
        pair = Pair(folder / f"{number}.png", folder / f"{number}_mask.png")
        Image.fromarray(np.repeat(grey[..., None], 3, 2).astype(np.uint8)).save(pair.image)
        Image.fromarray(mask).save(pair.mask)
        pairs.append(pair)
    return pairs


@pytest.fixture(name="pairs")
def _pairs(tmp_path: Path) -> list[Pair]:
    (tmp_path / "pairs").mkdir()
    return write_pairs(tmp_path / "pairs")


@pytest.fixture(name="decoded")
def _decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each file was decoded since."""
    found: Counter[str] = Counter()
    decode: Callable[..., Any] = read._decode

    def counted(path: Path, *others: Any, **named: Any) -> Any:
        found[path.name] += 1
        return decode(path, *others, **named)

    monkeypatch.setattr(read, "_decode", counted)
    return found


def twice(pairs: list[Pair]) -> dict[str, int]:
    """Return two for each file."""
    return {path.name: 2 for pair in pairs for path in pair}


def test_an_evaluation_decodes_each_image_and_mask_twice(
    defended: Defended, pairs: list[Pair], decoded: Counter[str], tmp_path: Path
) -> None:
    """Once to know it is good, once to score it: the first forged ones are probed on the way."""
    evaluate(defended, WholeImages(pairs), CONFIG, records=tmp_path / "records.jsonl")
    assert decoded == twice(pairs)


def test_an_evaluation_that_goes_on_decodes_no_more(
    defended: Defended, pairs: list[Pair], decoded: Counter[str], tmp_path: Path
) -> None:
    """Where all parts are known only the first forged batch is read again, to be probed."""
    path = tmp_path / "records.jsonl"
    whole = evaluate(defended, WholeImages(pairs), CONFIG, records=path)
    decoded.clear()
    assert evaluate(defended, WholeImages(pairs), CONFIG, records=path) == whole
    assert decoded == {"1.png": 1, "1_mask.png": 1} | {
        path.name: 2 for pair in (pairs[0], pairs[2], pairs[3]) for path in pair
    }


def test_the_probes_see_the_same_images_whoever_scored_them(
    defended: Defended, pairs: list[Pair], tmp_path: Path
) -> None:
    """Alarms do not depend on what was known before."""
    path = tmp_path / "records.jsonl"
    first = evaluate(defended, WholeImages(pairs), CONFIG, records=path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[2:]))
    assert evaluate(defended, WholeImages(pairs), CONFIG, records=path).alarms == first.alarms


def test_an_attack_set_decodes_each_image_and_mask_twice(
    pairs: list[Pair], decoded: Counter[str], tmp_path: Path
) -> None:
    victim = Victim(lambda x: 20 * (x.mean(1, keepdim=True) - 0.5), {})
    plan = AttackPlan(attacks=("fgsm",), eps_255=(4, 8), steps=1)
    made = write_attacked(victim, WholeImages(pairs), plan, tmp_path / "set")
    assert len(made.records) == 6
    assert {name: count for name, count in decoded.items() if "fgsm" not in name} == twice(pairs)


def test_size_and_number_are_known_without_reading(
    pairs: list[Pair], decoded: Counter[str]
) -> None:
    folder = pairs[0].image.parent
    for pair in pairs:
        (folder / "masks").mkdir(exist_ok=True)
        pair.mask.rename(folder / "masks" / pair.image.name)
    material = read_material(Source(folder, folder / "masks"), 0)
    decoded.clear()
    assert material.size == first_size(material.scored) == (40, 48)
    assert count_images(material.scored) == 4
    assert require_samples(material.scored).first_forged == 0  # with 0.png lie 2.png and 3.png
    assert not decoded


@pytest.mark.parametrize("what", ["image", "mask"])
def test_a_bad_file_is_found_before_anything_is_attacked(pairs: list[Pair], what: str) -> None:
    """The last file of all, cut short: its header is fine."""
    path: Path = getattr(pairs[-1], what)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=f"{path.name} is truncated or damaged"):
        WholeImages(pairs)


def test_the_digest_tells_images_masks_names_and_order_apart(pairs: list[Pair]) -> None:
    """Whatever decides a number of the evaluation decides it."""

    def digest(given: list[Pair]) -> str:
        return WholeImages(given).facts.digest

    whole = digest(pairs)
    assert digest(pairs) == whole
    others = [digest(pairs[::-1]), digest(pairs[:3])]
    pairs[1].image.rename(renamed := pairs[1].image.with_name("other.png"))
    others.append(digest([pairs[0], Pair(renamed, pairs[1].mask), *pairs[2:]]))
    renamed.rename(pairs[1].image)
    for path, level in ((pairs[2].image, 7), (pairs[3].mask, 255)):
        kept = path.read_bytes()
        pixels = np.array(Image.open(path))
        pixels[0, 0] = level
        Image.fromarray(pixels).save(path)
        others.append(digest(pairs))
        path.write_bytes(kept)
    assert digest(pairs) == whole
    assert len({whole, *others}) == 6


def test_samples_in_memory_have_the_same_facts(pairs: list[Pair]) -> None:
    whole = WholeImages(pairs)
    facts = require_samples(list(whole))
    assert facts[:2] == whole.facts[:2] == (4, 0)
    assert facts.digest == require_samples(list(WholeImages(pairs))).digest


def test_the_second_of_two_processes_reads_its_own_batches_alone(
    defended: Defended, pairs: list[Pair], decoded: Counter[str]
) -> None:
    """The first forged images are read by the process that probes them."""

    class Second(Processes):
        """The second process of two; what the first one does is done by nobody."""

        def gather(self, value: Any) -> list[Any]:
            other = {0: value[1]} if isinstance(value, dict) and value else {}
            return [other, value]

        def once(self, work: Callable[[], Any]) -> Any:
            return () if "every_alarm" in work.__code__.co_names else work()

    whole = WholeImages(pairs)
    decoded.clear()
    evaluate(defended, whole, CONFIG, among=Second(1, 2))
    assert decoded == {"1.png": 1, "1_mask.png": 1}


def test_a_whole_photograph_is_not_kept(defended: Defended) -> None:
    """Of a batch that was probed a tile stays, not the tensor that it was cut from."""
    from ansm_plugin.data.samples import Sample
    from ansm_plugin.data.tiles import Tiling
    from ansm_plugin.evaluation.scoring import _few_forged

    masks = torch.zeros(1, 1, 400, 700)
    masks[..., 60:150, 130:300] = 1
    few = _few_forged(Sample(torch.rand(1, 3, 400, 700), masks, ("a",)), Tiling(192))
    held: list[Tensor] = [few.images, few.masks]
    assert all(t.untyped_storage().nbytes() == t.numel() * 4 for t in held)
    assert few.images.shape[-1] < 400
