"""What a person wears: colours by place on the rest body, and how far cloth and hair stand off the skin.

A point of the surface is known by its place on the mean body's T-pose, so a hem or a hairline is as sharp as
the picture, whatever the mesh. All numbers of an outfit lie in one row of floats, which the drawing kernel reads.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alignhmr.core.synthetic.noise import plane_noise, value_noise
from alignhmr.core.synthetic.rasterizer import compiled

PATTERNS: tuple[str, ...] = (
    "plain",
    "hoops",
    "pinstripes",
    "checks",
    "print",
    "badge",
    "panels",
    "reflective",
)
COLUMNS: tuple[str, ...] = (
    "skin_r", "skin_g", "skin_b", "hair_r", "hair_g", "hair_b",
    "top_r", "top_g", "top_b", "top2_r", "top2_g", "top2_b",
    "bottom_r", "bottom_g", "bottom_b", "bottom2_r", "bottom2_g", "bottom2_b",
    "shoes_r", "shoes_g", "shoes_b", "iris_r", "iris_g", "iris_b",
    "top_pattern", "top_scale", "bottom_pattern", "bottom_scale",
    "sleeve_x", "neck_y", "hem_y", "leg_y", "shoe_y", "sock_y",
    "hair_back_y", "hair_front_y", "beard", "hat", "gloves", "open_front", "folds", "seed",
    "hair_m", "top_m", "bottom_m", "shoes_m", "flare_m",
)  # fmt: skip
_C = {name: index for index, name in enumerate(COLUMNS)}
(_SKIN, _HAIR, _TOP, _TOP2, _BOTTOM, _BOTTOM2, _SHOES, _IRIS) = (
    _C[f"{name}_r"] for name in ("skin", "hair", "top", "top2", "bottom", "bottom2", "shoes", "iris")
)
(_TOP_PATTERN, _TOP_SCALE, _BOTTOM_PATTERN, _BOTTOM_SCALE) = (
    _C[name] for name in ("top_pattern", "top_scale", "bottom_pattern", "bottom_scale")
)
(_SLEEVE, _NECK, _HEM, _LEG, _SHOE, _SOCK, _HAIR_BACK, _HAIR_FRONT, _BEARD, _HAT, _GLOVES, _OPEN, _FOLDS, _SEED) = (
    _C[name] for name in COLUMNS[28:42]
)  # fmt: skip
_HAIR_M, _TOP_M, _BOTTOM_M, _SHOES_M, _FLARE_M = (_C[name] for name in COLUMNS[42:])


@dataclass(frozen=True)
class Outfit:
    """One person's clothes, skin and hair. Colours are linear RGB, 0..1."""

    wardrobe: str
    row: Float[np.ndarray, "columns"]
    skirt: float = 0.0
    """Length in thighs (``skirts.py``); 0 for trousers."""

    @property
    def bottom(self) -> Float[np.ndarray, "3"]:
        """Colour of trousers or skirt."""
        return self.row[_BOTTOM : _BOTTOM + 3]

    def thickness_m(self, rest_m: Float[np.ndarray, "verts 3"]) -> Float[np.ndarray, "verts"]:
        """How far the drawn surface lies outside the skin, at places on the mean body's T-pose."""
        out = np.zeros(len(rest_m))
        _thickness(np.ascontiguousarray(rest_m, np.float64), self.row, out)
        return out


# Skin as sRGB from light to dark; people are drawn evenly along the line.
_SKINS = np.array([
    (244, 214, 196), (232, 190, 164), (214, 166, 134), (188, 136, 100), (158, 110, 78), (126, 84, 58), (96, 64, 46),
], float)  # fmt: skip
_HAIRS = np.array([
    (24, 20, 18), (38, 28, 22), (62, 42, 28), (96, 66, 40), (142, 102, 58), (196, 160, 104), (128, 56, 30),
    (150, 148, 146), (210, 208, 204),
], float)  # fmt: skip
_HAIR_SHARE = np.array([0.26, 0.2, 0.16, 0.1, 0.07, 0.07, 0.04, 0.06, 0.04])
_IRISES = np.array([(70, 44, 26), (92, 62, 36), (70, 100, 130), (88, 110, 80)], float)

# Shares of sleeve and leg lengths, of patterns, and how colours are drawn.
_STYLES: dict[str, dict] = {
    "casual": {"sleeves": (0.29, 0.36, 0.69), "legs": (-0.86, -0.85, -0.4), "muted": 0.6, "loose": (0.006, 0.02)},
    "sport": {"sleeves": (0.2, 0.3, 0.69), "legs": (-0.26, -0.34, -0.88), "muted": 0.1, "loose": (0.002, 0.012)},
    "office": {"sleeves": (0.69, 0.7, 0.68), "legs": (-0.88, -0.88), "muted": 0.9, "loose": (0.008, 0.018)},
    "summer": {"sleeves": (0.17, 0.22, 0.28), "legs": (-0.22, -0.32, -0.45), "muted": 0.25, "loose": (0.004, 0.016)},
    "outdoor": {"sleeves": (0.71, 0.7), "legs": (-0.88, -0.86), "muted": 0.45, "loose": (0.014, 0.03)},
    "workwear": {"sleeves": (0.7, 0.7, 0.3), "legs": (-0.88, -0.88), "muted": 0.0, "loose": (0.016, 0.028)},
}  # fmt: skip
_SKIRT_SHARE = {"casual": 0.15, "office": 0.2, "summer": 0.3}
_PATTERN_SHARES = {
    "casual": (0.4, 0.16, 0.04, 0.14, 0.1, 0.16, 0.0, 0.0),
    "sport": (0.3, 0.1, 0.05, 0.0, 0.1, 0.25, 0.2, 0.0),
    "office": (0.55, 0.05, 0.2, 0.12, 0.05, 0.0, 0.03, 0.0),
    "summer": (0.3, 0.2, 0.08, 0.1, 0.25, 0.07, 0.0, 0.0),
    "outdoor": (0.5, 0.05, 0.0, 0.12, 0.08, 0.0, 0.25, 0.0),
    "workwear": (0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.8),
}


def dress(rng: np.random.Generator, wardrobe: str) -> Outfit:
    """A random outfit of that wardrobe on a random person."""
    style = _STYLES[wardrobe]
    row = np.zeros(len(COLUMNS))

    def put(first: int, srgb: np.ndarray) -> None:
        row[first : first + 3] = (np.clip(srgb, 0, 255) / 255) ** 2.2

    def pick(values):
        return values[int(rng.integers(len(values)))]

    tone = rng.random() * (len(_SKINS) - 1)
    low = int(tone)
    put(_SKIN, _SKINS[low] + (tone - low) * (_SKINS[low + 1] - _SKINS[low]) + rng.normal(0, 4, 3))
    dark = tone > 3.5
    hair = (
        _HAIRS[int(rng.integers(3))]
        if dark
        else _HAIRS[int(np.searchsorted(np.cumsum(_HAIR_SHARE), rng.random() * 0.999))]
    )
    put(_HAIR, hair + rng.normal(0, 6, 3))
    put(_IRIS, _IRISES[0] if dark else pick(_IRISES))
    work = wardrobe == "workwear"
    put(_TOP, _vivid(rng) if work else _cloth(rng, style["muted"]))
    put(_TOP2, np.array([205.0, 208, 200]) if work else _cloth(rng, style["muted"] * 0.7))
    bottom = _cloth(rng, 0.8) if rng.random() < 0.6 else _denim(rng)
    put(_BOTTOM, np.array([30.0, 38, 70]) + rng.normal(0, 8, 3) if work and rng.random() < 0.6 else bottom)
    put(_BOTTOM2, np.array([205.0, 208, 200]) if work else _cloth(rng, 0.7))
    put(
        _SHOES,
        _cloth(rng, 0.9)
        if rng.random() < 0.6
        else pick(np.array([(235.0, 235, 232), (28, 26, 25), (96, 64, 42)])),
    )
    shares = np.array(_PATTERN_SHARES[wardrobe])
    row[_TOP_PATTERN] = np.searchsorted(np.cumsum(shares), rng.random() * 0.999)
    row[_BOTTOM_PATTERN] = 7 if work else pick((0, 0, 0, 0, 2, 3, 6))
    row[_TOP_SCALE] = np.exp(rng.uniform(np.log(0.02), np.log(0.1)))
    row[_BOTTOM_SCALE] = np.exp(rng.uniform(np.log(0.02), np.log(0.08)))
    row[_SLEEVE] = pick(style["sleeves"]) + rng.normal(0, 0.01)
    row[_NECK] = rng.uniform(0.525, 0.585)
    row[_HEM] = rng.uniform(-0.12, 0.06)
    row[_LEG] = pick(style["legs"]) + rng.normal(0, 0.02)
    row[_SHOE] = rng.uniform(-0.91, -0.885) if wardrobe != "outdoor" else rng.uniform(-0.9, -0.75)
    row[_SOCK] = row[_SHOE] + (rng.uniform(0.02, 0.2) if rng.random() < 0.5 else 0.0)
    row[_HAIR_BACK] = 0.665 if rng.random() < 0.55 else rng.uniform(0.32, 0.6)
    row[_HAIR_FRONT] = rng.uniform(0.775, 0.81)
    row[_HAIR_M] = rng.uniform(0.006, 0.035)
    if rng.random() < 0.06:
        row[_HAIR_FRONT], row[_HAIR_BACK], row[_HAIR_M] = 1.0, 0.7, 0.0
    row[_BEARD] = float(row[_HAIR_BACK] > 0.6 and rng.random() < 0.3)
    row[_HAT] = float(rng.random() < (0.75 if work else 0.3 if wardrobe == "outdoor" else 0.07))
    row[_GLOVES] = float(rng.random() < (0.5 if work else 0.15 if wardrobe == "outdoor" else 0.0))
    row[_OPEN] = rng.uniform(0.02, 0.07) if rng.random() < 0.25 and row[_SLEEVE] > 0.5 else 0.0
    row[_FOLDS] = rng.uniform(0.5, 1.0)
    row[_SEED] = int(rng.integers(1 << 20))
    row[_TOP_M] = rng.uniform(*style["loose"])
    row[_BOTTOM_M] = rng.uniform(*style["loose"]) * 0.9
    row[_SHOES_M] = rng.uniform(0.008, 0.016)
    row[_FLARE_M] = rng.uniform(0.0, 0.03) if row[_LEG] < -0.6 else rng.uniform(0.0, 0.035)
    skirt = 0.0
    if rng.random() < _SKIRT_SHARE.get(wardrobe, 0.0):
        skirt = rng.uniform(0.55, 1.5)
        row[_LEG], row[_FLARE_M] = -0.12 if rng.random() < 0.6 else -0.86, 0.0  # bare legs or tights
        row[_BOTTOM_PATTERN], row[_BOTTOM_M] = 0, 0.003
        row[_SOCK] = row[_SHOE]
        if rng.random() < 0.4:  # a dress
            row[_BOTTOM : _BOTTOM + 3] = row[_TOP : _TOP + 3]
    return Outfit(wardrobe, row, skirt)


def _cloth(rng: np.random.Generator, muted: float) -> np.ndarray:
    hue = rng.random() * 6
    saturation = rng.beta(1.2, 2.6) if rng.random() < muted else rng.uniform(0.3, 0.95)
    value = rng.uniform(0.08, 0.97)
    return _hsv(hue, saturation, value)


def _vivid(rng: np.random.Generator) -> np.ndarray:
    return _hsv(
        *((rng.uniform(1.0, 1.25), 0.9, 0.95) if rng.random() < 0.5 else (rng.uniform(0.25, 0.5), 0.92, 0.97))
    )


def _denim(rng: np.random.Generator) -> np.ndarray:
    return _hsv(rng.uniform(3.45, 3.75), rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.65))


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    ramp = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return 255 * value * (1 - saturation * (1 - ramp))


# Where things are on the mean open body's T-pose: metres, pelvis at the origin, y up, z forward.
_EYE = (0.031, 0.733, 0.150)


@compiled
def region(x, y, z, row):
    """0 skin, 1 hair, 2 top, 3 bottom, 4 shoe, 5 sock, 6 hat, 7 glove: by place on the rest body."""
    side = abs(x)
    if y > 0.6 and side < 0.12:
        if row[_HAT] > 0.5 and y > 0.765 + 0.22 * max(0.0, 0.02 - z):
            return 6
        if _hairline(side, y, z, row) > 0.0:
            return 1
        if (
            row[_BEARD] > 0.5
            and y < 0.676
            and z > 0.045
            and side < 0.075
            and not (side < 0.024 and 0.65 < y < 0.667)
        ):
            return 1
        return 0
    if side > 0.7 and row[_GLOVES] > 0.5:
        return 7
    if side < 0.13 and z < 0.02 and y > row[_HAIR_BACK] and _hairline(side, y, z, row) > 0.0:
        return 1
    if y < row[_SHOE]:
        return 4
    if y < row[_SOCK]:
        return 5
    if y >= row[_HEM]:
        collar = row[_NECK] - 0.35 * max(0.0, 0.09 - side) * (1.0 if z > 0.04 else 0.1)
        if y > 0.36 and side > 0.17:
            return 2 if side < row[_SLEEVE] else 0
        return 2 if y < collar + 0.02 else 0
    return 3 if y > row[_LEG] else 0


@compiled
def _hairline(side, y, z, row):
    """How far inside the hair a point is, in metres; negative outside."""
    back = row[_HAIR_BACK]
    if y < 0.66:  # long hair over neck and shoulders
        return min(min(y - back, 0.03 - z), 0.115 - side - 0.2 * (0.66 - y))
    if z < 0.035:
        line = 0.66 if z < 0.02 else 0.66 + (z - 0.02) * 4.0
        line = min(line, back) if back < 0.6 else line
    elif z < 0.085:
        line = 0.74 if row[_HAIR_FRONT] < 0.9 else 1.0
        if side < 0.085 and y > 0.69 and z < 0.06 and row[_HAIR_BACK] < 0.6:
            line = 0.69
    else:
        line = row[_HAIR_FRONT] - 0.02 * min(1.0, side / 0.06)
    return y - line


@compiled
def _thickness(rest, row, out):
    seed = int(row[_SEED])
    for vertex in range(len(rest)):
        x, y, z = rest[vertex, 0], rest[vertex, 1], rest[vertex, 2]
        kind = region(x, y, z, row)
        folds = 0.6 + 0.8 * value_noise(x * 14, y * 9, z * 14, seed)
        if kind == 1:
            inside = _hairline(abs(x), y, z, row) if y < 0.6 or y > 0.676 or z < 0.045 else 0.004
            grown = min(1.0, max(0.0, inside) / 0.035)
            out[vertex] = (
                row[_HAIR_M] * (0.25 + 0.75 * grown) * (0.7 + 0.6 * value_noise(x * 40, y * 40, z * 40, seed))
            )
        elif kind == 2:
            rise = min(1.0, max(0.0, y - row[_HEM]) / 0.3)
            out[vertex] = row[_TOP_M] * folds + row[_FLARE_M] * 0.5 * (1 - rise) * (
                1.0 if abs(x) < 0.2 else 0.0
            )
        elif kind == 3:
            fall = min(1.0, max(0.0, -y - 0.1) / 0.7)
            out[vertex] = row[_BOTTOM_M] * folds + row[_FLARE_M] * fall
        elif kind == 4:
            out[vertex] = row[_SHOES_M]
        elif kind == 5:
            out[vertex] = 0.003
        elif kind == 6:
            out[vertex] = 0.02 + (0.03 if z > 0.14 and y < 0.79 else 0.0)
        elif kind == 7:
            out[vertex] = 0.006


@compiled
def _pattern(kind, u, v, w, scale, seed):
    """Share of the second colour at a place of the cloth."""
    if kind == 1:
        return 1.0 if (v / scale) % 1.0 < 0.42 else 0.0
    if kind == 2:
        return 1.0 if (u / scale) % 1.0 < 0.18 else 0.0
    if kind == 3:
        a = 0.5 if (u / scale) % 1.0 < 0.5 else 0.0
        return a + (0.5 if (v / scale) % 1.0 < 0.5 else 0.0)
    if kind == 4:
        return 1.0 if value_noise(u / scale * 1.4, v / scale * 1.4, w / scale * 1.4, seed) > 0.58 else 0.0
    if kind == 5:
        if abs(u) < 0.09 and abs(v - 0.38) < 0.07 and w > 0.0:
            return 1.0 if plane_noise(u * 45, v * 30, seed) > 0.42 else 0.0
        return 0.0
    if kind == 6:
        return 1.0 if abs(u) > 0.15 or abs(v) > 0.6 else 0.0
    if kind == 7:
        bands = (
            abs(v - 0.2) < 0.025 or abs(v - 0.32) < 0.025 or abs(v + 0.55) < 0.025 or abs(v + 0.68) < 0.025
        )
        return 1.0 if bands or abs(abs(u) - 0.56) < 0.025 or (abs(abs(u) - 0.09) < 0.02 and v > 0.2) else 0.0
    return 0.0


@compiled
def paint_body(x, y, z, row, color):
    """Writes the linear colour at a rest place into ``color``; returns its gloss in 0..1."""
    kind = region(x, y, z, row)
    side = abs(x)
    seed = int(row[_SEED])
    if kind == 0:
        first = _SKIN
        shade = 0.94 + 0.12 * value_noise(x * 30, y * 30, z * 30, seed)
        gloss = 0.25
        red = 0.0
        if y > 0.6 and side < 0.1 and z > 0.06:
            if z > 0.125 and (side - _EYE[0]) ** 2 + ((y - _EYE[1]) * 1.5) ** 2 < 0.0135**2:
                away = (side - _EYE[0]) ** 2 + (y - _EYE[1]) ** 2
                if away < 0.0062**2:
                    first = _IRIS
                    shade = 0.4 if away < 0.003**2 else 1.0
                else:
                    color[0], color[1], color[2] = 0.72, 0.70, 0.68
                    return 0.6
            elif 0.012 < side < 0.052 and abs(y - 0.757 + 0.12 * abs(side - 0.03)) < 0.0045:
                first = _HAIR
                shade = 1.0
            elif side < 0.027 and abs(y - 0.6585) < 0.0095 - 0.2 * max(0.0, side - 0.012) and z > 0.12:
                red = 0.35
                shade = 0.55 if abs(y - 0.6585) < 0.0018 else 0.85
            elif side > 0.02 and abs(y - 0.695) < 0.02:
                red = 0.12
        for axis in range(3):
            color[axis] = row[first + axis] * shade
        color[1] *= 1 - red
        color[2] *= 1 - red
        return gloss
    if kind == 1 or kind == 6:
        first = _HAIR if kind == 1 else _TOP2
        strands = 0.6 + 0.7 * value_noise(x * 160, y * 25, z * 160, seed) if kind == 1 else 1.0
        for axis in range(3):
            color[axis] = row[first + axis] * strands
        return 0.3 if kind == 1 else 0.1
    if kind == 2 or kind == 3:
        top = kind == 2
        first, second = (_TOP, _TOP2) if top else (_BOTTOM, _BOTTOM2)
        pattern, scale = (_TOP_PATTERN, _TOP_SCALE) if top else (_BOTTOM_PATTERN, _BOTTOM_SCALE)
        # Round the limbs, stripes follow the arm's length and the leg's.
        share = _pattern(
            int(row[pattern]), x, y if side < 0.2 or y < 0.3 else side, z, row[scale], seed + top
        )
        if top and side < row[_OPEN] and z > 0.0:
            share = 1.0
        folds = 1 - row[_FOLDS] * 0.28 * value_noise(x * 18, y * 7 + 3 * x, z * 18, seed + 7)
        weave = 0.95 + 0.1 * value_noise(x * 400, y * 400, z * 400, seed)
        edge = (
            0.8 if (top and 0.0 < y - row[_HEM] < 0.012) or (not top and 0.0 < y - row[_LEG] < 0.012) else 1.0
        )
        for axis in range(3):
            base = row[first + axis]
            color[axis] = (base + share * (row[second + axis] - base)) * folds * weave * edge
        return 0.05
    if kind == 4:
        sole = 0.35 if y < -0.962 else 1.0
        for axis in range(3):
            color[axis] = row[_SHOES + axis] * sole
        return 0.25
    for axis in range(3):
        color[axis] = row[_BOTTOM2 + axis] if kind == 5 else row[_SHOES + axis] * 0.8
    return 0.05
