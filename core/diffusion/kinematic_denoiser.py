"""A transformer denoiser whose joints see along the kinematic tree, far in the first layers and near in the last.

24 tokens of joints (6D each), one of shape, one of the camera. The hops of each layer are ScoreHypo's and ADHMR's
(7, 6, 5, 4, 3, 1); shape and camera belong to no joint, and see and are seen by all. The step is added to every
token, as there. The last layer begins at zero: x0 is the residual to an initial estimate, and before anything is
learned that estimate itself is the best answer. AdaLN would close every layer to the same end, and cost 6 width^2
weights in each for one number, the step.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.diffusion.attention import Layer, Layers
from alignhmr.core.diffusion.denoiser import time_features
from alignhmr.core.diffusion.encoder import Encoded
from alignhmr.core.diffusion.parameters import CAMERA, POSE, SHAPE
from alignhmr.core.errors import InputError

TOKENS = len(JOINTS) + 2
_BETAS, _CAMERA = SHAPE.stop - SHAPE.start, CAMERA.stop - CAMERA.start


class KinematicDenoiser(nn.Module):
    """Layers of attention among a body's tokens, within reach, and to the person's evidence."""

    reach: Tensor

    def __init__(
        self, width: int, heads: int, feed_forward: int, hops: tuple[int, ...], encoded_width: int
    ) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, width))
        # A linear map of each joint's own: left and right are not the same six numbers.
        self.from_joint = nn.Parameter(torch.randn(len(JOINTS), 6, width) / 6**0.5)
        self.from_shape, self.from_camera = nn.Linear(_BETAS, width), nn.Linear(_CAMERA, width)
        self.identity = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.layers = Layers([Layer(width, heads, feed_forward, encoded_width) for _ in hops])
        self.norm = nn.LayerNorm(width)
        self.to_joint = nn.Parameter(torch.zeros(len(JOINTS), width, 6))
        self.joint_bias = nn.Parameter(torch.zeros(len(JOINTS), 6))
        self.to_shape, self.to_camera = nn.Linear(width, _BETAS), nn.Linear(width, _CAMERA)
        for last in (self.to_shape, self.to_camera):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.register_buffer("reach", torch.stack([within(hop) for hop in hops]), persistent=False)

    def forward(
        self, x_t: Float[Tensor, "people hyps params"], t: Int[Tensor, "people hyps"], encoded: Encoded
    ) -> Float[Tensor, "people hyps params"]:
        assert encoded.tokens is not None, "a denoiser that attends needs an encoder that gives tokens"
        joints = x_t[..., POSE].unflatten(-1, (len(JOINTS), 6))
        tokens = torch.cat(
            [
                torch.einsum("phji,jiw->phjw", joints, self.from_joint),
                self.from_shape(x_t[..., SHAPE])[..., None, :],
                self.from_camera(x_t[..., CAMERA])[..., None, :],
            ],
            -2,
        )
        tokens = tokens + self.identity + self.time(time_features(t))[..., None, :]
        sees = [mask[None] for mask in self.reach]
        # Hypotheses stand one after another; in each layer they ask the person's tokens together.
        tokens = self.layers(tokens.flatten(0, 1), sees, encoded.tokens, encoded.seen)
        # x0 is what the sampler adds up: in float32, whatever the layers use.
        with torch.autocast(x_t.device.type, enabled=False):
            tokens = self.norm(tokens.float()).unflatten(0, x_t.shape[:2])
            pose = torch.einsum("phjw,jwi->phji", tokens[..., : len(JOINTS), :], self.to_joint)
            pose = (pose + self.joint_bias).flatten(-2)
            shape, camera = self.to_shape(tokens[..., -2, :]), self.to_camera(tokens[..., -1, :])
            return torch.cat([pose, shape, camera], -1)


def within(hops: int) -> Bool[Tensor, "tokens tokens"]:
    """Which tokens are at most so many bones apart; shape and camera are near everything."""
    if hops < 1:
        raise InputError(f"{hops} hops let a joint see nothing but itself; give 1 or more")
    step = torch.eye(len(JOINTS))
    for joint, parent in enumerate(PARENTS[1:], start=1):
        step[joint, parent] = step[parent, joint] = 1
    near = torch.eye(len(JOINTS))
    for _ in range(hops):
        near = (near @ step).clamp(max=1)
    seen = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
    seen[: len(JOINTS), : len(JOINTS)] = near > 0
    return seen
