"""BlazePose on real frames: what moves, mirrors or turns the picture does the same to the keypoints."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from alignhmr.core.body.skeleton import KEYPOINT_MIRROR, KEYPOINTS, SHARED_KEYPOINTS
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.perception.assets import fetch
from alignhmr.core.perception.blazepose import BlazePose
from alignhmr.core.perception.blazepose_landmarks import (
    HEATMAP,
    MAX_LOOKS,
    MIN_PEAK,
    MIRROR,
    WINDOW,
    PoseLandmarks,
    Skeleton,
    refine,
)
from alignhmr.core.perception.blazepose_search import cover, grid_windows, merge, people_in
from alignhmr.core.perception.blazepose_ssd import Candidates, Pyramid, anchors, region
from alignhmr.core.perception.detector import load_detector
from alignhmr.core.perception.video import frames
from alignhmr.core.records import Person, Picture

LIMBS = list(SHARED_KEYPOINTS)


def picture(pixels: np.ndarray) -> Picture:
    pixels = np.ascontiguousarray(pixels)
    return Picture(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())


def frame(video: Path, index: int) -> np.ndarray:
    return next(frames(video, start=index, limit=1))


def span(person: Person) -> float:
    return float(np.ptp(person.keypoints_px[LIMBS, :2], axis=0).max())


def gap(keypoints: np.ndarray, person: Person) -> float:
    """Mean distance of the limbs' keypoints, in units of the body."""
    gaps = np.linalg.norm(keypoints[LIMBS, :2] - person.keypoints_px[LIMBS, :2], axis=1)
    return float(gaps.mean()) / span(person)


@pytest.fixture(scope="module")
def blazepose() -> BlazePose:
    return BlazePose.load()


@pytest.fixture(scope="module")
def walker() -> np.ndarray:
    """One person, 1080 x 1920, who faces the camera."""
    return frame(fetch("pose2sim") / "single" / "cam01.mp4", 50)


@pytest.fixture(scope="module")
def found(blazepose: BlazePose, walker: np.ndarray) -> Person:
    people = blazepose.find(picture(walker))
    assert len(people) == 1
    return people[0]


def test_the_record_is_whole(found: Person, walker: np.ndarray) -> None:
    height, width = walker.shape[:2]
    assert found.keypoints_px.shape == (23, 3) and found.keypoints_px.dtype == np.float32
    assert found.detector == "blazepose" and 0.8 < found.score <= 1
    x0, y0, x1, y1 = found.box_px
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    seen = found.keypoints_px[found.keypoints_px[:, 2] > 0.3, :2]
    assert (seen >= (x0, y0)).all() and (seen <= (x1, y1)).all()
    for toe in ("left_small_toe", "right_small_toe"):
        assert found.keypoints_px[KEYPOINTS.index(toe), 2] == 0


def test_the_silhouette_holds_the_body(found: Person) -> None:
    assert found.mask is not None and found.mask_box_px is not None
    x0, y0, x1, y1 = found.mask_box_px
    rows, columns = found.mask.shape
    assert 0.97 < (x1 - x0) / columns / ((y1 - y0) / rows) < 1.03
    trunk = found.keypoints_px[[5, 6, 11, 12], :2].mean(0)
    column, row = (trunk - (x0, y0)) / (x1 - x0, y1 - y0) * (columns, rows)
    assert found.mask[int(row), int(column)] > 200
    assert found.mask[0].max() < 60


def test_metric_keypoints_look_like_a_person(found: Person) -> None:
    points = found.keypoints_3d_m
    assert points is not None
    place = dict(zip(KEYPOINTS, points, strict=True))
    np.testing.assert_allclose((place["left_hip"] + place["right_hip"]) / 2, 0, atol=1e-6)
    assert place["nose"][1] < -0.2 < 0.3 < place["left_ankle"][1], "y runs down"
    for side in ("left", "right"):
        thigh = np.linalg.norm(place[f"{side}_knee"] - place[f"{side}_hip"])
        assert 0.25 < thigh < 0.6
    # He faces the camera: his left is to the picture's right, and the nose is nearer than the hips.
    assert place["left_shoulder"][0] > place["right_shoulder"][0]
    assert found.keypoints_px[5, 0] > found.keypoints_px[6, 0]


def test_the_same_picture_gives_the_same_answer(
    blazepose: BlazePose, walker: np.ndarray, found: Person
) -> None:
    again = load_detector("blazepose").find(picture(walker))
    np.testing.assert_array_equal(again[0].keypoints_px, found.keypoints_px)
    np.testing.assert_array_equal(again[0].box_px, found.box_px)


def test_threads_change_nothing(blazepose: BlazePose) -> None:
    """A person so far away that two dozen windows are looked at, two at a time."""
    pixels = picture(frame(fetch("sports2d") / "demo.mp4", 203))
    alone, together = blazepose.find(pixels), BlazePose.load(threads=2).find(pixels)
    assert len(alone) == len(together) > 0
    for one, other in zip(alone, together, strict=True):
        for field in ("keypoints_px", "keypoints_3d_m", "box_px", "mask", "mask_box_px"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_shifting(blazepose: BlazePose, walker: np.ndarray, found: Person) -> None:
    people = blazepose.find(picture(walker[90:1800, 60:]))
    assert people and gap(found.keypoints_px[:, :2] - (60, 90), people[0]) < 0.02


def test_mirroring(blazepose: BlazePose, walker: np.ndarray, found: Person) -> None:
    people = blazepose.find(picture(walker[:, ::-1]))
    mirrored = found.keypoints_px[list(KEYPOINT_MIRROR)] * (-1, 1, 1) + (walker.shape[1], 0, 0)
    assert people and gap(mirrored, people[0]) < 0.03


@pytest.mark.parametrize("scale", [0.35, 1.6])
def test_scaling(blazepose: BlazePose, walker: np.ndarray, found: Person, scale: float) -> None:
    size = round(walker.shape[1] * scale), round(walker.shape[0] * scale)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    people = blazepose.find(picture(cv2.resize(walker, size, interpolation=method)))
    assert people and gap(found.keypoints_px[:, :2] * scale, people[0]) < 0.025


def test_a_turned_box_is_read(blazepose: BlazePose, walker: np.ndarray, found: Person) -> None:
    """Who lies in the picture has keypoints where they are, and 3D keypoints that lie."""
    x0, y0, x1, y1 = found.box_px
    turned = picture(walker.transpose(1, 0, 2)[::-1])  # a quarter turn to the left: (x, y) -> (y, width - x)
    width = walker.shape[1]
    (person,) = blazepose.from_boxes(turned, np.array([[y0, width - x1, y1, width - x0]]))
    expected = np.stack([found.keypoints_px[:, 1], width - found.keypoints_px[:, 0]], axis=1)
    assert gap(expected, person) < 0.05
    assert found.keypoints_3d_m is not None and person.keypoints_3d_m is not None
    upright = found.keypoints_3d_m[LIMBS]
    lying = np.stack([upright[:, 1], -upright[:, 0], upright[:, 2]], axis=1)
    assert np.linalg.norm(person.keypoints_3d_m[LIMBS] - lying, axis=1).mean() < 0.12


def test_a_given_box_finds_the_same_person(blazepose: BlazePose, walker: np.ndarray, found: Person) -> None:
    wide = found.box_px + np.array([-30, -20, 20, 40])
    people = blazepose.from_boxes(picture(walker), np.stack([wide, [0, 0, 60, 80]]))
    assert len(people) == 2
    assert gap(found.keypoints_px, people[0]) < 0.03
    np.testing.assert_allclose(people[0].box_px, wide)
    assert people[1].score < 0.5


def test_everyone_in_a_group(blazepose: BlazePose) -> None:
    """Four people of four sizes, side by side: all are found, each in place."""
    folder = fetch("pose2sim") / "single"
    parts, boxes, left = [], [], 0
    for camera, index, height in ((1, 50, 900), (2, 10, 620), (3, 30, 760), (4, 50, 540)):
        pixels = frame(folder / f"cam0{camera}.mp4", index)
        person = max(blazepose.find(picture(pixels)), key=span)
        x0, y0, x1, y1 = (person.box_px + np.array([-40, -60, 40, 40])).round().astype(int)
        x0, y0 = max(x0, 0), max(y0, 0)
        cut = pixels[y0:y1, x0:x1]
        scale = height / cut.shape[0]
        cut = cv2.resize(cut, (round(cut.shape[1] * scale), height), interpolation=cv2.INTER_AREA)
        column = np.full((1000, cut.shape[1], 3), 120, np.uint8)
        column[1000 - height :] = cut
        trunk = (person.keypoints_px[[5, 6, 11, 12], :2] - (x0, y0)) * scale + (left, 1000 - height)
        parts.append(column)
        boxes.append((trunk.mean(0), height))
        left += cut.shape[1]
    people = blazepose.find(picture(np.concatenate(parts, axis=1)))
    for trunk, height in boxes:
        near = [
            np.linalg.norm(person.keypoints_px[[5, 6, 11, 12], :2].mean(0) - trunk) / height
            for person in people
        ]
        assert min(near) < 0.05
    assert len(people) <= 5  # the first camera's background holds an onlooker


def test_two_people_of_a_real_scene(blazepose: BlazePose) -> None:
    people = blazepose.find(picture(frame(fetch("pose2sim") / "multi" / "cam04.mp4", 21)))
    assert len(people) == 2
    assert people[0].score >= people[1].score > 0.8


@pytest.mark.parametrize("kind", ["grey", "noise", "stripe", "tiny"])
def test_nobody(blazepose: BlazePose, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    pixels = {
        "grey": np.full((300, 400, 3), 90, np.uint8),
        "noise": noise,
        "stripe": noise[:16, :].repeat(1, axis=0),
        "tiny": noise[:16, :16],
    }[kind]
    assert blazepose.find(picture(pixels)) == []
    assert blazepose.from_boxes(picture(pixels), np.zeros((0, 4))) == []


def test_anchors_are_mediapipes() -> None:
    centers = anchors()
    assert centers.shape == (2254, 2)
    np.testing.assert_allclose(centers[:2], 0.5 / 28)
    np.testing.assert_allclose(centers[2], (1.5 / 28, 0.5 / 28))
    np.testing.assert_allclose(centers[-6:], 6.5 / 7)
    assert (np.unique(centers[:1568], axis=0).shape[0], len(centers[1568:1960])) == (784, 392)


def test_a_body_upright_needs_no_turn() -> None:
    crop = region(np.array([50.0, 60.0]), np.array([50.0, 40.0]))
    assert crop.center_px == (50.0, 60.0) and crop.side_px == 50 and crop.angle_rad == pytest.approx(0)
    lying = region(np.array([50.0, 60.0]), np.array([70.0, 60.0]))
    # The head lies to the right: in the crop it is at the top.
    np.testing.assert_allclose(lying.to_crop(np.array([70.0, 60.0]), 50), [25, 5], atol=1e-9)


def test_refinement_moves_to_the_peak() -> None:
    rows, columns = np.mgrid[:64, :64]
    peak = np.array([30.0, 21.0])
    heat = 12 * np.exp(-((columns - peak[0]) ** 2 + (rows - peak[1]) ** 2) / (2 * 1.5**2)) - 6
    heatmap = np.stack([heat, np.full((64, 64), -6.0), heat], axis=-1)
    guess = np.array([[31.4, 22.3], [31.4, 22.3], [-5.0, 70.0]]) / 64
    refined = refine(guess, heatmap) * 64
    np.testing.assert_allclose(refined[0], peak, atol=0.3)
    np.testing.assert_allclose(refined[1:], guess[1:] * 64)  # no peak, and out of the region


def test_refinement_agrees_with_a_slow_one() -> None:
    """Peaks at every height, within and across the border, and points outside."""
    draw = np.random.default_rng(3)
    points = draw.uniform(-0.05, 1.05, (400, 2))
    heatmap = draw.normal(-3, 2, (HEATMAP, HEATMAP, len(points))).astype(np.float32)
    expected = points.copy()
    for index, (x, y) in enumerate(points * HEATMAP):
        if not (0 <= int(x) < HEATMAP and 0 <= int(y) < HEATMAP):
            continue
        cells = [
            (column, row, 1 / (1 + np.exp(-float(heatmap[row, column, index]))))
            for column in range(max(int(x) - WINDOW, 0), min(int(x) + WINDOW + 1, HEATMAP))
            for row in range(max(int(y) - WINDOW, 0), min(int(y) + WINDOW + 1, HEATMAP))
        ]
        if max(weight for *_, weight in cells) >= MIN_PEAK:
            total = sum(weight for *_, weight in cells)
            for axis in (0, 1):
                expected[index, axis] = sum(cell[axis] * cell[2] for cell in cells) / total / HEATMAP
    moved = (expected != points).any(1)
    assert 200 < moved.sum() < 390
    np.testing.assert_allclose(refine(points, heatmap), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("presence", "looks"), [(0.9, MAX_LOOKS), (0.02, MAX_LOOKS), (0.005, 1)])
def test_a_region_without_anybody_is_given_up(presence: float, looks: int) -> None:
    """Each look points far from where it looked; only where somebody may be it is followed."""
    seen = []

    class Wanderer(PoseLandmarks):
        def __init__(self) -> None: ...

        def look(self, pixels: np.ndarray, roi: SquareCrop) -> Skeleton:
            seen.append(roi)
            there = SquareCrop((roi.center_px[0] + 50, roi.center_px[1]), roi.side_px)
            nothing = np.zeros((256, 256), np.uint8)
            return Skeleton(presence, np.zeros((33, 2)), np.ones(33), np.zeros((33, 3)), nothing, roi, there)

    start = SquareCrop((50.0, 50.0), 80.0)
    last = Wanderer().settle(np.zeros((100, 100, 3), np.uint8), start)
    assert len(seen) == looks and last.roi == seen[-1] and seen[0] == start


def test_mirror_is_its_own_inverse() -> None:
    assert sorted(MIRROR) == list(range(33)) and [MIRROR[index] for index in MIRROR] == list(range(33))


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (500, 500), (4000, 300), (17, 16), (640, 480)])
def test_windows_cover_the_picture(size: tuple[int, int]) -> None:
    for windows in (cover(*size), grid_windows(*size, 0.6 * min(size))):
        covered = np.zeros(size[::-1], bool)
        for x0, y0, x1, y1 in windows:
            assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
            covered[y0:y1, x0:x1] = True
        assert covered.all() and len(windows) <= 40


def test_candidates_of_one_person_are_merged() -> None:
    points = np.array([[50.0, 60], [50, 20], [50, 40], [50, 30]])
    face = np.array([40.0, 20, 60, 40])
    raw = Candidates(
        np.array([0.5, 0.9, 0.8]),
        np.stack([face + 1, face, face + 200]),
        np.stack([points + 1, points, points + 200]),
    )
    merged = merge(raw)
    assert merged.score.tolist() == [0.9, 0.8]
    np.testing.assert_allclose(merged.points_px[0], points + 0.5 / 1.4)


def test_people_come_best_first() -> None:
    draw = np.random.default_rng(5)
    hips = np.repeat(draw.uniform(0, 4000, (9, 2)), 20, axis=0)
    points = (
        hips[:, None] + np.array([[0.0, 0], [0, -40], [0, -20], [0, -30]]) + draw.normal(0, 1, (180, 4, 2))
    )
    raw = Candidates(draw.uniform(0.05, 1, 180), draw.uniform(0, 1, (180, 4)) * (1, 1, 0, 0), points)
    people = list(people_in(raw))
    assert [one.score for one in people] == sorted((one.score for one in people), reverse=True)
    best = raw.score.reshape(9, 20).max(1)
    assert [one.score for one in people] == sorted(best.tolist(), reverse=True)
    np.testing.assert_array_equal(merge(raw).points_px, [one.points_px for one in people])


def test_pyramid_levels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (37, 50, 3), np.uint8)
    pyramid = Pyramid(pixels)
    assert pyramid.at(1.9)[0] is pixels
    half, factor = pyramid.at(3.0)
    assert factor == 2 and half.shape == (18, 25, 3)
    assert pyramid.at(1e6)[0].shape[0] >= 1
