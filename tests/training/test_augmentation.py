"""Augmentation: picture, keypoints and truth move together."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.diffusion.condition import to_crop
from alignhmr.core.geometry.cameras import lift_crop_camera, project
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.training.augmentation import AS_IT_IS, AugmentationConfig, observe
from alignhmr.training.sightings import CROP_PX, Sighting

FOCAL, CENTER = 400.0, (160.0, 120.0)
GEOMETRY = AugmentationConfig(
    erase=0, grey=0, colour=0, blur=0, keypoint_noise=0, keypoint_loss=0, detected_box=0, turn=1.0
)
MARKED = [KEYPOINTS.index(name) for name in ("left_wrist", "right_wrist", "left_ankle", "right_ankle")]
COLOURS = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 20]], np.uint8)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def sighting(body: BodyModel, seed: int = 0) -> Sighting:
    """A body in random pose whose wrists and ankles are dots of four colours in the picture."""
    generator = torch.Generator().manual_seed(seed)
    pose = 0.25 * torch.randn(24, 3, generator=generator)
    pose[0] = torch.tensor([3.0, 0.2, 0.1])
    betas = 0.5 * torch.randn(10, generator=generator)
    points = body.kinematics(axis_angle_to_matrix(pose)[None], betas[None])
    transl = torch.tensor([0.15, -0.05, 4.0]) - points.joints[0, 0]
    keypoints_m = points.keypoints[0] + transl
    pixels = project(keypoints_m, torch.tensor(FOCAL), torch.tensor(CENTER)).numpy()
    picture = np.full((240, 320, 3), 90, np.uint8)
    for place, colour in zip(pixels[MARKED], COLOURS.tolist(), strict=True):
        cv2.circle(
            picture, tuple((place * 16 - 8).round().astype(int).tolist()), 5 * 16, colour, -1, cv2.LINE_AA, 4
        )
    box = np.array([*(pixels.min(0) - 6), *(pixels.max(0) + 6)], np.float32)
    side = 1.6 * float((box[2:] - box[:2]).max())
    middle = (box[:2] + box[2:]) / 2
    window = SquareCrop((float(middle[0]), float(middle[1])), side)
    crop = window.cut(picture, CROP_PX)
    return Sighting(
        id="made#0", group="g", domain="wild",
        crop_jpeg=cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes(),
        window_px=np.array([*middle, side], np.float32), picture_px=(320, 240), box_px=box, focal_px=FOCAL,
        center_px=CENTER, keypoints_px=np.concatenate([pixels, np.full((23, 1), 0.9)], 1).astype(np.float32),
        keypoints_3d_m=(keypoints_m - keypoints_m[11:13].mean(0)).numpy(), score=0.9, mask=None, true_mask=None,
        body=f"{body.name}:{body.digest[:16]}", pose_aa=pose.numpy(), betas=betas.numpy(),
        transl_cam_m=transl.numpy(), smpl24_cam_m=(points.joints[0] + transl).numpy(),
        coco23_cam_m=keypoints_m.numpy(), smpl24_visible=None, coco23_visible=None, facts={},
    )  # fmt: skip


def seen_at(crop: torch.Tensor) -> dict[int, np.ndarray]:
    """Where each colour is in the crop, in [-1, 1]; colours that are not to be seen are left out."""
    picture = crop.permute(1, 2, 0).numpy()
    found = {}
    for index, colour in enumerate(COLOURS):
        near = np.abs(picture - colour).sum(-1) < 140
        if near.sum() > 15:
            rows, columns = near.nonzero()
            found[index] = (np.array([columns.mean(), rows.mean()]) + 0.5) / (len(picture) / 2) - 1
    return found


@pytest.mark.parametrize("config", [AS_IT_IS, GEOMETRY])
def test_pixels_keypoints_and_bodies_agree(body: BodyModel, config: AugmentationConfig) -> None:
    people = [sighting(body, seed) for seed in range(12)]
    batch = observe(people, body, 128, torch.Generator().manual_seed(1), config)
    points_cam = batch.body_keypoints_m + batch.transl_cam_m[:, None]
    true = to_crop(project(points_cam, batch.focal_px, batch.center_px), batch.crop_px)
    told = to_crop(batch.keypoints_px[..., :2], batch.crop_px)
    assert (true - told)[:, 5:17].norm(dim=-1).max() < 0.02  # the body is symmetric to a few millimetres
    compared = 0
    for person, crop in enumerate(batch.crops):
        for index, place in seen_at(crop).items():
            other = index ^ 1  # in a mirror a left wrist is a right one
            distances = [np.linalg.norm(place - true[person, MARKED[i]].numpy()) for i in (index, other)]
            if np.abs(place).max() < 0.9:
                assert min(distances) < 0.06, (person, index)
                compared += 1
    assert compared > 35


def test_a_mirror_exchanges_left_and_right(body: BodyModel) -> None:
    config = replace(GEOMETRY, mirror=1.0, turn=0.0, shift=0.0, scale=0.0)
    one = sighting(body)
    plain, mirrored = (
        observe([one], body, 64, torch.Generator().manual_seed(0), c) for c in (AS_IT_IS, config)
    )
    wide = 2 * CENTER[0]
    left, right = MARKED[:2]
    np.testing.assert_allclose(
        mirrored.keypoints_px[0, left, 0], wide - plain.keypoints_px[0, right, 0], atol=1e-3
    )
    depth = plain.detector_3d_m[0, right, 2]
    np.testing.assert_allclose(mirrored.detector_3d_m[0, left, 2], depth, atol=1e-5)
    flipped = mirrored.crops[0].flip(-1)
    assert (flipped - plain.crops[0]).abs().mean() < 3


def test_what_is_visible_changes_sides_in_a_mirror_and_is_all_where_nobody_looked(body: BodyModel) -> None:
    joints, keypoints = np.zeros(24, bool), np.zeros(23, bool)
    joints[JOINTS.index("left_knee")] = keypoints[MARKED[0]] = True
    looked = replace(sighting(body), smpl24_visible=joints, coco23_visible=keypoints)
    config = replace(GEOMETRY, mirror=1.0)
    batch = observe([looked, sighting(body)], body, 32, torch.Generator().manual_seed(0), config)
    expected = np.zeros(47, bool)
    expected[[JOINTS.index("right_knee"), 24 + MARKED[1]]] = True
    np.testing.assert_array_equal(batch.visible[0], expected)
    assert batch.visible[1].all()


def test_the_crop_camera_puts_the_root_where_the_truth_has_it(body: BodyModel) -> None:
    batch = observe([sighting(body)] * 8, body, 32, torch.Generator().manual_seed(3))
    root = lift_crop_camera(batch.camera, batch.crop_px, batch.focal_px, batch.center_px)
    torch.testing.assert_close(root, batch.joints_m[:, 0] + batch.transl_cam_m, atol=1e-4, rtol=1e-4)


def test_the_generator_alone_decides(body: BodyModel) -> None:
    people = [sighting(body, seed) for seed in range(3)]
    one, same, other = (observe(people, body, 64, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(same, name)), name
    assert not torch.equal(one.crops, other.crops) and not torch.equal(one.rotations, other.rotations)


def test_as_it_is_changes_nothing_but_the_frame(body: BodyModel) -> None:
    person = sighting(body)
    batch = observe([person], body, 128, torch.Generator().manual_seed(0), AS_IT_IS)
    np.testing.assert_allclose(batch.transl_cam_m[0], person.transl_cam_m, atol=1e-5)
    np.testing.assert_allclose(batch.keypoints_px[0], person.keypoints_px, atol=1e-4)
    np.testing.assert_allclose(batch.joints_m[0] + batch.transl_cam_m[0], person.smpl24_cam_m, atol=1e-4)
    assert batch.has_image.all() and batch.crops.shape == (1, 3, 128, 128)
