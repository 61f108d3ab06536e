"""HMR-Scorer: each hypothesis is rated by itself, each kind of evidence counts, missing ones don't, the loss ranks."""

from dataclasses import replace

import pytest
import torch

from alignhmr.core.diffusion.condition import make_condition
from alignhmr.core.diffusion.image_tokens import POINTS
from alignhmr.core.errors import InputError
from alignhmr.core.scoring.evidence import Claim, Evidence
from alignhmr.core.scoring.scorer import HMRScorer, ScorerConfig, _within, ranking_loss

SIDE = 64


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def evidence_of(people: int = 3) -> Evidence:
    crop = torch.tensor([[200.0, 200.0, 300.0]]).expand(people, -1)
    keypoints = torch.cat([200 + 60 * normal(people, 23, 2), torch.full((people, 23, 1), 0.9)], -1)
    pictures = 127 + 40 * normal(people, 3, SIDE, SIDE, seed=1)
    condition = make_condition(
        keypoints, crop, torch.full((people,), 500.0), torch.full((people, 2), 160.0), pictures,
        torch.ones(people, dtype=torch.bool),
    )  # fmt: skip
    everyone = torch.ones(people, dtype=torch.bool)
    silhouettes = torch.rand(people, 32, 32, generator=torch.Generator().manual_seed(2))
    observed = Evidence.observed(
        condition, crop, normal(people, 23, 3, seed=3), everyone, silhouettes, everyone
    )
    return observed.with_proposals(claim_of(people, 7, seed=8))


def claim_of(people: int = 3, hyps: int = 5, seed: int = 4) -> Claim:
    points = 0.4 * normal(people, hyps, POINTS, 3, seed=seed + 2)
    return Claim(
        normal(people, hyps, 144, seed=seed), normal(people, hyps, 10, seed=seed + 1),
        points - points[..., :1, :], 0.5 * normal(people, hyps, POINTS, 2, seed=seed + 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def scorer() -> HMRScorer:
    torch.manual_seed(0)
    net = HMRScorer(
        ScorerConfig("efficientnet-lite0", SIDE, token_width=8, heads=2, hops=[2, 1], width=16, blocks=1)
    ).eval()
    assert net.image is not None
    with torch.no_grad():  # maps that say something
        for layer in (net.image.heat, net.image.depth):
            layer.weight.normal_(0, 0.3)
    return net.requires_grad_(False)


def test_a_score_does_not_depend_on_its_neighbours(scorer) -> None:
    evidence, claim = evidence_of(), claim_of()
    together = scorer(evidence, claim)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = scorer(evidence, claim.take(order))
    for name in ("score", "error_mm", "joint_error_mm"):
        torch.testing.assert_close(getattr(shuffled, name), getattr(together, name)[:, order])


def test_a_person_does_not_depend_on_others(scorer) -> None:
    evidence, claim = evidence_of(), claim_of()
    # The second has no picture: crops of the others must stay theirs.
    keep = torch.tensor([True, False, True])
    together = scorer(evidence.keep(image=keep), claim)
    for person in range(3):
        one = slice(person, person + 1)
        alone = Evidence(
            evidence.condition.keep(image=keep).take(one),
            *(getattr(evidence, name)[one] for name in list(vars(evidence))[1:]),
        )
        rated = scorer(alone, Claim(*(part[one] for part in vars(claim).values())))
        torch.testing.assert_close(rated.score, together.score[one], atol=1e-4, rtol=1e-4)


def test_the_picture_is_looked_at_once(scorer, monkeypatch) -> None:
    looked: list[int] = []
    forward = scorer.image.forward
    monkeypatch.setattr(
        scorer.image,
        "forward",
        lambda crops, keypoints: looked.append(len(crops)) or forward(crops, keypoints),
    )
    scorer(evidence_of(2), claim_of(2, 7))
    assert looked == [2]


@pytest.mark.parametrize("kind", ["image", "keypoints", "detector_3d", "silhouette", "proposals"])
def test_each_kind_of_evidence_counts_and_none_is_needed(scorer, kind) -> None:
    evidence, claim = evidence_of(), claim_of()
    nobody = torch.zeros(3, dtype=torch.bool)
    without = evidence.keep(**{kind: nobody})
    assert not torch.allclose(scorer(without, claim).score, scorer(evidence, claim).score)
    # What is said to be missing isn't looked at, whatever stands in its place.
    if kind == "silhouette":
        spoilt = replace(without, silhouettes=without.silhouettes * 0)
        torch.testing.assert_close(scorer(spoilt, claim).score, scorer(without, claim).score)
    nothing = evidence.keep(nobody, nobody, nobody, nobody, nobody)
    rated = scorer(nothing, claim)
    assert all(torch.isfinite(part).all() for part in vars(rated).values())


def test_proposals_are_a_mean_and_how_far_they_stray() -> None:
    claim, crop = claim_of(), torch.tensor([[200.0, 200.0, 300.0]]).expand(3, -1)
    nothing = torch.zeros(3, dtype=torch.bool)
    condition = make_condition(torch.zeros(3, 23, 3), crop, torch.full((3,), 500.0), torch.zeros(3, 2))
    bare = Evidence.observed(condition, crop, torch.zeros(3, 23, 3), nothing, torch.zeros(3, 32, 32), nothing)
    told = bare.with_proposals(claim)
    assert told.has_proposals.all() and not bare.has_proposals.any()
    torch.testing.assert_close(told.proposed_m, claim.points_m.mean(1))
    by_hand = claim.points_m.var(1, correction=0).sum(-1).sqrt()
    torch.testing.assert_close(told.unsure_m, by_hand)
    alone = claim.take(slice(1))
    assert not bare.with_proposals(alone).has_proposals.any(), "one hypothesis doesn't say how sure it is"


def test_where_a_joint_is_claimed_to_be_matters(scorer) -> None:
    """The same body elsewhere in the picture is another claim: features are sampled where its joints fall."""
    evidence, claim = evidence_of(), claim_of()
    moved = replace(claim, places=claim.places + 0.2)
    assert not torch.allclose(scorer(evidence, moved).score, scorer(evidence, claim).score)


def test_features_are_sampled_where_a_joint_falls_and_not_in_a_mirror(scorer) -> None:
    """A spot on the maps speaks of bodies that stand on it, and of nobody whose mirrored place it is."""
    evidence, claim = evidence_of(), claim_of()
    seen = scorer.look(evidence)
    rows, columns = seen.maps.shape[-2:]
    spot = torch.zeros(rows, columns)
    spot[rows - 1, 0] = 1.0  # x = -1, y = 1
    blank, spotted = (replace(seen, maps=seen.maps * 0 + part) for part in (spot * 0, spot))
    at = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [0.0, 0.0]])
    at = at * (1 - 1 / max(rows, columns))  # the middle of the cell in the corner
    there = replace(claim, places=at[None, :, None].expand_as(claim.places).contiguous())
    told = (scorer.rate(spotted, there).score - scorer.rate(blank, there).score).abs() > 1e-6
    assert told[:, 0].all() and not told[:, 1:].any()


def test_expected_errors_are_positive_and_the_root_has_none(scorer) -> None:
    rating = scorer(evidence_of(), claim_of())
    assert rating.joint_error_mm.shape == (3, 5, 24)
    assert (rating.error_mm > 0).all() and (rating.joint_error_mm[..., 1:] > 0).all()
    assert (rating.joint_error_mm[..., 0] == 0).all()


def test_a_scorer_without_eyes() -> None:
    blind = HMRScorer(ScorerConfig("none", token_width=8, heads=2, hops=[1], width=16, blocks=1)).eval()
    evidence, claim = evidence_of(), claim_of()
    nobody = torch.zeros(3, dtype=torch.bool)
    assert not blind.sees_pixels
    torch.testing.assert_close(
        blind(evidence.keep(image=nobody), claim).score,
        blind(evidence, claim).score,
        msg="it looked at pixels",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": "resnet"}, "unknown image encoder"),
        ({"image": "efficientnet-lite0", "crop_px": 100}, "multiple of 32"),
        ({"crop_px": 128}, "crops of 256 px"),
        ({"hops": [0]}, "1 or more"),
    ],
)
def test_parts_that_do_not_exist(changes, words) -> None:
    with pytest.raises(InputError, match=words):
        HMRScorer(ScorerConfig(**changes))


def test_reach_follows_the_bones() -> None:
    reach = _within(1)
    elbow, wrist, hip, nose = 18, 20, 1, 24
    assert reach[elbow, wrist] and not reach[elbow, hip] and reach[nose, 15] and not reach[nose, 12]
    assert torch.equal(reach, reach.T) and _within(20).all()


def test_ranking_loss_prefers_the_right_order_and_is_log_2_for_ties() -> None:
    errors = torch.tensor([[50.0, 80.0, 120.0]])
    right, wrong = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    assert ranking_loss(right, errors) < 0.02 < 2.0 < ranking_loss(wrong, errors)
    torch.testing.assert_close(ranking_loss(torch.zeros(1, 3), errors), torch.tensor(2.0).log())
    torch.testing.assert_close(ranking_loss(torch.zeros(1, 3), errors * 0), torch.tensor(2.0).log())


def test_ranking_loss_learns_an_order() -> None:
    errors = torch.tensor([[50.0, 80.0, 120.0, 65.0]])
    scores = torch.zeros(1, 4, requires_grad=True)
    optimizer = torch.optim.SGD([scores], lr=1.0)
    for _ in range(50):
        optimizer.zero_grad()
        ranking_loss(scores, errors).backward()
        optimizer.step()
    assert scores.detach().argsort(descending=True).tolist() == errors.argsort().tolist()
