"""Charts of a labelling run as inline SVG: histograms as bars, images a second over time as a line."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 200, 48, 26, 10
_BINS = 60


def bars(counts: Sequence[int], edges: np.ndarray) -> Markup:
    """A histogram; the last bar holds all beyond."""
    total = sum(counts)
    if not total:
        return Markup('<p class="quiet">Nothing to show.</p>')
    tallest, inner = max(counts), _WIDTH - _LEFT
    middle = float(np.interp(0.5, np.cumsum(counts) / total, edges[1:]))
    said = f"Histogram of {total} values from {edges[0]:g} to {edges[-1]:g}; half of them are below {middle:.3g}."
    parts = [_opening(said)]
    step = inner / len(counts)
    for index, count in enumerate(counts):
        height = (_HEIGHT - _BOTTOM - _TOP) * count / tallest
        title = f"{edges[index]:g} to {edges[index + 1]:g}: {count}"
        parts.append(
            f'<rect class="bar-in" x="{_LEFT + index * step + 1:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}"'
            f' width="{step - 2:.1f}" height="{height:.1f}"><title>{title}</title></rect>'
        )
    for value in np.linspace(edges[0], edges[-1], 7):
        x = _LEFT + inner * (value - edges[0]) / (edges[-1] - edges[0])
        parts.append(
            f'<text x="{min(x, _WIDTH - 12):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{value:g}</text>'
        )
    parts.append(f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{tallest}</text>')
    return Markup("".join(parts) + "</svg>")


def pace(attempts: Sequence[Mapping[str, Any]]) -> Markup:
    """Images a second over the time that the attempts worked, one after another."""
    times, rates, before = [], [], 0.0
    for attempt in attempts:
        line = attempt.get("timeline") or []
        for (start, a), (end, b) in pairwise(line):
            if end > start:
                times.append(before + (start + end) / 2)
                rates.append(max(b - a, 0) / (end - start))
        before += attempt["seconds"]
    if len(times) < 2:
        return Markup('<p class="quiet">Too short a run to draw its pace.</p>')
    edges = np.linspace(0, max(before, times[-1]), min(_BINS, len(times)) + 1)
    where = np.clip(np.digitize(times, edges) - 1, 0, len(edges) - 2)
    inside = [np.array(rates)[where == index] for index in range(len(edges) - 1)]
    binned = [float(some.mean()) if len(some) else None for some in inside]
    top = max(max(value for value in binned if value is not None), 1e-9)
    points = [
        (
            _LEFT + (_WIDTH - _LEFT - 8) * (edges[index] + edges[index + 1]) / 2 / edges[-1],
            _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / top,
        )
        for index, value in enumerate(binned)
        if value is not None
    ]
    parts = [_opening(f"Images a second over {before:.0f} seconds; at most {top:.1f}.")]
    for share in (0.0, 0.5, 1.0):
        y = _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * share:.3g}</text>')
    parts.append(f'<polyline class="pace" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
    parts.append(f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 8}" text-anchor="end">{before:.0f} s</text>')
    return Markup("".join(parts) + "</svg>")


def _opening(said: str) -> str:
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">'
