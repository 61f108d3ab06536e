"""Joints and patches from a tiny vision transformer: places, what learns, pointing at something."""

import pytest
import torch

from alignhmr.core.diffusion.image_tokens import POINTS, heat_loss
from alignhmr.core.diffusion.patch_tokens import PatchTokens
from alignhmr.deployments import torchvision_shim

DESCRIBED = {
    "config": {
        "model_type": "vit", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "image_size": 48, "patch_size": 8,
    },
    "input_px": [48, 48], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "grid": [6, 6], "channels": 32,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _shim() -> None:
    torchvision_shim.install()


def tokens(*, trained: bool = True) -> PatchTokens:
    torch.manual_seed(0)
    return PatchTokens(DESCRIBED, trained=trained)


def spots(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey pictures with a white square of 8 pixels, and where its middle is over the crop."""
    corner = torch.randint(0, 40, (count, 2), generator=torch.Generator().manual_seed(seed))
    pictures = torch.full((count, 3, 48, 48), 60.0)
    for picture, (x, y) in zip(pictures, corner.tolist(), strict=True):
        picture[:, y : y + 8, x : x + 8] = 255
    return pictures, (corner + 4) / 24 - 1


def test_shapes_and_an_untrained_map_points_inside_the_crop() -> None:
    found = tokens().eval()(torch.rand(3, 3, 40, 40) * 255, torch.rand(3, 23, 3))
    assert found.points.shape == (3, POINTS, 3) and found.heat.shape == (3, POINTS, 12, 12)
    assert found.patches.shape == (3, 32, 6, 6) and found.flat().shape == (3, PatchTokens.size)
    assert found.points[..., :2].abs().max() < 1 and (found.spread > 0).all()


def test_half_precision_reads_its_maps_in_full() -> None:
    made, (pictures, _) = tokens().eval(), spots(2)
    with torch.autocast("cpu", torch.bfloat16):
        half = made(pictures, torch.zeros(len(pictures), 23, 3))
    assert half.points.dtype == half.heat.dtype == torch.float32
    torch.testing.assert_close(
        half.points, made(pictures, torch.zeros(len(pictures), 23, 3)).points, atol=0.02, rtol=0
    )


def test_it_learns_to_point_from_the_losses_on_its_maps() -> None:
    made = tokens().train()
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    for step in range(40):
        pictures, places = spots(12, seed=step)
        found = made(pictures, torch.zeros(len(pictures), 23, 3))
        where = places[:, None].expand(-1, POINTS, -1)
        loss = (found.points[..., :2] - where).abs().mean() + 0.1 * heat_loss(found.heat, where).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pictures, places = spots(32, seed=1000)
    with torch.no_grad():
        off = (
            (made.eval()(pictures, torch.zeros(len(pictures), 23, 3)).points[:, 0, :2] - places)
            .norm(dim=-1)
            .mean()
        )
    # The middle of the crop is 0.64 away on average.
    assert off < 0.2


def test_a_frozen_backbone_gets_no_gradient_and_the_rest_does() -> None:
    made = tokens(trained=False).train()
    for parameter in made.frozen():
        parameter.requires_grad_(False)
    pictures, _ = spots(2)
    found = made(pictures, torch.rand(len(pictures), 23, 3))
    (found.points.square().mean() + found.flat().square().mean()).backward()
    backbone = {id(parameter) for parameter in made.backbone.parameters()}
    assert all(p.grad is None for p in made.backbone.parameters()) and not made.pretrained()
    others = {name: p for name, p in made.named_parameters() if id(p) not in backbone}
    assert all(p.grad is not None and p.grad.any() for p in others.values()) and len(others) == 15
    assert {id(p) for p in tokens().pretrained()} and not tokens().frozen()
