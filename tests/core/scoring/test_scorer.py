"""HMR-Scorer: each hypothesis is rated by itself, evidence it doesn't have doesn't matter, the loss ranks."""

import torch

from alignhmr.core.scoring.scorer import Claim, Evidence, HMRScorer, ScorerConfig, ranking_loss


def inputs(people: int = 2, hyps: int = 5) -> tuple[Evidence, Claim]:
    g = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=g)

    crop = torch.tensor([[200.0, 200.0, 300.0]]).expand(people, -1)
    evidence = Evidence(normal(people, 72), crop, normal(people, 23, 3), torch.ones(people))
    claim = Claim(
        normal(people, hyps, 144), normal(people, hyps, 10), normal(people, hyps, 23, 3),
        200 + 100 * normal(people, hyps, 23, 2),
    )  # fmt: skip
    return evidence, claim


def scorer() -> HMRScorer:
    torch.manual_seed(0)
    return HMRScorer(ScorerConfig(token_width=8, width=16, blocks=1)).eval()


def test_a_score_does_not_depend_on_its_neighbours() -> None:
    evidence, claim = inputs()
    net = scorer()
    together, _ = net(evidence, claim)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = Claim(*(getattr(claim, f)[:, order] for f in ("sixd", "betas", "keypoints_m", "keypoints_px")))
    torch.testing.assert_close(net(evidence, shuffled)[0], together[:, order])


def test_moving_a_hypothesis_in_space_changes_nothing_but_its_pixels() -> None:
    evidence, claim = inputs()
    moved = Claim(claim.sixd, claim.betas, claim.keypoints_m + 3.0, claim.keypoints_px)
    torch.testing.assert_close(
        scorer()(evidence, moved)[0], scorer()(evidence, claim)[0], atol=1e-4, rtol=1e-4
    )


def test_expected_error_is_positive() -> None:
    assert (scorer()(*inputs())[1] > 0).all()


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
