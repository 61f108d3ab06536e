"""Points read from BlazePose's inner layers: from pixels or kept features, and nothing of the network in weights."""

import pytest
import torch

from alignhmr.core.diffusion.image_tokens import POINTS
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.diffusion.pose_tokens import PoseTokens, features_of, split
from alignhmr.core.perception.pose_features import MAPS, SIZE


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 255, (count, 3, 256, 256), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize(("width", "blocks"), [(64, 1), (24, 3)])
def test_features_stand_in_for_the_crops_they_are_of(width: int, blocks: int) -> None:
    torch.manual_seed(0)
    tokens, keypoints = PoseTokens(width, blocks).eval(), torch.rand(2, 23, 3)
    assert tokens.patch_width == width
    seen, kept = tokens(pictures(), keypoints), tokens(features_of(pictures()), keypoints)
    for name, value in vars(seen).items():
        assert torch.equal(value, getattr(kept, name)), name
    assert seen.flat().shape == (2, tokens.size) and seen.heat.shape == (2, POINTS, 16, 16)
    assert seen.patches.shape[1:] == (tokens.patch_width, tokens.patches, tokens.patches)
    assert seen.fine.shape[1] == tokens.fine_width and seen.whole.shape[1] == tokens.whole_width


def test_maps_are_cut_where_they_were_joined() -> None:
    *maps, world = split(torch.arange(SIZE, dtype=torch.float32)[None])
    assert [part.shape[1:] for part in maps] == [(channels, rows, rows) for channels, rows in MAPS]
    joined = torch.cat([part.flatten(1) for part in maps] + [world], 1)
    assert torch.equal(joined[0], torch.arange(SIZE))


def test_another_contrast_of_a_map_changes_little() -> None:
    """Each map is normed by itself."""
    torch.manual_seed(0)
    tokens, keypoints = PoseTokens().eval(), torch.zeros(2, 23, 3)
    features = features_of(pictures()).float()
    end = 48 * 256
    louder = torch.cat([features[:, :end] * 3 + 1, features[:, end:]], 1)
    heat = tokens(features, keypoints).heat
    torch.testing.assert_close(tokens(louder, keypoints).heat, heat, rtol=1e-3, atol=1e-3)


def test_a_model_learns_on_top_of_it_and_keeps_no_weight_of_it() -> None:
    torch.manual_seed(0)
    model = BaseModel(BaseModelConfig(width=16, encoder_blocks=1, denoiser_width=16, denoiser_blocks=1))
    assert model.reads_features and model.sees_pixels
    image = model.encoder.image
    assert isinstance(image, PoseTokens) and not image.frozen() and not image.pretrained()
    image(features_of(pictures()), torch.rand(2, 23, 3)).flat().square().mean().backward()
    learned = {name for name, parameter in image.named_parameters() if parameter.grad is not None}
    assert {"fine.weight", "trunk.weight", "whole.weight", "near.weight", "prompt.weight"} <= learned
    assert sum(parameter.numel() for parameter in image.parameters()) < 1.5e6
