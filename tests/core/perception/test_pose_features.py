"""BlazePose's inner layers: the same network, one crop like another, and a file that isn't it."""

import threading

import numpy as np
import pytest

from alignhmr.core.errors import AssetError
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.perception import assets
from alignhmr.core.perception.blazepose_landmarks import LANDMARKS, PoseLandmarks
from alignhmr.core.perception.pose_features import INPUT, SIZE, WORLD, pose_features, with_outputs


def crops(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (INPUT, INPUT, 3), np.uint8) for _ in range(count)]


def test_its_points_are_those_of_the_detector() -> None:
    """The answers that it always gave stand at the end, whatever else it is asked for."""
    [crop] = crops(1)
    world = pose_features([crop])[0, SIZE - WORLD :].reshape(39, 3)[:LANDMARKS]
    network = PoseLandmarks(assets.fetch("blazepose") / "pose_landmark_full.tflite")
    whole = SquareCrop((INPUT / 2, INPUT / 2), INPUT)
    np.testing.assert_allclose(world, network.look(crop, whole).world_m, atol=2e-3)


def test_a_crop_is_seen_alone_as_among_others_and_by_any_thread() -> None:
    seen = crops(3)
    together = pose_features(seen)
    assert together.shape == (3, SIZE) and together.dtype == np.float16 and np.isfinite(together).all()
    assert np.array_equal(pose_features(seen[1:2])[0], together[1])
    assert not np.array_equal(together[0], together[1])
    answers = []
    thread = threading.Thread(target=lambda: answers.append(pose_features(seen)))
    thread.start()
    thread.join()
    assert np.array_equal(answers[0], together)
    assert np.array_equal(pose_features(seen, threads=2), together)


def test_another_network_is_refused() -> None:
    with pytest.raises(AssetError, match="other layers"):
        with_outputs(assets.fetch("blazepose") / "pose_detection.tflite", (5, 6, 7))
