"""Who is taken, and that every number of a sighting is where the picture says it is."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from alignhmr.core.perception.images import decode
from alignhmr.core.records import Intrinsics, Person, Picture
from alignhmr.core.truth.frames import project_px
from alignhmr.core.truth.records import Points, Sample, TrueBody, Truth
from alignhmr.training.sightings import (
    CROP_PX,
    MASK_PX,
    detector_error,
    reason_left_out,
    sighting_of,
    window_around,
)

CAMERA = Intrinsics(300.0, (160.0, 120.0), "given")
BOX = np.array([60.0, 20.0, 160.0, 220.0], np.float32)


def points(count: int, seed: int = 0) -> Points:
    random = np.random.default_rng(seed)
    cam_m = (random.normal(scale=0.3, size=(count, 3)) + [-0.5, 0, 3]).astype(np.float32)
    return Points(cam_m, project_px(cam_m, CAMERA).astype(np.float32), np.ones(count, bool))


def someone(**changes) -> Truth:
    body = TrueBody("open:1", *(np.zeros(shape, np.float32) for shape in ((24, 3), 10, 3)))
    both = {"smpl24": points(24), "coco23": points(23, 1)}
    truth = Truth(BOX, both, body, np.zeros((240, 320), np.uint8), {"pose": "calm"})
    return replace(truth, **changes)


def sample_of(truth: Truth, pixels: np.ndarray | None = None) -> Sample:
    blank = np.zeros((240, 320, 3), np.uint8)
    return Sample("s", "g", "wild", Picture(blank if pixels is None else pixels, "0"), CAMERA, [truth, truth])


def seen(truth: Truth, **changes) -> Person:
    px = truth.points["coco23"].px
    assert px is not None
    keypoints = np.concatenate([px, np.full((23, 1), 0.5)], 1).astype(np.float32)
    return replace(Person(BOX, 0.75, keypoints), **changes)


def with_coco(truth: Truth, **changes) -> Truth:
    return replace(truth, points={**truth.points, "coco23": replace(truth.points["coco23"], **changes)})


def visible(*which: int) -> np.ndarray:
    return np.isin(np.arange(23), which)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        (someone(), None),
        (someone(body=None), "no body parameters"),
        (someone(body=TrueBody("a", np.zeros((24, 3)), np.zeros(10), np.full(3, np.nan))), "no body parameters"),
        (someone(points={"coco23": points(23)}), "no joints in 3D"),
        (someone(points={"smpl24": points(24), "coco23": Points(px=np.zeros((23, 2)))}), "no joints in 3D"),
        (someone(box_px=np.array([0, 0, 23.9, 10])), "box below 24 px"),
        (someone(box_px=np.array([0, 0, 5, 24.0])), None),
        (with_coco(someone(), visible=visible(0, 1, 2, 3, 4, 5, 16, 17, 18)), "fewer than 3 limb keypoints visible"),
        (with_coco(someone(), visible=visible(5, 9, 16)), None),
        (with_coco(someone(), visible=None), None),
    ],
)  # fmt: skip
def test_who_is_taken(truth, reason) -> None:
    assert reason_left_out(truth) == reason


def test_a_source_that_knows_the_limbs_alone_is_enough() -> None:
    cam_m = someone().points["coco23"].cam_m
    assert cam_m is not None
    limbs = np.where(np.isin(np.arange(23), range(5, 17))[:, None], cam_m, np.nan).astype(np.float32)
    assert reason_left_out(with_coco(someone(), cam_m=limbs)) is None
    limbs[7] = np.nan
    assert reason_left_out(with_coco(someone(), cam_m=limbs)) == "no joints in 3D"


def test_a_sighting_holds_the_answer_and_the_truth_of_its_person() -> None:
    truth = someone()
    person = seen(truth, keypoints_3d_m=np.ones((23, 3), np.float32))
    found = sighting_of(sample_of(truth), 1, person)
    assert (found.id, found.group, found.domain, found.body) == ("s#1", "g", "wild", "open:1")
    assert (found.picture_px, found.focal_px, found.center_px) == ((320, 240), 300.0, (160.0, 120.0))
    assert found.score == 0.75 and found.facts == {"pose": "calm"}
    np.testing.assert_array_equal(found.keypoints_px, person.keypoints_px)
    np.testing.assert_array_equal(found.smpl24_cam_m, truth.points["smpl24"].cam_m)
    np.testing.assert_array_equal(found.coco23_cam_m, truth.points["coco23"].cam_m)
    assert found.mask is None and found.window_px.tolist() == [110.0, 120.0, 320.0]
    bare = sighting_of(sample_of(replace(truth, mask=None)), 0, replace(person, keypoints_3d_m=None))
    assert bare.true_mask is None and bare.keypoints_3d_m is None


def test_crop_and_masks_lie_on_each_other() -> None:
    """A bright rectangle that is also both masks is found at one place in all three, and the rest is black."""
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[60:180, 70:150] = (250, 120, 20)
    truth = someone(mask=(pixels[..., 0] > 0).astype(np.uint8) * 255)
    # The detector's mask covers part of the picture, at another scale across than down.
    part = cv2.resize(truth.mask[20:220, 40:180], (210, 250), interpolation=cv2.INTER_AREA)  # type: ignore[index]
    person = seen(truth, mask=part, mask_box_px=np.array([40.0, 20, 180, 220], np.float32))
    found = sighting_of(sample_of(truth, pixels), 0, person)
    crop = decode(found.crop_jpeg).pixels
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    corners = found.window.to_crop(np.array([[70.0, 60], [150, 180]]), CROP_PX)
    inside = np.zeros((CROP_PX, CROP_PX), bool)
    (x0, y0), (x1, y1) = corners.round().astype(int)
    inside[y0:y1, x0:x1] = True
    sure = cv2.erode(inside.astype(np.uint8), np.ones((9, 9))) > 0
    outside = cv2.dilate(inside.astype(np.uint8), np.ones((17, 17))) == 0
    assert np.abs(crop[sure].astype(int) - (250, 120, 20)).mean() < 3 and crop[outside].mean() < 3
    for mask in (found.mask, found.true_mask):
        assert mask is not None and mask.shape == (MASK_PX, MASK_PX) and mask.dtype == np.uint8
        share = mask.reshape(-1).astype(float).sum() / 255
        assert share == pytest.approx(inside.sum() / 16, rel=0.02)
        rows, columns = np.nonzero(mask > 127)
        assert (columns.mean() + 0.5) * 4 == pytest.approx(corners[:, 0].mean(), abs=1.0)
        assert (rows.mean() + 0.5) * 4 == pytest.approx(corners[:, 1].mean(), abs=1.0)


def test_the_error_of_the_detector_is_a_share_of_the_box() -> None:
    truth = with_coco(someone(), visible=visible(5, 6, 7, 20))
    person = seen(truth)
    person.keypoints_px[:, 0] += 10  # of a box of 200 px
    person.keypoints_px[8:, 0] += 1000  # where nothing is visible
    error = detector_error(sighting_of(sample_of(truth), 0, person))
    np.testing.assert_allclose(error, [0.05] * 3, rtol=1e-4)
    cam_m = np.array(truth.points["coco23"].cam_m)
    cam_m[[6, 9, 16]] = (-50, 0, 3)  # three limbs out of the picture
    unknown = with_coco(truth, visible=None, cam_m=cam_m)
    assert len(detector_error(sighting_of(sample_of(unknown), 0, seen(unknown)))) == 9


def test_the_window_is_square_about_the_box() -> None:
    window = window_around(np.array([10.0, 20, 30, 100], np.float32))
    assert window.center_px == (20.0, 60.0) and window.side_px == pytest.approx(128.0)
