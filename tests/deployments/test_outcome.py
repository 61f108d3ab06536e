"""What the demo's report is told of an alignment."""

import numpy as np
import pytest

from alignhmr.deployments.demo.outcome import training_part


def aligned(**last: float) -> dict:
    """As `train dpo` returns it, after two looks at the batch."""
    row = {
        "step": 10, "dpo": 0.69, "winner_error": 1.02, "winner_reference": 1.0, "loser_error": 1.1,
        "loser_reference": 1.0, "drift_mm": 1.5,
    }  # fmt: skip
    return {
        "history": [row, row | {"step": 20} | last],
        "made_people": {},
        "people": {"made": 0},
        "verdict": {"text": "kept: no"},
        "alarms": [],
    }


def test_every_curve_is_drawn_from_what_training_records():
    part = training_part(aligned(winner_error=0.99))
    assert all(np.isfinite(series.values).all() for curve in part.curves for series in curve.series)
    winner, loser = part.curves[1].series
    assert winner.values == pytest.approx([2, -1]) and loser.values == pytest.approx([10, 10])


def test_a_curve_whose_figures_are_missing_is_no_empty_chart():
    told = aligned()
    for row in told["history"]:
        del row["drift_mm"]
    with pytest.raises(KeyError):
        training_part(told)
