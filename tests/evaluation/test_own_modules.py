"""T3.5: the attacker who trained modules of his own before the same localizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.colour_blinded import SPEC, ColourBlinded, Decolour
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.seeds import image_generators
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.evaluation import EvaluationConfig, Rivals, evaluate
from ansm_plugin.evaluation.own import ALL, Behind, Mean, own_modules, with_all
from ansm_plugin.evaluation.results import DEFENDED, T35, WORST
from ansm_plugin.evaluation.rivals import attackers
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.weights.ansm_file import Provenance, identify, save_ansm

Defended = DefendedLocalizer[nn.Module]
THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
CONFIG = EvaluationConfig(threats=("T0", "T3.5"), eps_255=(2, 8), steps=3)


def forwards(defended: Defended) -> dict[str, Behind]:
    """Return a module that does what the defence does, and one that does nothing."""
    bare = mask_forward(defended.localizer, defended.spec)
    return {"twin": Behind(bare, Decolour()), "idle": Behind(bare, _Idle())}


class _Idle(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros_like(images)


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> list[str]:
    """Return files of two modules of equal stems."""
    made = []
    for seed in range(2):
        torch.manual_seed(seed)
        ansm = ANSM(THIN)
        nn.init.normal_(ansm.trunk.head.weight)
        origin = Provenance(localizer=identify(ColourBlinded(), SPEC))
        (tmp_path / f"{seed}").mkdir()
        made.append(str(save_ansm(ansm, tmp_path / f"{seed}" / "mine.safetensors", origin)))
    return made


def test_each_module_is_attacked_alone_and_all_at_once(defended: Defended, sample: Sample) -> None:
    """Scored on the defended pair alone, with margin and Dice, and with the worst of all."""
    found = evaluate(defended, [sample], CONFIG, rivals=Rivals(own=forwards(defended)))
    rows = found.rows.only(threat=T35)
    assert {row.defence for row in rows} == {DEFENDED}
    assert [row.key for row in rows] == [
        *(f"{name} from {m}@{eps}" for m in ("twin", "idle", ALL) for name in ("margin", "dice")
          for eps in (2, 8)),
        "worst@2", "worst@8",
    ]  # fmt: skip
    for eps in (2.0, 8.0):
        *single, worst = rows.only(eps_255=eps)
        assert worst.attack == WORST
        assert worst.f1 <= min(row.f1 for row in single)


def test_who_has_a_twin_of_the_module_needs_no_other(defended: Defended, sample: Sample) -> None:
    """A module that does the same breaks the pair as T4 does; one that does nothing does not."""
    found = evaluate(defended, [sample], CONFIG, rivals=Rivals(own=forwards(defended)))
    left = {row.key: row.f1 for row in found.rows.only(threat=T35)}
    assert left["margin from twin@8"] < 0.1
    assert left["margin from idle@8"] > 0.5


def test_the_images_are_those_of_an_attack_through_the_module(
    defended: Defended, sample: Sample
) -> None:
    own = forwards(defended)
    attacked = run_attack(
        Mean(tuple(own.values())),
        sample.images,
        sample.masks,
        8 / 255,
        attack_spec("dice", steps=3),
        generator=image_generators(0, "dice from all", 8, range(len(sample.names))),
    )
    logits = mask_forward(defended, defended.spec)(attacked)
    found = evaluate(defended, [sample], CONFIG, rivals=Rivals(own=own))
    (row,) = found.rows.only(threat=T35, attack="dice from all", eps_255=8)
    assert row.f1 == pytest.approx(float(f1_scores(logits, sample.masks).mean()), abs=1e-12)


def test_other_rows_do_not_depend_on_modules_of_the_attacker(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    plain = evaluate(defended, [sample], quick)
    config = replace(quick, threats=(*quick.threats, "T3.5"))
    found = evaluate(defended, [sample], config, rivals=Rivals(own=forwards(defended)))
    assert [row for row in found.rows if row.threat != T35] == list(plain.rows)
    given = evaluate(defended, [sample], quick, rivals=Rivals(own=forwards(defended)))
    assert given == plain


def test_modules_are_read_from_files_without_their_folders(
    defended: Defended, files: list[str]
) -> None:
    """Equal stems are numbered; the localizer is left as it was; each is the pair of its file."""
    before = [p.requires_grad for p in defended.localizer.parameters()]
    found = own_modules(files, defended, "fp32")
    assert list(found) == ["mine", "mine 2"]
    assert [p.requires_grad for p in defended.localizer.parameters()] == before
    pixels = torch.rand(2, 3, 16, 16)
    for path, forward in zip(files, found.values(), strict=True):
        pair = wrap_with_ansm(ColourBlinded(), path, spec=SPEC)
        torch.testing.assert_close(forward(pixels), mask_forward(pair, SPEC)(pixels))
    both = with_all(found)
    torch.testing.assert_close(
        both[ALL](pixels), (found["mine"](pixels) + found["mine 2"](pixels)) / 2
    )
    rivals = attackers((), files, defended, EvaluationConfig())
    assert (rivals.surrogates, list(rivals.own)) == ({}, list(found))


def test_one_module_is_all_of_itself(defended: Defended) -> None:
    assert list(with_all({"mine": forwards(defended)["twin"]})) == ["mine"]


def test_a_module_of_another_localizer_is_told(
    defended: Defended, files: list[str], tiny: nn.Module
) -> None:
    nn.init.constant_(defended.localizer.gain, 3.0)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="another localizer|trained for"):
        own_modules(files[:1], defended, "fp32")


def test_a_file_that_is_none_is_named(defended: Defended, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        own_modules([str(tmp_path / "none.safetensors")], defended, "fp32")


def _wrong(defended: Defended) -> Iterator[tuple[str, Rivals]]:
    twin = forwards(defended)["twin"]
    yield "name at least one", Rivals()
    yield "'all'", Rivals(own={"all": twin})
    yield "ansm names a surrogate and a module", Rivals(own={"ansm": twin})
    yield "x names a surrogate and a module", Rivals(own={"x": twin}, surrogates={"x": twin})


def test_names_that_two_things_would_have_are_refused(defended: Defended, sample: Sample) -> None:
    for message, rivals in _wrong(defended):
        with pytest.raises(ConfigError, match=message):
            evaluate(defended, [sample], CONFIG, rivals=rivals)


def test_parts_of_other_modules_are_not_used(
    defended: Defended, sample: Sample, files: list[str], tmp_path: Path
) -> None:
    """A file of the same name with other weights is another attacker."""
    path = tmp_path / "records.jsonl"
    for file in files:
        rivals = Rivals(own=own_modules([file], defended, "fp32"))
        found = evaluate(defended, [sample], CONFIG, rivals=rivals, records=path)
        assert found == evaluate(defended, [sample], CONFIG, rivals=rivals)
