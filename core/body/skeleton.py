"""Names and order of everything that has an index: SMPL joints, 2D keypoints, left and right."""

import numpy as np

JOINTS: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
    "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
"""The 24 SMPL joints, in SMPL's order."""

PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
)  # fmt: skip
"""Parent of each joint in the kinematic tree; the root's is -1."""

KEYPOINTS: tuple[str, ...] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""COCO's 17 keypoints followed by its 6 feet: what detectors answer and the model is given."""

SHARED_KEYPOINTS: tuple[int, ...] = tuple(range(5, 17))
"""Keypoints that mean the same point in every detector and body model: the 12 limb joints."""

KEYPOINT_BONES: tuple[tuple[int, int], ...] = (
    (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15),
    (12, 14), (14, 16), (15, 17), (15, 19), (16, 20), (16, 22), (0, 5), (0, 6),
)  # fmt: skip
"""Pairs of keypoints drawn as a stick figure."""


def _mirror(names: tuple[str, ...]) -> tuple[int, ...]:
    def other(name: str) -> str:
        if name.startswith("left_"):
            return "right_" + name.removeprefix("left_")
        if name.startswith("right_"):
            return "left_" + name.removeprefix("right_")
        return name

    return tuple(names.index(other(name)) for name in names)


JOINT_MIRROR: tuple[int, ...] = _mirror(JOINTS)
KEYPOINT_MIRROR: tuple[int, ...] = _mirror(KEYPOINTS)

LEVELS: tuple[tuple[int, ...], ...]
"""Joints grouped by depth in the tree, so that a chain is walked in 9 steps instead of 24."""


def _levels() -> tuple[tuple[int, ...], ...]:
    depth = np.zeros(len(PARENTS), int)
    for joint, parent in enumerate(PARENTS[1:], start=1):
        depth[joint] = depth[parent] + 1
    return tuple(tuple(np.flatnonzero(depth == d).tolist()) for d in range(depth.max() + 1))


LEVELS = _levels()
