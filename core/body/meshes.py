"""Posed bodies as GLB bytes and OBJ files: several people in one scene, each under a name of their own.

Both formats have y up, and viewers look along -z. Vertices in the camera frame (x right, y down, z forward)
are turned half about x, so that people stand upright and face the viewer as they faced the camera.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

from alignhmr.core.errors import InputError

if TYPE_CHECKING:
    import trimesh

Frame = Literal["camera", "body"]
"""`camera`: OpenCV's, x right, y down, z forward. `body`: SMPL's, x to the body's left, y up, z forward."""

TO_Y_UP: dict[Frame, np.ndarray] = {"camera": np.diag([1.0, -1.0, -1.0]), "body": np.eye(3)}
"""Rotation that brings points of a frame to y up, z towards the viewer."""

SKIN_RGB = (0.62, 0.66, 0.78)
"""A bluish grey: no skin's colour, since none was recovered."""


def glb(
    vertices_m: Sequence[Float[np.ndarray, "verts 3"]],
    faces: Int[np.ndarray, "faces 3"],
    *,
    names: Sequence[str] | None = None,
    colors: Sequence[tuple[float, float, float]] | None = None,
    frame: Frame = "camera",
    about: Mapping[str, str] | None = None,
) -> bytes:
    """A binary glTF file with one node for each body; vertices keep their order.

    `names` default to person_1, person_2 and so on, `colors` are RGB in 0..1, and `about` (the body model, the
    source picture) is stored as the scene's extras. Raises InputError where there is no body.
    """
    scene = _scene(vertices_m, faces, names, colors, frame)
    scene.metadata.update(about or {})
    # Without normals in the file, glTF viewers must shade every triangle flat.
    return bytes(scene.export(file_type="glb", include_normals=True))  # pyright: ignore[reportArgumentType]


def write_obj(
    path: Path,
    vertices_m: Sequence[Float[np.ndarray, "verts 3"]],
    faces: Int[np.ndarray, "faces 3"],
    *,
    names: Sequence[str] | None = None,
    frame: Frame = "camera",
    about: Mapping[str, str] | None = None,
) -> None:
    """A Wavefront OBJ with one object for each body, in metres; `about` becomes comments at its top.

    Raises InputError where there is no body.
    """
    scene = _scene(vertices_m, faces, names, None, frame)
    lines = ["# units: metres, y up", *(f"# {key}: {value}" for key, value in (about or {}).items())]
    first = 1  # OBJ counts vertices from 1, through all objects
    for name, mesh in scene.geometry.items():
        lines.append(f"o {name}")
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices]
        lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in mesh.vertex_normals]
        lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in mesh.faces + first]
        first += len(mesh.vertices)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _scene(
    vertices_m: Sequence[np.ndarray],
    faces: np.ndarray,
    names: Sequence[str] | None,
    colors: Sequence[tuple[float, float, float]] | None,
    frame: Frame,
) -> "trimesh.Scene":
    import trimesh  # 0.3 s, and only needed where a mesh is asked for
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    if len(vertices_m) == 0:
        raise InputError("There is no body to put into a mesh file; give the vertices of one or more.")
    names = names or [f"person_{number}" for number in range(1, len(vertices_m) + 1)]
    colors = colors or [SKIN_RGB] * len(vertices_m)
    assert len(set(names)) == len(names), f"two bodies of one name: {list(names)}"
    scene = trimesh.Scene()
    for vertices, name, color in zip(vertices_m, names, colors, strict=True):
        mesh = trimesh.Trimesh(np.asarray(vertices, np.float64) @ TO_Y_UP[frame].T, faces, process=False)
        material = PBRMaterial(baseColorFactor=[*color, 1.0], metallicFactor=0.0, roughnessFactor=0.8)
        mesh.visual = TextureVisuals(material=material)
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    return scene
