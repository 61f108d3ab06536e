"""A pose as words of a learned language: 24 rotations to tokens of shared codebooks, and back.

6D rotations go in and come out (camera frame: joint 0 is the root's orientation). Each joint has a few numbers of its
own, which are told coarse to fine by one token of each level (residual quantisation: a level tells what the levels
before left over); networks that see the whole body correct both directions. Tokens of single joints were measured
against tokens of the whole body: see the README.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.geometry.rotations import matrix_to_sixd, sixd_to_matrix
from alignhmr.core.language.codebook import Codebook

_JOINTS = len(JOINTS)


@dataclass(frozen=True)
class VqVaeConfig:
    code_dim: int = 8
    codes: int = 512
    levels: int = 3
    joint_width: int = 48
    width: int = 384
    blocks: int = 1

    @property
    def latent_size(self) -> int:
        return _JOINTS * self.code_dim


class ResidualMlp(nn.Module):
    """Linear in, ``blocks`` residual layers, linear out."""

    def __init__(self, inputs: int, width: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.into = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()) for _ in range(blocks)
        )
        self.out = nn.Linear(width, outputs)

    def forward(self, values: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        hidden = nn.functional.gelu(self.into(values))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.out(hidden)


class _JointWise(nn.Module):
    """A small network of each joint's own, and one of the whole body that begins by adding nothing."""

    def __init__(self, inputs: int, outputs: int, config: VqVaeConfig) -> None:
        super().__init__()
        width = config.joint_width
        self.first = nn.Parameter(torch.randn(_JOINTS, inputs, width) / math.sqrt(inputs))
        self.bias = nn.Parameter(0.1 * torch.randn(_JOINTS, 1, width))
        self.second = nn.Parameter(torch.randn(_JOINTS, width, outputs) / math.sqrt(width))
        self.body = ResidualMlp(_JOINTS * inputs, config.width, _JOINTS * outputs, config.blocks)
        nn.init.zeros_(self.body.out.weight)
        nn.init.zeros_(self.body.out.bias)

    def forward(self, values: Float[Tensor, "batch 24 inputs"]) -> Float[Tensor, "batch 24 outputs"]:
        own = nn.functional.gelu(values.transpose(0, 1) @ self.first + self.bias) @ self.second
        return own.transpose(0, 1) + self.body(values.flatten(1)).unflatten(1, (_JOINTS, -1))


@dataclass(frozen=True)
class Coded:
    """A batch through the codebooks."""

    latents: Float[Tensor, "batch 24 dim"]
    left_over: Float[Tensor, "levels batch 24 dim"]
    """What each level was given to tell."""
    indices: Int[Tensor, "levels batch 24"]
    quantised: Float[Tensor, "batch 24 dim"]
    """The sum of the codes, with the latents' gradient."""
    rotations: Float[Tensor, "batch 24 3 3"]
    """What the codes say of the pose."""


class PoseVqVae(nn.Module):
    rest: Tensor

    def __init__(self, config: VqVaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _JointWise(6, config.code_dim, config)
        self.decoder = _JointWise(config.code_dim, 6, config)
        # Finer levels begin finer: what is left over shrinks by about a third of a digit each time.
        self.codebooks = nn.ModuleList(
            Codebook(config.codes, config.code_dim, 0.3**level) for level in range(config.levels)
        )
        # A rotation is told by how it differs from none.
        self.register_buffer("rest", matrix_to_sixd(torch.eye(3)), persistent=False)

    def forward(self, rotations: Float[Tensor, "batch 24 3 3"]) -> Coded:
        latents = self.encoder(matrix_to_sixd(rotations) - self.rest)
        rest, told, left_over, indices = latents.detach(), torch.zeros_like(latents), [], []
        for codebook in self.codebooks:
            assert isinstance(codebook, Codebook)
            left_over.append(rest)
            indices.append(codebook.nearest(rest))
            code = codebook.vectors[indices[-1]]
            rest, told = rest - code, told + code
        quantised = latents + (told - latents).detach()
        return Coded(latents, torch.stack(left_over), torch.stack(indices), quantised, self.decode(quantised))

    def decode(self, quantised: Float[Tensor, "batch 24 dim"]) -> Float[Tensor, "batch 24 3 3"]:
        return sixd_to_matrix(self.decoder(quantised) + self.rest)

    def levels(self) -> list[Codebook]:
        return [codebook for codebook in self.codebooks if isinstance(codebook, Codebook)]


def joints_of(
    rotations: Float[Tensor, "batch 24 3 3"], rest_m: Float[Tensor, "24 3"]
) -> Float[Tensor, "batch 24 3"]:
    """Root-relative joints in metres of a body with these rest joints: a plain walk down the tree."""
    turns, places = [rotations[:, 0]], [torch.zeros_like(rotations[:, 0, 0])]
    for joint in range(1, _JOINTS):
        parent = PARENTS[joint]
        offset = rest_m[joint] - rest_m[parent]
        places.append(places[parent] + turns[parent] @ offset)
        turns.append(turns[parent] @ rotations[:, joint])
    return torch.stack(places, 1)
