"""Whole photographs: tiles agree with the whole, pictures show the mask, bad files get a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ansm_plugin.cli import main
from ansm_plugin.data.paint import outline, overlay
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.tiles import spans
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.photograph import localize_image

SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), stride=4)


class Local(nn.Module):
    """A localizer that sees blocks of 4x4 pixels, each alone."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 4, stride=4)
        self.up = nn.ConvTranspose2d(4, 1, 4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.up(torch.relu(self.down(images)))
        return logits


def bright() -> nn.Module:
    """Return a localizer that takes bright pixels for forged."""
    model = nn.Conv2d(3, 1, 1)
    nn.init.constant_(model.weight, 20.0)
    nn.init.zeros_(model.bias)  # type: ignore[arg-type]
    model.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # type: ignore[assignment]
    return model.eval()


def nothing() -> nn.Module:
    """Return a localizer that gives NaN."""
    model = bright()
    nn.init.constant_(model.weight, float("nan"))  # type: ignore[arg-type]
    return model


def photograph(height: int, width: int, seed: int = 0) -> Pixels:
    """Return random pixels with a white square of 20."""
    pixels = np.random.default_rng(seed).integers(0, 100, (height, width, 3)).astype(np.uint8)
    pixels[10:30, 10:30] = 255
    return pixels


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Local().eval()


# --- the core -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(300, 500), (257, 129), (640, 70)])
def test_tiles_agree_with_the_whole_photograph(model: nn.Module, height: int, width: int) -> None:
    pixels = photograph(height, width)
    whole = localize_image(model, SPEC, pixels, tile=1024)
    tiled = localize_image(model, SPEC, pixels, tile=128, overlap=32)
    assert whole.shape == (height, width)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize(("tile", "overlap", "grid"), [(128, 32, 32), (80, 40, 32), (64, 1, 48)])
def test_weights_of_tiles_add_up_to_one_at_every_pixel(tile: int, overlap: int, grid: int) -> None:
    for length in (1, 63, 64, 65, 128, 129, 200, 1000):
        total = np.zeros(length)
        for span in spans(length, tile, overlap, grid):
            assert span.start % grid == 0
            total[span.start : span.stop] += span.weight
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_no_more_than_one_tile_is_given_to_the_localizer() -> None:
    class Watched(nn.Module):
        largest = 0

        def forward(self, images: Tensor) -> Tensor:
            self.largest = max(self.largest, *images.shape[-2:])
            return images[:, :1]

    watched = Watched().eval()
    localize_image(watched, SPEC, photograph(700, 400), tile=256)
    assert watched.largest == 256


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (33, 2)])
def test_tiny_photographs_are_padded(model: nn.Module, size: tuple[int, int]) -> None:
    assert localize_image(model, SPEC, photograph(*size)).shape == size


def test_a_tile_smaller_than_two_overlaps_is_refused(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match="at least two overlaps"):
        localize_image(model, SPEC, photograph(64, 64), tile=100, overlap=64)


def test_nan_from_the_localizer_is_an_error() -> None:
    with pytest.raises(LocalizerError, match="returned NaN"):
        localize_image(nothing(), SPEC, photograph(64, 64))


def test_a_localizer_that_fails_names_the_size() -> None:
    class Picky(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("needs 224x224")

    with pytest.raises(LocalizerError, match=r"failed on 64x32 pixels: needs 224x224"):
        localize_image(Picky(), SPEC, photograph(32, 64))


def test_the_outline_is_the_inner_edge() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    edge = outline(mask, 1)
    assert edge.sum() == 16
    assert not (edge & ~mask).any()
    assert not outline(np.ones((9, 9), bool), 2).any()


def test_the_overlay_changes_the_tampered_region_alone() -> None:
    pixels = photograph(40, 40)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    before = pixels.copy()
    painted = overlay(pixels, mask)
    assert (painted[mask] != pixels[mask]).any(-1).all()
    np.testing.assert_array_equal(painted[~mask], pixels[~mask])
    np.testing.assert_array_equal(pixels, before)


# --- the command --------------------------------------------------------------------------------

BRIGHT = ("--localizer", "test_photograph:bright", "--bare")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a photograph; the tests' own localizers can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    Image.fromarray(photograph(64, 96)).save(tmp_path / "photo.png")
    return tmp_path


def localize(folder: Path, *arguments: str) -> int:
    """Run the command on names inside `folder`."""
    photos = [str(folder / a) for a in arguments]
    return main(["localize", *photos, "--output", str(folder / "out"), *BRIGHT])


def test_localize_writes_mask_and_overlay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert localize(folder, "photo.png") == 0
    mask = np.asarray(Image.open(folder / "out" / "photo-mask.png"))
    assert mask.shape == (64, 96)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[10:30, 10:30] == 255).all()
    assert np.asarray(Image.open(folder / "out" / "photo-overlay.png")).shape == (64, 96, 3)
    said = capsys.readouterr().out
    assert "6.5% tampered" in said
    assert "no defence" in said


def test_exif_orientation_is_honoured(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to look at
    Image.fromarray(photograph(64, 96)).save(folder / "turned.png", exif=exif)
    assert localize(folder, "turned.png") == 0
    with Image.open(folder / "out" / "turned-mask.png") as mask:
        assert mask.size == (64, 96)


def test_16_bit_and_cmyk_photographs_work(folder: Path) -> None:
    deep = photograph(64, 96)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(photograph(64, 96)).convert("CMYK").save(folder / "print.jpg")
    assert localize(folder, "deep.png", "print.jpg") == 0
    assert len(list((folder / "out").iterdir())) == 4


def test_one_bad_photograph_does_not_lose_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "photo.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image")
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    bad = ("truncated.png", "empty.jpg", "text.jpg", "moving.gif", "missing.png")
    assert localize(folder, *bad, "photo.png") == 2
    said = capsys.readouterr().err
    assert "5 of 6 photographs failed" in said
    assert all(name in said for name in bad)
    assert "Traceback" not in said
    written = sorted(p.name for p in (folder / "out").iterdir())
    assert written == ["photo-mask.png", "photo-overlay.png"]


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(self: Image.Image, stream, *args: object, **options: object) -> None:  # type: ignore[no-untyped-def]
        stream.write(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    assert localize(folder, "photo.png") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list((folder / "out").iterdir()) == []


def test_an_output_that_is_a_file_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").write_text("in the way")
    assert localize(folder, "photo.png") == 2
    assert "cannot write" in capsys.readouterr().err


def test_two_photographs_of_one_stem_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert localize(folder, "photo.png", "photo.jpg") == 2
    assert "would both write" in capsys.readouterr().err


def test_a_result_never_replaces_a_photograph(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "photo.png").rename(folder / "out" / "a.png")
    Image.new("RGB", (8, 8)).save(folder / "out" / "a-mask.png")
    before = (folder / "out" / "a-mask.png").read_bytes()
    assert localize(folder, "out/a.png", "out/a-mask.png") == 2
    assert "would replace a photograph" in capsys.readouterr().err
    assert (folder / "out" / "a-mask.png").read_bytes() == before


def test_a_folder_stands_for_its_photographs(folder: Path) -> None:
    (folder / "album").mkdir()
    for name in ("one", "two"):
        Image.fromarray(photograph(40, 40)).save(folder / "album" / f"{name}.png")
    assert localize(folder, "album") == 0
    assert len(list((folder / "out").iterdir())) == 4


def test_another_localizer_needs_its_ansm_or_bare(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["localize", str(folder / "photo.png"), "--output", str(folder / "out")]
    assert main([*arguments, "--localizer", "test_photograph:bright"]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("--ansm", "ansm train two-stage", "--bare"))


def test_an_untrained_ansm_is_said_to_be_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ansm_plugin.ansm import ANSM
    from ansm_plugin.weights.ansm_file import save_ansm

    fresh = save_ansm(ANSM("small"), folder / "fresh.safetensors")
    arguments = ["localize", str(folder / "photo.png"), "--output", str(folder / "out")]
    options = ["--localizer", "test_photograph:bright", "--ansm", str(fresh)]
    assert main([*arguments, *options]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: the ANSM")
    assert "untrained" in said
    assert said.count("\n") == 1


def test_a_photograph_of_ten_megapixels_is_done_in_tiles(folder: Path) -> None:
    Image.fromarray(photograph(2500, 4000)).save(folder / "large.png", compress_level=0)
    assert localize(folder, "large.png") == 0
    with Image.open(folder / "out" / "large-mask.png") as mask:
        assert mask.size == (4000, 2500)


def test_the_ansm_may_compute_in_bf16(folder: Path) -> None:
    masks = []
    for precision in ("fp32", "bf16"):
        output = folder / precision
        arguments = ["localize", str(folder / "photo.png"), "--output", str(output)]
        assert main([*arguments, "--ansm-precision", precision]) == 0
        masks.append(np.asarray(Image.open(output / "photo-mask.png")))
    assert (masks[0] != masks[1]).mean() < 0.05


def test_the_precision_of_an_ansm_that_is_not_used_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["localize", str(folder / "photo.png"), "--output", str(folder / "out"), "--bare"]
    assert main([*arguments, "--ansm-precision", "bf16"]) == 2
    assert "--bare and --ansm-precision were both given" in capsys.readouterr().err
