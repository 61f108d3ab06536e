"""Agreement of words and hypotheses: the truth agrees best, a lie is found in the part it concerns, ties are broken."""

import numpy as np
import pytest
import torch

from alignhmr.core.body.skeleton import JOINT_MIRROR
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.language.agreement import (
    CHECK_ALONE,
    PART_JOINTS,
    WITH_LATENT,
    Agreement,
    agreement,
    tie_broken,
    vetoed,
)
from alignhmr.core.language.facts import PARTS, mirrored
from alignhmr.core.language.posecodes import posecodes, said
from alignhmr.core.metrics.ranking import auroc


def told_of(joints: np.ndarray) -> dict[str, str]:
    return said(posecodes(joints).categories())


def test_the_truth_agrees_better_than_anyone_else(random_joints):
    joints = random_joints(60, 20)
    for index in range(20):
        found = agreement(told_of(joints[index]), joints)
        assert found.overall.argmax() == index
        assert not found.disagreeing()[index].any()


def test_nearest_and_farthest_of_perturbed_truths_are_told_apart(body, random_poses):
    truths = random_poses(60, 21)
    generator = torch.Generator().manual_seed(0)
    strength = torch.linspace(0.02, 0.45, 10)[:, None, None]
    near, far = [], []
    for truth in truths:
        noise = torch.randn(10, 24, 3, generator=generator) * strength
        turned = torch.cat([truth[None], truth @ axis_angle_to_matrix(noise)])
        joints = body.kinematics(turned, torch.zeros(11, 10)).joints.numpy()
        errors = np.linalg.norm(joints[1:] - joints[:1], axis=-1).mean(1)
        overall = agreement(told_of(joints[0]), joints[1:]).overall
        near.append(overall[errors.argmin()])
        far.append(overall[errors.argmax()])
    assert auroc(np.array(near + far), np.arange(120) < 60) > 0.9


def test_a_lie_is_found_in_its_part(random_joints):
    joints = random_joints(1, 22)
    told = told_of(joints[0])
    wrong = {"left_elbow": "fully_bent" if told["left_elbow"] != "fully_bent" else "straight"}
    honest = agreement({"left_elbow": told["left_elbow"], "right_knee": told["right_knee"]}, joints)
    lied = agreement({**wrong, "right_knee": told["right_knee"]}, joints)
    arm, leg = PARTS.index("left_arm"), PARTS.index("right_leg")
    assert lied.parts[0, arm] < 0.1 < honest.parts[0, arm]
    assert lied.parts[0, leg] == pytest.approx(honest.parts[0, leg])
    assert lied.names(0) == ("left_arm",) and honest.names(0) == ()


def test_parts_of_which_nothing_is_told_have_no_number(random_joints):
    found = agreement({"nod": "bowed"}, random_joints(3, 23))
    assert np.isnan(found.parts[:, 1:]).all() and not np.isnan(found.parts[:, 0]).any()
    assert found.told.tolist() == [1, 0, 0, 0, 0, 0]
    assert not found.disagreeing(0.99)[:, 1:].any()
    nothing = agreement({}, random_joints(3, 23))
    assert (nothing.overall == 0.5).all() and not vetoed(nothing).any()


def test_mirrored_words_agree_with_mirrored_hypotheses(random_joints):
    joints = random_joints(8, 24)
    told = told_of(joints[0])
    one = agreement(told, joints)
    other = agreement(
        dict(mirrored(*item) for item in told.items()), joints[:, list(JOINT_MIRROR)] * [-1, 1, 1]
    )
    swap = [
        PARTS.index(mirror) for mirror in ("head", "torso", "right_arm", "left_arm", "right_leg", "left_leg")
    ]
    np.testing.assert_allclose(one.parts, other.parts[:, swap], atol=1e-5)


def test_likeness_in_the_space_counts(random_joints):
    joints = np.repeat(random_joints(1, 25), 2, axis=0)
    found = agreement(told_of(joints[0]), joints, np.array([0.9, -0.4]))
    assert found.overall[0] > found.overall[1]
    assert CHECK_ALONE.check > 0 and WITH_LATENT.check > 0 and WITH_LATENT.latent > 0


def test_an_unknown_fact_is_an_error(random_joints):
    with pytest.raises(KeyError, match="tail"):
        agreement({"tail": "wagging"}, random_joints(1, 26))


def of(parts: list[list[float]]) -> Agreement:
    numbers = np.array(parts)
    return Agreement(numbers, np.ones(6, np.int64), numbers.mean(1))


def test_a_veto_hits_who_is_spoken_against_and_never_everybody():
    good, bad = [0.9] * 6, [0.9] * 5 + [0.01]
    assert vetoed(of([good, bad])).tolist() == [False, True]
    assert vetoed(of([bad, bad])).tolist() == [False, False], "then the words are likelier wrong"
    assert vetoed(of([good, bad]), parts=2).tolist() == [False, False]
    assert vetoed(of([good, [0.3] * 6]), overall=0.5).tolist() == [False, True]


def test_ties_are_broken_and_nothing_else():
    found = of([[0.2] * 6, [0.8] * 6, [0.8] * 6])
    broken = tie_broken(np.array([1.0, 0.95, 0.2]), found, within=0.2)
    assert broken.argmax() == 1
    assert tie_broken(np.array([1.0, 0.7, 0.2]), found, within=0.2).argmax() == 0
    assert np.abs(broken - [1.0, 0.95, 0.2]).max() <= 0.1


def test_parts_have_joints():
    assert set(PART_JOINTS) == set(PARTS)
