"""Places: families of rooms and open-air scenes, each a generator of surfaces, colours and light.

World: metres, y up, ground at y = 0, people near the origin. A family belongs to one split of one domain
(``domains.py``), so that no network can know a test scene by its wallpaper. A room is an upright box seen from
inside; outdoors there is a ground, boxes for buildings, clumps for trees, and a sky.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

TEXTURES: tuple[str, ...] = (
    "plain", "planks", "tiles", "carpet", "bricks", "stripes", "grass", "asphalt", "sand", "paving", "facade",
    "snow", "concrete", "shelves", "window", "painting", "curtain", "corrugated", "forest", "leaves",
)  # fmt: skip
_T = TEXTURES.index
SURFACE = 9
"""Numbers of a surface: texture, scale in metres, seed, two linear colours."""


@dataclass(frozen=True)
class Light:
    """One lamp or the sun, and what comes from everywhere else. Linear colours."""

    toward: Float[np.ndarray, "3"]
    """Unit vector to the lamp."""
    key: Float[np.ndarray, "3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]
    softness: float
    """Width of a shadow's edge, in cells of the shadow map."""


@dataclass(frozen=True)
class Scene:
    """Everything of a picture that stands still. Angles in radians."""

    family: str
    yaw_rad: float
    room_m: Float[np.ndarray, "5"]
    """Half width, height, half depth and the centre's x and z; zeros outdoors."""
    floor: Float[np.ndarray, "9"]
    wall: Float[np.ndarray, "9"]
    ceiling: Float[np.ndarray, "9"]
    panels: Float[np.ndarray, "panels 14"]
    """On walls: wall 0..3, u0, u1, v0, v1 in metres, then a surface."""
    blocks: Float[np.ndarray, "blocks 14"]
    """Buildings: centre x and z, half sizes, height, then a surface."""
    sky: Float[np.ndarray, "8"]
    """Colour at the zenith and at the horizon, share of cloud, seed."""
    light: Light
    photo: Float[np.ndarray, "height width 3"] | None = field(default=None, repr=False)
    """Linear colours that stand for all surfaces but the shadows."""


_ROOMS: dict[str, dict] = {
    # textures of floor and wall, half size in metres, height, panels and what hangs there, how colourful
    "backdrop": {
        "floor": ("plain",), "wall": ("plain",),
        "half": (5, 8), "height": (5, 6), "panels": (0, 0),
        "color": 0.15,
    },
    "cyclorama": {
        "floor": ("plain",), "wall": ("plain",),
        "half": (6, 9), "height": (6, 7), "panels": (0, 0),
        "color": 0.5,
    },
    "flat": {
        "floor": ("planks", "carpet"), "wall": ("plain", "stripes"),
        "half": (2.6, 4.5), "height": (2.5, 3.0), "panels": (3, 7),
        "hang": ("painting", "window", "shelves", "curtain"), "color": 0.5,
    },
    "office": {
        "floor": ("carpet", "tiles"), "wall": ("plain",),
        "half": (3.5, 7), "height": (2.7, 3.4), "panels": (4, 9),
        "hang": ("window", "shelves", "painting"), "color": 0.3,
    },
    "corridor": {
        "floor": ("tiles", "concrete"), "wall": ("plain", "bricks"),
        "half": (2.2, 9), "height": (2.6, 3.2), "panels": (3, 8),
        "hang": ("window", "painting"), "color": 0.35,
    },
    "gym": {
        "floor": ("planks",), "wall": ("bricks", "plain"),
        "half": (6, 11), "height": (5, 8), "panels": (2, 6),
        "hang": ("window", "corrugated"), "color": 0.4,
    },
    "cafe": {
        "floor": ("tiles", "planks"), "wall": ("bricks", "tiles", "stripes"),
        "half": (3, 5.5), "height": (2.8, 3.8), "panels": (4, 8),
        "hang": ("window", "painting", "shelves"), "color": 0.6,
    },
    "warehouse": {
        "floor": ("concrete",), "wall": ("corrugated",),
        "half": (8, 14), "height": (6, 9), "panels": (4, 10),
        "hang": ("shelves", "corrugated"), "color": 0.25,
    },
    "hangar": {
        "floor": ("concrete", "asphalt"), "wall": ("corrugated", "concrete"),
        "half": (9, 15), "height": (7, 10), "panels": (2, 6),
        "hang": ("shelves", "window"), "color": 0.3,
    },
}  # fmt: skip
_OUTDOORS: dict[str, dict] = {
    # texture of the ground, its colours as sRGB, counts of buildings and of trees
    "street": {"ground": "asphalt", "colors": ((92, 92, 94), (120, 118, 112)), "blocks": (4, 9), "trees": (0, 4)},
    "park": {"ground": "grass", "colors": ((70, 104, 44), (120, 138, 70)), "blocks": (0, 3), "trees": (6, 16)},
    "beach": {"ground": "sand", "colors": ((206, 184, 142), (226, 208, 170)), "blocks": (0, 1), "trees": (0, 4)},
    "square": {"ground": "paving", "colors": ((150, 142, 132), (118, 112, 104)), "blocks": (5, 10), "trees": (0, 6)},
    "forest": {"ground": "leaves", "colors": ((84, 66, 40), (110, 92, 56)), "blocks": (0, 0), "trees": (14, 26)},
    "snow": {"ground": "snow", "colors": ((226, 232, 242), (200, 212, 230)), "blocks": (0, 3), "trees": (2, 12)},
    "frozen_lake": {"ground": "snow", "colors": ((176, 200, 220), (214, 226, 236)), "blocks": (0, 1), "trees": (4, 14)},
}  # fmt: skip
FAMILIES: tuple[str, ...] = (*_ROOMS, *_OUTDOORS)


@dataclass(frozen=True)
class Clearing:
    """The room that people and camera need: walls, ceilings and buildings stay out of it."""

    eye_m: Float[np.ndarray, "3"]
    people_m: float
    """Farthest that anyone reaches from the origin, along the ground."""


def make_scene(
    rng: np.random.Generator,
    family: str,
    clearing: Clearing,
    *,
    softness: tuple[float, float],
    dark: bool,
    cold: float,
) -> Scene:
    """A random place of that family around people and camera."""
    if family in _ROOMS:
        return _room(rng, family, clearing, softness, dark, cold)
    return _outdoors(rng, family, clearing, softness, dark, cold)


def linear(srgb) -> Float[np.ndarray, "*any 3"]:
    return (np.clip(np.asarray(srgb, float), 0, 255) / 255) ** 2.2


def _surface(rng, texture: str, scale: float, first, second) -> np.ndarray:
    return np.array([_T(texture), scale, int(rng.integers(1 << 20)), *first, *second], float)


def _tint(rng, colorful: float, low: float = 0.12, high: float = 0.8) -> np.ndarray:
    grey = rng.uniform(low, high)
    # Most paint is white, cream or grey; warm more often than cold, green and violet seldom.
    strength = colorful * (rng.uniform(0, 0.35) if rng.random() < 0.65 else rng.uniform(0.3, 1.0))
    warmth, other = rng.normal(0.25, 0.6), rng.normal(0, 0.18)
    return np.clip(grey * (1 + strength * np.array([0.5 * warmth, other, -0.6 * warmth])), 0.02, 0.92)


_SCALES = {
    "plain": 1.5, "planks": 0.14, "tiles": 0.35, "carpet": 0.03, "bricks": 0.22, "stripes": 0.2, "concrete": 2.5,
    "corrugated": 0.25, "window": 1.0, "painting": 0.5, "shelves": 0.3, "curtain": 0.15, "asphalt": 0.05, "grass": 0.08,
    "sand": 0.1, "paving": 0.45, "facade": 3.0, "snow": 0.6, "forest": 1.0, "leaves": 0.15,
}  # fmt: skip


def _textured(rng, texture: str, colorful: float, low: float = 0.12, high: float = 0.8) -> np.ndarray:
    scale = _SCALES[texture] * rng.uniform(0.6, 1.6)
    if texture == "planks":
        wood = linear((150, 104, 62)) * rng.uniform(0.35, 2.0)
        return _surface(rng, texture, scale, wood, wood * rng.uniform(0.6, 0.9))
    if texture == "bricks" and rng.random() < 0.6:
        return _surface(
            rng, texture, scale, linear((150, 80, 58)) * rng.uniform(0.5, 1.6), linear((170, 160, 150))
        )
    if texture == "window":
        return _surface(
            rng, texture, scale, linear((250, 250, 246)), linear((176, 208, 240)) * rng.uniform(0.5, 1.0)
        )
    first = _tint(rng, colorful, low, high)
    return _surface(rng, texture, scale, first, np.clip(first * rng.uniform(0.55, 1.5), 0.01, 0.95))


def _room(rng, family, clearing: Clearing, softness, dark, cold) -> Scene:
    plan = _ROOMS[family]

    def pick(options):
        return options[int(rng.integers(len(options)))]

    # Turned so that a wall stands behind the people, seen from the camera, and the camera is inside.
    away = float(np.hypot(clearing.eye_m[0], clearing.eye_m[2]))
    yaw = float(np.arctan2(-clearing.eye_m[0], clearing.eye_m[2]) + rng.uniform(-0.55, 0.55))
    eye_x = float(np.cos(yaw) * clearing.eye_m[0] + np.sin(yaw) * clearing.eye_m[2])
    eye_z = float(-np.sin(yaw) * clearing.eye_m[0] + np.cos(yaw) * clearing.eye_m[2])
    least = clearing.people_m + 0.3
    behind = least + rng.uniform(0.1, 1.0) * plan["half"][0]
    before = max(least, eye_z + 0.5) + rng.uniform(0, 1.0)
    left = max(least + rng.uniform(0, 0.8) * plan["half"][1], -eye_x + 0.5)
    right = max(least + rng.uniform(0, 0.8) * plan["half"][1], eye_x + 0.5)
    if family == "corridor":
        left, right = max(least, -eye_x + 0.5), max(least, eye_x + 0.5)
        behind = least + rng.uniform(2, 12)
    half = np.array([left + right, behind + before]) / 2
    center = np.array([right - left, before - behind]) / 2
    height = max(rng.uniform(*plan["height"]), 2.4, float(clearing.eye_m[1]) + 0.4, 0.25 * away)
    wall = _textured(rng, pick(plan["wall"]), plan["color"], 0.25, 0.85)
    floor = _textured(rng, pick(plan["floor"]), plan["color"], 0.08, 0.6)
    if family in ("backdrop", "cyclorama"):  # one paper, floor and wall
        floor[3:] = wall[3:] * rng.uniform(0.8, 1.0)
    panels = []
    for _ in range(int(rng.integers(plan["panels"][0], plan["panels"][1] + 1))):
        side = int(rng.integers(4))
        width, tall = rng.uniform(0.5, 2.0), rng.uniform(0.5, 1.6)
        across = 1 if side % 2 == 0 else 0
        u = center[across] + rng.uniform(-1, 1) * max(half[across] - width / 2, 0.0)
        texture = pick(plan["hang"])
        v = rng.uniform(0.8, max(0.9, min(height, 3.5) - tall - 0.1))
        if texture in ("shelves", "curtain"):
            v, tall = 0.0, rng.uniform(1.6, min(2.4, height - 0.2))
        panels.append(
            np.concatenate(
                [[side, u - width / 2, u + width / 2, v, v + tall], _textured(rng, texture, 0.9, 0.05, 0.9)]
            )
        )
    elevation, azimuth = rng.uniform(0.6, 1.4), rng.uniform(0, 2 * np.pi)
    warm = np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.62, 1.0)]) * (
        1 - cold * np.array([1.0, 0.3, -0.4])
    )
    key = rng.uniform(0.45, 1.0) if not dark else rng.uniform(0.1, 0.3)
    ambient = (rng.uniform(0.35, 0.65) if not dark else rng.uniform(0.03, 0.1)) * (0.5 + 0.5 * warm)
    light = Light(_toward(azimuth, elevation), key * warm, ambient, ambient * 0.55, rng.uniform(*softness))
    return Scene(
        family, yaw, np.array([half[0], height, half[1], *center]), floor, wall,
        _surface(rng, "plain", 1.0, _tint(rng, 0.05, 0.6, 0.9), _tint(rng, 0.05, 0.6, 0.9)),
        np.array(panels).reshape(-1, 14), np.zeros((0, 14)), np.zeros(8), light,
    )  # fmt: skip


def _outdoors(rng, family, clearing: Clearing, softness, dark, cold) -> Scene:
    plan = _OUTDOORS[family]
    away = float(np.hypot(clearing.eye_m[0], clearing.eye_m[2]))
    reach, behind = max(away, clearing.people_m) + 0.5, np.arctan2(-clearing.eye_m[2], -clearing.eye_m[0])
    first, second = (linear(c) * rng.uniform(0.75, 1.2) for c in plan["colors"])
    floor = _surface(rng, plan["ground"], _SCALES[plan["ground"]] * rng.uniform(0.7, 1.5), first, second)
    blocks = []
    for _ in range(int(rng.integers(plan["blocks"][0], plan["blocks"][1] + 1))):
        # Mostly behind the people, where the camera looks; the box's corner stays outside of the clearing.
        angle, half = behind + rng.normal(0, 0.9), rng.uniform(2, 7, 2)
        ahead = abs(np.angle(np.exp(1j * (angle - behind)))) < 1.2
        far = (clearing.people_m + 1.0 if ahead else reach) + rng.uniform(1, 16) + float(np.hypot(*half))
        x, z = np.cos(angle) * far, np.sin(angle) * far
        blocks.append(
            np.concatenate([[x, z, *half, rng.uniform(3, 18)], _textured(rng, "facade", 0.45, 0.15, 0.7)])
        )
    for _ in range(int(rng.integers(plan["trees"][0], plan["trees"][1] + 1))):
        angle = behind + rng.normal(0, 0.8)
        ahead = abs(np.angle(np.exp(1j * (angle - behind)))) < 1.2
        far = (clearing.people_m + 0.8 if ahead else reach) + rng.uniform(1.5, 18)
        green = linear((52, 82, 36)) * rng.uniform(0.5, 1.7) * (1 + rng.uniform(-0.2, 0.2, 3))
        tree = _surface(rng, "forest", 1.0, green, green * 0.45)
        blocks.append(
            np.concatenate(
                [
                    [np.cos(angle) * far, np.sin(angle) * far, rng.uniform(0.8, 2.6), 0.0, rng.uniform(3, 9)],
                    tree,
                ]
            )
        )
    overcast = rng.random() < 0.4
    zenith = linear((70, 120, 200)) if not overcast else linear((170, 178, 188))
    horizon = linear((190, 210, 230)) if not overcast else linear((214, 216, 218))
    elevation, azimuth = rng.uniform(0.25, 1.25), rng.uniform(0, 2 * np.pi)
    warm = np.array([1.0, 0.72 + 0.26 * min(1.0, elevation), 0.45 + 0.5 * min(1.0, elevation)])
    warm = warm * (1 - cold * np.array([1.0, 0.3, -0.4]))
    level = rng.uniform(0.03, 0.14) if dark else 1.0
    key = level * (rng.uniform(0.9, 1.4) if not overcast else rng.uniform(0.05, 0.25)) * warm
    ambient = (
        level * (np.array([0.36, 0.42, 0.5]) if not overcast else np.full(3, 0.62)) * rng.uniform(0.8, 1.15)
    )
    light = Light(
        _toward(azimuth, elevation),
        key,
        ambient,
        ambient * 0.45,
        rng.uniform(*softness) * (2 if overcast else 1),
    )
    sky = np.array([*(zenith * level), *(horizon * level), rng.uniform(0, 0.9), int(rng.integers(1 << 20))])
    return Scene(
        family, behind + rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.3), np.zeros(5), floor, floor, floor,
        np.zeros((0, 14)), np.array(blocks).reshape(-1, 14), sky, light,
    )  # fmt: skip


def _toward(azimuth: float, elevation: float) -> np.ndarray:
    return np.array(
        [np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)]
    )
