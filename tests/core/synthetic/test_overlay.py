"""Bodies over photos: where they are, who hides whom, and what stays untouched."""

import numpy as np
import pytest
import trimesh

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics
from alignhmr.core.synthetic import overlay as module
from alignhmr.core.synthetic.overlay import draw_keypoints, overlay

BALL = trimesh.creation.icosphere(3, 0.3)
FACES = np.array(BALL.faces)
CAMERA = Intrinsics(150.0, (100.0, 75.0), "default")


def ball(x: float, y: float, z: float) -> np.ndarray:
    return np.array(BALL.vertices) + [x, y, z]


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)


def test_only_the_body_changes_and_the_photo_is_left_alone():
    pixels = photo()
    kept = pixels.copy()
    drawn = overlay(pixels, [ball(0.2, -0.1, 2.0)], FACES, CAMERA)
    np.testing.assert_array_equal(pixels, kept)
    row, column = (index + 0.5 for index in np.nonzero((drawn != pixels).any(-1)))
    # The ball's middle and radius in pixels.
    assert abs(column.mean() - (100 + 150 * 0.1)) < 0.6 and abs(row.mean() - (75 - 150 * 0.05)) < 0.6
    assert abs(np.ptp(column) / 2 - 150 * 0.15) < 1.5


def test_the_nearer_body_hides_the_farther_whatever_the_order():
    near, far = ball(0, 0, 1.5), ball(0.1, 0, 3.0)
    red, blue = (200, 40, 40), (40, 40, 200)
    one = overlay(photo(), [near, far], FACES, CAMERA, colors=[red, blue], alpha=1.0)
    other = overlay(photo(), [far, near], FACES, CAMERA, colors=[blue, red], alpha=1.0)
    np.testing.assert_array_equal(one, other)
    assert one[75, 100, 0] > 2 * one[75, 100, 2]


def test_interpenetrating_bodies_share_one_depth():
    left, right = ball(-0.15, 0, 2.0), ball(0.15, 0, 2.0)
    drawn = overlay(
        photo(), [left, right], FACES, CAMERA, colors=[(200, 40, 40), (40, 40, 200)], alpha=1.0
    ).astype(int)
    red = drawn[75, 80:120, 0] > drawn[75, 80:120, 2]
    assert red[:19].all() and not red[21:].any()


def test_alpha_blends_with_the_photo():
    black, white = np.zeros((150, 200, 3), np.uint8), np.full((150, 200, 3), 255, np.uint8)
    inside = np.s_[70:80, 95:105]
    for alpha in (0.0, 0.5, 0.85, 1.0):
        dark = overlay(black, [ball(0, 0, 2)], FACES, CAMERA, alpha=alpha)[inside].astype(int)
        light = overlay(white, [ball(0, 0, 2)], FACES, CAMERA, alpha=alpha)[inside].astype(int)
        assert abs((light - dark).mean() - 255 * (1 - alpha)) < 1.5


def test_edges_are_antialiased():
    drawn = overlay(np.zeros((150, 200, 3), np.uint8), [ball(0, 0, 2)], FACES, CAMERA, alpha=1.0)
    levels = np.unique(drawn[..., 2])
    assert ((levels > 5) & (levels < 60)).any()


def test_bands_do_not_show(monkeypatch):
    bodies = [ball(0, 0, 1.2), ball(0.4, 0.1, 1.6)]
    whole = overlay(photo(), bodies, FACES, CAMERA)
    monkeypatch.setattr(module, "_BAND_SAMPLES", 5000)
    np.testing.assert_array_equal(overlay(photo(), bodies, FACES, CAMERA), whole)


def test_bodies_out_of_sight_change_nothing():
    pixels = photo()
    for body in (ball(9, 0, 2), ball(0, -9, 2), ball(0, 0, -5)):
        np.testing.assert_array_equal(overlay(pixels, [body], FACES, CAMERA), pixels)
    np.testing.assert_array_equal(overlay(pixels, [], FACES, CAMERA), pixels)


def test_a_body_around_the_camera_is_drawn():
    drawn = overlay(np.zeros((150, 200, 3), np.uint8), [ball(0, 0, 0.1)], FACES, CAMERA, alpha=1.0)
    assert drawn.any(-1).all()


def test_colours_must_match_bodies():
    with pytest.raises(InputError, match="1 colours for 2 bodies"):
        overlay(photo(), [ball(0, 0, 2)] * 2, FACES, CAMERA, colors=[(1, 2, 3)])


def _keypoints() -> np.ndarray:
    points = np.zeros((len(KEYPOINTS), 2))
    points[:] = [[40 + 5 * i, 30 + 3 * i] for i in range(len(KEYPOINTS))]
    return points


def test_stick_figure_shows_seen_points_only():
    pixels = np.zeros((150, 200, 3), np.uint8)
    assert not draw_keypoints(pixels, _keypoints(), np.zeros(len(KEYPOINTS))).any()
    confidence = np.zeros(len(KEYPOINTS))
    wrist = KEYPOINTS.index("left_wrist")
    confidence[wrist] = 1.0
    drawn = draw_keypoints(pixels, _keypoints(), confidence)
    row, column = np.nonzero(drawn.any(-1))
    x, y = _keypoints()[wrist]
    assert abs(column.mean() + 0.5 - x) < 1 and abs(row.mean() + 0.5 - y) < 1
    assert not pixels.any()


def test_stick_figure_outside_the_photo_or_not_finite_is_harmless():
    pixels = photo()
    points = _keypoints() + 10_000
    np.testing.assert_array_equal(draw_keypoints(pixels, points), pixels)
    points[:] = np.nan
    np.testing.assert_array_equal(draw_keypoints(pixels, points), pixels)
    assert (draw_keypoints(pixels, _keypoints() * [4, 1] - [60, 0]) != pixels).any()


def test_doubtful_points_are_fainter():
    pixels = np.zeros((150, 200, 3), np.uint8)
    sure = draw_keypoints(pixels, _keypoints(), np.full(len(KEYPOINTS), 1.0))
    doubtful = draw_keypoints(pixels, _keypoints(), np.full(len(KEYPOINTS), 0.25))
    assert doubtful.any() and doubtful.sum() < 0.8 * sure.sum()
