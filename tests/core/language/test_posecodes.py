"""Posecodes of known poses, what borders do to their confidence, and mirrored poses that have mirrored codes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINT_MIRROR, JOINTS
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.language.facts import BY_NAME, FACTS, INDEX, MOST, NAMES, PARTS, SCALES, mirrored
from alignhmr.core.language.measures import measure
from alignhmr.core.language.posecodes import Posecodes, moot, posecodes, said, said_mask

BODY = BodyModel.load()
TO_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
HANGING = {"left_shoulder": (0, 0, -1.4), "right_shoulder": (0, 0, 1.4)}


def joints(root=(0.0, 0.0, 0.0), **axis_angles: tuple[float, float, float]) -> np.ndarray:
    """Camera-frame joints of the rest pose (arms out, facing the camera) with the named joints turned."""
    pose = torch.zeros(24, 3)
    for name, value in axis_angles.items():
        pose[JOINTS.index(name)] = torch.tensor(value)
    rotations = axis_angle_to_matrix(pose)
    rotations[0] = TO_CAMERA @ axis_angle_to_matrix(torch.tensor(root, dtype=torch.float32))
    return BODY.kinematics(rotations[None], torch.zeros(1, 10)).joints[0].numpy()


def codes_of(**pose) -> dict[str, str]:
    return posecodes(joints(**pose)).categories()


def test_rest_pose_is_a_t_pose_that_faces_the_camera():
    codes = codes_of()
    assert (
        codes["posture"] == "standing" and codes["inclination"] == "upright" and codes["facing"] == "toward"
    )
    for side in ("left", "right"):
        assert codes[f"{side}_elbow"] == codes[f"{side}_knee"] == "straight"
        assert codes[f"{side}_upper_arm"] == "level" and codes[f"{side}_upper_arm_way"] == "outward"
        assert codes[f"{side}_hand_height"] == "shoulders" and codes[f"{side}_hand_side"] == "far_out"
        assert codes[f"{side}_thigh"] == codes[f"{side}_shin"] == "down"
        assert codes[f"{side}_foot_ground"] == "ground" and codes[f"{side}_hands_spread"] == "very_wide"


@pytest.mark.parametrize(
    ("pose", "expected"),
    [
        (HANGING, {"left_upper_arm": "down", "right_hand_height": "below_hips", "left_hand_side": "own_side"}),
        ({"left_shoulder": (0, 0, 1.4)}, {"left_upper_arm": "up", "left_hand_height": "above_head"}),
        ({"right_shoulder": (0, 1.4, 0)}, {"right_upper_arm_way": "forward", "right_hand_depth": "far_in_front"}),
        ({"left_elbow": (0, -1.6, 0)}, {"left_elbow": "right_angle", "left_forearm_way": "forward"}),
        ({"left_hip": (-1.5, 0, 0), "left_knee": (1.5, 0, 0)},
         {"left_thigh": "level", "left_thigh_way": "forward", "left_knee": "right_angle", "left_foot_ground": "air",
          "left_foot_higher": "higher", "right_foot_higher": "lower"}),
        ({"left_hip": (-0.5, 0, 0), "right_hip": (0.4, 0, 0)},
         {"left_foot_ahead": "ahead", "right_foot_ahead": "behind", "left_thigh_way": "forward"}),
        ({"left_hip": (0, 0, -0.25), "right_hip": (0, 0, 0.25)}, {"left_legs_crossed": "crossed"}),
        ({"neck": (0.6, 0, 0)}, {"nod": "bowed"}),
        ({"neck": (0, 0, 0.5)}, {"tilt": "right"}),
        ({"root": (0.9, 0, 0)}, {"inclination": "bent", "lean": "forward"}),
        ({"root": (0, 0, 0.5)}, {"inclination": "leaning", "lean": "right"}),
        ({"root": (-1.5, 0, 0)}, {"posture": "lying", "chest": "up", "inclination": "horizontal"}),
        ({"root": (1.5, 0, 0)}, {"posture": "lying", "chest": "down"}),
        ({"root": (3.1, 0, 0)}, {"posture": "upside_down", "inclination": "upside_down"}),
        ({"spine1": (0, 0.3, 0), "spine2": (0, 0.3, 0)}, {"twist": "left"}),
        ({"left_knee": (1.57, 0, 0), "right_knee": (1.57, 0, 0)},
         {"posture": "kneeling", "left_knee_ground": "ground", "right_knee_ground": "ground"}),
        ({"left_hip": (-1.6, 0, 0), "right_hip": (-1.6, 0, 0)}, {"posture": "sitting", "hips_ground": "ground"}),
        ({f"{s}_{j}": v for s in ("left", "right") for j, v in (("hip", (-1.5, 0, 0)), ("knee", (1.5, 0, 0)))},
         {"posture": "sitting"}),
        ({f"{s}_{j}": v for s in ("left", "right") for j, v in (("hip", (-2.0, 0, 0)), ("knee", (2.3, 0, 0)))},
         {"posture": "squatting"}),
    ],
)  # fmt: skip
def test_known_poses(pose, expected):
    codes = codes_of(**pose)
    assert {name: codes[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("turn", "facing"),
    [(0.0, "toward"), (np.pi / 4, "toward_right"), (np.pi / 2, "right"), (2.36, "away_right"), (np.pi, "away"),
     (-np.pi / 4, "toward_left"), (-np.pi / 2, "left"), (-2.36, "away_left")],
)  # fmt: skip
def test_facing_is_told_in_the_picture(turn, facing):
    assert codes_of(root=(0, turn, 0))["facing"] == facing


def test_a_hand_at_the_head_touches_it():
    codes = codes_of(left_shoulder=(-1.0, -1.0, 0.0), left_elbow=(0, -2.3, 0))
    assert codes["left_touch_head"] == "near" and codes["right_touch_head"] == "away"


def test_mirrored_joints_have_mirrored_codes(random_joints):
    original = random_joints(400, 1)
    one, other = posecodes(original), posecodes(original[:, list(JOINT_MIRROR)] * [-1, 1, 1])
    for index in range(len(original)):
        told = other[index].categories()
        assert one[index].categories() == dict(mirrored(name, category) for name, category in told.items())
    same = np.array([INDEX[mirrored(name, BY_NAME[name].scale.names[0])[0]] for name in NAMES])
    np.testing.assert_allclose(one.confidence, other.confidence[:, same], atol=1e-5)


def test_mirroring_twice_is_nothing():
    for fact in FACTS:
        for category in fact.scale.names:
            assert mirrored(*mirrored(fact.name, category)) == (fact.name, category)
            assert mirrored(fact.name, category)[1] in fact.scale.names


def test_codes_do_not_depend_on_place_or_size(random_joints):
    original = random_joints(300, 2).astype(np.float64)
    codes = posecodes(original)
    assert (posecodes(original + [0.4, -1.0, 7.0]).codes == codes.codes).mean() > 0.9999
    assert (posecodes(original * 0.6).codes == codes.codes).mean() > 0.9999


def test_codes_turn_with_their_up(random_joints):
    original = random_joints(100, 3).astype(np.float64)
    turned = original @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]).T
    one, other = posecodes(original), posecodes(turned, up=(-1.0, 0.0, 0.0))
    body_own = [index for index, fact in enumerate(FACTS) if fact.stem != "facing"]
    assert (one.codes == other.codes)[:, body_own].mean() > 0.999


def test_probabilities_are_shares_and_sure_far_from_borders(random_joints):
    codes = posecodes(random_joints(500, 4))
    np.testing.assert_allclose(codes.probabilities.sum(-1), 1, atol=1e-5)
    assert codes.probabilities.min() >= 0
    assert codes.confidence.mean() > 0.75


@given(st.floats(0.05, 2.4))
@settings(max_examples=60, deadline=None)
def test_confidence_is_a_half_on_a_border_and_grows_away_from_it(angle):
    found = joints(left_knee=(angle, 0, 0))
    codes, index = posecodes(found), INDEX["left_knee"]
    bend = measure(found).values[index]
    edges = SCALES["bend"].edges
    nearest = min(abs(bend - edge) for edge in edges)
    if nearest < 0.3:
        assert abs(codes.confidence[index] - 0.5) < 0.05
    if nearest > 2 * SCALES["bend"].softness:
        assert codes.confidence[index] > 0.95
    assert codes.codes[index] == np.searchsorted(edges, bend)


def test_a_direction_that_hardly_is_one_is_hardly_told():
    """An arm that hangs straight down points nowhere in particular."""
    codes = posecodes(joints(left_shoulder=(0, 0, -1.54)))
    assert codes.confidence[INDEX["left_upper_arm_way"]] < 0.6
    assert "left_upper_arm_way" not in said(codes.categories())
    assert "right_upper_arm_way" in said(codes.categories())


def test_what_is_said_in_a_batch_is_what_is_said_one_by_one(random_joints):
    codes = posecodes(random_joints(200, 5))
    mask = said_mask(codes.codes)
    for index in range(200):
        names = {fact.name for fact, told in zip(FACTS, mask[index], strict=True) if told}
        assert names == set(said(codes[index].categories()))
    loud = np.array([[c not in fact.scale.silent for c in fact.scale.names] + [True] * (MOST - len(fact.scale.names))
                     for fact in FACTS])  # fmt: skip
    assert (mask == (loud[np.arange(len(FACTS)), codes.codes] & ~moot(codes.codes))).all()
    assert moot(codes.codes).any()


@pytest.mark.slow
def test_every_category_is_met(random_joints):
    """A threshold that nothing crosses is a mistake; a few touches are too rare for made poses."""
    codes = posecodes(random_joints(8000, 6)).codes
    missing = [
        (fact.name, fact.scale.names[code])
        for index, fact in enumerate(FACTS)
        for code in set(range(len(fact.scale.names))) - set(codes[:, index].tolist())
    ]
    assert missing == []


def test_joints_that_are_no_numbers_are_refused():
    bad = joints()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="no posecodes"):
        posecodes(bad)


def test_parts_and_facts_fit():
    assert {fact.part for fact in FACTS} == set(PARTS)
    assert len(set(NAMES)) == len(NAMES)
    for scale in SCALES.values():
        assert list(scale.edges) == sorted(scale.edges)
        assert scale.edges == () or len(scale.categories) == len(scale.edges) + 1
        assert not scale.cyclic or scale.categories[0] == scale.categories[-1]
    assert isinstance(posecodes(joints()[None])[0], Posecodes)
