"""Taps collect features and leave no trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.taps import Tap, parse_tap, taps


class Returning(nn.Module):
    """A stage that returns whatever it was given at construction."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> object:
        return self.value


@pytest.mark.parametrize(
    ("text", "tap"),
    [
        ("encoder.layer1", Tap("encoder.layer1")),
        ("encoder[2]", Tap("encoder", 2)),
        ("stage:nhwc", Tap("stage", None, "nhwc")),
        ("blocks.3[0]:nlc+1", Tap("blocks.3", 0, "nlc+1")),
    ],
)
def test_tap_forms(text: str, tap: Tap) -> None:
    assert parse_tap(text) == tap


@pytest.mark.parametrize("text", ["a[", "a[-1]", "a[x]", "a:nchw", "a:nlc", "a:nlc+"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(LocalizerError, match="cannot read tap"):
        parse_tap(text)


def test_features_come_as_channels_by_pixels(tiny: nn.Module) -> None:
    with taps(tiny, ["features", "head"]) as found:
        tiny(torch.rand(2, 3, 4, 5))
    assert list(found) == ["features", "head"]
    assert found["features"].shape == (2, 8, 20)
    assert found["head"].shape == (2, 1, 20)


def test_gradients_flow_through_a_tap(tiny: nn.Module) -> None:
    images = torch.rand(1, 3, 4, 4, requires_grad=True)
    with taps(tiny, ["features"]) as found:
        tiny(images)
    (gradient,) = torch.autograd.grad(found["features"].sum(), images)
    assert gradient.any()


def test_entries_of_a_list_are_chosen_by_index() -> None:
    stages = [torch.rand(1, 3, 8, 8), torch.rand(1, 4, 4, 4)]
    model = nn.Sequential(Returning(stages))
    with taps(model, ["0[1]", "0[0]"]) as found:
        model(torch.rand(1, 3, 8, 8))
    assert torch.equal(found["0[1]"], stages[1].flatten(2))
    assert torch.equal(found["0[0]"], stages[0].flatten(2))


def test_stages_beside_prefix_tokens_are_found() -> None:
    stages = [torch.rand(1, 4, 2, 2)]
    model = nn.Sequential(Returning((stages, [torch.rand(1, 1, 4)])))
    with taps(model, ["0[0]"]) as found:
        model(torch.rand(1, 3, 8, 8))
    assert torch.equal(found["0[0]"], stages[0].flatten(2))


def test_channels_last_and_tokens_become_channels_by_pixels() -> None:
    nhwc, tokens = torch.rand(2, 3, 4, 5), torch.rand(2, 7, 6)
    model = nn.Sequential(Returning(nhwc), Returning(tokens))
    with taps(model, ["0:nhwc", "1:nlc+1"]) as found:
        model(torch.rand(1))
    assert found["0:nhwc"].shape == (2, 5, 12)
    assert torch.equal(found["0:nhwc"][0, :, 4 * 1 + 2], nhwc[0, 1, 2])
    assert torch.equal(found["1:nlc+1"], tokens[:, 1:].transpose(1, 2))


def test_an_in_place_activation_behind_the_tap_does_not_change_the_feature() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    with taps(model, ["0"]) as found:
        model(torch.rand(1, 3, 4, 4))
    assert found["0"].min() < 0


def test_the_last_pass_counts(tiny: nn.Module) -> None:
    with taps(tiny.eval(), ["head"]) as found:
        tiny(torch.rand(1, 3, 4, 4))
        last = tiny(torch.rand(1, 3, 4, 4))
    assert torch.equal(found["head"], last.flatten(2))


def test_hooks_go_away_even_when_the_block_fails(tiny: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="channels"), taps(tiny, ["head"]):
        tiny(torch.rand(1, 5, 4, 4))
    assert not tiny.head._forward_hooks  # type: ignore[union-attr]


def test_a_missing_tap_offers_the_nearest_and_leaves_no_hook(tiny: nn.Module) -> None:
    said = r"'featurs'.*nearest: features"
    with pytest.raises(LocalizerError, match=said), taps(tiny, ["head", "featurs"]):
        pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([torch.rand(1, 3, 4, 4)], "list"),
        (torch.rand(1, 10), r"\(1, 10\)"),
        (torch.rand(1, 0, 4, 4), r"\(1, 0, 4, 4\)"),
    ],
)
def test_an_output_that_is_no_feature_is_named(value: object, said: str) -> None:
    model = nn.Sequential(Returning(value))
    with pytest.raises(LocalizerError, match=said), taps(model, ["0"]):
        model(torch.rand(1))


def test_an_index_beyond_the_list_is_refused() -> None:
    model = nn.Sequential(Returning([torch.rand(1, 3, 4, 4)]))
    with pytest.raises(LocalizerError, match=r"0\[5\]"), taps(model, ["0[5]"]):
        model(torch.rand(1))
