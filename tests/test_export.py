"""`ansm export`: one ONNX graph, compared with torch before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, export, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.cli import main
from ansm_plugin.errors import LocalizerError
from ansm_plugin.export import PixelsToProbability, export_onnx

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())


def defended_by_noise(localizer: nn.Module, spec: LocalizerSpec | None = None) -> nn.Module:
    """Put a module with a strong perturbation in front, so that losing it would show."""
    defended = wrap_with_ansm(localizer, ansm=ANSM(THIN), spec=spec)
    nn.init.normal_(defended.ansm.trunk.head.weight)  # type: ignore[union-attr, arg-type]
    return defended


def run_graph(path: Path, pixels: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probability"], {"pixels": pixels.numpy()})
    return torch.from_numpy(np.asarray(found))


@pytest.mark.slow
def test_the_embedded_localizer_is_exported_with_free_batch_and_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    assert main(["export", "--output", str(path)]) == 0
    said = capsys.readouterr().out
    assert "multiples of 32 from 32 up" in said
    assert "largest difference " in said
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    from ansm_plugin.commands.loading import load_defended

    model = PixelsToProbability(load_defended(None, None))
    for shape in ((1, 3, 32, 160), (3, 3, 64, 32)):
        pixels = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(run_graph(path, pixels), model(pixels), rtol=0, atol=1e-4)
    assert main(["export", "--output", str(path)]) == 2
    assert "--force" in capsys.readouterr().err


def test_a_structured_output_becomes_one_probability(tmp_path: Path) -> None:
    class Rich(nn.Module):
        """Returns a dict with three classes; takes multiples of 8."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 3, 3, stride=4, padding=1)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            logits = self.head(images)
            return {"loss": logits.mean(), "mask": logits}

    spec = LocalizerSpec(tamper_class=2, stride=8)
    defended = defended_by_noise(Rich(), spec)
    done = export_onnx(defended, tmp_path / "m.onnx")  # type: ignore[arg-type]
    assert done.max_difference <= 1e-4
    assert (done.side, done.multiple, done.smallest) == (None, 32, 32)
    pixels = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        expected = defended(spec.normalise(pixels))["mask"]
        expected = nn.functional.interpolate(
            spec._tamper_logits(expected), (96, 64), mode="bilinear"
        )
    torch.testing.assert_close(run_graph(done.path, pixels), expected.sigmoid(), rtol=0, atol=1e-4)


def test_a_localizer_of_one_size_is_exported_at_it(tmp_path: Path) -> None:
    defended = defended_by_noise(build_localizer("timm:test_vit3?img_size=64"))
    done = export_onnx(defended, tmp_path / "vit.onnx")  # type: ignore[arg-type]
    assert done.side == 64
    assert run_graph(done.path, torch.rand(3, 3, 64, 64)).shape == (3, 1, 64, 64)


@pytest.mark.parametrize("is_good", [True, False])
def test_modes_and_flags_are_as_before(
    tmp_path: Path, tiny: nn.Module, is_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the midst of a training, whose ANSM has a BatchNorm in train mode."""
    defended = wrap_with_ansm(tiny, ansm="small?norm=batch", spec=LocalizerSpec()).train()
    defended.ansm.trunk.down[0].eval()  # type: ignore[union-attr, index]
    defended.ansm.trunk.head.requires_grad_(False)  # type: ignore[union-attr]
    modes = {name: m.training for name, m in defended.named_modules()}
    flags = {name: p.requires_grad for name, p in defended.named_parameters()}
    before = {name: b.clone() for name, b in defended.named_buffers()}
    if is_good:
        export_onnx(defended, tmp_path / "m.onnx", side=32)
    else:
        monkeypatch.setattr(export, "_largest_difference", lambda *_: 1.0)
        with pytest.raises(LocalizerError):
            export_onnx(defended, tmp_path / "m.onnx", side=32)
    assert modes == {name: m.training for name, m in defended.named_modules()}
    assert flags == {name: p.requires_grad for name, p in defended.named_parameters()}
    assert all(torch.equal(b, before[name]) for name, b in defended.named_buffers())
    assert modes["ansm.trunk"]


def test_a_graph_that_differs_is_not_written(
    tmp_path: Path, tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    defended = defended_by_noise(tiny, LocalizerSpec())
    for difference in (2e-4, float("nan")):
        monkeypatch.setattr(export, "_largest_difference", lambda *_, d=difference: d)
        with pytest.raises(LocalizerError, match=r"differs from torch by .*nothing was written"):
            export_onnx(defended, tmp_path / "m.onnx", side=32)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_a_graph_that_does_not_run_is_not_written(
    tmp_path: Path, tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PSPNet's pyramid with free sizes: converted without complaint, refused by onnxruntime."""

    def fail(*_: object) -> float:
        raise RuntimeError("invalid index found, index = 4")

    monkeypatch.setattr(export, "_graph", lambda *_, **__: b"")
    monkeypatch.setattr(export, "_largest_difference", fail)
    defended = defended_by_noise(tiny, LocalizerSpec())
    with pytest.raises(LocalizerError, match=r"cannot run .*index = 4\. Fix the size: --size"):
        export_onnx(defended, tmp_path / "m.onnx")  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_a_localizer_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    class Moody(nn.Module):
        """Decides by pixels what to do."""

        def forward(self, images: Tensor) -> Tensor:
            return images[:, :1] * (2.0 if float(images.mean()) > 0.5 else 1.0)

    with pytest.raises(LocalizerError, match=r"cannot export this localizer: .*--size PIXELS"):
        export_onnx(wrap_with_ansm(Moody(), ansm=ANSM(THIN), spec=LocalizerSpec()), tmp_path / "m")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_the_message_says_what_to_install(
    missing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["export", "--output", str(tmp_path / "m.onnx")]) == 2
    said = capsys.readouterr().err
    assert missing in said
    assert "pip install 'ansm_plugin[export]'" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "model.pt"], r"must end in .onnx"),
        (["--output", "m.onnx", "--localizer", "timm:test_resnet"], "pass --ansm FILE"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    assert said in capsys.readouterr().err
