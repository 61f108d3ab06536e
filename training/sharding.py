"""Weights in shards: each worker holds its part of every one, and of its gradient and its moments (FSDP2).

What is kept on disk is whole, so that a run may go on with another number of workers, or with none. Gathering is
everybody's: all workers call ``whole`` and ``as_held`` at the same places.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from alignhmr.core.diffusion.attention import Layer


def shard(module: nn.Module, device: torch.device) -> None:
    """Over all workers; gradients become means over them. Layers of transformers are gathered one at a time.

    Before an optimiser takes the module's parameters: they are other ones afterwards.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in [part for part in module.modules() if isinstance(part, Layer)]:
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)


def whole(tensor: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """All of it, on every worker; a tensor that isn't in shards as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def as_held(tensor: Float[Tensor, "*any"], like: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """A whole tensor as the other one of its shape is held: this worker's part of it, or all."""
    if isinstance(like, DTensor) and not isinstance(tensor, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor
