"""What was said as distances: nothing where it is true, more the further off, and with the right derivative."""

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.told import Told, distances, interval
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.language.facts import BY_NAME, FACTS, INDEX, SCALES
from alignhmr.core.language.measures import measured
from alignhmr.core.language.posecodes import posecodes


@pytest.fixture(scope="module")
def joints() -> torch.Tensor:
    body = BodyModel.load()
    pose = 0.4 * torch.randn(40, 24, 3, generator=torch.Generator().manual_seed(0))
    rotations = axis_angle_to_matrix(pose)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    return body.kinematics(rotations, torch.zeros(40, 10)).joints.double()[:, None]


def test_what_a_pose_plainly_shows_is_near_and_what_it_does_not_is_far(joints):
    codes = posecodes(joints[:, 0].numpy())
    true = [codes[row].categories() for row in range(len(joints))]
    off = distances(Told.of(true), joints)
    facts = Told.of(true).facts
    numbers = [column for column, name in enumerate(facts) if name != "posture"]
    # Within its category a number is at most the margin, one softness (6 times as soft at worst), off.
    assert off[..., numbers].max() <= 1.0 + 1e-6
    wrong = [
        {name: BY_NAME[name].scale.names[(BY_NAME[name].scale.names.index(category) + 1)
         % len(BY_NAME[name].scale.names)] for name, category in row.items()} for row in true
    ]  # fmt: skip
    told = Told.of(wrong)
    assert (distances(told, joints)[..., numbers] > 0).double().mean() > 0.99


@pytest.mark.parametrize("scale", sorted(SCALES))
def test_every_category_has_an_interval_inside_it(scale):
    fact = next(fact for fact in FACTS if fact.scale_name == scale)
    for category in fact.scale.names:
        low, high = interval(fact, category)
        assert low <= high
        if scale == "posture":
            assert fact.scale.names[int(low)] == category
            continue
        middle = np.clip((low + high) / 2, -1e3, 1e3)
        wrapped = (middle + 180) % 360 - 180 if fact.scale.cyclic else middle
        assert fact.scale.categories[int(np.digitize(wrapped, fact.scale.edges))] == category


def test_nothing_said_costs_nothing(joints):
    told = Told.of([{"left_elbow": "straight"}, {"right_knee": "fully_bent"}])
    off = distances(told, joints[:2])
    assert told.facts == tuple(name for name in INDEX if name in ("left_elbow", "right_knee"))
    assert off[0, 0, told.facts.index("right_knee")] == 0 == off[1, 0, told.facts.index("left_elbow")]


def test_derivatives_are_those_of_finite_differences(joints):
    told = Told.of([
        {"left_elbow": "fully_bent", "posture": "kneeling", "facing": "away", "left_upper_arm_way": "back",
         "right_knee": "right_angle", "left_foot_ahead": "ahead"}
    ])  # fmt: skip
    leaf = joints[:1].clone().requires_grad_()
    off = distances(told, leaf)
    assert (off > 0.1).sum() >= 4
    (slope,) = torch.autograd.grad(off.sum(), leaf)
    way = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = [distances(told, joints[:1] + step * way).sum() for step in (1e-6, -1e-6)]
    assert abs(float((slope * way).sum()) - float(ends[0] - ends[1]) / 2e-6) < 1e-4 * abs(float(ends[0]))


def test_measures_have_a_gradient_where_limbs_are_one_line(joints):
    """A straight arm's elbow, and hands in one place: no number is lost."""
    straight = joints[:1].clone()
    straight[..., 20, :] = 2 * straight[..., 18, :] - straight[..., 16, :]
    straight[..., 22, :] = straight[..., 23, :]
    leaf = straight.requires_grad_()
    found = measured(leaf)
    (slope,) = torch.autograd.grad(found.values.sum(), leaf)
    assert slope.isfinite().all()


@pytest.mark.parametrize(
    "name", ["posture", "inclination", "nod", "left_elbow", "right_knee", "left_hands_spread"]
)
def test_a_fact_is_told_alone_as_among_all(joints, name):
    """Whatever else is worked out."""
    codes = posecodes(joints[:, 0].numpy())
    true = [codes[row].categories() for row in range(len(joints))]
    rolled = [true[row - 1] for row in range(len(true))]
    every = Told.of(rolled)
    alone = distances(Told.of([{name: told[name]} for told in rolled]), joints)[..., 0]
    assert alone.max() > 0
    torch.testing.assert_close(alone, distances(every, joints)[..., every.facts.index(name)])
