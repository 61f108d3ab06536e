"""The shared space: order and number of clauses, what stays out of the codes, and how finding is counted."""

import pytest
import torch

from alignhmr.core.errors import CompatibilityError
from alignhmr.core.language.retrieval import ranks, recalls
from alignhmr.core.language.text_encoder import MARKS, HashedWords, clauses_of, marks, text_encoder
from alignhmr.core.language.text_pose import TextPose, TextPoseConfig

TINY = TextPoseConfig("words24", 24, 4, 16, 2, 8, 16, 1, 12, 16, 16, 1)


@pytest.fixture
def space(body) -> TextPose:
    torch.manual_seed(0)
    model = TextPose(TINY)
    model.rest_joints.copy_(body.joint_template)
    return model.eval()


def test_places_are_on_the_unit_sphere(space, random_poses):
    texts = space.place_of_text(["kneeling", "The left arm is raised, the head bowed.", ""])
    poses = space.place_of_pose(random_poses(5, 0))
    for places in (texts, poses):
        torch.testing.assert_close(places.norm(dim=1), torch.ones(len(places)))


def test_order_and_company_of_clauses_do_not_matter(space):
    one = "The left elbow is straight. The person is standing. The head is bowed."
    other = "the head is bowed, the left elbow is straight and the person is standing."
    alone, *both = space.place_of_text([one]), *space.place_of_text([one, other])
    torch.testing.assert_close(both[0], both[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone[0], both[0], atol=1e-5, rtol=0)


def test_left_and_right_lie_apart(space):
    left, right = space.place_of_text(["the left elbow is bent", "the right elbow is bent"])
    assert (left - right).norm() > 1e-3


def test_matching_leaves_the_codes_alone_unless_asked(space, random_poses):
    space.requires_grad_(True)
    poses = random_poses(3, 1)
    space.place_of_coded(space.vqvae(poses)).sum().backward()
    assert space.vqvae.encoder.first.grad is None
    turned = poses.clone().requires_grad_(True)
    space.place_of_pose(turned).sum().backward()
    assert turned.grad is not None and turned.grad.abs().sum() > 0, "guidance has a gradient"


def test_what_a_sentence_leaves_to_its_beginning_is_put_into_its_clauses():
    told = clauses_of("Left arm: elbow bent, hand above the head. Kneeling, right arm raised")
    assert told == ["the left elbow bent", "the left hand above the head", "kneeling", "right arm raised"]


def test_marks_tell_sides_and_not_angles():
    left, right, both, other, picture = range(len(MARKS))
    held = (
        marks(
            [
                "the left elbow forms a right angle",
                "both knees",
                "beside the other foot",
                "faces picture right",
            ]
        )
        > 0
    )
    assert held[0].tolist() == [True, False, False, False, False]
    assert held[1, both] and held[2, other] and held[3, picture] and held[3, right] and not held[3, left]


def test_hashed_words_are_the_same_everywhere():
    one, again = HashedWords(8)(["the left elbow"]), HashedWords(8)(["the left elbow"])
    assert torch.equal(one, again)
    assert HashedWords(8)([]).shape == (0, 8)


def test_an_unknown_encoder_is_refused():
    with pytest.raises(CompatibilityError, match="'clip' is unknown"):
        text_encoder("clip")


def test_ranks_count_who_comes_before():
    found = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.3, 0.3]])
    assert ranks(found).tolist() == [0, 1, 2], "ties count against it"


def test_recall_is_a_hundred_for_the_same_places_and_chance_for_others():
    torch.manual_seed(0)
    places = torch.nn.functional.normalize(torch.randn(400, 16), dim=1)
    assert recalls(places @ places.T)["mean_recall"] == 100
    other = torch.nn.functional.normalize(torch.randn(400, 16), dim=1)
    assert recalls(places @ other.T)["mean_recall"] < 4


def test_recalls_are_told_both_ways():
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    poses = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    told = recalls(texts @ poses.T)
    assert told["pose_to_text_r1"] == pytest.approx(200 / 3)
    assert told["text_to_pose_r1"] == pytest.approx(100 / 3)
