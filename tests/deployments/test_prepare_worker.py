"""A picture that fails costs itself; everyone else is seen in their own box, and counted."""

from collections.abc import Callable

import numpy as np
import pytest

from alignhmr.core.errors import AssetError, ImageError
from alignhmr.core.records import Intrinsics, Person, Picture
from alignhmr.core.truth.frames import project_px
from alignhmr.core.truth.records import Points, Sample, TrueBody, Truth
from alignhmr.deployments.prepare import summed
from alignhmr.deployments.prepare_worker import prepared

CAMERA = Intrinsics(300.0, (64.0, 64.0), "given")


class Offset:
    """Sees everyone's true keypoints, moved by 4 px, and notes the boxes it is given."""

    name, digest = "offset", "0" * 64

    def __init__(self) -> None:
        self.boxes: list[list[float]] = []

    def find(self, picture: Picture) -> list[Person]:
        raise AssertionError("the boxes are known")

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        self.boxes += boxes_px.tolist()
        px = project_px(keypoints_m(), CAMERA) + [4.0, 0.0]
        seen = np.concatenate([px, np.ones((23, 1))], 1).astype(np.float32)
        return [Person(box, 0.5, seen) for box in boxes_px]


def keypoints_m() -> np.ndarray:
    return np.linspace([-0.2, -0.2, 3.0], [0.2, 0.2, 3.2], 23).astype(np.float32)


def someone(side_px: float, *, body: bool = True, visible: int = 23) -> Truth:
    points = {
        "smpl24": Points(np.zeros((24, 3), np.float32)),
        "coco23": Points(keypoints_m(), visible=np.arange(23) < visible),
    }
    known = TrueBody("open:1", *(np.zeros(shape, np.float32) for shape in ((24, 3), 10, 3)))
    box = np.array([10, 10, 10 + side_px / 2, 10 + side_px], np.float32)
    return Truth(box, points, known if body else None)


def picture(name: str, *people: Truth) -> Callable[[], Sample]:
    pixels = np.zeros((128, 128, 3), np.uint8)
    return lambda: Sample(name, "g", "wild", Picture(pixels, name), CAMERA, list(people))


def broken() -> Sample:
    raise ImageError("it is cut short", code="unreadable")


def test_people_left_out_and_failed_pictures_are_counted_by_reason() -> None:
    def wrong() -> Sample:
        raise ZeroDivisionError("division by zero")

    detector = Offset()
    pictures = [
        picture("a", someone(100), someone(20), someone(80)), broken, picture("b", someone(100, body=False)),
        picture("c"), wrong, picture("d", someone(40, visible=7), someone(60, visible=8)), broken,
    ]  # fmt: skip
    people, counts, failure = prepared(pictures, detector)
    assert [person.id for person in people] == ["a#0", "a#2", "d#1"]
    assert detector.boxes == [[10, 10, 60, 110], [10, 10, 50, 90], [10, 10, 40, 70]]
    assert counts["left_out"] == {
        "box below 24 px": 1,
        "fewer than 3 limb keypoints visible": 1,
        "no body parameters": 1,
    }
    assert counts["failed"] == {"ZeroDivisionError": 1, "unreadable": 2} and failure == "it is cut short"
    assert (counts["pictures"], counts["people"], counts["keypoints_judged"]) == (7, 3, 12 + 12 + 3)
    # 4 px of 100, 80 and 60: each keypoint counts once.
    share = (12 * 4 / 100 + 12 * 4 / 80 + 3 * 4 / 60) / 27
    assert counts["keypoint_error_of_box"] / 27 == pytest.approx(share, rel=1e-4)


def test_a_machine_without_a_model_is_no_matter_of_one_picture() -> None:
    def unset() -> Sample:
        raise AssetError("the motion clips are missing")

    with pytest.raises(AssetError, match="motion clips"):
        prepared([picture("a"), unset], Offset())


def test_counts_of_shards_add_up() -> None:
    _, first, _ = prepared([picture("a", someone(100), someone(20))], Offset())
    _, second, _ = prepared([broken, picture("b", someone(10), someone(90, body=False))], Offset())
    total = summed([first, second])
    assert (total["pictures"], total["people"], total["failed"]) == (3, 1, {"unreadable": 1})
    assert total["left_out"] == {"box below 24 px": 2, "no body parameters": 1}
    assert total["keypoint_error_of_box"] == first["keypoint_error_of_box"] > 0
    assert summed([])["people"] == 0
