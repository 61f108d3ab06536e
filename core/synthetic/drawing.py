"""People and things lit and coloured in one picture: four samples a pixel, and who is seen where.

Everything drawn is one mesh in the world, whose faces know their owner. A person's colour comes from the place
on the rest body (``clothing.paint_body``), a thing's from its face.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

from alignhmr.core.synthetic.cameras import Camera
from alignhmr.core.synthetic.clothing import COLUMNS, Outfit, paint_body
from alignhmr.core.synthetic.objects import Thing
from alignhmr.core.synthetic.rasterizer import Raster, compiled, rasterize
from alignhmr.core.synthetic.scenes import Light
from alignhmr.core.synthetic.shadows import Shadows, lit
from alignhmr.core.synthetic.skinning import Skin

_PAINTED = -1.0
"""Stands in place of a face's colour where the outfit decides it."""
SAMPLES = 2
"""Samples along each side of a pixel."""


@dataclass(frozen=True)
class Dressed:
    """One person's surface in the world."""

    vertices_m: Float[np.ndarray, "verts 3"]
    outfit: Outfit


@dataclass(frozen=True)
class Stage:
    """The joined mesh. People own the first faces, in order; things follow."""

    vertices_m: Float[np.ndarray, "verts 3"]
    normals: Float[np.ndarray, "verts 3"]
    rest_m: Float[np.ndarray, "verts 3"]
    faces: Int[np.ndarray, "faces 3"]
    owner: Int[np.ndarray, "faces"]
    """Index of the person, whose skirt too is theirs; -1 for a thing."""
    part: Int[np.ndarray, "verts"]
    """The joint that moves a vertex most; -1 on things."""
    colors: Float[np.ndarray, "faces 3"]
    rows: Float[np.ndarray, "people columns"]


def stage(skin: Skin, people: list[Dressed], things: list[Thing]) -> Stage:
    """Everything as one mesh."""
    vertices = [person.vertices_m for person in people] + [thing.vertices_m for thing in things]
    starts = np.cumsum([0] + [len(v) for v in vertices[:-1]])
    faces = [skin.faces] * len(people) + [thing.faces for thing in things]
    return Stage(
        vertices_m=np.concatenate(vertices),
        normals=np.concatenate([smooth_normals(v, f) for v, f in zip(vertices, faces, strict=True)]),
        rest_m=np.concatenate([skin.template_m] * len(people) + [thing.vertices_m for thing in things]),
        faces=np.concatenate([f + start for f, start in zip(faces, starts, strict=True)]),
        owner=np.concatenate(
            [np.full(len(skin.faces), i) for i in range(len(people))]
            + [np.full(len(thing.faces), thing.owner) for thing in things]
        ),
        part=np.concatenate(
            [skin.part] * len(people) + [np.full(sum(len(t.vertices_m) for t in things), -1)]
        ),
        colors=np.concatenate(
            [np.full((len(skin.faces), 3), _PAINTED)] * len(people) + [thing.colors for thing in things]
        ),
        rows=np.stack([p.outfit.row for p in people]) if people else np.zeros((1, len(COLUMNS))),
    )


def smooth_normals(
    vertices_m: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "verts 3"]:
    """``shading.vertex_normals`` in a loop: a tenth of its time, which is paid for everyone in every picture."""
    out = np.zeros((len(vertices_m), 3))
    _add_normals(np.ascontiguousarray(vertices_m, np.float64), np.ascontiguousarray(faces, np.int64), out)
    return out


@compiled
def _add_normals(vertices, faces, out):
    u, v = np.empty(3), np.empty(3)
    for face in range(len(faces)):
        first, second, third = faces[face, 0], faces[face, 1], faces[face, 2]
        for axis in range(3):
            u[axis] = vertices[second, axis] - vertices[first, axis]
            v[axis] = vertices[third, axis] - vertices[first, axis]
        for axis in range(3):
            following, last = (axis + 1) % 3, (axis + 2) % 3
            across = u[following] * v[last] - u[last] * v[following]
            out[first, axis] += across
            out[second, axis] += across
            out[third, axis] += across
    for vertex in range(len(out)):
        length = np.sqrt(out[vertex, 0] ** 2 + out[vertex, 1] ** 2 + out[vertex, 2] ** 2)
        if length > 0.0:
            for axis in range(3):
                out[vertex, axis] /= length


@dataclass(frozen=True)
class Layer:
    """What was drawn over the background."""

    rgba: Float32[np.ndarray, "height width 4"]
    """Linear colour times coverage, and coverage."""
    masks: UInt8[np.ndarray, "people height width"]
    """255 where at least half of a pixel sees that person; no two overlap."""
    raster: Raster
    """``SAMPLES`` times the picture's size."""


def draw(
    scene: Stage, camera: Camera, light: Light, shadows: Shadows, size: tuple[int, int], people: int
) -> Layer:
    """The stage as the camera sees it."""
    n = SAMPLES
    center = camera.center_px[0] * n, camera.center_px[1] * n
    raster = rasterize(
        camera.see(scene.vertices_m), scene.faces, camera.focal_px * n, center, (size[0] * n, size[1] * n)
    )
    rgba = np.zeros((size[1], size[0], 4), np.float32)
    seen = np.zeros((max(people, 1), size[1], size[0]), np.uint8)
    lamps = np.stack([light.toward, light.key, light.sky, light.ground])
    _shade(
        raster.face_id, raster.barycentric, scene.vertices_m, scene.normals, scene.rest_m, scene.faces, scene.owner,
        scene.colors, scene.rows, camera.eye_m, lamps, light.softness, shadows.depth_m, shadows.view, n, rgba, seen,
    )  # fmt: skip
    # Two people may see two samples each: the first has the pixel, so that masks never overlap.
    first = np.argmax(seen, axis=0)[None] == np.arange(len(seen))[:, None, None]
    masks = np.where((2 * seen >= n * n) & first, np.uint8(255), np.uint8(0))[:people]
    return Layer(rgba, masks, raster)


@compiled
def _shade(
    face_id, barycentric, vertices, normals, rest, faces, owner, colors, rows, eye, lamps, softness,
    shadow_depth, shadow_view, factor, rgba, seen,
):  # fmt: skip
    share = 1.0 / (factor * factor)
    normal, view, at, place, color = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for row in range(face_id.shape[0]):
        for column in range(face_id.shape[1]):
            face = face_id[row, column]
            if face < 0:
                continue
            for axis in range(3):
                normal[axis] = place[axis] = at[axis] = 0.0
                for k in range(3):
                    vertex = faces[face, k]
                    weight = barycentric[row, column, k]
                    normal[axis] += weight * normals[vertex, axis]
                    place[axis] += weight * vertices[vertex, axis]
                    at[axis] += weight * rest[vertex, axis]
                view[axis] = eye[axis] - place[axis]
            normal /= np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-12
            view /= np.sqrt(view[0] ** 2 + view[1] ** 2 + view[2] ** 2) + 1e-12
            toward = normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]
            who = owner[face]
            if who >= 0:
                seen[who, row // factor, column // factor] += 1
            if colors[face, 0] < 0.0:
                gloss = paint_body(at[0], at[1], at[2], rows[who], color)
            else:
                gloss = 0.15
                for axis in range(3):
                    color[axis] = colors[face, axis]
                if toward < 0:  # a thing's inside, lit as its outside
                    for axis in range(3):
                        normal[axis] = -normal[axis]
            facing = normal[0] * lamps[0, 0] + normal[1] * lamps[0, 1] + normal[2] * lamps[0, 2]
            direct, shine = 0.0, 0.0
            if facing > 0.0:
                reached = lit(
                    place[0] + 0.012 * normal[0], place[1] + 0.012 * normal[1], place[2] + 0.012 * normal[2],
                    shadow_depth, shadow_view, softness, 0.02,
                )  # fmt: skip
                direct = facing * reached
                half, length = 0.0, 0.0
                for axis in range(3):
                    half += normal[axis] * (lamps[0, axis] + view[axis])
                    length += (lamps[0, axis] + view[axis]) ** 2
                shine = 0.25 * gloss * reached * max(0.0, half / np.sqrt(length + 1e-12)) ** 20
            up = 0.5 + 0.5 * normal[1]
            near_ground = min(1.0, 0.55 + 0.9 * max(0.0, place[1]))
            rim = 0.85 + 0.15 * max(0.0, toward)
            for axis in range(3):
                ambient = (lamps[3, axis] + up * (lamps[2, axis] - lamps[3, axis])) * near_ground * rim
                value = color[axis] * (ambient + direct * lamps[1, axis]) + shine * lamps[1, axis]
                rgba[row // factor, column // factor, axis] += value * share
            rgba[row // factor, column // factor, 3] += share


def owner_of(raster: Raster, scene: Stage) -> Int32[np.ndarray, "rows columns"]:
    """Person seen by each sample; -1 for a thing, -2 for the background."""
    owners = scene.owner[np.maximum(raster.face_id, 0)]
    return np.where(raster.face_id < 0, -2, owners).astype(np.int32)
