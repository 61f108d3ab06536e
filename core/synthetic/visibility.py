"""Which joints and keypoints a picture shows.

A joint lies inside its body, so "nothing before it" is never true. A point is visible if

1.  it lies before the camera and projects into the picture, and
2.  the surface that its pixel sees is either no more than ``TOLERANCE_M`` before the point, or belongs to the
    point's own part of the same body and is no farther before the point than that part is thick there. A point's
    part is what the joint that carries it moves, with the joint's parent and children; the trunk is one part.

The thickness is measured on the rest body along the four directions sideways and front to back, so a nose seen
from behind is hidden by its own head, and a hip by the other hip. A shoulder may lie behind its shoulder blade, too.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, PARENTS
from alignhmr.core.synthetic.rasterizer import compiled
from alignhmr.core.synthetic.skinning import Skin

TOLERANCE_M = 0.03
"""Clothing, hair and a finger's breadth."""
_SURFACE_M = 0.03
"""Points this near the skin are of the surface (eyes, nose, toes): nothing of their own may lie before them."""
_REACH_M = 0.22
"""No part of the mean body is deeper."""
SHOULDER_M = 0.11
"""A shoulder's own flesh with the arm down; the rest body holds its arms out, where there is less."""
POINTS = len(JOINTS) + len(KEYPOINTS)

_TRUNK = tuple(
    JOINTS.index(name) for name in ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
)
_HOSTS = {
    "nose": "head", "eye": "head", "ear": "head", "shoulder": "shoulder", "elbow": "elbow", "wrist": "wrist",
    "hip": "hip", "knee": "knee", "ankle": "ankle", "big_toe": "foot", "small_toe": "foot", "heel": "ankle",
}  # fmt: skip


def hosts() -> Int[np.ndarray, "47"]:
    """The joint that carries each of the 24 joints and 23 keypoints."""
    found = list(range(len(JOINTS)))
    for name in KEYPOINTS:
        side, _, rest = name.partition("_")
        host = _HOSTS[rest if rest else side]
        found.append(JOINTS.index(host if host == "head" else f"{side}_{host}"))
    return np.array(found)


def own_parts() -> Bool[np.ndarray, "47 24"]:
    """Parts of the body that a point may lie behind."""
    out = np.zeros((POINTS, len(JOINTS)), bool)
    for point, host in enumerate(hosts()):
        out[point, host] = True
        for joint, parent in enumerate(PARENTS):
            if joint == host and parent >= 0:
                out[point, parent] = True
            if parent == host:
                out[point, joint] = True
        if host in _TRUNK:
            out[point, list(_TRUNK)] = True
    return out


_OWN = own_parts()


def _looked_through() -> Bool[np.ndarray, "47 24"]:
    """``own_parts``, and the shoulder blade, which the upper spine moves, before a shoulder seen from behind."""
    out = _OWN.copy()
    for point, host in enumerate(hosts()):
        if JOINTS[host].endswith("_shoulder"):
            out[point, JOINTS.index("spine3")] = True
    return out


_THROUGH = _looked_through()


def thickness_m(skin: Skin) -> Float[np.ndarray, "47"]:
    """How far before a point its own part may lie: the deepest way out of the mean body, sideways or front to back."""
    points = np.concatenate([skin.joint_template_m, skin.keypoints_of(skin.template_m)])
    corners, face_part = skin.template_m[skin.faces], skin.part[skin.faces[:, 0]]
    nearest = np.array([np.linalg.norm(skin.template_m - point, axis=1).min() for point in points])
    out = np.full(POINTS, _SURFACE_M)
    for index, point in enumerate(points):
        if nearest[index] < 0.02 and index >= len(JOINTS):
            continue
        own = corners[_OWN[index][face_part]]
        ways = [_way_out(point, way, own) for way in ([1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1])]
        out[index] = max(_SURFACE_M, *ways) + TOLERANCE_M
        if JOINTS[hosts()[index]].endswith("_shoulder"):
            out[index] = max(out[index], SHOULDER_M)
    return out


def _way_out(point: np.ndarray, direction, corners: np.ndarray) -> float:
    """Distance to the last surface within reach (Möller and Trumbore); 0 where there is none: along a limb, say."""
    d = np.asarray(direction, float)
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(d, ac)
    bottom = (ab * p).sum(1)
    safe = np.where(np.abs(bottom) > 1e-12, bottom, np.inf)
    t = point - a
    u = (t * p).sum(1) / safe
    q = np.cross(t, ab)
    v = (q * d).sum(1) / safe
    far = (ac * q).sum(1) / safe
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (far > 1e-6) & (far < _REACH_M)
    return float(far[hit].max()) if hit.any() else 0.0


def visible_points(
    points_cam_m: Float[np.ndarray, "47 3"],
    points_px: Float[np.ndarray, "47 2"],
    person: int,
    depth_m: Float[np.ndarray, "rows columns"],
    face_id: Int[np.ndarray, "rows columns"],
    face_owner: Int[np.ndarray, "faces"],
    face_part: Int[np.ndarray, "faces"],
    thickness: Float[np.ndarray, "47"],
    samples: int,
) -> Bool[np.ndarray, "47"]:
    """Visibility of one person's joints and keypoints, off the depth map (``samples`` a pixel's side)."""
    out = np.zeros(len(points_px), bool)
    _look(
        np.asarray(points_cam_m, np.float64), np.asarray(points_px, np.float64), person, depth_m, face_id,
        face_owner, face_part, _THROUGH, thickness, samples, out,
    )  # fmt: skip
    return out


@compiled
def _look(points, pixels, person, depth, face_id, face_owner, face_part, own, thickness, samples, out):
    for k in range(len(points)):
        column, row = int(np.floor(pixels[k, 0] * samples)), int(np.floor(pixels[k, 1] * samples))
        if points[k, 2] < 0.05 or not (0 <= row < depth.shape[0] and 0 <= column < depth.shape[1]):
            continue
        before = points[k, 2] - depth[row, column]
        face = face_id[row, column]
        if before <= 0.03:
            out[k] = True
        elif face >= 0 and face_owner[face] == person:
            if face_part[face] < 0:  # under one's own skirt a knee is as visible as in trousers
                out[k] = before <= max(thickness[k], 0.2)
            elif own[k, face_part[face]]:
                out[k] = before <= thickness[k]
