"""Low-rank adaptation: linear layers learn W + alpha / rank * U D, with W held (LoRA, Hu et al., ICLR 2022, eq. 3).

U begins at zero, so that the adapted module begins as the module itself, to the bit. Merged, it is an ordinary one
again, which nobody can tell from one whose weights were learned whole.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from alignhmr.core.errors import InputError


@dataclass(frozen=True)
class LowRank:
    """How much of each layer may move."""

    rank: int = 8
    """Of the change of each weight, at most; a layer with fewer rows or columns moves whole."""
    alpha: float = 16.0
    """The change is scaled by alpha / rank, so that the learning rate need not follow the rank."""


def adapt(module: nn.Module, how: LowRank, seed: int = 0) -> None:
    """Holds the module, and lets its linear layers learn a change of low rank; the same seed gives the same start.

    InputError where there is no such rank, or nothing that could learn.
    """
    if how.rank < 1:
        raise InputError(f"a change of rank {how.rank} was asked for; give 1 or more")
    module.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise InputError("there is no linear layer to adapt; learn all weights")
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _Change(layer.weight, how, generator))


def merge(module: nn.Module) -> None:
    """Adds what was learned to the weights; a module that wasn't adapted stays as it is."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


@torch.no_grad()
def merged(module: nn.Module) -> dict[str, Tensor]:
    """The state of the module as ``merge`` would leave it, which itself learns on.

    (A copy of an adapted module can't be merged: torch takes the change away from the class that both have.)
    """
    layers = {
        f"{name}.weight": layer.weight
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight")
    }
    mark = ".parametrizations."
    kept = {name: value for name, value in module.state_dict().items() if mark not in name}
    return kept | {name: value.detach().clone() for name, value in layers.items()}


class _Change(nn.Module):
    """W -> W + alpha / rank * U D."""

    def __init__(
        self, weight: Float[Tensor, "rows columns"], how: LowRank, generator: torch.Generator
    ) -> None:
        super().__init__()
        rows, columns = weight.shape
        rank = min(how.rank, rows, columns)
        self.scale = how.alpha / how.rank
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        down = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.down = nn.Parameter(down.to(weight))

    def forward(self, weight: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        return weight + self.scale * (self.up @ self.down)
