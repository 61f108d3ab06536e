"""A codebook that follows what is encoded by moving averages, and takes dead codes back into use.

van den Oord et al., "Neural Discrete Representation Learning" (NeurIPS 2017), appendix A.1: each code is the mean of
the vectors that chose it, forgotten at ``decay``. A code that hardly anybody chooses is put where a vector of the
batch lies; without that a few dozen codes win everything within some hundred steps.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

DEAD = 0.05
"""A code is dead when it is chosen less than this part of an even share."""


class Codebook(nn.Module):
    """``codes`` vectors of ``dim`` numbers; nothing of it has a gradient."""

    vectors: Tensor  # [codes, dim]
    counts: Tensor  # [codes]: choices a batch, a moving average, in even shares
    sums: Tensor  # [codes, dim]: of the vectors that chose the code, in the same unit

    def __init__(self, codes: int, dim: int, spread: float = 1.0, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        vectors = spread * torch.randn(codes, dim)
        self.register_buffer("vectors", vectors)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", vectors.clone())

    def nearest(self, latents: Float[Tensor, "*batch dim"]) -> Int[Tensor, "*batch"]:
        """Index of the nearest code."""
        flat = latents.detach().flatten(0, -2)
        distance = torch.addmm(self.vectors.square().sum(1)[None], flat, self.vectors.T, alpha=-2)
        return distance.argmin(1).reshape(latents.shape[:-1])

    @torch.no_grad()
    def tally(self, latents: Float[Tensor, "*batch dim"], indices: Int[Tensor, "*batch"]) -> Tensor:
        """[codes, 1 + dim]: how many chose each code, in even shares, and the sum of their vectors.

        Workers that share a batch take the mean of theirs, and then ``learn`` the same.
        """
        flat, chosen = latents.detach().flatten(0, -2), indices.flatten()
        told = torch.cat([torch.ones_like(flat[:, :1]), flat], 1)
        total = torch.zeros(len(self.vectors), told.shape[1], dtype=flat.dtype, device=flat.device)
        return total.index_add_(0, chosen, told) * (len(self.vectors) / len(flat))

    @torch.no_grad()
    def learn(self, tally: Tensor, fresh: Float[Tensor, "codes dim"]) -> Tensor:
        """Moves the codes to what chose them, and dead ones to the fresh vectors in their rows; how many were dead."""
        self.counts.lerp_(tally[:, 0], 1 - self.decay)
        self.sums.lerp_(tally[:, 1:], 1 - self.decay)
        dead = self.counts < DEAD
        self.sums[dead] = fresh[dead]
        self.counts[dead] = 1.0
        self.vectors.copy_(self.sums / self.counts[:, None])
        return dead.sum()
