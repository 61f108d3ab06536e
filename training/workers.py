"""What workers that share each batch know together; a process without others knows it alone.

Every worker must call these at the same places, or those who did wait in vain.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


def has_others() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def mean_over_workers(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Mean of every worker's values, without a gradient."""
    values = values.detach()
    if not has_others():
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def means_over_workers(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """The same of named numbers, in float64; all workers have the same names."""
    names = sorted(values)
    told = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device)
    return dict(zip(names, mean_over_workers(told).tolist(), strict=True))


def first_says(answer: bool, device: torch.device) -> bool:
    """The first worker's answer: where each would decide by its own clock, they must agree."""
    if not has_others():
        return answer
    told = torch.tensor(int(answer), device=device)
    torch.distributed.broadcast(told, src=0)
    return bool(told)


def first_of_workers(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The first worker's values, for all."""
    if not has_others():
        return values
    told = values.detach().clone().contiguous()
    torch.distributed.broadcast(told, src=0)
    return told


def gathered(rows: Float[Tensor, "mine *any"]) -> Float[Tensor, "all *any"]:
    """Every worker's rows, with their gradient: a loss over all of them, meant over workers, is the whole batch's."""
    if not has_others():
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(rows)))
