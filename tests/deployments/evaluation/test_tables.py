"""Tables: numbers with their intervals, shares in percent, dashes where nothing is known."""

from alignhmr.core.metrics.bootstrap import Interval
from alignhmr.core.truth.comparison import Comparison, Difference
from alignhmr.deployments.evaluation.tables import (
    BROKEN_DOWN,
    broken_down,
    comparison_table,
    figure_name,
    markdown,
    value,
)


def _entry(number: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": number, "low": low, "high": high, "people": 9, "groups": 9}


def test_a_value_is_told_with_its_interval() -> None:
    assert value("mpjpe_mm", _entry(84.26, 80.1, 88.94)) == "84.3 [80.1, 88.9]"
    assert value("mpjpe_mm", _entry(84.26, 80.1, 88.94), interval=False) == "84.3"
    assert value("mpjpe_mm", _entry(84.26)) == "84.3"
    assert value("pck_0.1", _entry(0.875, 0.8, 0.9)) == "87.5 % [80.0, 90.0]"
    assert value("mpjpe_mm", _entry(None)) == value("pve_mm", None) == "–"


def test_the_oracle_is_always_called_one() -> None:
    assert figure_name("best_of_m", 20) == "best of 20 (oracle)"


def test_every_row_has_as_many_cells_as_the_head() -> None:
    lines = markdown(["a", "b"], [["1", "2"], ["3", "4"]])
    assert lines == ["| a | b |", "| --- | --: |", "| 1 | 2 |", "| 3 | 4 |"]


def test_breakdowns_fill_every_column_of_their_head() -> None:
    entry = {"pa_mpjpe_mm": 55.7, "mpjpe_mm": 61.7, "error_px": 3.13, "points": 20, "people": 20}
    told = broken_down(
        {"by_joint": {"left_wrist": entry}, "by_visibility": {"visible": entry | {"error_px": None}},
         "by_domain": {}, "by_fact": {}}
    )  # fmt: skip
    assert told[0] == ("joint", [["left wrist", "55.7", "61.7", "3.1", "20"]])
    assert told[1][1] == [["visible", "55.7", "61.7", "–", "20"]]
    assert all(len(row) == len(BROKEN_DOWN) + 2 for _, rows in told for row in rows)


def test_a_comparison_names_the_better_whichever_way_the_metric_points() -> None:
    def difference(metric: str, gap: float) -> Difference:
        interval = Interval(gap, gap - 0.01, gap + 0.01, 9, 9)
        return Difference(metric, "selected", 1.0, 1.0 - gap, interval, ("ours", "theirs"))

    lower, higher = difference("mpjpe_mm", -0.5), difference("pck_0.1", -0.5)
    assert (lower.better, higher.better) == (0, 1)
    assert higher.sentence() == "theirs is better by 50.0 points [49.0, 51.0]"
    text = comparison_table(
        Comparison("tiny", ("ours", "theirs"), 9, (0, 1), 10, (lower, higher), "One man.")
    )
    assert "missed: 0 by ours, 1 by theirs" in text and "Mind: One man." in text
    assert "| ours is better by 0.5 mm [0.5, 0.5] |" in text
