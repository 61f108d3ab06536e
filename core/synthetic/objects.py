"""Simple things to hold, to carry, to stand behind and to clutter a scene with: small meshes with a colour each.

A thing is made in its own frame, metres, y up, and moved to its place. Faces are flat: corners are not shared.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

HELD: tuple[str, ...] = ("box", "ball", "pole", "bag", "bottle", "board", "umbrella")
CLUTTER: tuple[str, ...] = ("crate", "barrel", "ball", "table", "chair", "bin", "post", "plant")
OCCLUDERS: tuple[str, ...] = ("table", "crate", "post", "barrel", "panel", "plant", "fence")


@dataclass(frozen=True)
class Thing:
    """A mesh with one colour a face (linear RGB)."""

    name: str
    vertices_m: Float[np.ndarray, "verts 3"]
    faces: Int[np.ndarray, "faces 3"]
    colors: Float[np.ndarray, "faces 3"]
    owner: int = -1
    """Index of the person whose clothing it is; -1 for what is nobody's."""

    def moved(self, turn: Float[np.ndarray, "3 3"], place_m: Float[np.ndarray, "3"]) -> "Thing":
        return Thing(self.name, (self.vertices_m[:, None] * turn).sum(-1) + place_m, self.faces, self.colors)


def turn_about_y(angle_rad: float) -> Float[np.ndarray, "3 3"]:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def box(size, center=(0.0, 0.0, 0.0), color=(0.5, 0.5, 0.5)) -> Thing:
    """Six sides, outward."""
    vertices, faces = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            corners[:, u] = (-1, 1, 1, -1) if sign > 0 else (-1, -1, 1, 1)
            corners[:, v] = (-1, -1, 1, 1) if sign > 0 else (-1, 1, 1, -1)
            first = 4 * len(vertices)
            vertices.append(corners * np.asarray(size) / 2 + np.asarray(center))
            faces += [(first, first + 1, first + 2), (first, first + 2, first + 3)]
    return Thing("box", np.concatenate(vertices), np.array(faces), np.tile(np.asarray(color, float), (12, 1)))


def lathe(profile, color, sides: int = 18) -> Thing:
    """A body of revolution about y: ``profile`` lists (radius, height) upwards."""
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rings = [np.stack([r * np.cos(turn), np.full(sides, h), r * np.sin(turn)], -1) for r, h in profile]
    faces = []
    for k in range(len(profile) - 1):
        for i in range(sides):
            a, b = k * sides + i, k * sides + (i + 1) % sides
            faces += [(a, a + sides, b), (b, a + sides, b + sides)]
    return Thing(
        "lathe", np.concatenate(rings), np.array(faces), np.tile(np.asarray(color, float), (len(faces), 1))
    )


def together(name: str, *things: Thing) -> Thing:
    starts = np.cumsum([0] + [len(thing.vertices_m) for thing in things[:-1]])
    return Thing(
        name,
        np.concatenate([thing.vertices_m for thing in things]),
        np.concatenate([thing.faces + start for thing, start in zip(things, starts, strict=True)]),
        np.concatenate([thing.colors for thing in things]),
    )


def _ball(radius: float, color) -> Thing:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 10)
    return lathe([(radius * np.cos(a), radius * np.sin(a)) for a in angle], color)


def _color(rng: np.random.Generator) -> np.ndarray:
    base = rng.uniform(0.03, 0.75)
    return np.clip(base * (1 + rng.uniform(-0.7, 0.7, 3) * rng.random()), 0.01, 0.9)


def make_thing(rng: np.random.Generator, name: str) -> Thing:
    """A random one of that name. Held things have their grip at the origin, others stand on y = 0."""
    color, other = _color(rng), _color(rng)
    wood = np.array([0.32, 0.19, 0.09]) * rng.uniform(0.4, 1.6)
    made: Thing
    match name:
        case "box":
            made = box(rng.uniform(0.12, 0.34, 3), color=color)
        case "ball":
            radius = rng.uniform(0.06, 0.2)
            made = _ball(radius, color)
        case "pole":
            made = lathe([(0.016, -rng.uniform(0.3, 1.0)), (0.016, rng.uniform(0.4, 1.1))], color, 8)
        case "bag":
            w, h, d = rng.uniform(0.2, 0.42), rng.uniform(0.2, 0.36), rng.uniform(0.08, 0.18)
            made = together(
                name, box((w, h, d), (0, -h / 2 - 0.16, 0), color),
                *[box((0.015, 0.18, 0.02), (side * w * 0.3, -0.08, 0), other) for side in (1, -1)],
                box((w * 0.62, 0.015, 0.02), (0, 0, 0), other),
            )  # fmt: skip
        case "bottle":
            r = rng.uniform(0.028, 0.042)
            made = lathe(
                [(0, -0.1), (r, -0.1), (r, 0.08), (0.013, 0.12), (0.013, 0.15), (0, 0.15)], color, 12
            )
        case "board":
            made = box((rng.uniform(0.2, 0.4), rng.uniform(0.25, 0.5), 0.015), color=color)
        case "umbrella":
            r = rng.uniform(0.4, 0.6)
            made = together(
                name, lathe([(0.01, -0.1), (0.01, 0.85)], other, 6),
                lathe([(r, 0.62), (r * 0.7, 0.76), (r * 0.35, 0.84), (0, 0.87)], color, 16),
            )  # fmt: skip
        case "crate":
            size = rng.uniform(0.3, 0.9, 3)
            made = box(size, (0, size[1] / 2, 0), color)
        case "barrel":
            r, h = rng.uniform(0.2, 0.35), rng.uniform(0.6, 1.0)
            made = lathe([(0, 0), (r * 0.9, 0), (r, h / 3), (r, 2 * h / 3), (r * 0.9, h), (0, h)], color)
        case "bin":
            r, h = rng.uniform(0.14, 0.24), rng.uniform(0.35, 0.8)
            made = lathe([(0, 0), (r * 0.8, 0), (r, h), (r * 0.9, h), (r * 0.75, 0.1)], color)
        case "table":
            w, h, d = rng.uniform(0.8, 1.8), rng.uniform(0.55, 0.95), rng.uniform(0.5, 0.8)
            legs = [
                box((0.05, h, 0.05), (sx * (w / 2 - 0.06), h / 2, sz * (d / 2 - 0.06)), other)
                for sx in (-1, 1)
                for sz in (-1, 1)
            ]
            made = together(name, box((w, 0.04, d), (0, h, 0), wood), *legs)
        case "chair":
            h, w = rng.uniform(0.42, 0.48), rng.uniform(0.4, 0.5)
            legs = [
                box((0.04, h, 0.04), (sx * (w / 2 - 0.03), h / 2, sz * (w / 2 - 0.03)), wood)
                for sx in (-1, 1)
                for sz in (-1, 1)
            ]
            made = together(
                name,
                box((w, 0.04, w), (0, h, 0), color),
                box((w, 0.45, 0.04), (0, h + 0.25, -w / 2), color),
                *legs,
            )
        case "post":
            r = rng.uniform(0.04, 0.14)
            made = lathe([(r, 0), (r, rng.uniform(1.0, 3.5)), (0, 3.5)], color, 14)
        case "panel":
            w, h = rng.uniform(0.5, 1.3), rng.uniform(0.6, 1.5)
            made = box((w, h, 0.05), (0, h / 2, 0), color)
        case "plant":
            r = rng.uniform(0.15, 0.25)
            green = np.array([0.05, 0.16, 0.03]) * rng.uniform(0.5, 1.6)
            leaves = [
                _ball(rng.uniform(0.14, 0.26), green * rng.uniform(0.7, 1.3)).moved(
                    np.eye(3),
                    np.array(
                        [rng.uniform(-0.2, 0.2), 2 * r + rng.uniform(0.15, 0.7), rng.uniform(-0.2, 0.2)]
                    ),
                )
                for _ in range(7)
            ]
            made = together(name, lathe([(r * 0.7, 0), (r, 2 * r), (0, 2 * r)], color), *leaves)
        case "fence":
            rails = [box((2.4, 0.06, 0.03), (0, h, 0), color) for h in (0.35, 0.8)]
            slats = [box((0.07, 1.0, 0.02), (x, 0.5, 0), color * 0.9) for x in np.linspace(-1.15, 1.15, 12)]
            made = together(name, *rails, *slats)
        case _:
            raise KeyError(name)
    return Thing(name, made.vertices_m, made.faces, made.colors)
