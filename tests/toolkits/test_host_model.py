"""A host's model behind an ANSM: same output when fresh, frozen, padding kept, checkpoints."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from host_models import HalfDetached, HostModel, TwoStreams, trained
from torch import Tensor

from ansm_plugin.ansm import ANSM
from ansm_plugin.attacks import attack_spec
from ansm_plugin.errors import LocalizerError, WeightsError
from ansm_plugin.toolkits.host_batch import attack_batch
from ansm_plugin.toolkits.host_model import DefendedHostModel, TrainingAttack, defend
from ansm_plugin.toolkits.imdlbenco import SPEC
from ansm_plugin.weights.ansm_file import Provenance, identify, save_ansm
from ansm_plugin.weights.tensors import write_tensors

Batch = dict[str, Any]


def test_a_fresh_pair_returns_what_the_model_returns(batch: Batch) -> None:
    model = HostModel().eval()
    expected = model(**batch)
    output = defend(model, SPEC)(**batch)
    assert torch.equal(output["pred_mask"], expected["pred_mask"])
    assert torch.equal(output["backward_loss"], expected["backward_loss"])


def test_other_inputs_pass_unchanged(batch: Batch) -> None:
    model = HostModel()
    defend(model, SPEC)(**batch, edge_mask="edge", if_predcit_label=True)
    assert (model.seen["edge_mask"], model.seen["if_predcit_label"]) == ("edge", True)


def test_positional_inputs_work_too(batch: Batch) -> None:
    model = HostModel().eval()
    expected = model(batch["image"], batch["mask"])["pred_mask"]
    assert torch.equal(defend(model, SPEC)(batch["image"], batch["mask"])["pred_mask"], expected)


def test_padding_stays_as_it_is_and_the_rest_changes(batch: Batch) -> None:
    model = HostModel()
    pair = trained(defend(model, SPEC))
    inside = torch.zeros_like(batch["mask"])
    inside[..., :20, :24] = 1
    pair(**batch, shape_mask=inside)
    changed = (model.seen["image"] - batch["image"]).detach().abs()
    assert float(changed[..., 20:, :].max()) == float(changed[..., 24:].max()) == 0
    assert float(changed[..., :20, :24].min()) > 0


def test_the_change_is_in_pixels_and_bounded(batch: Batch) -> None:
    model = HostModel()
    pair = trained(defend(model, SPEC))
    pair(**batch)
    change = SPEC.denormalise(model.seen["image"]) - SPEC.denormalise(batch["image"])
    assert 0 < float(change.detach().abs().max()) <= 16 / 255 + 1e-6


def test_training_moves_the_ansm_alone(batch: Batch) -> None:
    model = HostModel()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pair = defend(model, SPEC)
    pair.train(True)
    optimiser = torch.optim.SGD([p for p in pair.parameters() if p.requires_grad], lr=1.0)
    pair(**batch)["backward_loss"].backward()
    optimiser.step()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m.training for m in model.modules())
    assert isinstance(pair.ansm, ANSM)
    assert not pair.ansm.is_identity


def test_the_hosts_training_can_attack(batch: Batch) -> None:
    pair = defend(HostModel(), SPEC, training_attack=TrainingAttack(attack_spec("pgd", steps=2), 8))
    original = pair.eval()(**batch)["backward_loss"]
    output = pair.train()(**batch)
    losses = output["visual_loss"]
    assert bool(losses["attacked_loss"] > losses["original_loss"])
    assert torch.equal(losses["original_loss"], original)
    assert torch.equal(output["backward_loss"], losses["attacked_loss"] + losses["original_loss"])
    output["backward_loss"].backward()
    assert all(p.grad is None for p in pair.localizer.parameters())


@pytest.mark.parametrize("attack", [None, TrainingAttack(attack_spec("fgsm"), 8)])
def test_training_says_once_that_the_gradient_is_cut(
    batch: Batch, attack: TrainingAttack | None
) -> None:
    pair = defend(HalfDetached(), SPEC, training_attack=attack).train()
    with torch.no_grad():
        pair(**batch)  # as IMDLBenCo tests with --no_model_eval
    with pytest.warns(UserWarning, match="of the gradient comes back through HalfDetached"):
        pair(**batch)
    pair(**batch)  # warnings are errors here
    cut = defend(HalfDetached(), SPEC, training_attack=attack).train()
    cut.localizer.share = 0.0
    with pytest.raises(LocalizerError, match="no gradient comes back through HalfDetached"):
        cut(**batch)
    cut.eval()(**batch)


def test_an_attack_stays_in_its_ball_and_out_of_the_padding(batch: Batch) -> None:
    inside = torch.zeros_like(batch["mask"])
    inside[..., :20, :24] = 1
    whole = {**batch, "shape_mask": inside}
    attacked = attack_batch(HostModel().eval(), whole, SPEC, 4, attack_spec("pgd", steps=2))
    grey = (
        SPEC.denormalise(attacked["image"]) - SPEC.denormalise(batch["image"]).clamp(0, 1)
    ) * 255
    assert float(grey[..., :20, :24].abs().max()) <= 4 + 1e-3
    assert float(grey[..., :20, :24].abs().max()) > 2
    assert torch.equal(attacked["image"][..., 20:, :], batch["image"][..., 20:, :])


def test_masks_of_a_host_count_above_one_half_as_it_scores_them(batch: Batch) -> None:
    """Resizing leaves soft edges in them, and some hosts keep levels of 8 bit."""
    model, spec = HostModel().eval(), attack_spec("mifgsm", steps=2)
    expected = attack_batch(model, batch, SPEC, 4, spec)["image"]
    for mask in (0.3 + 0.4 * batch["mask"], 255 * batch["mask"]):
        found = attack_batch(model, {**batch, "mask": mask}, SPEC, 4, spec)["image"]
        assert torch.equal(found, expected)


def test_a_score_outside_0_1_is_attacked_around_the_hosts_threshold(batch: Batch) -> None:
    class Scores(HostModel):
        def forward(self, image: Tensor, mask: Tensor, **data: Any) -> dict[str, Any]:
            return {"pred_mask": 40 * self.head(self.body(image).relu())}

    model = Scores().eval()
    attacked = attack_batch(model, batch, SPEC, 8, attack_spec("pgd", steps=2))
    assert not torch.equal(attacked["image"], batch["image"])


# --- what an ANSM cannot reach -----------------------------------------------------------------


def test_a_model_with_a_dct_branch_is_defended_partially_and_says_so() -> None:
    with pytest.warns(UserWarning, match="TwoStreams is defended partially: its inputs DCT_coef"):
        pair = defend(TwoStreams(), SPEC)
    assert "defended partially, not: DCT_coef" in repr(pair)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(LocalizerError, match="given dict"):
        defend({}, SPEC)


# --- checkpoints ---------------------------------------------------------------------------------


def loaded_quietly(pair: DefendedHostModel, state: dict[str, Tensor]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pair.load_state_dict(state)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_a_checkpoint_of_the_bare_model_leaves_the_ansm_alone(prefix: str) -> None:
    other = HostModel()
    torch.nn.init.normal_(other.head.weight)
    pair = trained(defend(HostModel(), SPEC))
    ansm = {k: v.clone() for k, v in pair.ansm.state_dict().items()}
    loaded = loaded_quietly(pair, {prefix + k: v for k, v in other.state_dict().items()})
    assert (loaded.missing_keys, loaded.unexpected_keys) == ([], [])
    assert all(
        torch.equal(v, pair.localizer.state_dict()[k]) for k, v in other.state_dict().items()
    )
    assert all(torch.equal(v, ansm[k]) for k, v in pair.ansm.state_dict().items())


def test_a_checkpoint_of_the_pair_loads_whole() -> None:
    first, second = trained(defend(HostModel(), SPEC)), defend(HostModel(), SPEC)
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in second.state_dict().items())


@pytest.mark.parametrize("whole", [True, False])
def test_missing_tensors_are_named(whole: bool) -> None:
    pair = defend(HostModel(), SPEC)
    state = pair.state_dict() if whole else pair.localizer.state_dict()
    del state["localizer.head.bias" if whole else "head.bias"]
    with pytest.raises(WeightsError, match=r"1 tensors missing \['head\.bias'\]"):
        pair.load_state_dict(state)


def test_foreign_tensors_are_named() -> None:
    pair = defend(HostModel(), SPEC)
    with pytest.raises(WeightsError, match=r"1 tensors of neither .* \['extra'\]"):
        pair.load_state_dict({**pair.state_dict(), "extra": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"1 unknown \['extra'\]"):
        pair.load_state_dict({**pair.localizer.state_dict(), "extra": torch.zeros(1)})


def test_another_shape_is_named() -> None:
    with pytest.raises(WeightsError, match=r"of another shape \['body\.0\.bias'"):
        defend(HostModel(), SPEC).load_state_dict(HostModel(width=8).state_dict())


def test_loading_loosely_takes_what_fits() -> None:
    pair, other = defend(HostModel(), SPEC), HostModel()
    torch.nn.init.normal_(other.head.weight)
    pair.load_state_dict({"head.weight": other.head.weight}, strict=False)
    assert torch.equal(pair.localizer.state_dict()["head.weight"], other.head.weight)


def test_a_bare_checkpoint_without_weights_warns_that_nothing_defends() -> None:
    with pytest.warns(UserWarning, match="untrained and changes nothing"):
        defend(HostModel(), SPEC).load_state_dict(HostModel().state_dict())


def test_weights_are_loaded_and_checked_against_the_localizer(tmp_path: Path) -> None:
    model, other = HostModel(), HostModel()
    torch.nn.init.normal_(other.head.weight)
    pair = trained(defend(model, SPEC))
    assert isinstance(pair.ansm, ANSM)
    path = save_ansm(
        pair.ansm, tmp_path / "a.safetensors", Provenance(localizer=identify(model, SPEC))
    )
    again = defend(HostModel(), SPEC, weights=str(path))
    again.load_state_dict(model.state_dict())  # trained for this one: no warning
    with pytest.warns(UserWarning, match="was trained for HostModel with state"):
        again.load_state_dict(other.state_dict())
    with pytest.warns(UserWarning, match=r"holds an ANSM too, which replaces .*a\.safetensors"):
        again.load_state_dict(pair.state_dict())


def test_the_localizers_own_weights_can_be_given(tmp_path: Path) -> None:
    model = HostModel()
    path = write_tensors(model.state_dict(), tmp_path / "x.safetensors", {})
    pair = defend(HostModel(), SPEC, localizer_weights=str(path))
    assert torch.equal(pair.localizer.state_dict()["head.weight"], model.head.weight)
