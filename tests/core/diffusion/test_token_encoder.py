"""Evidence as tokens: each kind counts, what is missing is not seen, people don't meet."""

from dataclasses import replace

import pytest
import torch

from alignhmr.core.body.skeleton import KEYPOINT_MIRROR, KEYPOINTS
from alignhmr.core.diffusion.condition import Condition
from alignhmr.core.diffusion.encoder import Encoded, concatenate
from alignhmr.core.diffusion.image_tokens import POINTS, PointTokens
from alignhmr.core.diffusion.token_encoder import PLACE, TokenEncoder, place_features

TOKENS = 2 + len(KEYPOINTS) + 1 + POINTS + 4
"""Body, look, keypoints, the whole picture, points, and 2 x 2 patches of 32 pixels."""


def encoder(*, image: bool = True) -> TokenEncoder:
    torch.manual_seed(0)
    return TokenEncoder(16, 2, 2, 32, PointTokens(32) if image else None).eval()


def evidence(people: int, pictured: list[bool] | None = None, seed: int = 0) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    has_image = torch.tensor(pictured or [True] * people)
    keypoints = torch.rand(people, 23, 3, generator=generator) * 2 - torch.tensor([1.0, 1.0, 0.0])
    return Condition(
        keypoints=keypoints,
        look=torch.randn(people, 3, generator=generator) * 0.3,
        crops=torch.rand(int(has_image.sum()), 3, 32, 32, generator=generator) * 255,
        has_keypoints=torch.ones(people, dtype=torch.bool),
        has_look=torch.ones(people, dtype=torch.bool),
        has_image=has_image,
    )


def same(first: Encoded, second: Encoded) -> bool:
    """In everything that a denoiser or a regressor may look at."""
    assert first.tokens is not None and first.seen is not None
    assert second.tokens is not None and second.seen is not None
    there = first.seen
    return (
        torch.equal(first.vector, second.vector)
        and torch.equal(there, second.seen)
        and torch.equal(first.tokens[there], second.tokens[there])
    )


def test_everyone_has_the_same_number_of_tokens_and_the_first_is_always_there() -> None:
    made = encoder()
    for condition in (evidence(3), evidence(3, [True, False, True]), evidence(3).without("image")):
        found = made(condition)
        assert found.tokens.shape == (3, TOKENS, 16) and found.seen.shape == (3, TOKENS)
        assert torch.equal(found.vector, found.tokens[:, 0]) and found.seen[:, 0].all()
    nothing = made(evidence(3).without("image", "keypoints", "look"))
    assert nothing.seen.sum() == 3 and torch.isfinite(nothing.vector).all() and nothing.image is None


@pytest.mark.parametrize("lie", [1e4, float("nan")])
def test_what_is_missing_is_not_seen_whatever_stands_in_its_place(lie: float) -> None:
    made, condition = encoder(), evidence(2)
    keypoints = condition.keypoints.clone()
    keypoints[0, 4:9] = 0  # of the first person some are unseen, of the second all
    silent = replace(
        condition,
        keypoints=torch.stack([keypoints[0], keypoints[1] * 0]),
        look=condition.look * torch.tensor([[1.0], [0.0]]),
        has_keypoints=torch.tensor([True, False]),
        has_look=torch.tensor([True, False]),
    )
    lies = replace(silent, keypoints=silent.keypoints.clone(), look=silent.look.clone())
    lies.keypoints[0, 4:9, :2] = lie
    lies.keypoints[1] = lie
    lies.look[1] = lie
    assert same(made(silent), made(lies))
    assert not same(made(silent), made(condition))


@pytest.mark.parametrize("kind", ["image", "keypoints", "look"])
def test_each_kind_of_evidence_counts(kind: str) -> None:
    made, condition, other = encoder(), evidence(2), evidence(2, seed=1)
    field = {"image": "crops", "keypoints": "keypoints", "look": "look"}[kind]
    changed = replace(condition, **{field: getattr(other, field)})
    full = made(condition).vector
    # Untrained, EfficientNet's answer to noise hardly differs; but nothing else in these two does.
    assert not torch.equal(made(changed).vector, full)
    assert (made(condition.without(kind)).vector - full).abs().max() > 1e-3


def test_left_and_right_are_told_apart() -> None:
    made, condition = encoder(image=False), evidence(1)
    swapped = replace(condition, keypoints=condition.keypoints[:, list(KEYPOINT_MIRROR)])
    assert (made(swapped).vector - made(condition).vector).abs().max() > 1e-3


def test_people_are_encoded_alike_alone_and_among_others() -> None:
    made, condition = encoder(), evidence(4, [True, False, True, False])
    together = made(condition)
    assert together.seen is not None
    for person in range(4):
        alone = made(condition.take(slice(person, person + 1)))
        torch.testing.assert_close(together.vector[person], alone.vector[0], atol=1e-5, rtol=1e-5)
        assert alone.seen is not None and torch.equal(together.seen[person], alone.seen[0])
    parts = [made(condition.take(slice(first, first + 2))) for first in (0, 2)]
    joined = concatenate(parts)
    torch.testing.assert_close(joined.tokens, together.tokens, atol=1e-5, rtol=1e-5)
    some = joined.take(torch.tensor([3, 1]))
    assert some.seen is not None and torch.equal(some.seen, together.seen[[3, 1]])


def test_an_encoder_without_an_image_encoder_ignores_pictures() -> None:
    made, condition = encoder(image=False), evidence(2)
    assert same(made(condition), made(condition.without("image")))


def test_places_are_told_apart_over_the_crop_and_smoothly() -> None:
    at = torch.linspace(-1, 1, 65)
    features = place_features(torch.stack([at, -at], -1))
    assert features.shape == (65, PLACE)
    apart = torch.cdist(features, features)
    assert apart[~torch.eye(65, dtype=torch.bool)].min() > 0.3
    near = place_features(torch.tensor([[0.3, 0.2]])) - place_features(torch.tensor([[0.3001, 0.2]]))
    assert near.abs().max() < 0.01


def test_every_weight_learns() -> None:
    made = encoder().train()
    found = made(evidence(3, [True, True, False]))
    (found.tokens * found.seen[..., None]).square().sum().backward()
    frozen = {id(parameter) for parameter in made.image.frozen()}  # type: ignore[union-attr]
    heads = ("image.heat", "image.depth")
    silent = [
        name
        for name, p in made.named_parameters()
        if id(p) not in frozen and not name.startswith(heads) and (p.grad is None or not p.grad.any())
    ]
    assert not silent
