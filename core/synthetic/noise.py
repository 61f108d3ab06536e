"""Smooth noise from integers: the same number for the same place and seed, on every machine that rounds by IEEE.

Values lie in 0..1. Lattice points are hashed, not stored, so a texture has no edge and no period to speak of.
"""

import numpy as np

from alignhmr.core.synthetic.rasterizer import compiled


@compiled
def lattice(x, y, z, seed):
    """A number in 0..1 for a point of the integer lattice."""
    h = (x * 374761393 + y * 668265263 + z * 1440662683 + seed * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 668265263) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0


@compiled
def value_noise(x, y, z, seed):
    """Noise that varies over about one unit."""
    ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = x - ix, y - iy, z - iz
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for k in range(8):
        a, b, c = k & 1, (k >> 1) & 1, k >> 2
        weight = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
        total += weight * lattice(ix + a, iy + b, iz + c, seed)
    return total


@compiled
def plane_noise(x, y, seed):
    """``value_noise`` in a plane, at half its cost."""
    ix, iy = int(np.floor(x)), int(np.floor(y))
    u, v = x - ix, y - iy
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = (1 - u) * lattice(ix, iy, 0, seed) + u * lattice(ix + 1, iy, 0, seed)
    high = (1 - u) * lattice(ix, iy + 1, 0, seed) + u * lattice(ix + 1, iy + 1, 0, seed)
    return low + v * (high - low)


@compiled
def rough(x, y, seed):
    """Three octaves of ``plane_noise``: cloud, stain, foliage."""
    return (
        0.57 * plane_noise(x, y, seed)
        + 0.29 * plane_noise(2.03 * x, 2.03 * y, seed + 1)
        + 0.14 * plane_noise(4.1 * x, 4.1 * y, seed + 2)
    )
