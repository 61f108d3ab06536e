"""Checkpoints of format 1: the same answers from the same evidence."""

import math

import torch
from torch import nn

from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.condition import make_condition
from alignhmr.core.diffusion.encoder import ResidualBlock
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.diffusion.parameters import SIZE
from alignhmr.core.first_format import config_of_first, is_first, tensors_of_first

SIZES = {"width": 24, "encoder_blocks": 2, "denoiser_width": 20, "denoiser_blocks": 1}


class FirstModel(nn.Module):
    """The networks of format 1 as they were."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(72, 24), ResidualBlock(24), ResidualBlock(24))
        self.regressor = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, SIZE))
        self.time = nn.Sequential(nn.Linear(64, 20), nn.GELU())
        self.denoiser_in = nn.Linear(SIZE + 24, 20)
        self.denoiser = nn.Sequential(ResidualBlock(20))
        self.denoiser_out = nn.Sequential(nn.LayerNorm(20), nn.Linear(20, SIZE))
        self.register_buffer("mean", torch.randn(SIZE))
        self.register_buffer("residual_std", torch.rand(SIZE) + 0.5)

    def answers(self, flat, x_t, t):
        encoded = self.encoder(flat)
        frequencies = torch.exp(torch.arange(32) * (-math.log(1000.0) / 31))
        phase = t[..., None] / schedule.STEPS * 1000 * frequencies
        time = self.time(torch.cat([phase.sin(), phase.cos()], -1))
        hidden = self.denoiser_in(torch.cat([x_t, encoded], -1)) + time
        return self.mean + self.regressor(encoded), self.denoiser_out(self.denoiser(hidden))


def test_the_same_evidence_gives_the_same_answers() -> None:
    torch.manual_seed(0)
    first = FirstModel()
    for parameter in first.parameters():
        nn.init.normal_(parameter, std=0.3)
    tensors = dict(first.state_dict())
    assert is_first(tensors)
    now = BaseModel(BaseModelConfig(**config_of_first("base", SIZES)))
    assert not is_first(now.state_dict())
    now.load_state_dict(tensors_of_first(tensors))
    keypoints = torch.rand(5, 23, 3) * torch.tensor([200.0, 200.0, 1.0])
    crop, focal = torch.tensor([[100.0, 90.0, 220.0]]).expand(5, -1), torch.full((5,), 600.0)
    condition = make_condition(keypoints, crop, focal, torch.full((5, 2), 128.0))
    x_t, t = torch.randn(5, SIZE), torch.randint(schedule.STEPS, (5,))
    with torch.no_grad():
        initial, x0 = first.answers(condition.flat(), x_t, t)
        encoded = now.encode(condition)
        torch.testing.assert_close(now.regress(encoded), initial, atol=1e-4, rtol=1e-4)
        found = now.denoise(x_t[:, None], t[:, None], encoded)[:, 0]
    torch.testing.assert_close(found, x0, atol=1e-4, rtol=1e-4)
    assert not now.sees_pixels
