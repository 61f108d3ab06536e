"""The posed surface of a dressed body, in float64 and in one fixed order of additions.

``BodyModel.vertices`` goes through smplx and a threaded matrix product, whose last bits depend on the number of
threads. A made picture has to be the same, bit for bit, wherever it is made, and its surface is thicker than
the body (clothing, hair): vertices are moved along their rest normals before they are skinned.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.errors import CompatibilityError
from alignhmr.core.synthetic.rasterizer import compiled
from alignhmr.core.synthetic.shading import vertex_normals

_INFLUENCES = 8
"""Joints that a vertex may follow; the open body has at most 6."""


@dataclass(frozen=True)
class Skin:
    """One resolution of a body as arrays, read from a ``BodyModel`` once."""

    name: str
    """``name:digest`` as in ``Recovery.models``."""
    template_m: Float[np.ndarray, "verts 3"]
    normals: Float[np.ndarray, "verts 3"]
    """Of the template."""
    shapedirs: Float[np.ndarray, "verts 3 10"]
    joint_template_m: Float[np.ndarray, "24 3"]
    joint_dirs: Float[np.ndarray, "24 3 10"]
    bones: Int[np.ndarray, "verts influences"]
    weights: Float[np.ndarray, "verts influences"]
    part: Int[np.ndarray, "verts"]
    """The joint that moves a vertex most."""
    faces: Int[np.ndarray, "faces 3"]
    keypoints: Float[np.ndarray, "23 verts"]

    @classmethod
    def of(cls, body: BodyModel) -> "Skin":
        """CompatibilityError for a body with pose blend shapes, which are not drawn."""
        data = body._body
        if data.posedirs is not None:
            raise CompatibilityError(
                f"the body {body.name!r} has pose blend shapes, which made people don't draw; use 'open'"
            )
        weights = data.weights.astype(np.float64)
        bones = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
        kept = np.take_along_axis(weights, bones, 1)
        template = data.v_template.astype(np.float64)
        regressor = data.J_regressor.astype(np.float64)
        return cls(
            name=f"{body.name}:{body.digest[:16]}",
            template_m=template,
            normals=vertex_normals(template, body.faces),
            shapedirs=np.ascontiguousarray(data.shapedirs, np.float64),
            joint_template_m=np.einsum("jv,vc->jc", regressor, template),
            joint_dirs=np.einsum("jv,vcb->jcb", regressor, data.shapedirs.astype(np.float64)),
            bones=bones,
            weights=kept / kept.sum(1, keepdims=True),
            part=bones[:, 0].copy(),
            faces=body.faces,
            keypoints=data.keypoint_regressor.astype(np.float64),
        )

    def rest_joints(self, betas: Float[np.ndarray, "10"]) -> Float[np.ndarray, "24 3"]:
        return self.joint_template_m + (self.joint_dirs * betas).sum(-1)

    def motions(
        self, rotations: Float[np.ndarray, "24 3 3"], betas: Float[np.ndarray, "10"]
    ) -> Float[np.ndarray, "24 3 4"]:
        """Turn and place of each joint; the last column holds the joints themselves."""
        rest = self.rest_joints(betas)
        out = np.empty((len(JOINTS), 3, 4))
        _walk(np.ascontiguousarray(rotations, np.float64), rest, np.array(PARENTS), out)
        return out

    def vertices(
        self,
        motions: Float[np.ndarray, "24 3 4"],
        betas: Float[np.ndarray, "10"],
        thickness_m: Float[np.ndarray, "verts"] | None = None,
    ) -> Float[np.ndarray, "verts 3"]:
        """Every vertex, moved out by ``thickness_m`` along its rest normal first."""
        out = np.empty_like(self.template_m)
        thick = np.zeros(len(out)) if thickness_m is None else np.asarray(thickness_m, np.float64)
        _skin(
            self.template_m, self.normals, self.shapedirs, self.bones, self.weights, motions,
            self.rest_joints(betas), np.asarray(betas, np.float64), thick, out,
        )  # fmt: skip
        return out

    def keypoints_of(self, vertices: Float[np.ndarray, "verts 3"]) -> Float[np.ndarray, "23 3"]:
        return np.stack([(row[used, None] * vertices[used]).sum(0) for row, used in self._sparse()])

    def _sparse(self):
        return ((row, np.flatnonzero(row)) for row in self.keypoints)


@compiled
def _walk(rotations, rest, parents, out):
    for joint in range(len(rest)):
        above = parents[joint]
        for i in range(3):
            if above < 0:
                for k in range(3):
                    out[joint, i, k] = rotations[joint, i, k]
                out[joint, i, 3] = rest[joint, i]
                continue
            for k in range(3):
                total = 0.0
                for m in range(3):
                    total += out[above, i, m] * rotations[joint, m, k]
                out[joint, i, k] = total
            total = out[above, i, 3]
            for m in range(3):
                total += out[above, i, m] * (rest[joint, m] - rest[above, m])
            out[joint, i, 3] = total


@compiled
def _skin(template, normals, shapedirs, bones, weights, motions, rest, betas, thickness, out):
    point = np.empty(3)
    for vertex in range(len(template)):
        for axis in range(3):
            value = template[vertex, axis] + thickness[vertex] * normals[vertex, axis]
            for k in range(len(betas)):
                value += shapedirs[vertex, axis, k] * betas[k]
            point[axis] = value
        for axis in range(3):
            out[vertex, axis] = 0.0
        for slot in range(bones.shape[1]):
            weight = weights[vertex, slot]
            if weight == 0.0:
                continue
            joint = bones[vertex, slot]
            for axis in range(3):
                value = motions[joint, axis, 3]
                for m in range(3):
                    value += motions[joint, axis, m] * (point[m] - rest[joint, m])
                out[vertex, axis] += weight * value
