"""Small charts as inline SVG: no script, colours from the page's style, words for who can't see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

from alignhmr.core.body.skeleton import JOINTS, PARENTS

if TYPE_CHECKING:
    from alignhmr.deployments.demo.report import Curve, HypothesesCard, PersonCard

SURE_MM, UNSURE_MM = 15.0, 110.0
"""Ends of the colour scale of joint spread: detector noise, and a limb that may be anywhere."""

_SCALE = np.array([[42, 157, 143], [122, 184, 116], [233, 184, 76], [231, 120, 76], [199, 56, 88]])


def spread_color(spread_mm: float) -> str:
    """Teal where the hypotheses agree, through yellow, to red where they don't."""
    at = np.clip((spread_mm - SURE_MM) / (UNSURE_MM - SURE_MM), 0, 1) * (len(_SCALE) - 1)
    rgb = [np.interp(at, range(len(_SCALE)), _SCALE[:, channel]) for channel in range(3)]
    return "#" + "".join(f"{round(float(value)):02x}" for value in rgb)


_STANDING = {
    "pelvis": (50, 78), "left_hip": (58, 82), "right_hip": (42, 82), "spine1": (50, 69), "left_knee": (60, 112),
    "right_knee": (40, 112), "spine2": (50, 59), "left_ankle": (61, 143), "right_ankle": (39, 143),
    "spine3": (50, 49), "left_foot": (66, 150), "right_foot": (34, 150), "neck": (50, 33),
    "left_collar": (55, 37), "right_collar": (45, 37), "head": (50, 20), "left_shoulder": (66, 39),
    "right_shoulder": (34, 39), "left_elbow": (76, 62), "right_elbow": (24, 62), "left_wrist": (80, 84),
    "right_wrist": (20, 84), "left_hand": (82, 93), "right_hand": (18, 93),
}  # fmt: skip


def stick_figure(person: PersonCard) -> Markup:
    """The pose with each joint coloured, and sized, by how much the hypotheses differ there."""
    spread = np.nan_to_num(np.asarray(person.joint_spread_mm, float), nan=UNSURE_MM)
    places = np.array([_STANDING[name] for name in JOINTS], float)
    if person.joints_px is not None and np.isfinite(person.joints_px).all():
        places = _fitted(np.asarray(person.joints_px, float), (100, 160), 12)
    order = np.argsort(spread).tolist()
    said = (
        f"Stick figure. The hypotheses agree most on the {_words(order[0])} (±{spread[order[0]]:.0f} mm)"
        f" and least on the {_words(order[-1])} (±{spread[order[-1]]:.0f} mm)."
    )
    parts = [f'<svg class="figure" viewBox="0 0 100 160" role="img" aria-label="{escape(said)}">']
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            (x0, y0), (x1, y1) = places[parent], places[joint]
            color = spread_color(float(spread[parent] + spread[joint]) / 2)
            line = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
            parts.append(f'<line {line} stroke="{color}"/>')
    for joint in order:
        x, y = places[joint]
        radius = 2.2 + 2.8 * min(1.0, spread[joint] / UNSURE_MM)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{spread_color(float(spread[joint]))}">'
            f"<title>{_words(joint)}: ±{spread[joint]:.0f} mm</title></circle>"
        )
    return Markup("".join(parts) + "</svg>")


def _words(joint: int) -> str:
    return JOINTS[joint].replace("_", " ")


def _fitted(points: Float[np.ndarray, "points 2"], size: tuple[int, int], margin: float) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    room = np.array(size) - 2 * margin
    scale = (room / np.maximum(high - low, 1e-6)).min()
    return (points - (low + high) / 2) * scale + np.array(size) / 2


def score_strip(card: HypothesesCard) -> Markup:
    """Every hypothesis as a dot: its score to the right, its expected error upwards; the selected ringed."""
    scores, errors = np.asarray(card.scores, float), np.asarray(card.expected_error_mm, float)
    known = np.isfinite(scores) & np.isfinite(errors)
    if not known.any():
        return Markup()
    width, height, left, right, top, bottom = 320, 150, 40, 12, 12, 34
    x, x_ticks = _scale(scores[known], left, width - right)
    y, y_ticks = _scale(errors[known], height - bottom, top)
    said = (
        f"{len(scores)} hypotheses. The selected one scores {scores[card.selected]:.2f} and is expected to be"
        f" {errors[card.selected]:.0f} mm off; the others score {scores[known].min():.2f} to"
        f" {scores[known].max():.2f}."
    )
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    for tick in y_ticks:
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        parts.append(
            f'<text x="{x(tick):.1f}" y="{height - bottom + 15}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(f'<text x="{width - right}" y="{height - 4}" text-anchor="end">score →</text>')
    parts.append(f'<text x="{left}" y="{height - 4}">↑ expected error, mm</text>')
    for index in np.flatnonzero(known):
        kind = "dot chosen" if index == card.selected else "dot"
        radius = 6 if index == card.selected else 4
        parts.append(
            f'<circle class="{kind}" cx="{x(scores[index]):.1f}" cy="{y(errors[index]):.1f}" r="{radius}">'
            f"<title>hypothesis {index}: score {scores[index]:.2f}, {errors[index]:.0f} mm</title></circle>"
        )
    return Markup("".join(parts) + "</svg>")


def line_chart(curve: Curve) -> Markup:
    """Lines over steps, told apart by colour and by dashes, with a level to compare with."""
    steps = np.asarray(curve.steps, float)
    lines = [(one.name, np.asarray(one.values, float)) for one in curve.series]
    level = [] if curve.reference is None else [curve.reference[1]]
    seen = np.concatenate([values[np.isfinite(values)] for _, values in lines] + [np.array(level, float)])
    if not len(steps) or not any(np.isfinite(values).any() for _, values in lines):
        return Markup()
    width, height, left, right, top, bottom = 360, 210, 46, 14, 12, 30
    x, x_ticks = _scale(steps, left, width - right, tight=True)
    y, y_ticks = _scale(seen, height - bottom, top)
    said = f"{curve.title}. " + " ".join(
        f"{name}: from {values[np.isfinite(values)][0]:.3g} to {values[np.isfinite(values)][-1]:.3g}."
        for name, values in lines
        if np.isfinite(values).any()
    )
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    for tick in y_ticks:
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    if curve.reference is not None:
        name, value = curve.reference
        at = y(value)
        parts.append(f'<line class="level" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        above = at - 5 if at > top + 14 else at + 13
        parts.append(f'<text x="{width - right}" y="{above:.1f}" text-anchor="end">{escape(name)}</text>')
    for number, (_, values) in enumerate(lines):
        path, drawing = [], False
        for step, value in zip(steps, values, strict=True):
            if np.isfinite(value):
                path.append(f"{'L' if drawing else 'M'}{x(step):.1f} {y(value):.1f}")
            drawing = bool(np.isfinite(value))
        parts.append(f'<path class="line s{number % 4}" d="{" ".join(path)}"/>')
    return Markup("".join(parts) + "</svg>")


def _scale(values: np.ndarray, start: float, end: float, *, tight: bool = False):
    """A map from values to places, and three to six round ticks within it."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(1e-3, abs(low)), high + 0.5 * max(1e-3, abs(high))
    if not tight:
        low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    rough = (high - low) / 5
    unit = 10 ** np.floor(np.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    ticks = np.round(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step, 12) + 0.0  # no -0
    return (lambda value: start + (value - low) / (high - low) * (end - start)), ticks.tolist()
