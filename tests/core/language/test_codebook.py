"""Codes move to what chooses them, dead ones come back to life, and gradients pass straight through."""

import torch

from alignhmr.core.language.codebook import DEAD, Codebook


def learn(codebook: Codebook, latents: torch.Tensor, steps: int, seed: int = 0) -> int:
    generator, dead = torch.Generator().manual_seed(seed), 0
    for _ in range(steps):
        batch = latents[torch.randint(len(latents), (128,), generator=generator)]
        tally = codebook.tally(batch, codebook.nearest(batch))
        dead += int(codebook.learn(tally, batch[: len(codebook.vectors)]))
    return dead


def test_the_nearest_code_is_the_nearest():
    torch.manual_seed(0)
    codebook, latents = Codebook(40, 5), torch.randn(3, 50, 5)
    slow = (latents[..., None, :] - codebook.vectors).norm(dim=-1).argmin(-1)
    assert torch.equal(codebook.nearest(latents), slow)


def test_codes_settle_in_the_middle_of_what_chooses_them():
    torch.manual_seed(1)
    centres = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0], [0.0, -4.0]])
    latents = (centres[:, None] + 0.1 * torch.randn(4, 200, 2)).flatten(0, 1)
    codebook = Codebook(4, 2, decay=0.9)
    learn(codebook, latents, 300)
    off = (centres[:, None] - codebook.vectors).norm(dim=-1).amin(1)
    assert off.max() < 0.1


def test_dead_codes_are_taken_back_into_use():
    torch.manual_seed(2)
    latents = 0.05 * torch.randn(500, 4) + 3
    codebook = Codebook(32, 4, decay=0.9)
    assert len(codebook.nearest(latents).unique()) < 10
    assert learn(codebook, latents, 120) > 20
    assert len(codebook.nearest(latents).unique()) >= 28


def test_a_code_that_is_chosen_is_left_alive():
    codebook = Codebook(2, 1, decay=0.5)
    codebook.vectors.copy_(torch.tensor([[0.0], [10.0]]))
    batch = torch.tensor([[0.1], [9.0]])
    assert codebook.learn(codebook.tally(batch, codebook.nearest(batch)), batch) == 0
    assert codebook.counts.min() > DEAD


def test_a_tally_is_a_mean_over_workers():
    torch.manual_seed(3)
    codebook, latents = Codebook(8, 3), torch.randn(60, 3)
    whole = codebook.tally(latents, codebook.nearest(latents))
    halves = [codebook.tally(half, codebook.nearest(half)) for half in latents.split(30)]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2)
