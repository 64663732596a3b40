"""Attacked crops: made once, kept through a kill, made anew where anything else decides them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.system.processes import Processes
from ansm_plugin.training import cache as attacked
from ansm_plugin.training.cache import Attacked, AttackMixture, attack_batch, attacked_crops
from ansm_plugin.weights.tensors import write_tensors

MIXTURE = AttackMixture(steps=2, precision="fp32")
SHARD = 4


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacked, "SHARD", SHARD)
    monkeypatch.setattr(attacked, "_BATCH", 3)


class Brightness:
    """A localizer that marks bright pixels and counts how often it is called."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.calls, self.stop_after = 0, stop_after

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits `(B, 1, H, W)`; raise KeyboardInterrupt after the last allowed call."""
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        return 20 * (pixels.mean(1, keepdim=True) - 0.5)


def crops(count: int = 10) -> Forgeries:
    """Return random crops whose mask is where they are bright."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(60, 196, (count, 1, 8, 8), generator=generator)
    return Forgeries(levels.expand(-1, 3, -1, -1).to(torch.uint8), (levels > 127).to(torch.uint8))


def attack(folder: Path, forward: Brightness | None = None, **changes: Any) -> Attacked:
    """Return the attacked crops with the codes of their targets."""
    given: dict[str, Any] = {
        "mixture": MIXTURE, "seed": 0, "identity": {"localizer": "a"}, **changes
    }  # fmt: skip
    return attacked_crops(
        forward or Brightness(), crops(), given.pop("mixture"), folder=folder, **given
    )


def make(folder: Path, forward: Brightness | None = None, **changes: Any) -> Tensor:
    """Return the attacked crops."""
    return attack(folder, forward, **changes).images


def test_attacked_crops_are_bytes_within_the_largest_radius(tmp_path: Path) -> None:
    found = make(tmp_path)
    moved = (found.int() - crops().images.int()).abs().flatten(1).amax(1)
    assert found.shape == crops().images.shape
    assert found.dtype == torch.uint8
    assert set(moved.tolist()) <= {1, 2, 3, 4, 5, 6, 7, 8}
    assert len(set(moved.tolist())) > 1


def test_attacks_do_harm(tmp_path: Path) -> None:
    def wrong(images: Tensor) -> Tensor:
        return ((images[:, :1] > 127) != crops().masks).sum()

    mixture = replace(MIXTURE, attacks=("pgd",), targets=("truth",))
    assert wrong(make(tmp_path, mixture=mixture)) > wrong(crops().images)


def test_a_second_call_attacks_nothing(tmp_path: Path) -> None:
    first, idle = make(tmp_path), Brightness()
    assert torch.equal(make(tmp_path, idle), first)
    assert idle.calls == 0
    assert len(list(tmp_path.glob("attacked-*.safetensors"))) == 3


def test_a_killed_run_goes_on_and_ends_like_a_whole_one(tmp_path: Path) -> None:
    whole, counted = Brightness(), Brightness()
    expected = make(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "killed", Brightness(stop_after=whole.calls // 2))
    kept = sorted(p.name for p in (tmp_path / "killed").iterdir())
    assert kept == ["attacked-00000.safetensors"]
    assert torch.equal(make(tmp_path / "killed", counted), expected)
    assert 0 < counted.calls < whole.calls


@pytest.mark.parametrize(
    "change",
    [
        {"identity": {"localizer": "b"}},
        {"seed": 1},
        {"mixture": replace(MIXTURE, steps=3)},
        {"mixture": replace(MIXTURE, eps_255=(2.0,))},
        {"mixture": replace(MIXTURE, targets=("truth",))},
    ],
)
def test_another_identity_makes_them_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    make(tmp_path)
    busy = Brightness()
    again = make(tmp_path, busy, **change)
    assert busy.calls > 0
    assert torch.equal(again, make(tmp_path / "fresh", **change))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [_flip, lambda p: p.write_bytes(p.read_bytes()[:50]), lambda p: p.write_bytes(b"")]
)
def test_a_damaged_shard_is_named_and_made_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    first = make(tmp_path)
    damage(tmp_path / "attacked-00001.safetensors")
    kept = tmp_path / "attacked-00000.safetensors"
    time = kept.stat().st_mtime_ns
    with pytest.warns(UserWarning, match=r"attacked-00001\.safetensors is damaged.* made\s+again"):
        assert torch.equal(make(tmp_path), first)
    assert kept.stat().st_mtime_ns == time
    idle = Brightness()
    assert torch.equal(make(tmp_path, idle), first)
    assert idle.calls == 0


def test_shards_of_version_0_1_without_a_checksum_are_taken(tmp_path: Path) -> None:
    """Their key is that of the mixture without targets: they were told the truth alone."""
    told = replace(MIXTURE, targets=("truth",))
    first, idle = make(tmp_path, mixture=told), Brightness()
    table = {k: v for k, v in asdict(told).items() if k != "targets"}
    text = json.dumps([{"localizer": "a"}, table, 0], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    for path in tmp_path.iterdir():
        write_tensors({"attacked": load_file(path)["attacked"]}, path, {"key": key})
    again = attack(tmp_path, idle, mixture=told)
    assert torch.equal(again.images, first)
    assert again.codes.tolist() == [0] * 10
    assert idle.calls == 0


def test_targets_stay_beside_the_crops(tmp_path: Path) -> None:
    mixture, idle = (
        replace(MIXTURE, targets=("truth", "other", "towards-blob", "own")),
        Brightness(),
    )
    first = attack(tmp_path, mixture=mixture)
    assert first.codes.dtype == torch.uint8
    assert len(first.codes) == 10
    assert {0} < set(first.codes.tolist()) <= {0, 2, 7, 14}
    again = attack(tmp_path, idle, mixture=mixture)
    assert idle.calls == 0
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_attacks_are_told_the_truth_bit_for_bit_as_before(tmp_path: Path) -> None:
    """Draws of version 0.1, written out: per batch a name, a share of the step, radii, a start."""
    mixture = replace(MIXTURE, targets=("truth",))
    found = make(tmp_path, mixture=mixture)[:SHARD]
    generator = torch.Generator().manual_seed(0)
    expected = [
        attack_batch(Brightness(), images.float() / 255, masks.float(), mixture, generator)
        for images, masks in zip(
            crops().images[:SHARD].split(3), crops().masks[:SHARD].split(3), strict=True
        )
    ]
    assert torch.equal(found, torch.cat(expected).mul(255).round().to(torch.uint8))


def test_an_attack_goes_where_its_target_says(tmp_path: Path) -> None:
    """Brighter pixels are marked: towards everything brightens, towards nothing darkens."""
    bare = crops().images.int()
    for target, sign in (("towards-full", 1), ("empty", 1), ("towards-empty", -1), ("full", -1)):
        mixture = replace(MIXTURE, attacks=("pgd",), targets=(target,))
        moved = (make(tmp_path / target, mixture=mixture).int() - bare).float().mean()
        assert float(moved) * sign > 0.5


def test_each_process_makes_its_shards_and_needs_those_of_others(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"attacked-00000.*All processes\s+need one output"):
        make(tmp_path, among=Apart(1, 2))
    assert [p.name for p in tmp_path.iterdir()] == ["attacked-00001.safetensors"]
    assert torch.equal(make(tmp_path, among=Apart(0, 2)), make(tmp_path / "alone"))


class Apart(Processes):
    """A process whose fellows never wait."""

    def wait(self) -> None:
        """Return at once."""


def test_progress_is_reported_in_images(tmp_path: Path) -> None:
    """Within a shard too, which may take minutes."""
    seen: list[tuple[str, int, int]] = []
    make(tmp_path, progress=lambda name, done, count, logs: seen.append((name, done, count)))
    assert seen == [("attack", done, 10) for done in (3, 4, 7, 8, 10)]
    seen.clear()
    make(tmp_path, progress=lambda name, done, count, logs: seen.append((name, done, count)))
    assert seen == [("attack", done, 10) for done in (4, 8, 10)], "kept shards at once"


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    make(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"attacks": ("pdg",)}, "unknown attack 'pdg'. Nearest: pgd"),
        ({"attacks": ()}, "attacks is .*; name one or more of: fgsm"),
        ({"eps_255": ()}, "eps_255 is .*; allowed: one radius or more"),
        ({"eps_255": (0.0,)}, r"eps_255 is \(0\.0,\); .* at most 255 grey levels"),
        ({"eps_255": (300.0,)}, "at most 255 grey levels"),
    ],
)
def test_impossible_mixtures_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AttackMixture(**wrong)
