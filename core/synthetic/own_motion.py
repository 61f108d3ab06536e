"""A user's own motion as clips: BVH in the CMU naming, and AMASS .npz. Poses only; no shape, no place.

BVH     Hips, LeftUpLeg, LeftLeg, LeftFoot, LowerBack, Spine, ... as the CMU database and its conversions name
        them, and the names that ``alignhmr predict --format bvh`` writes. The skeleton's own rest pose may be T or
        A, and up may be y or z: limbs are aligned by the directions of their bones, the whole by hips and neck. A
        joint that a file lacks moves with its parent.
AMASS   ``poses`` of 72, 156 or 165 numbers a frame, axis-angle; SMPL-H's and SMPL-X's first 22 joints are SMPL's.
        z is up in AMASS; a file whose bodies clearly stand along y is taken as y up.

Clips are thinned to about 30 frames a second, the pace of the shipped ones.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.motion import Clip

FRAMES_PER_S = 30.0
_Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

_SIDE = {
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
    "elbow": "ForeArm", "wrist": "Hand",
}  # fmt: skip
_CMU: dict[str, tuple[str, ...]] = {
    "pelvis": ("Hips",),
    "spine1": ("LowerBack", "Spine"),
    "spine2": ("Spine",),
    "spine3": ("Spine1", "Chest"),
    "neck": ("Neck", "Neck1"),
    "head": ("Head",),
} | {
    f"{side}_{joint}": (side.capitalize() + name,)
    for side in ("left", "right")
    for joint, name in _SIDE.items()
}
_NEEDED = (
    "pelvis",
    *(f"{s}_{j}" for s in ("left", "right") for j in ("hip", "knee", "shoulder", "elbow")),
    "neck",
)
# Bones whose directions are compared, and SMPL's own in its T-pose.
_REST = {"hip": ("knee", (0, -1, 0)), "knee": ("ankle", (0, -1, 0)), "shoulder": ("elbow", (1, 0, 0)),
         "elbow": ("wrist", (1, 0, 0))}  # fmt: skip


def load_own_clips(folder: Path) -> list[Clip]:
    """Every .bvh and .npz under ``folder``, by path. InputError for an empty folder and for a file of no use."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name one that holds .bvh or AMASS .npz files")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".bvh", ".npz"))
    if not paths:
        raise InputError(f"no motion (.bvh, .npz) in {folder}; name a folder that holds some")
    clips = []
    for path in paths:
        rotations = read_bvh(path) if path.suffix.lower() == ".bvh" else read_amass(path)
        clips.append(Clip(f"own/{path.relative_to(folder).with_suffix('')}", rotations))
    return clips


def read_amass(path: Path) -> Float[np.ndarray, "frames 24 3 3"]:
    """Rotations of one AMASS file; nothing in it is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = set(file.files)
            if "poses" not in keys:
                raise InputError(
                    f"{path} has no 'poses' (it has {', '.join(sorted(keys)) or 'nothing'}); give AMASS .npz"
                )
            poses = np.asarray(file["poses"], np.float64)
            rate = next((float(file[k]) for k in ("mocap_framerate", "mocap_frame_rate") if k in keys), 120.0)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a readable .npz ({error})") from error
    if poses.ndim != 2 or poses.shape[1] not in (72, 156, 165) or not len(poses):
        raise InputError(
            f"poses in {path} have shape {poses.shape}; wanted (frames, 72), (frames, 156) or (frames, 165)"
        )
    if not (np.isfinite(poses).all() and np.isfinite(rate) and rate > 0):
        raise InputError(f"{path} holds numbers that aren't finite, or a frame rate of {rate}")
    poses = poses[:: _step(rate)]
    joints = 24 if poses.shape[1] == 72 else 22  # past them SMPL-H and SMPL-X have fingers
    rotations = np.tile(np.eye(3), (len(poses), 24, 1, 1))
    rotations[:, :joints] = (
        Rotation.from_rotvec(poses[:, : 3 * joints].reshape(-1, 3)).as_matrix().reshape(-1, joints, 3, 3)
    )
    up = rotations[:, 0, :, 1].mean(0)
    if not (up[1] > 0.5 and up[1] > up[2]):
        rotations[:, 0] = _Z_UP_TO_Y_UP @ rotations[:, 0]
    return rotations


def _step(rate: float) -> int:
    return max(1, round(rate / FRAMES_PER_S))


@dataclass
class _Node:
    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: tuple[str, ...] = ()


def read_bvh(path: Path) -> Float[np.ndarray, "frames 24 3 3"]:
    """Rotations of one BVH file, in SMPL's joints and frame."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from error
    nodes, frames, frame_time = _parse(text, path)
    names = {re.sub(r"^.*:", "", node.name): index for index, node in enumerate(nodes)}
    smpl = all(name in names for name in JOINTS)
    found = {
        joint: next((names[n] for n in ((joint,) if smpl else _CMU.get(joint, ())) if n in names), None)
        for joint in JOINTS
    }
    lacking = [_CMU[joint][0] for joint in _NEEDED if found[joint] is None]
    if lacking:
        raise InputError(
            f"{path} has no joint named {lacking[0]}; wanted CMU's names (Hips, LeftUpLeg, LeftLeg, ...)"
        )
    step = _step(1 / frame_time) if frame_time > 0 else 1
    world, rest = _walk(nodes, frames[::step])
    basis = _basis(rest, found)
    world = basis @ world @ basis.T
    rest = rest @ basis.T

    turned: dict[int, np.ndarray] = {}
    for joint, name in enumerate(JOINTS):
        index = found[name]
        if index is None:
            turned[joint] = turned[PARENTS[joint]]
        else:
            turned[joint] = world[:, index] @ (np.eye(3) if smpl else _alignment(name, rest, found))
    rotations = np.empty((len(world), 24, 3, 3))
    for joint, parent in enumerate(PARENTS):
        rotations[:, joint] = (
            turned[joint] if parent < 0 else turned[parent].transpose(0, 2, 1) @ turned[joint]
        )
    return rotations


def _parse(text: str, path: Path) -> tuple[list[_Node], np.ndarray, float]:
    hierarchy, motion, numbers = text.partition("MOTION")
    nodes: list[_Node] = []
    stack: list[int] = []
    ended = 0
    try:
        for line in hierarchy.splitlines():
            words = line.split()
            if not words:
                continue
            match words[0]:
                case "ROOT" | "JOINT":
                    nodes.append(_Node(words[1], stack[-1] if stack else -1))
                    stack.append(len(nodes) - 1)
                case "End":
                    ended = 1
                case "OFFSET" if not ended:
                    nodes[stack[-1]].offset = np.array([float(word) for word in words[1:4]])
                case "CHANNELS":
                    nodes[stack[-1]].channels = tuple(words[2 : 2 + int(words[1])])
                case "}":
                    if ended:
                        ended = 0
                    else:
                        stack.pop()
        header = re.match(r"\s*Frames:\s*(\d+)\s+Frame Time:\s*([\d.eE+-]+)\s*", numbers)
        assert motion and nodes and header
        values = np.array(numbers[header.end() :].split(), np.float64)
        width = sum(len(node.channels) for node in nodes)
        frames = values.reshape(int(header[1]), width)
        assert len(frames), "no frames"
        assert np.isfinite(frames).all(), "its motion holds numbers that are not finite"
        return nodes, frames, float(header[2])
    except (AssertionError, IndexError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole BVH file ({error or 'no motion in it'}); export it again"
        ) from error


def _walk(nodes: list[_Node], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World rotations [frames, nodes, 3, 3], and the rest pose's joints [nodes, 3]."""
    world = np.empty((len(frames), len(nodes), 3, 3))
    rest = np.zeros((len(nodes), 3))
    column = 0
    for index, node in enumerate(nodes):
        local = np.tile(np.eye(3), (len(frames), 1, 1))
        for channel in node.channels:
            axis = "XYZ".find(channel[0].upper())
            if channel.lower().endswith("rotation"):
                angles = np.radians(frames[:, column])
                local = local @ Rotation.from_rotvec(angles[:, None] * np.eye(3)[axis]).as_matrix()
            column += 1
        world[:, index] = local if node.parent < 0 else world[:, node.parent] @ local
        rest[index] = node.offset + (rest[node.parent] if node.parent >= 0 else 0)
    return world, rest


def _basis(rest: np.ndarray, found: dict[str, int | None]) -> np.ndarray:
    """Turns the file's axes to SMPL's: x to the body's left, y up, z forward. Only quarter turns."""

    def at(name: str) -> np.ndarray:
        index = found[name]
        assert index is not None
        return rest[index]

    left = at("left_hip") - at("right_hip")
    up = at("neck") - (at("left_knee") + at("right_knee")) / 2
    rows = []
    for direction in (left, up):
        axis = int(np.abs(direction).argmax())
        rows.append(np.sign(direction[axis]) * np.eye(3)[axis])
    if abs(rows[0] @ rows[1]) > 0.5:
        return np.eye(3)
    return np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])


def _alignment(name: str, rest: np.ndarray, found: dict[str, int | None]) -> np.ndarray:
    """The smallest turn of SMPL's bone onto the file's, at rest; hands follow forearms, feet stay."""
    side, _, joint = name.partition("_")
    joint = {"wrist": "elbow", "hand": "elbow"}.get(joint, joint)
    if joint not in _REST:
        return np.eye(3)
    child, direction = _REST[joint]
    start, end = found[f"{side}_{joint}"], found.get(f"{side}_{child}")
    if start is None or end is None:
        return np.eye(3)
    smpl = np.array(direction, float) * (-1.0 if side == "right" and direction[0] else 1.0)
    bone = rest[end] - rest[start]
    length = float(np.linalg.norm(bone))
    if length < 1e-9:
        return np.eye(3)
    bone = bone / length
    axis, cosine = np.cross(smpl, bone), float(smpl @ bone)
    if cosine < -0.99:
        return np.eye(3)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
