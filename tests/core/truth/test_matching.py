"""Matching detections to the truth: each once, the likest in sum, the unlike not at all."""

from dataclasses import replace

import numpy as np
import pytest

from alignhmr.core.records import Person
from alignhmr.core.truth.matching import box_iou, match_people
from alignhmr.core.truth.records import Sample

NOBODY = Person(np.array([0.0, 0, 9, 9]), 0.3, np.zeros((23, 3), np.float32))


def _seen(sample: Sample, index: int, shift_px: float = 0.0) -> Person:
    """A person detected where they are, or beside."""
    truth = sample.people[index]
    px = truth.points["coco23"].px
    assert px is not None
    keypoints = np.concatenate([px + shift_px, np.ones((23, 1))], 1).astype(np.float32)
    return Person(np.asarray(truth.box_px) + shift_px, 0.9, keypoints)


def test_each_is_taken_once_whatever_the_order(samples: list[Sample]) -> None:
    found = [NOBODY, _seen(samples[0], 1), _seen(samples[0], 0)]
    assert sorted(match_people(samples[0], found)) == [(0, 2), (1, 1)]
    assert sorted(match_people(samples[0], found[::-1])) == [(0, 0), (1, 1)]


def test_the_unlike_stay_unmatched(samples: list[Sample]) -> None:
    assert match_people(samples[0], [NOBODY]) == []
    assert match_people(samples[0], []) == []
    assert match_people(replace(samples[0], people=[]), [NOBODY]) == []
    assert match_people(samples[0], [_seen(samples[0], 0, shift_px=150)]) == []


def test_one_detection_goes_to_the_likelier_and_the_nearer_detection_wins(samples: list[Sample]) -> None:
    assert match_people(samples[0], [_seen(samples[0], 1)]) == [(1, 0)]
    found = [_seen(samples[0], 0, shift_px=12), _seen(samples[0], 0, shift_px=2)]
    assert (0, 1) in match_people(samples[0], found)


def test_boxes_alone_are_enough(samples: list[Sample]) -> None:
    bare = replace(samples[0], people=[replace(truth, points={}) for truth in samples[0].people])
    assert sorted(match_people(bare, [_seen(samples[0], 1), _seen(samples[0], 0)])) == [(0, 1), (1, 0)]


def test_keypoints_tell_people_apart_whose_boxes_are_one(samples: list[Sample]) -> None:
    box = samples[0].people[0].box_px
    sample = replace(samples[0], people=[replace(truth, box_px=box) for truth in samples[0].people])
    found = [replace(_seen(samples[0], index), box_px=box) for index in (1, 0)]
    assert sorted(match_people(sample, found)) == [(0, 1), (1, 0)]


def test_overlap_of_boxes() -> None:
    box = np.array([0.0, 0, 10, 10])
    assert box_iou(box, box) == pytest.approx(1)
    assert box_iou(box, box + 5) == pytest.approx(25 / 175)
    assert box_iou(box, box + 20) == 0
