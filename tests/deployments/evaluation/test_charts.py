"""Charts: lengths and places follow the numbers, names are escaped, nothing is drawn of nothing."""

import re

import pytest

from alignhmr.deployments.evaluation.charts import calibration_dots, joint_bars


def test_bars_are_as_long_as_their_errors() -> None:
    entries = {
        "left_wrist": {"pa_mpjpe_mm": 40.0, "mpjpe_mm": 80.0},
        "left_<hip>": {"pa_mpjpe_mm": 30.0, "mpjpe_mm": 20.0},
        "nose": {"pa_mpjpe_mm": None, "mpjpe_mm": None},
    }
    svg = str(joint_bars(entries))
    lengths = [float(width) for width in re.findall(r'<rect class="\S+" x="112" .*?width="([\d.]+)"', svg)]
    assert [length / lengths[0] for length in lengths] == pytest.approx([1, 0.5, 0.25, 0.375], abs=1e-3)
    assert "left &lt;hip&gt;" in svg and "<hip>" not in svg and "nose" not in svg
    assert "the left wrist" in svg  # for who can't see it
    assert joint_bars({"nose": entries["nose"]}) == ""


def test_a_dot_above_the_diagonal_was_too_sure() -> None:
    bins = [
        {"expected_mm": 50.0, "actual_mm": 150.0, "people": 7},
        {"expected_mm": 80.0, "actual_mm": 80.0, "people": 7},
    ]
    svg = str(calibration_dots({"bins": bins, "gap_mm": 50.0}))
    (x0, y0), (x1, y1) = (
        (float(x), float(y))
        for x, y in re.findall(r'<circle class="\S+ \S+" cx="([\d.]+)" cy="([\d.]+)"', svg)
    )
    assert x0 < x1 and y0 < y1  # SVG counts y downwards
    line = re.search(r'<line class="level" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', svg)
    assert line is not None
    left, bottom, right, top = map(float, line.groups())
    assert (x1 - left) / (right - left) == pytest.approx((bottom - y1) / (bottom - top), abs=1e-2)
