import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports PyGLM by a name that PyGLM would rather retire
    import bvhio

from alignhmr.core.body.motion_files import Motion, read_motion, require_body, write_bvh, write_motion
from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.errors import CompatibilityError, InputError


def make_motion(body, frames: int = 5, frame="camera", seed: int = 0, fps=25.0) -> Motion:
    rng = np.random.default_rng(seed)
    return Motion(
        body_model=body.name,
        pose_aa=rng.normal(scale=0.7, size=(frames, 24, 3)),
        betas=rng.normal(size=10),
        transl_m=rng.normal(size=(frames, 3)),
        frame=frame,  # pyright: ignore[reportArgumentType]
        fps=fps,
    )


def joints_y_up(motion: Motion, body) -> np.ndarray:
    turns = Rotation.from_rotvec(motion.pose_aa.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    betas = torch.tensor(motion.betas).float().expand(len(turns), 10)
    joints = body.kinematics(torch.tensor(turns).float(), betas).joints.numpy()
    joints = joints + motion.transl_m[:, None]
    return joints * [1, -1, -1] if motion.frame == "camera" else joints


def bvh_joints(path, frames: int) -> np.ndarray:
    root = bvhio.readAsHierarchy(str(path))
    places = np.zeros((frames, 24, 3))
    for frame in range(frames):
        root.loadPose(frame, recursive=True)
        for joint, _, _ in root.layout():
            if joint.Name in JOINTS:
                places[frame, JOINTS.index(joint.Name)] = list(joint.PositionWorld)
    return places


@pytest.mark.parametrize("frame", ["camera", "body"])
@pytest.mark.parametrize("frames", [1, 6])
def test_bvh_puts_every_joint_where_the_body_does(small, tmp_path, frame, frames):
    motion = make_motion(small, frames, frame)
    write_bvh(motion, small, tmp_path / "new" / "motion.bvh")
    error_m = np.linalg.norm(
        bvh_joints(tmp_path / "new" / "motion.bvh", frames) - joints_y_up(motion, small), axis=-1
    )
    assert error_m.max() < 1e-3


def test_bvh_of_a_body_whose_root_is_off_the_origin(with_posedirs, tmp_path):
    motion = make_motion(with_posedirs, 3)
    write_bvh(motion, with_posedirs, tmp_path / "m.bvh")
    error_m = np.linalg.norm(bvh_joints(tmp_path / "m.bvh", 3) - joints_y_up(motion, with_posedirs), axis=-1)
    assert error_m.max() < 1e-3


@pytest.mark.parametrize("degrees", [89.9999999, 90.0, -90.0])
def test_bvh_at_a_quarter_turn(small, tmp_path, degrees):
    motion = make_motion(small, 2)
    turned = Rotation.from_euler("ZYX", [[30, degrees, -50]] * 48, degrees=True).as_rotvec()
    motion = dataclasses.replace(motion, pose_aa=turned.reshape(2, 24, 3))
    write_bvh(motion, small, tmp_path / "m.bvh")
    error_m = np.linalg.norm(bvh_joints(tmp_path / "m.bvh", 2) - joints_y_up(motion, small), axis=-1)
    assert error_m.max() < 1e-3


def test_bvh_angles_are_continuous(small, tmp_path):
    """A body that turns round and round; a jump of 360 degrees would spin it where a program interpolates."""
    motion = make_motion(small, 40, "body")
    pose = np.zeros((40, 24, 3))
    pose[:, 0, 2] = np.linspace(0, 4 * np.pi, 40)
    write_bvh(dataclasses.replace(motion, pose_aa=pose), small, tmp_path / "m.bvh")
    rows = (tmp_path / "m.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    angles = np.array([row.split() for row in rows], float)[:, 3:]
    assert np.abs(np.diff(angles, axis=0)).max() < 30


def test_bvh_states_time_and_scale(small, tmp_path):
    motion = make_motion(small, 2)
    write_bvh(motion, small, tmp_path / "m.bvh")
    write_bvh(motion, small, tmp_path / "cm.bvh", units_per_m=100)
    container = bvhio.readAsBvh(str(tmp_path / "m.bvh"))
    assert container.FrameCount == 2 and container.FrameTime == pytest.approx(0.04)
    np.testing.assert_allclose(
        bvh_joints(tmp_path / "cm.bvh", 2), 100 * bvh_joints(tmp_path / "m.bvh", 2), atol=0.01
    )


def test_json_round_trip(small, tmp_path):
    motion = make_motion(small)
    write_motion(motion, tmp_path / "new" / "m.json")
    back = read_motion(tmp_path / "new" / "m.json")
    assert (back.body_model, back.frame, back.fps) == ("open-body-v1", "camera", 25.0)
    for key in ("pose_aa", "betas", "transl_m"):
        np.testing.assert_allclose(getattr(back, key), getattr(motion, key), atol=1e-7)


def test_json_says_what_its_numbers_are(small, tmp_path):
    write_motion(make_motion(small, 1, fps=None), tmp_path / "m.json")  # pyright: ignore[reportArgumentType]
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["body_model"] == "open-body-v1" and content["units"]["length"] == "metres"
    assert content["joints"][16] == "left_shoulder" and content["fps"] is None


def test_two_body_models_don_t_mix(small, with_posedirs, tmp_path):
    motion = make_motion(small)
    require_body(motion, small)
    with pytest.raises(CompatibilityError, match="'open-body-v1' and not to 'random-body'"):
        write_bvh(motion, with_posedirs, tmp_path / "m.bvh")
    assert not (tmp_path / "m.bvh").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"format": "other"}, InputError, "not a motion file"),
        ({"version": 2}, CompatibilityError, "has version 2, wanted 1"),
        ({"units": {"length": "inches"}}, CompatibilityError, "inches"),
        ({"joints": ["nose"]}, CompatibilityError, "joints"),
        ({"betas": [1.0]}, InputError, r"betas of a motion has shape \(1,\), wanted \(10,\)"),
        ({"betas": ["a"] * 10}, InputError, "else than numbers"),
        ({"pose_aa": []}, InputError, "pose_aa"),
        ({"pose_aa": [[1, 2], [3]]}, InputError, "m.json"),
        ({"transl_m": [[float("nan")] * 3] * 5}, InputError, "finite"),
        ({"frame": "world"}, InputError, "'world', wanted one of"),
        ({"frame": ["camera"]}, InputError, "m.json"),
        ({"fps": -1}, InputError, "positive"),
        ({"body_model": None}, InputError, "body_model"),
    ],
)
def test_says_what_is_wrong_with_a_file(small, tmp_path, changes, kind, says):
    path = tmp_path / "m.json"
    write_motion(make_motion(small), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(kind, match=says):
        read_motion(path)


def test_says_what_is_missing(small, tmp_path):
    path = tmp_path / "m.json"
    write_motion(make_motion(small), path)
    content = json.loads(path.read_text())
    del content["betas"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="lacks 'betas'"):
        read_motion(path)
    with pytest.raises(InputError, match="no motion file"):
        read_motion(tmp_path / "none.json")
    for text in ("", "[1]", "{", "\udcff"):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match=r"m\.json"):
            read_motion(path)
