"""Charts of an evaluation as inline SVG: errors by joint as bars, expected against actual errors as dots."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape


def joint_bars(by_joint: Mapping[str, Any]) -> Markup:
    """A bar for each joint: PA-MPJPE filled, MPJPE as the outline behind it."""
    rows = [
        (name.replace("_", " "), entry) for name, entry in by_joint.items() if entry["mpjpe_mm"] is not None
    ]
    if not rows:
        return Markup()
    most = max(max(entry["mpjpe_mm"], entry["pa_mpjpe_mm"]) for _, entry in rows)
    width, left, right, step = 560, 112, 52, 24
    height = step * len(rows) + 8
    worst = max(rows, key=lambda row: row[1]["pa_mpjpe_mm"])
    said = f"Errors by joint. The largest PA-MPJPE is the {worst[0]}'s, {worst[1]['pa_mpjpe_mm']:.0f} mm."
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    for index, (name, entry) in enumerate(rows):
        top = index * step + 4
        lengths = [(width - left - right) * entry[key] / most for key in ("mpjpe_mm", "pa_mpjpe_mm")]
        parts.append(f'<text x="{left - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<rect class="behind" x="{left}" y="{top + 1}" width="{lengths[0]:.1f}" height="16" rx="3"/>'
        )
        parts.append(
            f'<rect class="bar-in" x="{left}" y="{top + 5}" width="{lengths[1]:.1f}" height="8" rx="2"/>'
        )
        figures = f"{entry['pa_mpjpe_mm']:.0f} / {entry['mpjpe_mm']:.0f}"
        parts.append(f'<text x="{left + max(lengths) + 6:.1f}" y="{top + 13}">{figures}</text>')
    return Markup("".join(parts) + "</svg>")


def calibration_dots(calibration: Mapping[str, Any]) -> Markup:
    """Expected error to the right, actual error upwards; on the diagonal the system knows how wrong it is."""
    bins = calibration["bins"]
    most = 1.08 * max(max(part["expected_mm"], part["actual_mm"]) for part in bins)
    width, height, left, right, top, bottom = 340, 300, 46, 14, 10, 40

    def x(value: float) -> float:
        return left + (width - left - right) * value / most

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * value / most

    said = f"Expected against actual errors; the mean gap is {calibration['gap_mm']:.0f} mm."
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    step = next(size for size in (10, 20, 25, 50, 100, 200, 500, 1000, 10_000) if most / size <= 6)
    for tick in range(0, int(most) + 1, step):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{left - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{tick}</text>'
            f'<text x="{x(tick):.1f}" y="{height - bottom + 15}" text-anchor="middle">{tick}</text>'
        )
    end = f'x2="{x(most):.1f}" y2="{y(most):.1f}"'
    parts.append(f'<line class="level" x1="{x(0):.1f}" y1="{y(0):.1f}" {end}/>')
    for part in bins:
        parts.append(
            f'<circle class="dot chosen" cx="{x(part["expected_mm"]):.1f}" cy="{y(part["actual_mm"]):.1f}" r="5">'
            f"<title>{part['people']} people: expected {part['expected_mm']:.0f} mm, actual"
            f" {part['actual_mm']:.0f} mm</title></circle>"
        )
    parts.append(f'<text x="{width - right}" y="{height - 6}" text-anchor="end">expected MPJPE, mm →</text>')
    parts.append(f'<text x="{left}" y="{height - 6}">↑ actual</text>')
    return Markup("".join(parts) + "</svg>")
