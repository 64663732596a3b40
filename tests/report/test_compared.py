"""What two runs share: images, photographs, and the interval of their difference."""

from __future__ import annotations

import pytest
import torch

from ansm_plugin.report.compared import paired
from ansm_plugin.report.per_photograph import PerImage
from ansm_plugin.report.settings import _options


def _values(f1: list[float], source: list[int], area: float = 0.25) -> PerImage:
    count = len(f1)
    return PerImage(
        torch.tensor(f1, dtype=torch.float64),
        torch.full((count,), area, dtype=torch.float64),
        torch.tensor(source, dtype=torch.float64),
        tuple((0, i) for i in range(count)),
    )


def test_photographs_are_resampled_not_their_crops() -> None:
    """Crops of one photograph that all change alike count once: the interval is wider."""
    first, other = [0.0] * 9, [0.0, 0.0, 0.0, 0.3, 0.3, 0.3, 0.6, 0.6, 0.6]
    alone = paired(_values(first, list(range(9))), _values(other, list(range(9))), 0)
    crops = [i // 3 for i in range(9)]
    together = paired(_values(first, crops), _values(other, crops), 0)
    assert alone is not None
    assert together is not None
    assert together.f1 == alone.f1 == pytest.approx(0.3)
    assert (together.images, together.photographs) == (9, 3)
    assert None not in (alone.low, alone.high, together.low, together.high)
    assert together.low < alone.low < alone.high < together.high  # type: ignore[operator]


def test_two_photographs_have_no_interval() -> None:
    found = paired(_values([0.0, 0.0], [0, 1]), _values([0.5, 0.5], [0, 1]), 0)
    assert found is not None
    assert (found.f1, found.low, found.high, found.is_clear) == (0.5, None, None, False)


def test_what_is_not_shared_is_left_out() -> None:
    """Images of another forged area, of another photograph, and those that an attack left out."""
    first = _values([0.0] * 5, [0, 1, 2, 3, 4])
    other = _values([0.1, 0.2, 0.3, float("nan"), 0.5], [0, 1, 9, 3, 4])
    other.area[4] = 0.5
    found = paired(first, other, 0)
    assert found is not None
    assert found.images == 2
    assert found.f1 == pytest.approx(0.15)
    assert paired(first, _values([0.1] * 5, [0, 1, 2, 3, 4], area=0.5), 0) is None


def test_options_of_a_command_are_read_whole() -> None:
    command = "ansm evaluate --eps=2,4 --quick --surrogate a --surrogate 'b c' --output x --json y"
    assert _options(command) == {"--eps": "2,4", "--quick": "yes", "--surrogate": "a b c"}
    assert _options("cut 'off") == {"command": "cut 'off"}
