"""On a CUDA device: attacks from captured passes, and training steps that wait for nothing."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.captured import Captured, attack_forward
from ansm_plugin.attacks.objectives import value
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.recipes import mgr
from ansm_plugin.recipes.stage import Pairs, Setup, Stage
from ansm_plugin.system.device import computing_on
from ansm_plugin.training import FitConfig, Turn, fit

DEVICE = torch.device("cuda")
EPS = 4 / 255
SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), stride=32)
THIN = Architecture(unshuffle=2, widths=(8,), encoder_blocks=(1,), decoder_blocks=())

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def localizer() -> nn.Module:
    torch.manual_seed(0)
    model = smp.Unet("resnet18", encoder_weights=None, decoder_channels=(16, 16, 8, 8, 8))
    return model.to(DEVICE).eval()


@pytest.fixture
def material() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 64, 96, generator=generator).mul(255).round().div(255)
    masks = torch.zeros(4, 1, 64, 96)
    masks[..., 16:48, 16:48] = 1
    return images.to(DEVICE), masks.to(DEVICE)


@pytest.mark.parametrize("name", ["pgd", "mifgsm", "segpgd", "apgd-dice", "vmifgsm", "pgd-l2"])
def test_replays_make_the_noise_of_plain_passes(
    localizer: nn.Module, material: tuple[Tensor, Tensor], name: str
) -> None:
    captured = attack_forward(localizer, SPEC)
    assert isinstance(captured, Captured)
    images, masks = material
    spec = attack_spec(name, steps=6)

    def attacked(forward: object) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return run_attack(forward, images, masks, EPS, spec, generator=generator)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing runs plainly
        found = attacked(captured)
    expected = attacked(captured.forward)
    # Signs of gradients near 0 may turn, and a step later their neighbours'.
    assert (found != expected).float().mean() < 0.02
    worth = [value("bce", mask_forward(localizer, SPEC)(x), masks) for x in (found, expected)]
    torch.testing.assert_close(worth[0], worth[1], rtol=0.02, atol=1.0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_quick_copy_harms_as_the_localizer_itself_would(
    localizer: nn.Module, material: tuple[Tensor, Tensor], precision: str
) -> None:
    images, masks = material
    exact, before = mask_forward(localizer, SPEC), localizer.state_dict()
    state = {name: tensor.clone() for name, tensor in before.items()}
    worth = []
    for forward in (attack_forward(localizer, SPEC, precision=precision), exact):
        generator = torch.Generator().manual_seed(1)
        spec = attack_spec("pgd", steps=10)
        attacked = run_attack(forward, images, masks, EPS, spec, generator=generator)
        with torch.no_grad():
            worth.append(value("bce", exact(attacked), masks).sum())
    with torch.no_grad():
        worth.append(value("bce", exact(images), masks).sum())
    quick, plain, clean = map(float, worth)
    assert (quick - clean) > 0.95 * (plain - clean) > 0
    assert all(torch.equal(state[name], tensor) for name, tensor in localizer.state_dict().items())


def test_a_pair_in_training_is_captured_as_it_is(
    localizer: nn.Module, material: tuple[Tensor, Tensor]
) -> None:
    images, masks = material
    defended = wrap_with_ansm(localizer, ansm=ANSM(THIN), spec=SPEC)
    defended.to(DEVICE)
    captured = attack_forward(defended, SPEC, as_it_is=True)
    spec = attack_spec("margin", steps=5)
    for _ in range(2):
        nn.init.normal_(defended.ansm.trunk.head.weight, std=0.2)  # type: ignore[union-attr, arg-type]
        noises = [
            run_attack(
                forward, images, masks, EPS, spec, generator=torch.Generator().manual_seed(1)
            )
            for forward in (captured, mask_forward(defended, SPEC))
        ]
        assert (noises[0] != noises[1]).float().mean() < 0.02


def setup_of(localizer: nn.Module) -> Setup:
    generator = torch.Generator().manual_seed(0)
    originals = torch.randint(256, (16, 3, 64, 64), generator=generator, dtype=torch.uint8)
    moved = originals.int() + torch.randint(-8, 9, originals.shape, generator=generator)
    masks = torch.zeros(16, 1, 64, 64, dtype=torch.uint8)
    masks[..., 16:48, 16:48] = 1
    torch.manual_seed(1)
    defended = wrap_with_ansm(localizer, ansm=ANSM(THIN), spec=SPEC)
    defended.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = (t.to(DEVICE) for t in (originals, masks, moved.clamp(0, 255).to(torch.uint8)))
    return Setup(defended, Pairs(*crops), Stage())


def test_a_step_of_a_training_waits_for_nothing(localizer: nn.Module) -> None:
    config = FitConfig(steps=10, batch_size=8)
    with computing_on(DEVICE):
        step = mgr.make_step(setup_of(localizer), mgr.Mgr(fit=config))
        step(Turn(0, torch.Generator().manual_seed(0)))
        torch.cuda.set_sync_debug_mode("error")
        try:
            loss, _, _ = step(Turn(1, torch.Generator().manual_seed(1)))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(loss)


def test_a_training_equals_itself_and_reads_its_numbers(
    localizer: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    config = FitConfig(steps=25, batch_size=8, checkpoint_every=10, averaging=0.9)
    states, seen = [], []
    with computing_on(DEVICE):
        for folder in ("first", "second"):
            setup = setup_of(localizer)
            step = mgr.make_step(setup, mgr.Mgr(fit=config))
            fit(
                "mgr", setup.ansm, step, config, folder=tmp_path / folder, identity={},
                progress=lambda name, done, steps, logs: seen.append(dict(logs)),
            )  # fmt: skip
            states.append({k: v.clone() for k, v in setup.ansm.state_dict().items()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert len(seen) == 50
    assert all({"loss", "gradient", "saturated"} <= logs.keys() for logs in seen)
