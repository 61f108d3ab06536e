"""Labels that are wrong as labels are, and those that are nearly right."""

import pytest
import torch

from alignhmr.core.geometry.rotations import matrix_to_axis_angle
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import PoseSampler, mirror
from alignhmr.training import perturbation as training_perturbation
from alignhmr.training.perturbation import FLIPPED, OTHER_POSE, SWAPPED, TURNED, Perturbation

PEOPLE, LABELS = 40, 50


@pytest.fixture(scope="module")
def sampler(body, clips) -> ObservationSampler:
    return ObservationSampler(body, PoseSampler(load_clips(clips)))


@pytest.fixture(scope="module")
def people(sampler) -> Observations:
    return sampler.sample(PEOPLE, torch.Generator().manual_seed(1))


def _each(people: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(index) for index in range(people)]


def _apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Angles in radians, joint by joint."""
    return matrix_to_axis_angle(one.transpose(-1, -2) @ other).norm(dim=-1)


def _labels(perturbation: Perturbation, people: Observations) -> torch.Tensor:
    return perturbation(people, LABELS, _each(len(people))).rotations


def test_as_many_are_wrong_in_each_way_as_is_said(sampler, people, monkeypatch) -> None:
    monkeypatch.setattr(training_perturbation, "NOISE_RAD", 0.0)
    labels = _labels(Perturbation.drawn(sampler, 0), people)
    true = people.rotations[:, None].expand_as(labels)
    joints, roots = _apart(labels, true)[..., 1:].amax(-1) < 0.01, _apart(labels, true)[..., 0] < 0.01
    mirrored = _apart(labels, mirror(true))[..., 1:].amax(-1) < 0.01
    shares = {
        "flipped": (mirrored & roots, FLIPPED),
        "turned": (joints & ~roots, TURNED),
        "other pose": (~joints & ~mirrored & roots, OTHER_POSE),
        "swapped": (~joints & ~mirrored & ~roots, SWAPPED),
        "right": (joints & roots, 1 - FLIPPED - TURNED - OTHER_POSE - SWAPPED),
    }
    for name, (found, expected) in shares.items():
        assert found.float().mean() == pytest.approx(expected, abs=0.03), name


def test_some_are_nearly_right(sampler, people) -> None:
    labels = _labels(Perturbation.drawn(sampler, 0), people)
    joints = _apart(labels, people.rotations[:, None].expand_as(labels)).mean(-1)
    assert 0.02 < (joints < 0.05).float().mean() < 0.3


def test_nobody_is_swapped_where_there_is_nobody_else(people) -> None:
    labels = _labels(Perturbation(), people)
    roots = _apart(labels, people.rotations[:, None].expand_as(labels))[..., 0]
    assert (roots > 0.6).float().mean() == pytest.approx(TURNED, abs=0.05)


def test_labels_are_a_person_s_own_draw(sampler, people) -> None:
    """Whoever else is in the batch."""
    perturbation = Perturbation.drawn(sampler, 0)
    whole = perturbation(people, 4, _each(PEOPLE))
    part = perturbation(people.take(slice(10, 20)), 4, _each(PEOPLE)[10:20])
    torch.testing.assert_close(part.rotations, whole.rotations[10:20])
    torch.testing.assert_close(part.betas, whole.betas[10:20])


def test_they_are_bodies(sampler, people) -> None:
    labels = _labels(Perturbation.drawn(sampler, 0), people)
    identity = torch.eye(3).expand_as(labels)
    torch.testing.assert_close(labels @ labels.transpose(-1, -2), identity, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.linalg.det(labels), torch.ones(labels.shape[:-2]), atol=1e-4, rtol=0)
