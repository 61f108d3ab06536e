"""Named sets of points, and the subsets of them that metrics are taken over.

Two figures may be compared only if they were taken over the same ``JointSet``: the field's protocols differ
by centimetres in nothing but which points are called joints.
"""

from dataclasses import dataclass

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, SHARED_KEYPOINTS
from alignhmr.core.errors import InputError

H36M_POINTS: tuple[str, ...] = (
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine",
    "thorax", "neck", "head_top", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder",
    "right_elbow", "right_wrist",
)  # fmt: skip
"""Human3.6M's 17 joints in the order of its 17-joint releases."""

POINT_SETS: dict[str, tuple[str, ...]] = {"smpl24": JOINTS, "coco23": KEYPOINTS, "h36m17": H36M_POINTS}
"""Point set -> names in order. ``coco23`` is COCO's 17 keypoints and its 6 feet."""


@dataclass(frozen=True)
class JointSet:
    """The points that a metric is taken over, and the root that it is aligned by."""

    name: str
    points: str
    """Key of ``POINT_SETS``."""
    indices: tuple[int, ...]
    root: tuple[int, ...]
    """Indices into the point set whose mean is the root: the pelvis, or both hips."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(POINT_SETS[self.points][index] for index in self.indices)


_HIPS = (KEYPOINTS.index("left_hip"), KEYPOINTS.index("right_hip"))

JOINT_SETS: dict[str, JointSet] = {
    joint_set.name: joint_set
    for joint_set in (
        JointSet("smpl24", "smpl24", tuple(range(24)), (0,)),
        JointSet("limbs12", "coco23", SHARED_KEYPOINTS, _HIPS),
        JointSet("coco17", "coco23", tuple(range(17)), _HIPS),
        JointSet("h36m17", "h36m17", tuple(range(17)), (0,)),
        # The 14 that Human3.6M and 3DPW tables are taken over (HMR, Kanazawa et al. 2018): LSP's order.
        JointSet("h36m14", "h36m17", (3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 9, 10), (0,)),
    )
}
"""``limbs12`` (shoulders, elbows, wrists, hips, knees, ankles) is what every detector and body model can answer."""


def joint_set(name: str) -> JointSet:
    """The set of that name; InputError lists the names otherwise."""
    if name not in JOINT_SETS:
        raise InputError(f"unknown joint set {name!r}; choose from {', '.join(JOINT_SETS)}")
    return JOINT_SETS[name]
