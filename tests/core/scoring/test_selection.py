"""Selection: a mean stays on the manifold, the mean of one is itself, only the best count."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.geometry.rotations import axis_angle_to_matrix, nearest_rotation
from alignhmr.core.scoring.selection import mean_of_best


def bodies(people: int = 2, hyps: int = 6, spread: float = 0.3) -> BodyParameters:
    g = torch.Generator().manual_seed(0)
    centre = torch.randn(people, 1, 24, 3, generator=g)
    return BodyParameters(
        axis_angle_to_matrix(centre) @ axis_angle_to_matrix(spread * torch.randn(people, hyps, 24, 3, generator=g)),
        torch.randn(people, hyps, 10, generator=g), torch.rand(people, hyps, 3, generator=g),
    )  # fmt: skip


def test_the_mean_of_one_is_itself() -> None:
    drawn, scores = bodies(), torch.randn(2, 6)
    mean, chosen = mean_of_best(scores, drawn, 1, 0.0), scores.argmax(1)
    for person in range(2):
        torch.testing.assert_close(
            mean.rotations[person, 0], drawn.rotations[person, chosen[person]], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(mean.betas[person, 0], drawn.betas[person, chosen[person]])


@settings(deadline=None)
@given(st.integers(1, 6), st.floats(0.01, 2.0))
def test_means_are_rotations(best: int, spread: float) -> None:
    mean = mean_of_best(torch.randn(2, 6), bodies(spread=spread), best).rotations
    eye = torch.eye(3).expand_as(mean)
    torch.testing.assert_close(mean @ mean.mT, eye, atol=1e-4, rtol=0)
    assert (torch.linalg.det(mean) > 0.99).all()


def test_the_mean_of_two_turns_about_one_axis_is_half_way() -> None:
    two = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 0.2], [0.0, 0.0, 1.0]]))
    half = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.6]))
    torch.testing.assert_close(nearest_rotation(two.mean(0)), half, atol=1e-5, rtol=0)


def test_only_the_best_scored_count() -> None:
    drawn, scores = bodies(hyps=8), torch.tensor([[0.0, 5, 1, 2, 3, 4, -9, -9]]).expand(2, -1)
    best = BodyParameters(*(getattr(drawn, name)[:, 1:6] for name in ("rotations", "betas", "camera")))
    mean = mean_of_best(scores, drawn, 5, 0.0)
    torch.testing.assert_close(
        mean.rotations[:, 0], nearest_rotation(best.rotations.mean(1)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(mean.betas[:, 0], best.betas.mean(1))
    torch.testing.assert_close(mean.camera[:, 0], best.camera.mean(1))
    half = mean_of_best(scores, drawn, 5, 0.5)
    torch.testing.assert_close(half.betas[:, 0], (best.betas.mean(1) + drawn.betas[:, 0]) / 2)
    zero_noise = mean_of_best(scores, drawn, 5, 1.0)
    torch.testing.assert_close(zero_noise.rotations[:, 0], drawn.rotations[:, 0], atol=1e-5, rtol=0)
