"""The vector that is diffused: 24 rotations in 6D, 10 betas, and the crop camera (log s, tx, ty)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.geometry.rotations import matrix_to_sixd, sixd_to_matrix

POSE = slice(0, 144)
SHAPE = slice(144, 154)
CAMERA = slice(154, 157)
SIZE = 157


@dataclass(frozen=True)
class BodyParameters:
    """SMPL-format parameters of a batch, root orientation and camera in the camera frame."""

    rotations: Float[Tensor, "*batch 24 3 3"]
    betas: Float[Tensor, "*batch 10"]
    camera: Float[Tensor, "*batch 3"]
    """Crop camera (s, tx, ty); s > 0, t in metres."""


def pack(parameters: BodyParameters) -> Float[Tensor, "*batch params"]:
    """To the diffused vector. The scale goes in as a logarithm, so that it stays positive."""
    camera = parameters.camera
    sixd = matrix_to_sixd(parameters.rotations).flatten(-2)
    return torch.cat([sixd, parameters.betas, camera[..., :1].clamp_min(1e-3).log(), camera[..., 1:]], -1)


def unpack(vector: Float[Tensor, "*batch params"]) -> BodyParameters:
    """From the diffused vector, by Gram-Schmidt; any finite vector is a body."""
    camera = vector[..., CAMERA]
    return BodyParameters(
        rotations=sixd_to_matrix(vector[..., POSE].unflatten(-1, (24, 6))),
        betas=vector[..., SHAPE],
        camera=torch.cat([camera[..., :1].clamp(-3.0, 2.0).exp(), camera[..., 1:]], -1),
    )


def canonical(vector: Float[Tensor, "*batch params"]) -> Float[Tensor, "*batch params"]:
    """The packed vector of the body that a vector stands for.

    Six numbers of any length make the same rotation. A network that is taught rotations grows them, and what is left
    to a body would be measured in that length: with spreads up to 33 the denoiser's errors turned forearms about.
    """
    return pack(unpack(vector))
