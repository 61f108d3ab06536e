"""Hypotheses on their way from the stage that makes them to the stage that rates them: bytes, to the last bit."""

import torch
from safetensors.torch import load, save

from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.placement import Bodies
from alignhmr.core.recovery import Sight

_PARAMETERS = ("rotations", "betas", "camera")
_BODIES = ("joints_m", "keypoints_m", "transl_cam_m", "joints_px", "keypoints_px")
_SIGHT = ("keypoints_px", "crop_px", "focal_px", "center_px")


def pack(sight: Sight, bodies: Bodies) -> bytes:
    """As safetensors: nothing is pickled."""
    tensors = {f"parameters.{name}": getattr(bodies.parameters, name) for name in _PARAMETERS}
    tensors |= {f"bodies.{name}": getattr(bodies, name) for name in _BODIES}
    tensors |= {f"sight.{name}": getattr(sight, name) for name in _SIGHT}
    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})


def unpack(data: bytes, device: str | torch.device = "cpu") -> tuple[Sight, Bodies]:
    """Inverse of ``pack``."""
    found = {name: tensor.to(device) for name, tensor in load(data).items()}
    parameters = BodyParameters(*(found[f"parameters.{name}"] for name in _PARAMETERS))
    bodies = Bodies(parameters, *(found[f"bodies.{name}"] for name in _BODIES))
    return Sight(*(found[f"sight.{name}"] for name in _SIGHT)), bodies
