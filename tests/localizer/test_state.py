"""Every kind of state: what lies beside the tensors, quantised modules, tensors of any layout."""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from support.strong import *  # noqa: F403 - fixtures, found by their names
from support.strong import SPEC, strong
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic

from ansm_plugin import ANSM, unwrap, wrap_with_ansm
from ansm_plugin.errors import WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.adapters import apply_adapter, save_adapter
from ansm_plugin.weights.ansm_file import Provenance, identify, load_ansm, save_ansm
from ansm_plugin.weights.tensors import load_localizer_weights, read_tensors, write_tensors

# --- beside the tensors ---------------------------------------------------------------------------


class Stateful(nn.Module):
    """Keeps something beside its tensors, as layers of TransformerEngine do."""

    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.head, self.extra = nn.Conv2d(3, 1, 1), extra

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(images)
        return out

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


EXTRA = [{"scale": [1.0, torch.ones(2)], "name": "a"}, b"bytes", io.BytesIO(b"x"), torch.ones(3), 7]


@pytest.mark.parametrize("extra", EXTRA, ids=lambda e: type(e).__name__)
def test_state_beside_the_tensors_is_kept_or_named(
    extra: Any, images: Tensor, tmp_path: Path
) -> None:
    model = Stateful(extra)
    assert fingerprint(model) == fingerprint(copy.deepcopy(model))
    assert fingerprint(model) != fingerprint(Stateful("another"))
    path = save_ansm(
        ANSM("tiny"), tmp_path / "a.safetensors", Provenance(localizer=identify(model, SPEC))
    )
    defended = wrap_with_ansm(model, str(path), spec=SPEC)
    again = wrap_with_ansm(Stateful(extra), ansm="tiny", spec=SPEC)
    again.load_state_dict(defended.state_dict())
    assert torch.equal(again(images), defended(images))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        weights = write_tensors(unwrap(defended).state_dict(), tmp_path / "w.safetensors", {})
    assert [str(w.message) for w in said if "leaves out" in str(w.message)] or torch.is_tensor(
        extra
    )
    other = Stateful(extra)
    load_localizer_weights(other, weights)
    assert fingerprint(other) == fingerprint(model)
    tuned = copy.deepcopy(model)
    nn.init.ones_(tuned.head.weight)
    adapter = save_adapter(tuned, model, tmp_path / "adapter.safetensors")
    assert fingerprint(apply_adapter(model, adapter)) == fingerprint(tuned)


class Mixing(nn.Module):
    """A localizer with a linear layer, which is what dynamic quantisation quantises."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mix = nn.Conv2d(3, 8, 1), nn.Linear(8, 1)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.mix(self.body(images).movedim(1, -1))
        return out.movedim(-1, 1)


@pytest.mark.filterwarnings("ignore:.*")  # torch.ao is on its way out
def test_quantised_localizers_are_wrapped_and_told_apart(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Mixing().eval()
    quantised = quantize_dynamic(model, {nn.Linear})
    assert fingerprint(quantised) == fingerprint(copy.deepcopy(quantised)) != fingerprint(model)
    assert torch.equal(wrap_with_ansm(quantised, spec=SPEC)(images), quantised(images))
    pair = quantize_dynamic(wrap_with_ansm(model, ansm=strong(), spec=SPEC), {nn.Linear})
    assert pair(images).shape == (2, 1, 33, 40)
    assert not any(m.training for m in pair.modules())
    with pytest.raises(WeightsError, match=r"mix\..* no tensor, as in quantised modules"):
        write_tensors(quantised.state_dict(), tmp_path / "q.safetensors", {})


# --- in files -------------------------------------------------------------------------------------


def test_tensors_of_every_layout_are_written(tmp_path: Path) -> None:
    base = torch.rand(4, 4)
    tensors = {
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "one_channel": torch.rand(2, 1, 4, 5).to(memory_format=torch.channels_last),
        "transposed": base.t(), "shared": base, "view": base[1:], "strided": base[::2, ::2],
        "expanded": torch.rand(3, 1).expand(3, 4), "scalar": torch.tensor(3.0),
        "conjugated": torch.rand(3, dtype=torch.complex64).conj(), "empty": torch.empty(0, 3),
    }  # fmt: skip
    found = read_tensors(write_tensors(tensors, tmp_path / "t.safetensors", {}))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


UNWRITABLE = {
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.ones(2, device="meta"),
}


@pytest.mark.parametrize("kind", UNWRITABLE)
@pytest.mark.filterwarnings("ignore:.*quantize")  # torch.ao is on its way out
def test_tensors_without_a_form_are_refused_in_words(kind: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot write .*no form for"):
        write_tensors({"x": UNWRITABLE[kind]()}, tmp_path / "t.safetensors", {})


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_an_ansm_of_any_layout_is_saved_and_read(layout: Any, tmp_path: Path) -> None:
    ansm = strong().to(memory_format=layout)
    found = load_ansm(save_ansm(ansm, tmp_path / "a.safetensors"))
    assert fingerprint(found) == fingerprint(ansm)
