"""A localizer in DistributedDataParallel, in a group of one process, is known as the bare one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ansm_plugin import explain, wrap_with_ansm
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.traits import fingerprint


@pytest.fixture
def _group_of_one() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("_group_of_one")
def test_it_is_looked_through_and_called_as_it_is() -> None:
    model = build_architecture("timm:test_resnet").eval()
    wrapped = DistributedDataParallel(model)
    assert describe(wrapped) == describe(model)
    assert fingerprint(wrapped) == fingerprint(model)
    found = explain(wrapped)
    assert (found.localizer, found.around) == ("TimmLocalizer", ("DistributedDataParallel",))
    called: list[nn.Module] = []
    hook = wrapped.register_forward_pre_hook(lambda module, _: called.append(module))
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        output = wrap_with_ansm(wrapped)(inputs)
    hook.remove()
    assert torch.equal(output, model(inputs))
    assert called == [wrapped]
