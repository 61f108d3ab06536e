import numpy as np
import pytest

from alignhmr.core.body.skeleton import KEYPOINT_MIRROR, SHARED_KEYPOINTS
from alignhmr.core.truth.association import associate

LIMBS = list(SHARED_KEYPOINTS)


def detected(cameras, points_m: np.ndarray, seed: int = 0) -> np.ndarray:
    """[views, 23, 3]: what a detector with 3 px of noise makes of a person."""
    px = np.stack([camera.project(points_m) for camera in cameras])
    px += np.random.default_rng(seed).normal(0, 3, px.shape)
    return np.concatenate([px, np.full((*px.shape[:2], 1), 0.8)], 2)


@pytest.fixture
def two(cameras, keypoints_world_m) -> list[np.ndarray]:
    first, second = keypoints_world_m[0], keypoints_world_m[7] + [0.9, -0.6, 0.0]
    return [detected(cameras, first, 1), detected(cameras, second, 2)]


def test_two_people_in_any_order(cameras, two) -> None:
    first, second = two
    found = [
        np.stack([a, b] if view % 2 else [b, a])
        for view, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    people = associate(cameras, found)
    assert len(people) == 2
    for wanted in two:
        assert any(np.array_equal(wanted, person) for person in people)


def test_who_is_seen_by_two_views_only_is_nobody(cameras, two) -> None:
    first, second = two
    found = [np.stack([first[view], second[view]]) if view < 2 else first[view][None] for view in range(4)]
    (person,) = associate(cameras, found)
    assert np.array_equal(person, first)


def test_three_views_are_enough_and_the_fourth_is_unknown(cameras, two) -> None:
    first, _ = two
    found = [first[0][None], np.zeros((0, 23, 3)), first[2][None], first[3][None]]
    (person,) = associate(cameras, found)
    assert np.isnan(person[1]).all() and np.array_equal(person[[0, 2, 3]], first[[0, 2, 3]])


@pytest.mark.parametrize("view", range(4))
def test_a_mirrored_view_is_turned_back(cameras, two, view: int) -> None:
    """Detectors take left for right in a back: with three views against one, the one is mirrored."""
    first, _ = two
    found = [keypoints[None] for keypoints in first]
    found[view] = first[view][None][:, list(KEYPOINT_MIRROR)]
    (person,) = associate(cameras, found)
    assert np.array_equal(person[:, LIMBS], first[:, LIMBS])


def test_nonsense_is_nobody(cameras) -> None:
    generator = np.random.default_rng(0)
    found = [
        np.concatenate([generator.uniform(0, 1900, (2, 23, 2)), np.full((2, 23, 1), 0.5)], 2) for _ in cameras
    ]
    assert associate(cameras, found) == []
    assert associate(cameras, [np.zeros((0, 23, 3))] * 4) == []
