"""What is drawn of a person: only what was seen, near over far, left unlike right."""

import numpy as np
import pytest

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.perception.drawings import drawn, drawn_person
from alignhmr.core.records import Person

SIDE = 112
GREY = np.full((SIDE, SIDE, 3), 200, np.uint8)
BARE = (GREY * 0.45).astype(np.uint8)


def keypoints(**places: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Places, and confidence 1 of the named ones alone."""
    points, sure = np.zeros((len(KEYPOINTS), 2)), np.zeros(len(KEYPOINTS))
    for name, place in places.items():
        points[KEYPOINTS.index(name)], sure[KEYPOINTS.index(name)] = place, 1.0
    return points, sure


LEFT_ARM = {"left_shoulder": (20.5, 20.5), "left_elbow": (90.5, 20.5)}
CROSSING = {"right_shoulder": (55.5, 5.5), "right_elbow": (55.5, 60.5)}


def test_what_was_not_seen_is_not_drawn():
    points, sure = keypoints(**LEFT_ARM)
    assert (drawn(GREY, points, sure, None) != BARE).any()
    assert np.array_equal(drawn(GREY, points, sure * 0.1, None), BARE)
    for nowhere in (np.nan, np.inf, 1e9):
        points[KEYPOINTS.index("left_elbow"), 0] = nowhere
        assert np.array_equal(drawn(GREY, points, sure, None), BARE)
    assert (GREY == 200).all(), "the view itself stays as it was"


def test_near_is_over_far_and_far_is_darker():
    points, sure = keypoints(**LEFT_ARM, **CROSSING)
    depth = np.zeros(len(KEYPOINTS))

    def at_the_crossing(left_m: float) -> np.ndarray:
        for name in LEFT_ARM:
            depth[KEYPOINTS.index(name)] = left_m
        return drawn(GREY, points, sure, depth)[20, 55].astype(int)

    near, far = at_the_crossing(-0.3), at_the_crossing(0.3)
    assert near[2] > near[0], "the left arm is cool"
    assert far[0] > far[2], "the right arm is warm, and before it"
    alone, seen = keypoints(**LEFT_ARM)
    shades = [
        int(drawn(GREY, alone, seen, np.full(len(KEYPOINTS), z))[20, 55].sum()) for z in (-0.3, 0.0, 0.3)
    ]
    assert shades[0] > shades[1] > shades[2]


def test_a_mirrored_person_has_other_colours():
    left, sure = keypoints(**LEFT_ARM)
    right, sure_right = keypoints(right_shoulder=(SIDE - 20.5, 20.5), right_elbow=(SIDE - 90.5, 20.5))
    picture = drawn(GREY, left, sure, None)
    mirrored = drawn(GREY, right, sure_right, None)[:, ::-1]
    touched = (picture != BARE).any(-1)
    assert ((mirrored != BARE).any(-1) == touched).mean() > 0.99
    assert not np.array_equal(picture[20, 55], mirrored[20, 55])


@pytest.mark.parametrize("with_depth", [False, True])
def test_a_person_is_drawn_where_they_are_in_their_view(with_depth):
    box = np.array([100.0, 50.0, 140.0, 130.0])
    points = np.zeros((len(KEYPOINTS), 3))
    # The square is as high as the box and a quarter more, around its middle: 100 px around (120, 90).
    for name, place in (("left_hip", (120.0, 90.0)), ("left_knee", (120.0, 115.0))):
        points[KEYPOINTS.index(name)] = (*place, 1.0)
    person = Person(
        box_px=box, score=1.0, keypoints_px=points,
        keypoints_3d_m=np.zeros((len(KEYPOINTS), 3)) if with_depth else None,
        view=np.full((256, 256, 3), 200, np.uint8),
    )  # fmt: skip
    picture = drawn_person(person, SIDE)
    assert picture.shape == (SIDE, SIDE, 3)
    rows, columns = np.nonzero((picture != BARE).any(-1))
    # From hip to knee, half a pixel being the middle of one; the line has round ends.
    assert columns.mean() + 0.5 == pytest.approx(SIDE / 2, abs=0.7)
    assert rows.mean() + 0.5 == pytest.approx(0.625 * SIDE, abs=0.7)
    assert np.ptp(rows) == pytest.approx(0.25 * SIDE, abs=6) and np.ptp(columns) < 8
