"""Models of transformers: folders, image processors, labels; nothing is ever fetched."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import LocalizerSpec, wrap_with_ansm
from ansm_plugin.backbones.query import nested
from ansm_plugin.backbones.reference import build_architecture, build_localizer
from ansm_plugin.backbones.transformers_family import matches
from ansm_plugin.backbones.transformers_kinds import KINDS
from ansm_plugin.commands.loading import load_localizer
from ansm_plugin.errors import LocalizerError, WeightsError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import IMAGENET_MEAN, IMAGENET_STD
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.tensors import read_tensors, write_tensors

TINY = (
    "transformers:segformer?hidden_sizes=8,8,8,8&depths=1,1,1,1&num_attention_heads=1,1,1,1"
    "&decoder_hidden_size=8"
)


def tiny(options: str = "") -> Any:
    return build_architecture(TINY + options)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whoever opens a connection."""

    def refused(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refused)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def built(folder: Path) -> Any:
    return build_architecture(f"transformers:{folder}")


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_comes_back_as_the_model(tmp_path: Path) -> None:
    saved = tiny()
    saved.save_pretrained(tmp_path)
    localizer = built(tmp_path)
    assert fingerprint(localizer) == fingerprint(saved)
    assert not localizer.training
    assert describe(localizer).family == "transformers"


def test_weights_behind_a_type_are_loaded(tmp_path: Path) -> None:
    saved = tiny()
    weights = write_tensors(saved.state_dict(), tmp_path / "w.safetensors", {})
    assert fingerprint(build_localizer(f"{TINY}@{weights}")) == fingerprint(saved)


def test_a_pickle_is_never_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\n")
    with pytest.raises(WeightsError, match=r"no safetensors; a pickle.*save_pretrained"):
        built(folder)


def test_a_folder_that_lacks_tensors_is_refused(folder: Path) -> None:
    """Transformers would draw them at random, and say so in a log alone."""
    state = read_tensors(folder / "model.safetensors")
    del state["decode_head.classifier.bias"]
    write_tensors(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 tensors missing \['decode_head.classifier.bias'\]"):
        built(folder)


def test_tensors_without_a_place_are_named(folder: Path) -> None:
    state = read_tensors(folder / "model.safetensors") | {"spare": torch.zeros(2)}
    write_tensors(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.warns(UserWarning, match=r"1 tensors that Segformer.*no place for \['spare'\]"):
        built(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [(None, r"no config\.json"), ("{", r"no config\.json"), ("[]", r"no config\.json"),
     ('{"architectures": ["BertModel"]}', "holds BertModel; allowed: .*SegformerForSemantic"),
     ("{}", "holds a model without a name")],
)  # fmt: skip
def test_other_folders_are_refused(tmp_path: Path, config: str | None, said: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(LocalizerError, match=said):
        built(tmp_path)


def test_a_damaged_file_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(LocalizerError, match="transformers cannot load"):
        built(folder)


def test_only_random_weights_are_called_so(folder: Path) -> None:
    load_localizer(f"transformers:{folder}")  # a warning would fail here
    with pytest.warns(UserWarning, match="random weights"):
        load_localizer(TINY)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("segfomer", r"no folder 'segfomer'.*Nearest: segformer"),
        ("nvidia/mit-b0", r"Nothing is downloaded.*hf download nvidia/mit-b0 --local-dir FOLDER"),
        ("segformer?hiden_sizes=8", "unknown option.*'hiden_sizes'.*Nearest: hidden_sizes"),
        ("upernet?backbone=microsoft/resnet-50", "unknown option.*'backbone'"),
        ("upernet?use_pretrained_backbone=true", "unknown option.*'use_pretrained_backbone'"),
        ("upernet?backbone_config.model_type=swim", "unknown type of transformers 'swim'"),
        ("upernet?backbone_config.model_type=swin&backbone_config.a=1", "option.*'a'"),
        ("segformer?depths=1&depths.a=1", "depths.a does not go with depths"),
        ("segformer?depths=many", "transformers cannot build segformer"),
        ("segformer?num_labels=3&forged=3", "forged of .* is 3; allowed: .* 0 to 2"),
        ("segformer?forged=yes", "forged of .* is 'yes'"),
    ],
)
def test_names_that_cannot_be_built_get_a_useful_answer(name: str, said: str) -> None:
    with pytest.raises(LocalizerError, match=said):
        build_architecture(f"transformers:{name}")


def test_a_folder_takes_no_option_of_a_config(folder: Path) -> None:
    with pytest.raises(LocalizerError, match=r"unknown option.*'num_labels'.*Known: forged"):
        build_architecture(f"transformers:{folder}?num_labels=3")


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(LocalizerError, match=r"pip install 'ansm_plugin\[transformers\]'"):
        build_architecture("transformers:segformer")


def test_dotted_options_are_nested() -> None:
    tree = {"a": 1, "b": {"c": [2, 3], "d": {"e": 4}}}
    assert nested({"a": 1, "b.c": (2, 3), "b.d.e": 4}) == tree


def test_other_modules_are_not_of_this_family() -> None:
    localizer = tiny()
    assert matches(localizer)
    assert not matches(localizer.segformer)  # no mask comes out of an encoder
    assert not matches(nn.Conv2d(3, 1, 1))


# --- image processors -----------------------------------------------------------------------------


def spec_with(folder: Path, processor: dict[str, Any]) -> LocalizerSpec:
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return describe(built(folder))


def test_the_image_processor_beside_the_model_decides(folder: Path) -> None:
    spec = spec_with(folder, {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]})
    assert (spec.mean, spec.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert spec.normalisation == str(folder / "preprocessor_config.json")


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"do_normalize": False}, lambda p: p),
        ({"do_normalize": False, "do_rescale": False}, lambda p: 255 * p),
        ({"do_rescale": False, "image_mean": 128, "image_std": 64}, lambda p: (255 * p - 128) / 64),
        ({"rescale_factor": 2 / 255, "image_mean": 1, "image_std": 0.5},
         lambda p: (2 * p - 1) / 0.5),
        ({"do_normalize": False, "do_flip_channel_order": True}, lambda p: p.flip(1)),
    ],
)  # fmt: skip
def test_the_input_is_what_the_image_processor_makes(
    folder: Path, processor: dict[str, Any], expected: Any
) -> None:
    spec = spec_with(folder, processor)
    pixels = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(spec.normalise(pixels), expected(pixels))
    torch.testing.assert_close(spec.denormalise(expected(pixels)), pixels)


@pytest.mark.parametrize("text", ["{", "[]", '{"image_mean": [1, 2]}', '{"rescale_factor": "x"}'])
def test_an_unreadable_image_processor_is_named(folder: Path, text: str) -> None:
    localizer = built(folder)
    (folder / "preprocessor_config.json").write_text(text)
    with pytest.raises(LocalizerError, match=r"preprocessor_config\.json does not say"):
        describe(localizer)


@pytest.mark.parametrize("model_type", ["segformer", "upernet", "beit", "dpt", "mobilevit",
                                        "mobilevitv2", "mask2former", "maskformer", "eomt",
                                        "mobilenet_v2", "data2vec-vision"])  # fmt: skip
def test_the_table_says_what_transformers_image_processors_do(model_type: str) -> None:
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    assert set(KINDS) == {
        "segformer", "upernet", "beit", "dpt", "mobilevit", "mobilevitv2", "mask2former",
        "maskformer", "eomt", "mobilenet_v2", "data2vec-vision",
    }  # fmt: skip
    names = IMAGE_PROCESSOR_MAPPING_NAMES[model_type]
    name = names["torchvision"] if isinstance(names, dict) else names[0]
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    as_it_is = {"do_resize": False, "do_center_crop": False, "do_pad": False}
    made = getattr(transformers, name)(**as_it_is)(images=image, return_tensors="pt")
    given = KINDS[model_type].input
    spec = LocalizerSpec(mean=given.mean, std=given.std, colour_order=given.colour_order)
    torch.testing.assert_close(spec.normalise(image[None] / 255), made["pixel_values"])


def test_an_unknown_type_is_guessed_and_says_so() -> None:
    localizer = tiny()
    localizer.config.model_type = "another"
    with pytest.warns(UserWarning, match="another does not say how its input is normalised"):
        spec = describe(localizer)
    assert (spec.mean, spec.std, spec.taps) == (IMAGENET_MEAN, IMAGENET_STD, ())


def test_colours_in_another_order_reach_the_ansm_as_pixels() -> None:
    """The ANSM sees red first and changes red, whatever the localizer's input has first."""

    class Redden(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return torch.tensor([0.1, 0.0, 0.0]).view(1, 3, 1, 1).expand_as(images)

    seen: list[Tensor] = []
    spec = LocalizerSpec(mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0), colour_order="bgr")
    pixels = torch.rand(1, 3, 8, 8) / 2
    defended = wrap_with_ansm(nn.Conv2d(3, 1, 1), ansm=Redden(), spec=spec)
    suppressed = defended.suppress(spec.normalise(pixels))
    torch.testing.assert_close(seen[0], pixels)
    torch.testing.assert_close(spec.denormalise(suppressed)[:, 0], pixels[:, 0] + 0.1)
    torch.testing.assert_close(spec.denormalise(suppressed)[:, 1:], pixels[:, 1:])


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "forged"),
    [("&num_labels=1", 1), ("&num_labels=2", 1), ("&num_labels=2&forged=0", 0),
     ("&num_labels=5&forged=3", 3)],
)  # fmt: skip
def test_the_forged_label_is_known_or_said(options: str, forged: int) -> None:
    localizer = tiny(options)
    spec = describe(localizer)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        logits = localizer(spec.normalise(pixels)).logits
        found = mask_forward(localizer, spec)(pixels)
    wanted = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, forged, None]
    small = spec.mask_logits({"logits": logits}, (16, 16)).sigmoid()
    torch.testing.assert_close(small, wanted)
    assert found.shape == (1, 1, 64, 64)


def test_several_labels_without_a_word_are_refused() -> None:
    localizer = tiny("&num_labels=5")
    with pytest.raises(LocalizerError, match=r"5 labels \(0 LABEL_0, .*\?forged=INDEX"):
        wrap_with_ansm(localizer)
    localizer.forged = 4
    assert describe(localizer).tamper_class == 4


def test_the_forged_label_is_kept_in_the_folder(tmp_path: Path) -> None:
    tiny("&num_labels=5&forged=3").save_pretrained(tmp_path)
    assert describe(built(tmp_path)).tamper_class == 3
