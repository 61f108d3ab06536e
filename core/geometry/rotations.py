"""Rotations in their three forms: matrices inside, 6D at the network, axis-angle in files.

All functions take any leading batch dimensions and keep dtype and device.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a rotation vector in radians (Rodrigues), smooth through zero."""
    angle_sq = axis_angle.square().sum(-1, keepdim=True)[..., None]
    small = angle_sq < 1e-8
    safe_sq = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe_sq.sqrt()
    # Both Taylor series are exact to the last bit of float32 below the threshold.
    sine = torch.where(small, 1 - angle_sq / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - angle_sq / 24, (1 - angle.cos()) / safe_sq)
    cross = _skew(axis_angle)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * cross + cosine * (cross @ cross)


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector in radians with angle in [0, pi], through the best-conditioned quaternion."""
    quaternion = matrix_to_quaternion(matrix)
    w, xyz = quaternion[..., :1], quaternion[..., 1:]
    norm = xyz.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(norm, w)
    return xyz * torch.where(norm < 1e-7, torch.full_like(norm, 2.0), angle / norm.clamp_min(1e-7))


def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z) with w >= 0; the largest of four candidates is taken (Shepperd)."""
    m = matrix
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1, keepdim=True)
    # 4 q_i^2 for w, x, y, z: at least one is >= 1, and dividing by it is safe.
    squares = torch.cat([1 + trace, 1 - trace + 2 * diagonal], -1).clamp_min(0)
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    rows = [
        torch.stack([squares[..., 0], wx, wy, wz], -1),
        torch.stack([wx, squares[..., 1], xy, xz], -1),
        torch.stack([wy, xy, squares[..., 2], yz], -1),
        torch.stack([wz, xz, yz, squares[..., 3]], -1),
    ]
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = torch.stack(rows, -2).gather(-2, best).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def sixd_to_matrix(sixd: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Nearest frame to two 3-vectors by Gram-Schmidt (Zhou et al., CVPR 2019, eq. 15): columns 0 and 1."""
    first, second = sixd[..., :3], sixd[..., 3:]
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def matrix_to_sixd(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """First two columns, one after the other."""
    return torch.cat([matrix[..., 0], matrix[..., 1]], -1)


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Closest rotation in the Frobenius norm (orthogonal Procrustes); of a mean, the mean rotation."""
    u, _, vt = torch.linalg.svd(matrix)
    sign = torch.linalg.det(u @ vt)
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], -1)
    return u @ vt


def geodesic_angle(
    first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Angle in radians of the rotation that takes one to the other; accurate near 0 and near pi."""
    return matrix_to_axis_angle(first.mT @ second).norm(dim=-1)


def _skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
