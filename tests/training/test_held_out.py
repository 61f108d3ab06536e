"""The evaluator's figures of a model on held-out people, against the truth, plain float64 and the evaluator itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from alignhmr.core.body.joint_sets import joint_set
from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.metrics.bootstrap import MIN_GROUPS
from alignhmr.training.augmentation import AS_IT_IS, observe
from alignhmr.training.base import true_packed
from alignhmr.training.held_out import HeldOut, sample_of
from alignhmr.training.mixture import Mixture

LIMBS = joint_set("limbs12")
BLIND = BaseModelConfig("none", 32, 24, 1, 24, 1)
SEEING = BaseModelConfig("efficientnet-lite0", 32, 24, 1, 24, 1)


class Knowing(BaseModel):
    """Answers the truth, and with noise a little beside it."""

    def __init__(self, truth: torch.Tensor) -> None:
        super().__init__(BLIND)
        self.truth, self.first = truth, 0

    def sample(self, condition, noise, steps=4):
        people = len(noise)
        part = self.truth[self.first : self.first + people]
        self.first = (self.first + people) % len(self.truth)
        return part[:, None] + noise * 0.05


@pytest.fixture(scope="module")
def folder(body, made, tmp_path_factory) -> Path:
    people = made.seen_people(body, 14, seed=4)
    return made.write_people(tmp_path_factory.mktemp("held") / "out", people, domain="made", split="test")


@pytest.fixture(scope="module")
def held_out(folder: Path, body: BodyModel) -> HeldOut:
    return HeldOut(Mixture([(folder, 1.0)]), body, 512)


def truth_of(held_out: HeldOut, body: BodyModel) -> torch.Tensor:
    return true_packed(observe(held_out.sightings, body, 32, torch.Generator(), AS_IT_IS))


def untrained(config: BaseModelConfig, truth: torch.Tensor) -> BaseModel:
    torch.manual_seed(0)
    model = BaseModel(config)
    model.mean.copy_(truth.mean(0))
    model.residual_std.fill_(0.2)
    return model


def test_who_answers_the_truth_errs_nowhere_but_where_it_doubts(held_out, body):
    judged = held_out.judged(Knowing(truth_of(held_out, body)), 512, 4).figures
    for metric in ("mpjpe", "pa_mpjpe"):
        assert judged[f"{metric}_zero_noise_mm"] < 0.1
        assert judged[f"{metric}_best_of_m_mm"] <= judged[f"{metric}_zero_noise_mm"]
        assert judged[f"{metric}_mean_mm"] > 5
    assert judged["people"] == 14 and judged["spread_mm"] > 5
    # Keypoints have 1.5 px of noise in a box of some 150 px; the fitted translation shares in it.
    assert judged["error_box_pct"] < 1.5


def test_figures_are_those_of_plain_float64(held_out, body):
    truth = truth_of(held_out, body)
    model = untrained(BLIND, truth)
    judged = held_out.judged(model, 512, 3).figures
    batch = observe(held_out.sightings, body, 32, torch.Generator(), AS_IT_IS)
    noise = torch.stack([hypothesis_noise(3, torch.Generator().manual_seed(i)) for i in range(14)])
    drawn = unpack(model.eval().sample(batch.condition(), noise))
    answers = body.kinematics(drawn.rotations, drawn.betas).keypoints.double().numpy()
    errors = np.zeros((14, 3))
    for person, sighting in enumerate(held_out.sightings):
        true = sighting.coco23_cam_m.astype(np.float64)
        for hypothesis, answer in enumerate(answers[person]):
            off = (answer - answer[list(LIMBS.root)].mean(0)) - (true - true[list(LIMBS.root)].mean(0))
            errors[person, hypothesis] = 1000 * np.linalg.norm(off[list(LIMBS.indices)], axis=1).mean()
    assert judged["mpjpe_zero_noise_mm"] == pytest.approx(errors[:, 0].mean(), rel=1e-5)
    assert judged["mpjpe_mean_mm"] == pytest.approx(errors.mean(), rel=1e-5)
    assert judged["mpjpe_best_of_m_mm"] == pytest.approx(errors.min(1).mean(), rel=1e-5)
    assert judged["pa_mpjpe_zero_noise_mm"] < judged["mpjpe_zero_noise_mm"]
    assert 14 // 2 >= MIN_GROUPS
    low, high = (judged[f"mpjpe_zero_noise_{end}_mm"] for end in ("low", "high"))
    assert low < errors[:, 0].mean() < high


def test_evidence_is_taken_away_from_who_sees_pixels(held_out, body):
    truth = truth_of(held_out, body)
    blind, seeing = (held_out.judged(untrained(c, truth), 6, 2).figures for c in (BLIND, SEEING))
    assert not any(name.startswith("without") for name in blind)
    figures = [seeing[f"{kept}pa_mpjpe_mean_mm"] for kept in ("", "without_image_", "without_keypoints_")]
    assert len({round(figure, 3) for figure in figures}) == 3
    assert blind["people"] == seeing["people"] == 6


def test_the_same_people_and_noise_each_time(folder, held_out, body):
    model = untrained(BLIND, truth_of(held_out, body))
    once = held_out.judged(model, 5, 3)
    again = HeldOut(Mixture([(folder, 1.0)]), body, 9).judged(model, 5, 3)
    assert once.figures == again.figures
    [picture] = once.pictures.values()
    assert picture.shape == (2 * 192, 5 * 192, 3) and picture.dtype == np.uint8
    top, bottom = picture[:192], picture[192:]
    assert (top != bottom).any()  # the truth and the answer over the same pictures
    assert np.array_equal(picture, next(iter(again.pictures.values())))


def test_a_sighting_is_a_sample_of_one_person(held_out):
    sighting = held_out.sightings[0]
    sample = sample_of(sighting)
    [truth] = sample.people
    assert (sample.id, sample.group) == (sighting.id, sighting.group)
    keypoints_m = truth.points["coco23"].cam_m
    assert keypoints_m is not None and np.array_equal(keypoints_m, sighting.coco23_cam_m)
    assert truth.body is not None and np.array_equal(truth.body.pose_aa, sighting.pose_aa)


def test_people_of_another_body_are_refused(body, made, tmp_path):
    others = [
        type(one)(**{**vars(one), "body": "smpl:0123456789abcdef"}) for one in made.seen_people(body, 2)
    ]
    folder = made.write_people(tmp_path / "others", others)
    with pytest.raises(CompatibilityError, match=r"body model smpl:0123.*--body"):
        HeldOut(Mixture([(folder, 1.0)]), body, 2)


def test_people_of_whom_too_little_is_to_be_seen_are_told_before_a_run(body, made, tmp_path):
    hidden = [
        type(one)(**{**vars(one), "coco23_visible": np.zeros(23, bool)}) for one in made.seen_people(body, 2)
    ]
    folder = made.write_people(tmp_path / "hidden", hidden)
    with pytest.raises(
        InputError, match=r"nobody of the 2 held-out people .* the picture shows fewer than 3 points"
    ):
        HeldOut(Mixture([(folder, 1.0)]), body, 2)


def test_answers_that_are_not_finite_are_told(held_out, body):
    model = untrained(BLIND, truth_of(held_out, body))
    model.mean.fill_(torch.nan)
    with pytest.raises(InputError, match="no finite numbers"):
        held_out.judged(model, 4, 2)
