"""A recovery written as a row and read back is the same recovery, its joints computed anew."""

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import CompatibilityError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.records import Hypotheses, Intrinsics, Person, Recovery
from alignhmr.deployments.labeling.rows import pairs_of, recovery_columns, recovery_of
from alignhmr.deployments.labeling.schema import row_schema, rows_from_table, table_from_rows

M = 5


@pytest.fixture(scope="module")
def body():
    return BodyModel.load()


@pytest.fixture(scope="module")
def recovery(body):
    rng = np.random.default_rng(0)

    def draw(*shape, scale=1.0):
        return (scale * rng.normal(size=shape)).astype(np.float32)

    pose_aa, betas, transl = draw(M, 24, 3, scale=0.3), draw(M, 10), draw(M, 3)
    points = body.kinematics(axis_angle_to_matrix(torch.from_numpy(pose_aa)), torch.from_numpy(betas))
    return Recovery(
        person=Person(draw(4), 0.75, draw(len(KEYPOINTS), 3), draw(len(KEYPOINTS), 3)),
        intrinsics=Intrinsics(512.5, (320.0, 240.0), "exif"),
        crop_px=draw(3),
        hypotheses=Hypotheses(
            pose_aa=pose_aa, betas=betas, transl_cam_m=transl,
            joints_cam_m=points.joints.numpy() + transl[:, None],
            keypoints_cam_m=points.keypoints.numpy() + transl[:, None],
            keypoints_px=draw(M, len(KEYPOINTS), 2), scores=draw(M), expected_error_mm=draw(M),
        ),
        selected=3,
        joint_spread_mm=draw(24),
        seed=2**62 + 1,
        models={"body": f"{body.name}:{body.digest[:16]}", "base": "starter:abc"},
        joint_error_mm=draw(24, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def row(recovery):
    (row,) = rows_from_table(table_from_rows([recovery_columns(recovery)], row_schema(M)))
    return row


def test_a_recovery_survives_its_row(recovery, row, body):
    back = recovery_of(row, body)
    assert (back.selected, back.seed, back.models) == (recovery.selected, recovery.seed, recovery.models)
    assert back.intrinsics == recovery.intrinsics
    np.testing.assert_array_equal(back.joint_error_mm, recovery.joint_error_mm)
    np.testing.assert_array_equal(back.person.keypoints_px, recovery.person.keypoints_px)
    np.testing.assert_array_equal(back.person.keypoints_3d_m, recovery.person.keypoints_3d_m)
    for name in vars(recovery.hypotheses):
        np.testing.assert_allclose(
            getattr(back.hypotheses, name), getattr(recovery.hypotheses, name), atol=2e-6
        )


def test_the_row_holds_the_selected_joints(recovery, row):
    expected = recovery.hypotheses.joints_cam_m[recovery.selected]
    np.testing.assert_array_equal(row["selected_joints_cam_m"].reshape(24, 3), expected)


def test_another_body_is_refused(row, body):
    other = {**row, "models": [("body", "someone-else:0000")]}
    with pytest.raises(CompatibilityError, match=r"someone-else:0000.*load the row's own"):
        recovery_of(other, body)


def test_a_row_without_pairs_has_none(row):
    assert pairs_of({**row, "pairs": None}) == []
    (pair,) = pairs_of({**row, "pairs": [{"winner": 1, "loser": 4, "margin": 0.5}]})
    assert (pair.winner, pair.loser, pair.margin) == (1, 4, 0.5)
