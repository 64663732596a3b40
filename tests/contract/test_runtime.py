"""What users do with a torch module: memory formats, precision, compilers, copies, processes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, unwrap, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.localizer.taps import taps
from ansm_plugin.training.losses import channelwise_kl

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())


def trained() -> ANSM:
    """Return a cheap module that perturbs."""
    ansm = ANSM(THIN)
    nn.init.normal_(ansm.trunk.head.weight, std=0.3)
    return ansm.eval()


def test_channels_last_changes_no_more_than_rounding(unet: nn.Module) -> None:
    defended = wrap_with_ansm(unet, ansm=trained())
    images = torch.randn(2, 3, 64, 64)
    expected = defended(images)
    defended.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = defended(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# --- precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_residual_and_clamp_stay_in_fp32(
    unet: nn.Module, dtype: torch.dtype
) -> None:
    defended = wrap_with_ansm(unet, ansm=trained())
    spec = defended.spec
    pixels = torch.rand(1, 3, 64, 64)
    pixels[..., :8] = 1.0  # a bf16 step near white is a whole grey level
    inputs = spec.normalise(pixels)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        delta = defended.perturbation(inputs)
        suppressed = defended.suppress(inputs)
        output = defended(inputs)
    assert delta.dtype == suppressed.dtype == torch.float32
    assert output.dtype is dtype
    assert (delta[..., :8] <= 0).all()
    std = torch.tensor(spec.std).view(1, 3, 1, 1)
    assert torch.equal(suppressed, inputs + delta / std)
    assert spec.mask_logits(output, (64, 64)).dtype is torch.float32
    torch.testing.assert_close(delta, defended.perturbation(inputs), rtol=0, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_a_fresh_wrap_still_changes_no_bit(
    unet: nn.Module, dtype: torch.dtype
) -> None:
    defended = wrap_with_ansm(unet)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        assert torch.equal(defended(images), unet(images))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_kl_is_that_of_the_same_features_in_fp32(dtype: torch.dtype) -> None:
    a, b = (torch.randn(2, 4, 100).to(dtype) for _ in range(2))
    with torch.autocast("cpu", dtype):
        found = channelwise_kl([a], [b])
    assert found.dtype is torch.float32
    assert torch.equal(found, channelwise_kl([a.float()], [b.float()]))


# --- compilers ------------------------------------------------------------------------------------


def test_a_compiled_one_gives_the_same_mask_and_gradient(unet: nn.Module) -> None:
    defended = wrap_with_ansm(unet, ansm=trained())
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    compiled = torch.compile(defended, backend="aot_eager")
    (expected,) = torch.autograd.grad(defended(images).sum(), images)
    (found,) = torch.autograd.grad(compiled(images).sum(), images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    with taps(unet, defended.spec.taps) as features:  # hooks set later reach the eager module
        defended(images)
    assert len(features) == 2


def test_an_exported_one_takes_any_batch_and_size() -> None:
    localizer = smp.FPN("resnet18", encoder_weights=None, decoder_pyramid_channels=16)
    defended = wrap_with_ansm(localizer, ansm=trained())
    # From 64 pixels up: torch.export guards against stages of a single pixel.
    rows, columns = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)
    free = {0: torch.export.Dim("batch"), 2: 32 * rows, 3: 32 * columns}
    given = (torch.randn(2, 3, 64, 96),)
    exported = torch.export.export(defended, given, dynamic_shapes=(free,)).module()
    for shape in ((1, 3, 64, 64), (3, 3, 96, 128)):
        images = torch.randn(shape)
        torch.testing.assert_close(exported(images), defended(images), rtol=1e-4, atol=1e-5)


# --- copies and states ----------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_works_and_loads_on_its_own(twin: Callable[[Any], Any], unet: nn.Module) -> None:
    defended = wrap_with_ansm(unet, ansm=trained())
    copied = twin(defended)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(copied(images), defended(images))
    before = defended.localizer.state_dict()["segmentation_head.0.bias"].clone()
    bare = {k: torch.zeros_like(v) for k, v in unet.state_dict().items()}
    copied.load_state_dict(bare, strict=True)
    assert not copied.localizer.segmentation_head[0].bias.any()
    assert torch.equal(defended.localizer.state_dict()["segmentation_head.0.bias"], before)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("is_pair", [False, True])
def test_the_state_of_the_bare_localizer_or_the_pair_loads_strictly(
    unet: nn.Module, prefix: str, is_pair: bool
) -> None:
    source = wrap_with_ansm(copy.deepcopy(unet), ansm=trained())
    nn.init.normal_(source.localizer.get_submodule("segmentation_head.0").weight)  # type: ignore[arg-type]
    state = (source if is_pair else source.localizer).state_dict()
    given = {prefix + name: value for name, value in state.items()}
    defended = wrap_with_ansm(unet, ansm=trained())
    kept = copy.deepcopy(defended.ansm.state_dict())
    assert defended.load_state_dict(given, strict=True) == ([], [])
    assert len(given) == len(state)  # the caller's dict is left alone
    for name, value in source.localizer.state_dict().items():
        assert torch.equal(unet.state_dict()[name], value)
    wanted = source.ansm.state_dict() if is_pair else kept
    assert all(torch.equal(defended.ansm.state_dict()[n], v) for n, v in wanted.items())


def test_a_bare_state_loads_below_another_module_too(tiny: nn.Module) -> None:
    inside = nn.Sequential(wrap_with_ansm(tiny, ansm=trained(), spec=LocalizerSpec()))
    bare = {f"0.{name}": value for name, value in copy.deepcopy(tiny).state_dict().items()}
    assert inside.load_state_dict(bare, strict=True) == ([], [])


def test_a_bare_state_with_a_missing_or_foreign_tensor_is_refused(tiny: nn.Module) -> None:
    defended = wrap_with_ansm(tiny, ansm=trained(), spec=LocalizerSpec())
    state = copy.deepcopy(tiny.state_dict())
    state["surplus"] = state.pop("head.bias")
    with pytest.raises(RuntimeError, match=r'(?s)Missing.*"localizer\.head\.bias".*"localizer\.su'):
        defended.load_state_dict(state)


def test_a_localizer_with_a_part_of_that_name_is_no_trap() -> None:
    class Nested(nn.Module):
        """Names its own part `localizer`."""

        def __init__(self) -> None:
            super().__init__()
            self.localizer = nn.Conv2d(3, 1, 1)

    source = Nested()
    defended = wrap_with_ansm(Nested(), ansm=trained(), spec=LocalizerSpec())
    assert defended.load_state_dict(source.state_dict(), strict=True) == ([], [])
    assert torch.equal(defended.localizer.localizer.weight, source.localizer.weight)
    assert defended.load_state_dict(defended.state_dict(), strict=True) == ([], [])


# --- processes ------------------------------------------------------------------------------------


def test_batch_norms_become_synchronous_ones(unet: nn.Module) -> None:
    hgd = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=(), norm="batch")
    defended = wrap_with_ansm(unet, ansm=ANSM(hgd))
    nn.init.normal_(defended.ansm.trunk.head.weight)  # type: ignore[union-attr, arg-type]
    images = torch.randn(1, 3, 32, 32)
    expected = defended(images)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(defended)
    assert converted is defended
    assert not any(type(m) is nn.BatchNorm2d for m in defended.modules())
    assert torch.equal(defended(images), expected)
    defended.train()
    assert not any(m.training for m in unet.modules())
    assert unwrap(defended) is unet
    assert all(m.training for m in unet.modules())


def test_two_processes_train_one_ansm(tmp_path: Path) -> None:
    """DistributedDataParallel over gloo: gradients agree, the localizer is left alone."""
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys
        sys.path[:] = eval(sys.argv[1])
        import torch, torch.distributed as dist
        import torch.multiprocessing as mp
        from torch import nn
        from ansm_plugin import LocalizerSpec, wrap_with_ansm
        from ansm_plugin.ansm import ANSM, Architecture
        from ansm_plugin.localizer import fingerprint

        def work(rank, place):
            torch.set_num_threads(1)
            dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
            torch.manual_seed(rank)  # DDP brings the first process's weights to the second
            localizer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4),
                                      nn.Dropout(0.5), nn.Conv2d(4, 1, 1))
            thin = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
            defended = wrap_with_ansm(localizer, ansm=ANSM(thin), spec=LocalizerSpec())
            parallel = nn.parallel.DistributedDataParallel(defended.train())
            before = fingerprint(localizer)
            optimiser = torch.optim.SGD(defended.ansm.parameters(), lr=0.1)
            for _ in range(2):
                optimiser.zero_grad()
                parallel(torch.randn(2, 3, 16, 16)).square().mean().backward()
                optimiser.step()
            assert fingerprint(localizer) == before
            assert not any(m.training for m in localizer.modules())
            mine = torch.cat([p.detach().flatten() for p in defended.parameters()])
            both = [torch.empty_like(mine) for _ in range(2)]
            dist.all_gather(both, mine)
            assert torch.equal(*both)
            assert not defended.ansm.is_identity
            assert all(name.startswith("module.") for name in parallel.state_dict())
            os.write(1, b"agreed\\n")  # one write: the other process writes to the same pipe
            dist.barrier()
            os._exit(0)  # gloo's threads abort a process, rarely, while the interpreter ends

        if __name__ == "__main__":
            mp.spawn(work, (sys.argv[2],), nprocs=2)
    """)
    )
    done = subprocess.run(
        [sys.executable, str(script), repr(sys.path), (tmp_path / "meet").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["agreed", "agreed"], done.stderr
    assert done.returncode == 0, done.stderr


# --- cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda: smp.Unet("resnet18", encoder_weights=None),
        lambda: smp.UnetPlusPlus("tu-mobilenetv4_conv_small", encoder_weights=None),
    ],
)
def test_wrapping_takes_under_fifty_milliseconds(build: Callable[[], nn.Module]) -> None:
    localizer = build()
    times = []
    for _ in range(7):  # CPU time, the least of several: other work only adds
        start = time.process_time()
        defended = wrap_with_ansm(localizer)
        times.append(time.process_time() - start)
        unwrap(defended)
    assert min(times) < 0.05


def test_wrapping_a_plain_module_imports_neither_timm_nor_smp() -> None:
    code = (
        # einops asks for torch.compiler, which old releases of torch bring in all of.
        f"import sys; sys.path[:] = {sys.path!r}; import torch, torch._dynamo;"
        "before = set(sys.modules);"
        "import ansm_plugin; ansm_plugin.wrap_with_ansm; ansm_plugin.DefendedLocalizer;"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ansm_plugin', 'einops']"


def test_the_shape_of_the_input_is_that_of_the_output(unet: nn.Module) -> None:
    defended = wrap_with_ansm(unet, ansm=trained())
    for size in ((1, 1), (31, 97), (64, 33)):
        output: Tensor = defended(torch.randn(2, 3, *size))
        assert output.shape == (2, 1, *size)
