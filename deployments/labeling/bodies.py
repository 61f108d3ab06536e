"""Hypotheses on their way from the stage that makes them to the stage that rates them: bytes, to the last bit.

A tensor's layout travels too: the last bits of a sum hang on the order in which it is taken.
"""

import torch
from safetensors.torch import load, save
from torch import Tensor

from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.placement import Bodies
from alignhmr.core.recovery import Sight

_PARAMETERS = ("rotations", "betas", "camera")
_BODIES = ("joints_m", "keypoints_m", "transl_cam_m", "joints_px", "keypoints_px")
_SIGHT = ("keypoints_px", "crop_px", "focal_px", "center_px")


def pack(sight: Sight, bodies: Bodies) -> bytes:
    """As safetensors: nothing is pickled. The layout is in the names: ``NAME/ORDER`` of axes in memory."""
    tensors = {f"parameters.{name}": getattr(bodies.parameters, name) for name in _PARAMETERS}
    tensors |= {f"bodies.{name}": getattr(bodies, name) for name in _BODIES}
    tensors |= {f"sight.{name}": getattr(sight, name) for name in _SIGHT}
    packed = {}
    for name, tensor in tensors.items():
        order = sorted(range(tensor.dim()), key=lambda axis: (tensor.shape[axis] > 1, -tensor.stride(axis)))
        packed[f"{name}/{','.join(map(str, order))}"] = (
            tensor.detach().cpu().permute(order).contiguous().clone()
        )
    return save(packed)


def unpack(data: bytes, device: str | torch.device = "cpu") -> tuple[Sight, Bodies]:
    """Inverse of ``pack``."""
    found = {}
    for named, tensor in load(data).items():
        name, _, order = named.partition("/")
        found[name] = _in_place(tensor, [int(axis) for axis in order.split(",")]).to(device)
    parameters = BodyParameters(*(found[f"parameters.{name}"] for name in _PARAMETERS))
    bodies = Bodies(parameters, *(found[f"bodies.{name}"] for name in _BODIES))
    return Sight(*(found[f"sight.{name}"] for name in _SIGHT)), bodies


def _in_place(tensor: Tensor, order: list[int]) -> Tensor:
    """Axes back where they were; the memory stays as it is."""
    back = [order.index(axis) for axis in range(len(order))]
    return tensor.permute(back)
