"""Poses that pass through their own body are found and drawn again; mocap passes."""

import numpy as np
import pytest

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.perception.assets import fetch
from alignhmr.core.synthetic import contact
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.performances import Actors, rotation_matrices
from alignhmr.core.synthetic.skinning import Skin


@pytest.fixture(scope="module")
def skin() -> Skin:
    return Skin.of(BodyModel.load())


@pytest.fixture(scope="module")
def actors(skin) -> Actors:
    return Actors(load_clips(fetch("motion")), skin)


def overlap(actors: Actors, rotations: np.ndarray) -> float:
    return contact.self_contact(actors.skin.motions(rotations, np.zeros(10))[:, :, 3], actors.radii)


def rest_with(**vectors) -> np.ndarray:
    pose = np.zeros((24, 3))
    for name, vector in vectors.items():
        pose[JOINTS.index(name)] = vector
    return rotation_matrices(pose)


def test_the_rest_pose_and_hanging_arms_touch_nothing(actors) -> None:
    assert overlap(actors, rest_with()) == 0
    hanging = rest_with(left_shoulder=(0, 0, -1.2), right_shoulder=(0, 0, 1.2))
    assert overlap(actors, hanging) <= contact.ALLOWED_OVERLAP


@pytest.mark.parametrize(
    "vectors",
    [
        {"left_shoulder": (0, -1.4, 0), "left_elbow": (0, -2.4, 0)},  # a hand through the chest
        {"left_hip": (0, 0, -0.75), "left_knee": (0.0, 0, 0)},  # a leg through the other
        {"right_shoulder": (0, 0, 1.75)},  # an arm through the thigh
    ],
)
def test_a_limb_through_the_body_is_found(actors, vectors) -> None:
    assert overlap(actors, rest_with(**vectors)) > contact.ALLOWED_OVERLAP


def test_mocap_is_accepted_and_most_procedural_poses_too(actors) -> None:
    rng = np.random.default_rng(0)
    frames = np.concatenate([clip.rotations for clip in actors.clips])[::5]
    share = np.mean([overlap(actors, frame) <= contact.ALLOWED_OVERLAP for frame in frames])
    assert share > 0.9
    drawn = [actors.draw(rng, {"procedural": 1.0}, 1.0, "x").overlap for _ in range(60)]
    assert max(drawn) <= contact.ALLOWED_OVERLAP


def test_capsules_agree_with_the_mesh_on_what_passes_through(actors, skin) -> None:
    """Vertices of the forearm and hand inside the trunk, counted by ray parity, go with the capsules' verdict."""
    from trimesh import Trimesh

    body = Skin.of(BodyModel.load())
    arm = np.isin(body.part, [JOINTS.index(n) for n in ("left_elbow", "left_wrist", "left_hand")])
    trunk_faces = body.faces[~arm[body.faces].any(1)]
    inside, verdict = [], []
    for angle in (-2.6, -2.3, -2.0, -1.5, -1.0, -0.5, 0.0):
        rotations = rest_with(left_shoulder=(0, -1.3, 0), left_elbow=(0, angle, 0))
        vertices = body.vertices(body.motions(rotations, np.zeros(10)), np.zeros(10))
        mesh = Trimesh(vertices, trunk_faces, process=False)
        # The trunk is open where the forearm was cut off: a point is inside if rays of all directions say so.
        votes = [
            np.bincount(
                mesh.ray.intersects_id(
                    vertices[arm], np.tile(way, (arm.sum(), 1)), multiple_hits=True, return_locations=False
                )[1],
                minlength=arm.sum(),
            )
            % 2
            for way in ([0.123, 0.05, -1.0], [-0.4, 0.1, -0.8], [0.3, 0.4, -0.7])
        ]
        inside.append(float(np.mean(np.min(votes, axis=0))))
        verdict.append(overlap(actors, rotations) > contact.ALLOWED_OVERLAP)
    assert verdict == [share > 0.2 for share in inside], inside
    assert 0 < sum(verdict) < len(verdict)


def test_segment_distance_against_many_points() -> None:
    rng = np.random.default_rng(0)
    along = np.linspace(0, 1, 400)[:, None]
    for _ in range(20):
        p, q, r, s = rng.normal(0, 1, (4, 3))
        first, second = p + along * (q - p), r + along * (s - r)
        slow = np.linalg.norm(first[:, None] - second[None], axis=-1).min()
        assert abs(contact._distance(p, q, r, s) - slow) < 0.01


def test_the_generator_alone_decides(actors) -> None:
    shares = {"mocap": 1.0, "recombined": 1.0, "procedural": 1.0, "calm": 1.0, "seated": 1.0}
    for seed in range(8):
        first, second = (actors.draw(np.random.default_rng(seed), shares, 1.0, "t") for _ in range(2))
        np.testing.assert_array_equal(first.rotations, second.rotations)
        assert first.segment == second.segment
        np.testing.assert_allclose(
            first.rotations @ first.rotations.transpose(0, 2, 1), np.tile(np.eye(3), (24, 1, 1)), atol=1e-9
        )
        assert (first.clip == "procedural") == (first.kind in ("procedural", "calm", "seated"))


def test_no_clip_is_said(skin) -> None:
    with pytest.raises(InputError, match="no motion clip"):
        Actors([], skin)
