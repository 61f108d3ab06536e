"""A user's motion: BVH in CMU's naming and AMASS files come back as the poses that they hold."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.motion_files import Motion, write_bvh
from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.own_motion import load_own_clips, read_amass, read_bvh

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # bvhio imports a module under its deprecated name
    import bvhio

# A CMU skeleton in a T-pose, y up, z forward, in inches as usual; the arms' offsets can be turned to an A-pose.
_CMU = """HIERARCHY
ROOT Hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
 JOINT LHipJoint
 { OFFSET 0 0 0
  CHANNELS 3 Zrotation Yrotation Xrotation
  JOINT LeftUpLeg
  { OFFSET 1.3 -1.6 0.8
   CHANNELS 3 Zrotation Yrotation Xrotation
   JOINT LeftLeg
   { OFFSET 0 -7 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT LeftFoot
    { OFFSET 0 -7 0
     CHANNELS 3 Zrotation Yrotation Xrotation
     End Site
     { OFFSET 0 -0.5 2 }
    }
   }
  }
 }
 JOINT RightUpLeg
 { OFFSET -1.3 -1.6 0.8
  CHANNELS 3 Zrotation Yrotation Xrotation
  JOINT RightLeg
  { OFFSET 0 -7 0
   CHANNELS 3 Zrotation Yrotation Xrotation
   JOINT RightFoot
   { OFFSET 0 -7 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    { OFFSET 0 -0.5 2 }
   }
  }
 }
 JOINT LowerBack
 { OFFSET 0 2 0
  CHANNELS 3 Zrotation Yrotation Xrotation
  JOINT Spine
  { OFFSET 0 2 0
   CHANNELS 3 Zrotation Yrotation Xrotation
   JOINT Spine1
   { OFFSET 0 2 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT Neck
    { OFFSET 0 3 0
     CHANNELS 3 Zrotation Yrotation Xrotation
     JOINT Head
     { OFFSET 0 1 0
      CHANNELS 3 Zrotation Yrotation Xrotation
      End Site
      { OFFSET 0 2 0 }
     }
    }
    JOINT LeftArm
    { OFFSET 3 2 0
     CHANNELS 3 Zrotation Yrotation Xrotation
     JOINT LeftForeArm
     { OFFSET %s
      CHANNELS 3 Zrotation Yrotation Xrotation
      JOINT LeftHand
      { OFFSET %s
       CHANNELS 3 Zrotation Yrotation Xrotation
       End Site
       { OFFSET 1 0 0 }
      }
     }
    }
    JOINT RightArm
    { OFFSET -3 2 0
     CHANNELS 3 Zrotation Yrotation Xrotation
     JOINT RightForeArm
     { OFFSET -5 0 0
      CHANNELS 3 Zrotation Yrotation Xrotation
      JOINT RightHand
      { OFFSET -4 0 0
       CHANNELS 3 Zrotation Yrotation Xrotation
       End Site
       { OFFSET -1 0 0 }
      }
     }
    }
   }
  }
 }
}
MOTION
Frames: %d
Frame Time: %f
%s
"""
_ORDER = (
    "Hips", "LHipJoint", "LeftUpLeg", "LeftLeg", "LeftFoot", "RightUpLeg", "RightLeg", "RightFoot", "LowerBack",
    "Spine", "Spine1", "Neck", "Head", "LeftArm", "LeftForeArm", "LeftHand", "RightArm", "RightForeArm", "RightHand",
)  # fmt: skip


def cmu(
    path: Path, zyx_degrees: list[dict[str, tuple]], fps: float = 30, arm="5 0 0", forearm="4 0 0"
) -> Path:
    lines = []
    for frame in zyx_degrees:
        numbers = [0.0, 35.0, 0.0]
        for name in _ORDER:
            numbers += frame.get(name, (0.0, 0.0, 0.0))
        lines.append(" ".join(map(str, numbers)))
    # One brace a line, as real files have them.
    text = _CMU % (arm, forearm, len(lines), 1 / fps, "\n".join(lines))
    path.write_text(text.replace("{ OFFSET", "{\nOFFSET").replace(" }", "\n}"))
    return path


def directions(path: Path, frame: int) -> dict[str, np.ndarray]:
    """Unit bones from a joint to the next in the world, by an independent reader of BVH."""
    root = bvhio.readAsHierarchy(str(path))
    root.loadPose(frame, recursive=True)
    place = {joint.Name: np.array(list(joint.PositionWorld)) for joint, _, _ in root.layout()}
    pairs = {
        "left_hip": ("LeftUpLeg", "LeftLeg"), "right_knee": ("RightLeg", "RightFoot"),
        "left_shoulder": ("LeftArm", "LeftForeArm"), "left_elbow": ("LeftForeArm", "LeftHand"),
        "right_shoulder": ("RightArm", "RightForeArm"),
    }  # fmt: skip
    return {
        joint: (place[b] - place[a]) / np.linalg.norm(place[b] - place[a]) for joint, (a, b) in pairs.items()
    }


_SMPL = {"left_hip": (0, -1, 0), "right_knee": (0, -1, 0), "left_shoulder": (1, 0, 0), "left_elbow": (1, 0, 0),
         "right_shoulder": (-1, 0, 0)}  # fmt: skip


def world(rotations: np.ndarray, joint: int) -> np.ndarray:
    from alignhmr.core.body.skeleton import PARENTS

    turn = rotations[joint]
    while (joint := PARENTS[joint]) >= 0:
        turn = rotations[joint] @ turn
    return turn


@pytest.mark.parametrize(("arm", "forearm"), [("5 0 0", "4 0 0"), ("3.5 -3.5 0", "2.8 -2.8 0.5")])
def test_limbs_point_where_the_bvh_points_them_whatever_its_rest_pose(tmp_path, arm, forearm) -> None:
    rng = np.random.default_rng(0)
    frames = [{name: tuple(rng.uniform(-70, 70, 3)) for name in _ORDER} for _ in range(4)]
    path = cmu(tmp_path / "a.bvh", frames, arm=arm, forearm=forearm)
    rotations = read_bvh(path)
    assert rotations.shape == (4, 24, 3, 3)
    for frame in range(4):
        for name, bone in directions(path, frame).items():
            np.testing.assert_allclose(
                world(rotations[frame], JOINTS.index(name)) @ np.array(_SMPL[name], float), bone, atol=2e-5
            )


def test_a_known_pose_reads_as_known_angles(tmp_path) -> None:
    path = cmu(tmp_path / "a.bvh", [{"LeftLeg": (0, 0, 60), "LeftArm": (-80, 0, 0), "Hips": (0, 90, 0)}])
    angles = Rotation.from_matrix(read_bvh(path)[0]).as_rotvec(degrees=True)
    wanted = np.zeros((24, 3))
    wanted[4, 0], wanted[16, 2], wanted[0, 1] = 60, -80, 90
    np.testing.assert_allclose(angles, wanted, atol=1e-6)


def test_what_the_program_writes_it_reads(tmp_path) -> None:
    body = BodyModel.load()
    rng = np.random.default_rng(3)
    pose = rng.normal(0, 0.5, (5, 24, 3))
    motion = Motion(body.name, pose, rng.normal(0, 1, 10), np.zeros((5, 3)), frame="body", fps=30)
    write_bvh(motion, body, tmp_path / "own.bvh")
    wanted = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(5, 24, 3, 3)
    np.testing.assert_allclose(read_bvh(tmp_path / "own.bvh"), wanted, atol=1e-5)


def test_a_fast_bvh_is_thinned(tmp_path) -> None:
    frames = [{"Hips": (0.0, float(i), 0.0)} for i in range(12)]
    rotations = read_bvh(cmu(tmp_path / "a.bvh", frames, fps=120))
    yaw = Rotation.from_matrix(rotations[:, 0]).as_rotvec(degrees=True)[:, 1]
    np.testing.assert_allclose(yaw, [0, 4, 8], atol=1e-6)


@pytest.mark.parametrize("numbers", [72, 156, 165])
@pytest.mark.parametrize("z_up", [True, False])
def test_amass_stands_upright_in_a_y_up_world(tmp_path, numbers, z_up) -> None:
    poses = np.random.default_rng(0).normal(0, 0.3, (8, numbers))
    upright = Rotation.from_rotvec([np.pi / 2, 0, 0]) if z_up else Rotation.identity()
    roots = Rotation.from_rotvec(np.random.default_rng(1).normal(0, 0.2, (8, 3)))
    poses[:, :3] = (upright * roots).as_rotvec()
    np.savez(tmp_path / "a.npz", poses=poses, trans=np.zeros((8, 3)), gender="neutral", mocap_framerate=60.0)
    rotations = read_amass(tmp_path / "a.npz")
    np.testing.assert_allclose(rotations[:, 0], roots.as_matrix()[::2], atol=1e-9)
    np.testing.assert_allclose(
        rotations[:, 1:22],
        Rotation.from_rotvec(poses[::2, 3:66].reshape(-1, 3)).as_matrix().reshape(4, 21, 3, 3),
    )
    still = np.abs(rotations[:, 22:] - np.eye(3)).max()
    assert (still > 0.01) == (numbers == 72)  # past joint 21 the larger bodies have fingers
    joints = BodyModel.load().kinematics(torch.tensor(rotations).float(), torch.zeros(4, 10)).joints
    assert (joints[:, 15, 1] > joints[:, 0, 1] + 0.3).all()


def test_a_folder_gives_named_clips_in_order(tmp_path) -> None:
    cmu(tmp_path / "b.bvh", [{}])
    np.savez(tmp_path / "a.npz", poses=np.zeros((2, 72)), mocap_framerate=30)
    assert [clip.name for clip in load_own_clips(tmp_path)] == ["own/a", "own/b"]


class Trap:
    def __reduce__(self):
        return (print, ("ran",))


def test_what_cannot_be_used_is_said(tmp_path, capsys) -> None:
    with pytest.raises(InputError, match="no motion"):
        load_own_clips(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        load_own_clips(tmp_path / "gone")
    bad = tmp_path / "bad.bvh"
    bad.write_text(cmu(tmp_path / "a.bvh", [{}, {}]).read_text()[:-30])
    with pytest.raises(InputError, match=r"bad\.bvh is not a whole BVH"):
        read_bvh(bad)
    bad.write_text((tmp_path / "a.bvh").read_text().replace("LeftUpLeg", "lThigh"))
    with pytest.raises(InputError, match="no joint named LeftUpLeg"):
        read_bvh(bad)
    for arrays, words in (
        ({"trans": np.zeros((2, 3))}, "no 'poses'"),
        ({"poses": np.zeros((2, 70))}, r"\(2, 70\)"),
        ({"poses": np.full((2, 72), np.nan)}, "finite"),
        ({"poses": np.array([Trap()], object)}, "not a readable"),
    ):
        np.savez(tmp_path / "bad.npz", allow_pickle=True, **arrays)
        with pytest.raises(InputError, match=words):
            read_amass(tmp_path / "bad.npz")
    assert "ran" not in capsys.readouterr().out
