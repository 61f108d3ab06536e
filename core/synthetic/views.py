"""Bodies looked at from elsewhere: a turntable view on a light ground, and many hypotheses as ghosts.

The viewer walks around the bodies by ``yaw_rad`` and rises by ``pitch_rad``; yaw 0 and pitch 0 look as the
photo's camera did, yaw +90 degrees from the camera's right, pitch 90 degrees from above. "Up" is the
camera's up: a tilted camera gives a tilted ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.overlay import Color, render
from alignhmr.core.synthetic.shading import GHOST, palette_color, to_linear, to_srgb

GENTLE_PITCH_RAD = 0.14
"""Eyes a little above the body's middle: enough to see the ground."""

_FIELD_OF_VIEW_RAD = 0.42  # a portrait lens: little distortion, still some depth
_MARGIN = 1.06
_BACKDROP_TOP, _BACKDROP_FLOOR = (226, 230, 236), (246, 247, 249)


@dataclass(frozen=True)
class Frame:
    """What a view has to hold. Give pictures meant for comparison the same frame."""

    center_cam_m: Float[np.ndarray, "3"]
    half_height_m: float
    half_width_m: float
    ground_y_m: float

    @classmethod
    def around(cls, bodies: Sequence[Float[np.ndarray, "verts 3"]]) -> "Frame":
        """Holds all bodies from every yaw, so that a turntable doesn't breathe."""
        if not len(bodies):
            raise InputError("there is no body to look at; give at least one")
        vertices = np.concatenate([np.asarray(body, np.float64) for body in bodies])
        low, high = vertices.min(0), vertices.max(0)
        center = (low + high) / 2
        around = np.linalg.norm(vertices[:, [0, 2]] - center[[0, 2]], axis=1).max()
        return cls(center, float(high[1] - low[1]) / 2, float(around), float(high[1]))


@dataclass(frozen=True)
class _Viewer:
    """A camera of the view: ``points @ axes.T + offset`` are in its frame."""

    axes: np.ndarray
    offset: np.ndarray
    focal_px: float
    center_px: tuple[float, float]

    @classmethod
    def of(cls, frame: Frame, yaw: float, pitch: float, size: tuple[int, int]) -> "_Viewer":
        forward = np.array([-np.sin(yaw), 0.0, np.cos(yaw)])
        down = np.array([0.0, 1.0, 0.0])
        right = np.cross(down, forward)
        forward, down = (
            np.cos(pitch) * forward + np.sin(pitch) * down,
            np.cos(pitch) * down - np.sin(pitch) * forward,
        )
        axes = np.stack([right, down, forward])
        down_m = np.array([0.0, frame.half_height_m, 0.0])
        width, height = size
        focal = 0.5 * height / np.tan(_FIELD_OF_VIEW_RAD / 2)
        # The nearest place from where the upright cylinder around everything is in sight.
        turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        rim = np.stack([np.sin(turn), np.zeros(32), np.cos(turn)], -1) * frame.half_width_m
        ends = np.concatenate([rim - down_m, rim + down_m]) @ axes.T
        sideways = np.abs(ends[:, :2]) / np.array([width / 2, height / 2])
        distance = float((_MARGIN * focal * sideways.max(1) - ends[:, 2]).max())
        offset = np.array([0.0, 0.0, distance]) - axes @ frame.center_cam_m
        return cls(axes, offset, float(focal), (width / 2, height / 2))

    def see(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(points, np.float64) @ self.axes.T + self.offset


def side_view(
    vertices_cam_m: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    yaw_rad: float,
    size: tuple[int, int] = (360, 480),
    *,
    pitch_rad: float = GENTLE_PITCH_RAD,
    color: Color | None = None,
    frame: Frame | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """One body on a light ground with its shadow, seen from ``yaw_rad`` around it."""
    frame = frame or Frame.around([vertices_cam_m])
    viewer = _Viewer.of(frame, yaw_rad, pitch_rad, size)
    picture = _ground([vertices_cam_m], [1.0], faces, frame, viewer, size)
    rgba = _drawn(vertices_cam_m, faces, color or palette_color(0), viewer, size)
    return _finish(rgba[..., :3] + picture * (1 - rgba[..., 3:]))


def hypotheses_view(
    bodies: Sequence[Float[np.ndarray, "verts 3"]],
    faces: Int[np.ndarray, "faces 3"],
    selected: int,
    yaw_rad: float,
    size: tuple[int, int] = (360, 480),
    *,
    pitch_rad: float = GENTLE_PITCH_RAD,
    color: Color | None = None,
    ghost: Color = GHOST,
    frame: Frame | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """The selected hypothesis solid, all others as ghosts: where they are dense, the answers agree.

    Bodies are drawn where they are. To compare poses alone, move their roots together first.
    """
    if not 0 <= selected < len(bodies):
        raise InputError(f"hypothesis {selected} was selected of {len(bodies)}; give an index among them")
    frame = frame or Frame.around(bodies)
    viewer = _Viewer.of(frame, yaw_rad, pitch_rad, size)
    others = [body for index, body in enumerate(bodies) if index != selected]
    weights = [1.0] + [0.5 / max(1, len(others))] * len(others)
    picture = _ground([bodies[selected], *others], weights, faces, frame, viewer, size)
    # Translucent layers don't depend on their order here: colours are averaged, and what shows through is
    # the product of what each lets through.
    colors, through = np.zeros((size[1], size[0], 3)), np.ones((size[1], size[0], 1))
    coverage = np.zeros((size[1], size[0], 1))
    opacity = min(0.34, 2.6 / max(1, len(others)))
    for body in others:
        rgba = _drawn(body, faces, ghost, viewer, size)
        colors += rgba[..., :3]
        coverage += rgba[..., 3:]
        through *= 1 - opacity * rgba[..., 3:]
    mist = colors / np.maximum(coverage, 1e-6)
    picture = picture * through + mist * (1 - through)
    solid = _drawn(bodies[selected], faces, color or palette_color(0), viewer, size)
    picture = solid[..., :3] + picture * (1 - solid[..., 3:])
    veil = 0.16 * (1 - through) * solid[..., 3:]
    return _finish(picture * (1 - veil) + mist * veil)


def _drawn(body, faces, color: Color, viewer: _Viewer, size: tuple[int, int]) -> np.ndarray:
    bands = render([viewer.see(body)], faces, [color], viewer.focal_px, viewer.center_px, size)
    return np.concatenate([rgba for _, rgba in bands]).astype(np.float64)


def _finish(linear: np.ndarray) -> np.ndarray:
    return np.rint(to_srgb(linear)).astype(np.uint8)


_SHADOW_CELLS = 192


def _ground(bodies, weights, faces, frame: Frame, viewer: _Viewer, size) -> np.ndarray:
    """Backdrop without a horizon, and the bodies' shadows where the view meets the ground; linear."""
    column, row = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    rays = np.stack(
        [
            (column - viewer.center_px[0]) / viewer.focal_px,
            (row - viewer.center_px[1]) / viewer.focal_px,
            np.ones_like(row),
        ],
        -1,
    )
    towards = rays @ viewer.axes
    eye = -viewer.axes.T @ viewer.offset
    falls = towards[..., 1] > 1e-3
    travel = np.where(falls, (frame.ground_y_m - eye[1]) / np.where(falls, towards[..., 1], 1.0), 0.0)
    meets = falls & (travel > 0)
    at = eye + travel[..., None] * towards - [frame.center_cam_m[0], 0.0, frame.center_cam_m[2]]
    reach = 1.6 * max(frame.half_width_m, 0.6 * frame.half_height_m, 0.2)
    away = np.hypot(at[..., 0], at[..., 2])
    pool = np.where(meets, np.exp(-((away / (1.4 * reach)) ** 2)), 0.0)[..., None]
    picture = to_linear(np.array(_BACKDROP_TOP)) * (1 - pool) + to_linear(np.array(_BACKDROP_FLOOR)) * pool
    shadow = np.zeros((_SHADOW_CELLS, _SHADOW_CELLS), np.float32)
    for body, weight in zip(bodies, weights, strict=True):
        shadow += weight * _shadow(np.asarray(body, np.float64), faces, frame, reach)
    cells = ((at[..., [0, 2]] / reach + 1) * _SHADOW_CELLS / 2 - 0.5).astype(np.float32)
    seen = cv2.remap(shadow, cells[..., 0].copy(), cells[..., 1].copy(), cv2.INTER_LINEAR, borderValue=0)
    return picture * (1 - np.clip(np.where(meets, seen, 0.0), 0, 0.75))[..., None]


def _shadow(body: np.ndarray, faces: np.ndarray, frame: Frame, reach: float) -> np.ndarray:
    """Darkness of the ground around its centre: crisp where the body touches, wide and faint below it."""
    corners = body[faces]
    place = corners.mean(1)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.abs(across[:, 1])  # as seen from above
    height = frame.ground_y_m - place[:, 1]
    cell = 2 * reach / _SHADOW_CELLS
    edges = np.linspace(-reach, reach, _SHADOW_CELLS + 1)
    x, z = place[:, 0] - frame.center_cam_m[0], place[:, 2] - frame.center_cam_m[2]
    darkness = np.zeros((_SHADOW_CELLS, _SHADOW_CELLS))
    for falloff_m, blur_m, strength in ((0.05, 0.025, 0.55), (0.7, 0.13, 0.45)):
        spread = np.histogram2d(z, x, (edges, edges), weights=area * np.exp(-height / falloff_m))[0]
        blurred = cv2.GaussianBlur(spread / cell**2, (0, 0), blur_m / cell)
        darkness += strength * (1 - np.exp(-blurred))
    return darkness.astype(np.float32)
