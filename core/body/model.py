"""Joints, keypoints and vertices of an SMPL-format body from joint rotations and betas.

Vertices come from `smplx`, which is built from memory. Joints and keypoints take a shorter way that makes no
vertex. A skinned vertex is sum_j W_vj A_j [v_shaped; 1], with A_j the rigid motion of joint j, so a keypoint

    sum_v w_v vertex_v  =  sum_j A_j p_j,     p_j = sum_v w_v W_vj [v_shaped; 1]

needs one rest point p_j for each joint that moves it, a few of 24. Rest points are linear in betas (and in the
pose feature, where the body has pose blend shapes), so their coefficients are summed over the mesh once, when
the body is loaded.
"""

import contextlib
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.body_file import BodyFile, read_body_file
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, LEVELS, PARENTS

if TYPE_CHECKING:
    import smplx

Resolution = Literal["full", "small"]

_LEVEL_ORDER_TO_JOINTS = np.argsort([joint for level in LEVELS for joint in level]).tolist()


@dataclass(frozen=True)
class BodyPoints:
    """A posed body's points, in metres, before any translation."""

    joints: Float[Tensor, "*b 24 3"]
    keypoints: Float[Tensor, "*b 23 3"]


class BodyModel(torch.nn.Module):
    """A frozen SMPL-format body; `.to()` moves it, and nothing of it enters a state dict."""

    joint_template: Tensor  # [24, 3]
    joint_dirs: Tensor  # [24, 3, 10]
    pair_joint: Tensor  # [pairs]: a joint that moves some keypoint
    pair_weight: Tensor  # [pairs, 1, 1]: how much of the keypoint follows it
    pair_template: Tensor  # [pairs, 3]: the rest point p_j
    pair_dirs: Tensor  # [pairs, 3, 10]
    pair_posedirs: Tensor | None  # [pairs, 3, 207]
    keypoint_of_pair: Tensor  # [23, pairs]: ones and zeros
    parents: Tensor

    def __init__(self, body: BodyFile) -> None:
        super().__init__()
        self.name = body.name
        self.digest = body.digest
        self.licence = body.licence
        self.resolution = body.resolution
        self.faces: np.ndarray = body.f.astype(np.int64)
        self.num_vertices = len(body.v_template)
        self._body = body
        self._meshers: dict[tuple[torch.device, torch.dtype], smplx.SMPLLayer] = {}
        for key, value in _summed_over_mesh(body).items():
            # What is derived from the file is not saved again with a checkpoint.
            self.register_buffer(key, value, persistent=False)

    @classmethod
    def load(cls, source: str | Path = "open", resolution: Resolution = "small") -> "BodyModel":
        """The body that ships with the package ("open"), or the one in a .npz file.

        `resolution` chooses between the open body's 13,718 and 1,229 vertices: the same body, the same betas.
        Raises InputError or CompatibilityError, which say what is wrong with the file.
        """
        if str(source) == "open":
            source = Path(__file__).parent / "data" / f"open_body_{resolution}.npz"
        return cls(read_body_file(Path(source)))

    def kinematics(self, rotations: Float[Tensor, "*b 24 3 3"], betas: Float[Tensor, "*b 10"]) -> BodyPoints:
        """Joints and keypoints without a vertex, equal to the full model's within 1e-5 m.

        Rotations are relative to the parent; the root turns about its own rest place, as in SMPL, so joint 0
        stays where the betas put it.
        """
        lead = rotations.shape[:-3]
        # The batch goes last: 3x3 products become long vector operations, 3 times faster than batched matmul.
        turns = rotations.reshape(lead.numel(), len(JOINTS), 3, 3).permute(1, 2, 3, 0).contiguous()
        shape = betas.expand(*lead, -1).reshape(lead.numel(), betas.shape[-1]).T
        rest = self.joint_template[..., None] + self.joint_dirs @ shape
        motions = self._walk(turns, rest)  # [24, 3, 4, batch]: turn and place of every joint

        points = self.pair_template[..., None] + self.pair_dirs @ shape
        if self.pair_posedirs is not None:
            eye = torch.eye(3, dtype=turns.dtype, device=turns.device)[..., None]
            points = points + self.pair_posedirs @ (turns[1:] - eye).flatten(0, 2)
        points = points - self.pair_weight * rest[self.pair_joint]  # as seen from the joint
        moved = motions[self.pair_joint]
        moved = (moved[:, :, :3] * points[:, None]).sum(2) + self.pair_weight * moved[:, :, 3]
        keypoints = (self.keypoint_of_pair @ moved.flatten(1)).reshape(len(KEYPOINTS), 3, lead.numel())
        return BodyPoints(
            joints=motions[:, :, 3].permute(2, 0, 1).reshape(*lead, len(JOINTS), 3),
            keypoints=keypoints.permute(2, 0, 1).reshape(*lead, len(KEYPOINTS), 3),
        )

    def _walk(
        self, turns: Float[Tensor, "24 3 3 flat"], rest: Float[Tensor, "24 3 flat"]
    ) -> Float[Tensor, "24 3 4 flat"]:
        """Turn and place of each joint in the body's frame, one step per level of the tree."""
        offsets = torch.cat([rest[:1], rest[1:] - rest[self.parents[1:]]])
        local = torch.cat([turns, offsets[:, :, None]], dim=2)
        levels = [local[:1]]
        for above, level in pairwise(LEVELS):
            parent = levels[-1][[above.index(PARENTS[joint]) for joint in level]]
            world = (parent[:, :, :3, None] * local[list(level)][:, None]).sum(2)
            levels.append(torch.cat([world[:, :, :3], world[:, :, 3:] + parent[:, :, 3:]], dim=2))
        return torch.cat(levels)[_LEVEL_ORDER_TO_JOINTS]

    def vertices(
        self, rotations: Float[Tensor, "*b 24 3 3"], betas: Float[Tensor, "*b 10"]
    ) -> Float[Tensor, "*b verts 3"]:
        """Every vertex of the mesh, by smplx, in metres before any translation."""
        lead = rotations.shape[:-3]
        betas = betas.expand(*lead, -1).reshape(lead.numel(), betas.shape[-1])
        rotations = rotations.reshape(lead.numel(), len(JOINTS), 3, 3)
        posed = self._mesher()(
            betas=betas,
            body_pose=rotations[:, 1:],
            global_orient=rotations[:, :1],
            pose2rot=False,
        )
        return posed.vertices.reshape(*lead, self.num_vertices, 3)

    def _mesher(self) -> "smplx.SMPLLayer":
        """The smplx layer on this body's device and dtype, made at its first use: kinematics needs none."""
        key = (self.joint_template.device, self.joint_template.dtype)
        if key not in self._meshers:
            self._meshers[key] = _smplx_layer(self._body, key[1]).to(key[0])
        return self._meshers[key]


def _summed_over_mesh(body: BodyFile) -> dict[str, Tensor | None]:
    """The buffers of `BodyModel`, summed in float64: thousands of vertices would eat float32's last digits."""
    regressor = body.J_regressor.astype(np.float64)
    share = np.einsum("kv,vj->kjv", body.keypoint_regressor.astype(np.float64), body.weights)
    keypoint, joint = np.nonzero(np.abs(share).sum(axis=2))
    share = share[keypoint, joint]
    sums = {
        "joint_template": regressor @ body.v_template,
        "joint_dirs": np.tensordot(regressor, body.shapedirs, 1),
        "pair_weight": share.sum(axis=1)[:, None, None],
        "pair_template": share @ body.v_template,
        "pair_dirs": np.tensordot(share, body.shapedirs, 1),
        "pair_posedirs": None if body.posedirs is None else np.tensordot(share, body.posedirs, 1),
        "keypoint_of_pair": keypoint == np.arange(len(KEYPOINTS))[:, None],
    }
    buffers = {key: None if total is None else torch.tensor(total).float() for key, total in sums.items()}
    return buffers | {
        "pair_joint": torch.tensor(joint),
        "parents": torch.tensor(PARENTS),
    }


def _smplx_layer(body: BodyFile, dtype: torch.dtype) -> "smplx.SMPLLayer":
    import smplx
    from smplx.vertex_ids import vertex_ids

    # smplx appends vertices as extra joints, at SMPL's own indices unless told otherwise. They are not read
    # here, and SMPL's indices lie outside a smaller mesh.
    ids = dict.fromkeys(vertex_ids["smplh"], 0)
    posedirs = body.posedirs
    if posedirs is None:
        posedirs = np.zeros((len(body.v_template), 3, 9 * (len(JOINTS) - 1)), np.float32)
    data = SimpleNamespace(
        v_template=body.v_template, shapedirs=body.shapedirs, posedirs=posedirs, J_regressor=body.J_regressor,
        kintree_table=np.array([PARENTS, range(len(JOINTS))]), weights=body.weights, f=body.f.astype(np.int64),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a warning about having 10 betas
        layer = smplx.SMPLLayer(model_path="", data_struct=data, vertex_ids=ids, dtype=dtype)  # pyright: ignore
    return layer.requires_grad_(False)
