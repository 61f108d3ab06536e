"""The shipped truth, as it is and under the cameras, and the pictures where the videos are."""

import numpy as np
import pytest

from alignhmr.core.body.skeleton import SHARED_KEYPOINTS
from alignhmr.core.perception import assets
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.multiview import read_qca, triangulate
from alignhmr.core.truth.pose2sim4 import (
    EVERY,
    FIRST,
    FRAMES,
    TRUTH_FILE,
    _read,
    cameras_of,
    film_truth,
    pose2sim4,
)  # fmt: skip

LIMBS = list(SHARED_KEYPOINTS)


def test_the_shipped_truth_is_nearly_whole() -> None:
    film = film_truth()
    assert film.points_world_m.shape == (FRAMES, 23, 3)
    known = np.isfinite(film.points_world_m[..., 0])
    assert known.mean() > 0.95 and known[:, LIMBS].mean() > 0.95
    assert np.array_equal(known, np.isfinite(film.residual_px)) and np.array_equal(known, film.views > 0)
    assert film.views[known].min() >= 3
    assert np.median(film.residual_px[known]) < 10
    assert TRUTH_FILE.stat().st_size < 300_000


def test_a_person_of_ordinary_size_stands_on_the_floor() -> None:
    points = film_truth().points_world_m
    for (inner, outer), low, high in (
        ((11, 13), 0.34, 0.46),  # thighs
        ((12, 14), 0.34, 0.46),
        ((13, 15), 0.33, 0.43),  # shanks
        ((14, 16), 0.33, 0.43),
        ((5, 7), 0.22, 0.33),  # upper arms
        ((6, 8), 0.22, 0.33),
    ):
        length = np.linalg.norm(points[:, inner] - points[:, outer], axis=-1)
        assert low < np.nanmedian(length) < high
        assert np.nanstd(length) < 0.02
    # The world's z is up and the treadmill is at 0: the standing foot is within a hand of it.
    assert -0.05 < np.nanmin(points[:, 15:, 2]) < 0.1
    assert 1.2 < np.nanmax(points[:, :5, 2]) < 1.8


def test_left_is_left() -> None:
    """From the front the man's left shoulder is on the picture's right, from behind on its left."""
    folder = assets.fetch("pose2sim")
    points = film_truth().points_world_m
    front, _, _, back = cameras_of("single", folder)
    for camera, sign in ((front, 1), (back, -1)):
        across = camera.project(points[:, 5])[:, 0] - camera.project(points[:, 6])[:, 0]
        assert np.nanmedian(sign * across) > 50


def test_the_turned_cameras_agree_and_the_calibrated_ones_don_t() -> None:
    """The reason for turning them, on keypoints that had no part in it."""
    folder = assets.fetch("pose2sim")
    with np.load(TRUTH_FILE) as data:
        keypoints = data["keypoints_px"].astype(np.float64)[:, ::5][:, :, LIMBS].reshape(4, -1, 3)
    residual = [
        np.nanmedian(
            triangulate(cameras, keypoints[..., :2], np.clip(keypoints[..., 2], 0.05, 1)).residual_px
        )
        for cameras in (cameras_of("single", folder), read_qca(folder / "single" / "Calib.qca.txt"))
    ]
    assert residual[0] < 0.8 * residual[1]
    assert residual[0] < 7.5


def test_pictures_and_truth_of_a_few_samples() -> None:
    chosen = [("single", 0, 0), ("single", 3, 8), ("multi", 1, 1), ("multi", 2, 9)]
    samples = list(_read(assets.fetch("pose2sim"), chosen))
    assert [s.id for s in samples] == [
        "single-cam01-000",
        "single-cam04-008",
        "multi-cam02-001",
        "multi-cam03-009",
    ]
    for sample in samples:
        name, camera, frame = sample.id.split("-")
        assert sample.domain == "pose2sim4" and sample.group == f"block{(int(frame) - FIRST[name]) // 20}"
        assert sample.intrinsics.source == "given" and 1650 < sample.intrinsics.focal_px < 1700
        (person,) = sample.people
        points = person.points["coco23"]
        assert points.cam_m is not None and points.px is not None
        known = np.isfinite(points.px[:, 0])
        assert known.sum() >= 15 and 2 < points.cam_m[known, 2].mean() < 8
        x, y = sample.intrinsics.center_px
        again = points.cam_m[:, :2] / points.cam_m[:, 2:] * sample.intrinsics.focal_px + (x, y)
        np.testing.assert_allclose(again[known], points.px[known], atol=0.1)
        x0, y0, x1, y1 = person.box_px.tolist()
        assert 0 <= x0 < x1 <= sample.picture.size[0] and 0 <= y0 < y1 <= sample.picture.size[1]
        inside = (points.px[known] >= (x0, y0)).all(1) & (points.px[known] <= (x1, y1)).all(1)
        assert inside.mean() > 0.9
        assert person.facts["camera"] == camera and 0 < float(person.facts["residual_px"]) < 20


@pytest.mark.slow
def test_all_of_it() -> None:
    samples = [(s.id, s.group) for s in pose2sim4()]
    assert len({name for name, _ in samples}) == len(samples) == 4 * 25 + 4 * 13
    assert sum(name.startswith("multi") for name, _ in samples) == 4 * len(range(1, FRAMES, EVERY["multi"]))
    assert {group for _, group in samples} == {f"block{n}" for n in range(5)}
    some = [s.id for s in open_benchmark("pose2sim4", count=6, seed=4)]
    assert len(some) == 6 and [name for name, _ in samples if name in some] == some
    assert [s.id for s in open_benchmark("pose2sim4", count=6, seed=4)] == some
    assert [s.id for s in open_benchmark("pose2sim4", count=6, seed=5)] != some


@pytest.mark.slow
@pytest.mark.parametrize("name", ["single", "multi"])
def test_a_detector_finds_the_man_where_the_truth_says(name: str) -> None:
    """In the pictures that are given out: bones drawn and man filmed lie on each other, in both sets."""
    from alignhmr.core.perception.detector import load_detector

    detector = load_detector("blazepose")
    away = []
    for sample in _read(assets.fetch("pose2sim"), [(name, camera, FIRST[name] + 4) for camera in range(4)]):
        true = sample.people[0].points["coco23"].px
        assert true is not None
        people = [person.keypoints_px for person in detector.find(sample.picture)]
        away.append(
            min(np.nanmedian(np.linalg.norm(found[LIMBS, :2] - true[LIMBS], axis=1)) for found in people)
        )
    assert max(away) < 25
