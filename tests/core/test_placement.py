"""Bodies are put where their keypoints were seen."""

from dataclasses import dataclass, replace

import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.geometry.cameras import crop_camera_of, project
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.placement import place
from alignhmr.core.scoring.evidence import Claim

PEOPLE, HYPS = 3, 4


@dataclass(frozen=True)
class Seen:
    keypoints_px: torch.Tensor
    crop_px: torch.Tensor
    focal_px: torch.Tensor
    center_px: torch.Tensor


def scene() -> tuple[BodyModel, BodyParameters, Seen, torch.Tensor]:
    """People whose keypoints are exact; every hypothesis is right but for its crop camera."""
    body, g = BodyModel.load(), torch.Generator().manual_seed(0)
    rotations = axis_angle_to_matrix(0.3 * torch.randn(PEOPLE, 24, 3, generator=g))
    betas = torch.randn(PEOPLE, 10, generator=g)
    transl = torch.tensor([[0.3, -0.2, 4.0], [-1.0, 0.5, 7.0], [0.0, 0.0, 2.5]])
    points = body.kinematics(rotations, betas)
    focal, center = torch.full((PEOPLE,), 900.0), torch.full((PEOPLE, 2), 500.0)
    pixels = project(points.keypoints + transl[:, None], focal, center)
    crop = torch.cat([pixels.mean(1), torch.full((PEOPLE, 1), 700.0)], -1)
    seen = Seen(
        keypoints_px=torch.cat([pixels, torch.full((PEOPLE, 23, 1), 0.9)], -1), crop_px=crop, focal_px=focal,
        center_px=center,
    )  # fmt: skip
    camera = crop_camera_of(transl + points.joints[:, 0], crop, focal, center)

    def wide(x: torch.Tensor) -> torch.Tensor:
        return x[:, None].expand(-1, HYPS, *x.shape[1:])

    near = wide(camera) * (1 + 0.1 * torch.rand(PEOPLE, HYPS, 3, generator=g))
    return body, BodyParameters(wide(rotations), wide(betas), near), seen, transl


def test_exact_keypoints_put_a_body_where_it_is() -> None:
    body, parameters, seen, transl = scene()
    bodies = place(parameters, body, seen)
    torch.testing.assert_close(
        bodies.transl_cam_m, transl[:, None].expand(-1, HYPS, -1), atol=0.02, rtol=0.01
    )
    torch.testing.assert_close(
        bodies.keypoints_px, seen.keypoints_px[:, None, :, :2].expand_as(bodies.keypoints_px), atol=2.0, rtol=0.0
    )  # fmt: skip


def test_without_weight_the_model_s_own_idea_holds() -> None:
    body, parameters, seen, _ = scene()
    first, second = (place(parameters, body, seen, torch.full((PEOPLE, 23), w)) for w in (0.0, 1.0))
    assert not torch.allclose(first.transl_cam_m, second.transl_cam_m, atol=0.01)
    elsewhere = replace(seen, keypoints_px=seen.keypoints_px + 50)
    nowhere = place(parameters, body, elsewhere, torch.zeros(PEOPLE, 23))
    torch.testing.assert_close(nowhere.transl_cam_m, first.transl_cam_m)


def test_a_claim_is_about_the_root_and_over_the_crop() -> None:
    body, parameters, seen, _ = scene()
    bodies = place(parameters, body, seen)
    claim = Claim.of(bodies, seen.crop_px)
    assert claim.points_m.shape == (PEOPLE, HYPS, 47, 3) and (claim.points_m[..., 0, :] == 0).all()
    nose = seen.crop_px[0, :2] + claim.places[0, 0, 24] * seen.crop_px[0, 2] / 2
    torch.testing.assert_close(nose, bodies.keypoints_px[0, 0, 0], atol=1e-2, rtol=0.0)
