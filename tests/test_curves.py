"""Pictures of curves show what the rates are."""

from __future__ import annotations

import numpy as np
import pytest

from lrtrain.report.curves import POINTS, thin


@pytest.mark.parametrize("count", [1, POINTS, POINTS + 1, 3999, 6375, 100_000])
def test_what_is_drawn_is_near_the_curve_everywhere(count: int) -> None:
    values = np.linspace(0, 1, count).tolist()
    steps, kept = thin(values)
    assert len(steps) <= POINTS
    assert steps[0] == 0
    assert steps[-1] == count - 1
    assert np.array_equal(kept, np.array(values)[steps])
    held = kept[np.searchsorted(steps, np.arange(count), side="right") - 1]
    assert np.abs(held - values).max() <= 5 / POINTS + 1 / count


@pytest.mark.parametrize("place", [1, 3000, 6373, 6374])
def test_a_single_update_that_stands_out_is_drawn(place: int) -> None:
    values = [0.0] * 6375
    values[place] = 1
    steps, kept = thin(values)
    assert list(kept[steps == place]) == [1]
