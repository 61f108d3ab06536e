"""Reach along the tree, hypotheses that don't meet, evidence that isn't there."""

from collections import deque

import pytest
import torch

from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.diffusion.attention import Attention
from alignhmr.core.diffusion.encoder import Encoded
from alignhmr.core.diffusion.kinematic_denoiser import TOKENS, KinematicDenoiser, within
from alignhmr.core.diffusion.parameters import CAMERA, POSE, SHAPE, SIZE
from alignhmr.core.errors import InputError

PARTS = [slice(6 * joint, 6 * joint + 6) for joint in range(len(JOINTS))] + [SHAPE, CAMERA]
"""Of the diffused vector, one a token."""


def denoiser(*hops: int) -> KinematicDenoiser:
    """Its last layer doesn't begin at zero."""
    torch.manual_seed(0)
    made = KinematicDenoiser(16, 2, 32, hops, 12).eval()
    for last in (made.to_joint, made.to_shape.weight, made.to_camera.weight):
        torch.nn.init.normal_(last)
    return made


def numbers(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def evidence(people: int, seed: int = 0) -> Encoded:
    tokens = numbers(people, 7, 12, seed=seed)
    seen = numbers(people, 7, seed=seed + 1) > -0.3
    seen[:, 0] = True
    return Encoded(tokens[:, 0], tokens, seen)


def distances() -> list[list[int]]:
    """Bones between each two joints, by walking the tree from each."""
    near = [[] for _ in PARENTS]
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            near[joint].append(parent)
            near[parent].append(joint)
    found = []
    for start in range(len(PARENTS)):
        steps, queue = {start: 0}, deque([start])
        while queue:
            at = queue.popleft()
            for other in near[at]:
                if other not in steps:
                    steps[other] = steps[at] + 1
                    queue.append(other)
        found.append([steps[joint] for joint in range(len(PARENTS))])
    return found


@pytest.mark.parametrize("hops", range(1, 14))
def test_reach_is_the_number_of_bones_between(hops: int) -> None:
    found, apart = within(hops), torch.tensor(distances())
    assert apart.max() == 12, "from the fingers to the toes"
    assert torch.equal(found[:24, :24], apart <= hops)
    assert found[24:].all() and found[:, 24:].all()


def influence(made: KinematicDenoiser) -> torch.Tensor:
    """How much each token's answer moves with each token's input."""
    x_t, t = numbers(1, 1, SIZE).requires_grad_(), torch.tensor([[40]])
    answer = made(x_t, t, evidence(1))[0, 0]
    rows = []
    for part in PARTS:
        (gradient,) = torch.autograd.grad(answer[part].sum(), x_t, retain_graph=True)
        rows.append([float(gradient[0, 0, other].abs().sum()) for other in PARTS])
    return torch.tensor(rows)


@pytest.mark.parametrize("hops", [1, 3])
def test_in_one_layer_a_joint_hears_of_those_within_reach_and_of_no_others(hops: int) -> None:
    assert torch.equal(influence(denoiser(hops)) > 0, within(hops))


def test_layers_pass_on_what_they_heard() -> None:
    made = denoiser(1, 1)
    # Of shape and camera alone: through them every joint would hear of every other.
    made.reach[:, 24:, :24] = False
    heard = influence(made)[:24, :24] > 0
    assert torch.equal(heard, within(2)[:24, :24])


def test_hypotheses_do_not_hear_of_each_other() -> None:
    made, known = denoiser(3, 1), evidence(2)
    x_t, t = numbers(2, 5, SIZE), torch.tensor([[90, 60, 30, 10, 0]]).expand(2, -1)
    other = x_t.clone()
    other[:, 2] = numbers(2, SIZE, seed=9)
    first, second = made(x_t, t, known), made(other, t, known)
    kept = [0, 1, 3, 4]
    assert torch.equal(first[:, kept], second[:, kept])
    assert (first[:, 2] - second[:, 2]).abs().max() > 0.01


def test_one_hypothesis_or_many_is_the_same_answer() -> None:
    made, known = denoiser(3, 1), evidence(3)
    x_t, t = numbers(3, 6, SIZE), torch.randint(100, (3, 6), generator=torch.Generator().manual_seed(0))
    many = made(x_t, t, known)
    for h in range(6):
        alone = made(x_t[:, h : h + 1], t[:, h : h + 1], known)
        torch.testing.assert_close(many[:, h : h + 1], alone, atol=1e-5, rtol=1e-5)
    for person in range(3):
        one = slice(person, person + 1)
        torch.testing.assert_close(many[one], made(x_t[one], t[one], known.take(one)), atol=1e-5, rtol=1e-5)


def test_a_persons_keys_are_worked_out_once_however_many_hypotheses() -> None:
    made, rows = denoiser(3, 1), []
    for layer in made.layers.layers:
        assert isinstance(layer.to_source, Attention)
        layer.to_source.key_and_value.register_forward_hook(lambda _, seen, __: rows.append(seen[0].shape))
    made(numbers(2, 50, SIZE), torch.zeros(2, 50, dtype=torch.long), evidence(2))
    assert rows == [(2, 7, 12)] * 2


def test_what_is_not_there_is_not_heard() -> None:
    made, known = denoiser(3, 1), evidence(2)
    assert known.tokens is not None and known.seen is not None and not known.seen.all()
    lies = torch.where(known.seen[..., None], known.tokens, 1e4 * numbers(2, 7, 12, seed=5))
    x_t, t = numbers(2, 3, SIZE), torch.full((2, 3), 50)
    assert torch.equal(made(x_t, t, known), made(x_t, t, Encoded(known.vector, lies, known.seen)))
    everything = Encoded(known.vector, known.tokens, torch.ones_like(known.seen))
    assert not torch.allclose(made(x_t, t, known), made(x_t, t, everything))


def test_the_step_matters_and_an_untrained_answer_is_the_initial_estimate() -> None:
    made, known, x_t = denoiser(3, 1), evidence(1), numbers(1, 1, SIZE)
    early, late = (made(x_t, torch.tensor([[t]]), known) for t in (99, 5))
    assert (early - late).abs().max() > 0.01
    fresh = KinematicDenoiser(16, 2, 32, (3, 1), 12)
    assert fresh(x_t, torch.tensor([[50]]), known).abs().max() == 0


def test_half_precision_stays_inside() -> None:
    made, known, x_t, t = denoiser(3, 1), evidence(2), numbers(2, 3, SIZE), torch.full((2, 3), 50)
    with torch.autocast("cpu", torch.bfloat16):
        half = made(x_t, t, known)
    full = made(x_t, t, known)
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    assert (half - full).abs().max() < 0.05 * full.abs().max()


def test_pose_shape_and_camera_are_all_of_the_vector() -> None:
    covered = sorted(index for part in PARTS for index in range(part.start, part.stop))
    assert covered == list(range(SIZE)) and len(PARTS) == TOKENS and POSE.stop == 6 * len(JOINTS)


def test_no_hops_are_refused() -> None:
    with pytest.raises(InputError, match="give 1 or more"):
        KinematicDenoiser(16, 2, 32, (3, 0), 12)
