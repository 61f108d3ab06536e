"""Systems: who is asked with which boxes and camera, who is missed, and that a file stands in for any of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import load_checkpoint, resolve
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.records import Person, Picture
from alignhmr.core.recovery import Recoverer
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.predictions import SystemInfo, write_predictions
from alignhmr.core.truth.records import Sample
from alignhmr.core.truth.systems import Alignhmr, Detector3D, FromFile


@dataclass
class TruthTeller:
    """A detector that knows the samples; finds everyone in reverse order, one twice as large as it is."""

    samples: list[Sample]
    unseen: str = ""
    """``sample#person`` of whom it sees two keypoints only."""
    with_3d: bool = True
    name: str = "teller"
    digest: str = "1" * 64

    def _sample(self, picture: Picture) -> Sample:
        return next(s for s in self.samples if s.picture.sha256 == picture.sha256)

    def _person(self, sample: Sample, index: int) -> Person:
        truth = sample.people[index]
        points = truth.points["coco23"]
        assert points.cam_m is not None and points.px is not None
        confidence = np.ones((23, 1))
        if f"{sample.id}#{index}" == self.unseen:
            confidence[2:] = 0
        hips = points.cam_m[[11, 12]].mean(0)
        return Person(
            truth.box_px, 0.9, np.concatenate([points.px, confidence], 1).astype(np.float32),
            (points.cam_m - hips).astype(np.float32) if self.with_3d else None,
        )  # fmt: skip

    def find(self, picture: Picture) -> list[Person]:
        sample = self._sample(picture)
        nobody = Person(np.array([0.0, 0, 9, 9]), 0.3, np.zeros((23, 3), np.float32))
        return [nobody, *(self._person(sample, i) for i in reversed(range(len(sample.people))))]

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        sample = self._sample(picture)
        assert np.allclose(boxes_px, [truth.box_px for truth in sample.people])
        return [self._person(sample, i) for i in range(len(boxes_px))]


@pytest.fixture(scope="module")
def recoverer(samples, body: BodyModel) -> Recoverer:
    models = [
        load_checkpoint(resolve("starter", kind), kind, body_digest=body.digest)[0]
        for kind in ("base", "scorer")
    ]
    return Recoverer(models[0], models[1], body, TruthTeller(samples))  # type: ignore[arg-type]


@pytest.mark.parametrize("boxes", ["given", "detected"])
def test_a_detector_that_knows_the_truth_has_no_error(samples, boxes) -> None:
    system = Detector3D(TruthTeller(samples), boxes=boxes)
    evaluation = Evaluation(system.info)
    for sample in samples:
        evaluation.add(sample, system.answer(sample))
    assert not any(person.missed for person in evaluation.people)
    assert max(p.per_hypothesis["mpjpe_mm"].max() for p in evaluation.people) < 1e-2


def test_a_detector_without_3d_is_refused(samples) -> None:
    with pytest.raises(CompatibilityError, match="teller has no 3D keypoints"):
        Detector3D(TruthTeller(samples, with_3d=False)).answer(samples[0])


def test_alignhmr_answers_the_same_alone_or_among_others(samples, recoverer: Recoverer) -> None:
    system = Alignhmr(recoverer, hypotheses=5, seed=3)
    for sample in samples[:3]:
        system.answer(sample)
    last = system.answer(samples[3])
    [again, _] = Alignhmr(recoverer, hypotheses=5, seed=3).answer(samples[3])
    np.testing.assert_array_equal(last[0].points_m["coco23"], again.points_m["coco23"])
    assert last[0].points_m["coco23"].shape == (5, 23, 3)
    [other, _] = Alignhmr(recoverer, hypotheses=5, seed=4).answer(samples[3])
    np.testing.assert_allclose(other.points_m["smpl24"][0], again.points_m["smpl24"][0])  # zero-noise
    assert np.abs(other.points_m["smpl24"][1] - again.points_m["smpl24"][1]).max() > 1e-3


def test_the_camera_is_given_or_not(samples, recoverer: Recoverer) -> None:
    told, untold = (
        Alignhmr(recoverer, hypotheses=1, intrinsics=camera).answer(samples[0])[0]
        for camera in ("given", "default")
    )
    depth = [prediction.points_m["smpl24"][0, 0, 2] for prediction in (told, untold)]
    # 500 px against the diagonal of 320 x 240, 400 px: the same person looks nearer.
    assert depth[1] / depth[0] == pytest.approx(400 / 500, rel=0.1)


def test_who_has_too_few_keypoints_is_missed_and_costs_nobody_else(samples, recoverer: Recoverer) -> None:
    unseen = Recoverer(
        recoverer.base, recoverer.scorer, recoverer.body, TruthTeller(samples, unseen="frame02#0")
    )  # type: ignore[arg-type]
    blind = Alignhmr(unseen, hypotheses=2, without=("image",))
    assert [prediction.person for prediction in blind.answer(samples[2])] == [1]
    assert sum(blind.reasons.values()) == 1
    seeing = Alignhmr(unseen, hypotheses=2)
    assert [prediction.person for prediction in seeing.answer(samples[2])] == [0, 1] and not seeing.reasons


def test_a_file_stands_in_for_the_system_that_wrote_it(samples, predict, tmp_path: Path) -> None:
    info = SystemInfo("other", "1", "given", "given")
    written = [p for sample in samples[:6] for p in predict(sample)]
    written = [replace(p, body=None, pose_aa=None, betas=None) for p in written]
    write_predictions(tmp_path / "p.parquet", info, written)
    system = FromFile(tmp_path / "p.parquet")
    evaluation, direct = Evaluation(info), Evaluation(info)
    for sample in samples[:5]:
        evaluation.add(sample, system.answer(sample))
        direct.add(sample, predict(sample))
    for ours, theirs in zip(evaluation.people, direct.people, strict=True):
        np.testing.assert_array_equal(ours.per_hypothesis["mpjpe_mm"], theirs.per_hypothesis["mpjpe_mm"])
    assert system.answer(samples[7]) == []
    assert system.unasked == ["frame05"]


def test_a_file_that_speaks_of_a_person_who_is_not_there_is_refused(samples, predict, tmp_path: Path) -> None:
    written = [
        replace(p, person=p.person + 1, body=None, pose_aa=None, betas=None) for p in predict(samples[0])
    ]
    write_predictions(tmp_path / "p.parquet", SystemInfo("other", "1", "given", "given"), written)
    with pytest.raises(InputError, match="person 2 of frame00, which has 2"):
        FromFile(tmp_path / "p.parquet").answer(samples[0])
