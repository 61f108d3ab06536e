"""One person's pose and shape in a y-up world: mocap, recombined, procedural, calm or seated, and never through itself.

The same widenings as ``poses.py``, which draws batches for networks that see no pixels; here each pose also
knows the clip that it came from, and one that passes through its own body is drawn again.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alignhmr.core.body.skeleton import JOINT_MIRROR, JOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.synthetic import contact
from alignhmr.core.synthetic.motion import Clip
from alignhmr.core.synthetic.poses import JITTER_RAD, LIMBS, LIMITS
from alignhmr.core.synthetic.skinning import Skin

REDRAWS = 12
"""Poses tried before the least bad one is taken."""
SEGMENT_FRAMES = 8
"""Frames that count as one piece of a clip: about a third of a second, a single pose to the eye."""

_MEAN_BETAS = np.array([-1.0] + [0.0] * 9)  # see observations.py: the open body's mean is tall
_J = JOINTS.index
# Angles (x, y, z) about which calm people vary, for the left side, and by how much.
_CALM = {
    1: ((0.0, 0.0, 0.06), (0.12, 0.15, 0.05)),
    4: ((0.12, 0.0, 0.0), (0.12, 0.0, 0.0)),
    7: ((-0.05, 0.0, 0.0), (0.08, 0.05, 0.03)),
    3: ((0.03, 0.0, 0.0), (0.06, 0.06, 0.04)),
    6: ((0.03, 0.0, 0.0), (0.06, 0.08, 0.04)),
    12: ((0.1, 0.0, 0.0), (0.12, 0.2, 0.08)),
    15: ((0.05, 0.0, 0.0), (0.12, 0.2, 0.06)),
    16: ((0.1, -0.12, -1.17), (0.25, 0.22, 0.14)),
    18: ((0.0, -0.35, 0.0), (0.2, 0.4, 0.0)),
    20: ((0.0, 0.0, 0.0), (0.2, 0.1, 0.15)),
}
_SEATED = _CALM | {
    1: ((-1.45, 0.0, 0.1), (0.12, 0.1, 0.12)),
    4: ((1.45, 0.0, 0.0), (0.2, 0.0, 0.0)),
    16: ((0.1, -0.5, -0.95), (0.3, 0.3, 0.25)),
    18: ((0.0, -0.9, 0.0), (0.3, 0.5, 0.0)),
}


@dataclass(frozen=True)
class Performance:
    """A body in a y-up world whose ground is y = 0; the person stands about the origin and faces +z on average."""

    rotations: Float[np.ndarray, "24 3 3"]
    betas: Float[np.ndarray, "10"]
    kind: str
    clip: str
    """The motion clip, or ``procedural``."""
    segment: str
    """Piece of the clip: frames of one piece are one pose to the eye."""
    overlap: float
    """What ``contact.self_contact`` says; at most ``ALLOWED_OVERLAP`` unless every redraw failed."""


def rotation_matrices(vectors: Float[np.ndarray, "*any 3"]) -> Float[np.ndarray, "*any 3 3"]:
    """Axis-angle to matrices, in plain float64."""
    angle = np.sqrt((vectors**2).sum(-1))[..., None, None]
    safe = np.where(angle > 1e-12, angle, 1.0)
    x, y, z = (vectors / safe[..., 0]).transpose(-1, *range(vectors.ndim - 1))
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * _times(cross, cross)


def axis_angles(rotations: Float[np.ndarray, "joints 3 3"]) -> Float[np.ndarray, "joints 3"]:
    """Inverse of ``rotation_matrices``; half turns included."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotations).as_rotvec()


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Not `@`: its order of additions is the linear algebra library's affair.
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def _mirrored(rotations: np.ndarray) -> np.ndarray:
    flip = np.array([1.0, -1.0, -1.0])
    return rotations[list(JOINT_MIRROR)] * (flip[:, None] * flip[None, :])


def _euler(angles: np.ndarray) -> np.ndarray:
    x, y, z = (rotation_matrices(angles[..., i, None] * np.eye(3)[i]) for i in range(3))
    return _times(_times(z, y), x)


class Actors:
    """Draws performances from some clips; the generator alone decides what comes."""

    def __init__(self, clips: list[Clip], skin: Skin, own: list[Clip] | None = None) -> None:
        """Half of the frames come from ``own`` clips, however few, where there are any."""
        if not clips and not own:
            raise InputError("there is no motion clip to draw poses from; give one or more")
        self.clips, self.own = clips or own or [], own or []
        self.skin = skin
        self.radii = contact.radii_m(skin)

    def draw(
        self, rng: np.random.Generator, shares: dict[str, float], jitter: float, tag: str
    ) -> Performance:
        """``tag`` names what has no clip, so that it isn't mistaken for another's procedural pose."""
        betas = np.clip(rng.standard_normal(10), -2.5, 2.5) + _MEAN_BETAS
        kinds = list(shares)
        kind = kinds[
            int(np.searchsorted(np.cumsum([shares[k] for k in kinds]), rng.random() * sum(shares.values())))
        ]
        best: Performance | None = None
        for _ in range(REDRAWS):
            rotations, clip, segment = self._pose(rng, kind, jitter, tag)
            joints = self.skin.motions(rotations, betas)[:, :, 3]
            overlap = contact.self_contact(joints, self.radii)
            if best is None or overlap < best.overlap:
                best = Performance(rotations, betas, kind, clip, segment, overlap)
            if best.overlap <= contact.ALLOWED_OVERLAP:
                break
        assert best is not None
        return best

    def _pose(self, rng, kind: str, jitter: float, tag: str) -> tuple[np.ndarray, str, str]:
        clip, segment = "procedural", tag
        if kind in ("mocap", "recombined"):
            rotations, clip, segment = self._frame(rng)
            if kind == "recombined":
                for limb in LIMBS:
                    if rng.random() < 0.4:
                        rotations[list(limb)] = self._frame(rng)[0][list(limb)]
        elif kind == "procedural":
            rotations = self._within_limits(rng)
        else:
            rotations = _around(rng, _SEATED if kind == "seated" else _CALM)
            jitter = min(jitter, 0.3)
        noise = rng.standard_normal((24, 3)) * JITTER_RAD[:, None] * (jitter * rng.random())
        rotations = _times(rotations, rotation_matrices(noise))
        return (_mirrored(rotations) if rng.random() < 0.5 else rotations), clip, segment

    def _frame(self, rng) -> tuple[np.ndarray, str, str]:
        clips = self.own if self.own and rng.random() < 0.5 else self.clips
        clip = clips[int(rng.integers(len(clips)))]
        frame = int(rng.integers(len(clip.rotations)))
        return clip.rotations[frame].copy(), clip.name, f"{clip.name}/{frame // SEGMENT_FRAMES}"

    def _within_limits(self, rng) -> np.ndarray:
        joints = list(LIMITS)
        limits = np.array([LIMITS[joint] for joint in joints])
        sides = []
        for _ in range(2):
            draws = (rng.random((len(joints), 3)) + rng.random((len(joints), 3))) / 2
            sides.append(_euler(limits[..., 0] + draws * (limits[..., 1] - limits[..., 0])))
        tilt = rotation_matrices(rng.standard_normal(3) * np.array([0.3, 0.0, 0.15]))
        return _both_sides(joints, sides[0], sides[1], tilt)


def _around(rng, table) -> np.ndarray:
    joints = list(table)
    middle, spread = (np.array([table[joint][i] for joint in joints]) for i in (0, 1))
    sides = [_euler(middle + spread * np.clip(rng.standard_normal(middle.shape), -2, 2)) for _ in range(2)]
    return _both_sides(joints, sides[0], sides[1], np.eye(3))


def _both_sides(joints: list[int], left: np.ndarray, right: np.ndarray, root: np.ndarray) -> np.ndarray:
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[joints] = right
    rotations = _mirrored(rotations)
    rotations[joints] = left
    rotations[0] = root
    return rotations
