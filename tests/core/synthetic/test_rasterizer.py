"""The rasteriser against embree, against geometry known by hand, and against itself."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import trimesh

import alignhmr
from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.rasterizer import Raster, rasterize

FOCAL_PX, SIZE = 180.0, (160, 120)
CENTER_PX = (81.3, 58.7)  # off the pixel grid, off the middle


def knot(place_m=(0.1, -0.05, 1.4)) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface that hides parts of itself: a bent, dented tube."""
    mesh = trimesh.creation.torus(0.45, 0.17, major_sections=60, minor_sections=24)
    vertices = np.array(mesh.vertices)
    vertices[:, 2] += 0.5 * vertices[:, 0] ** 2 + 0.06 * np.sin(9 * vertices[:, 1])
    turn = trimesh.transformations.euler_matrix(0.9, 0.4, 0.2)[:3, :3]
    return vertices @ turn.T + np.array(place_m), np.array(mesh.faces)


def pixel_rays(size=SIZE, focal=FOCAL_PX, center=CENTER_PX) -> np.ndarray:
    column, row = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    rays = [(column - center[0]) / focal, (row - center[1]) / focal, np.ones_like(row)]
    return np.stack(rays, -1)


def embree(vertices, faces, rays) -> tuple[np.ndarray, np.ndarray]:
    """Depth (infinite at background) and face (-1) along each ray from the origin, in float32."""
    scenes = pytest.importorskip("embreex.rtcore_scene")
    meshes = pytest.importorskip("embreex.mesh_construction")
    scene = scenes.EmbreeScene(robust=True)
    meshes.TriangleMesh(scene, vertices.astype(np.float32), faces.astype(np.int32))
    directions = rays.reshape(-1, 3).astype(np.float32)
    found = scene.run(np.zeros_like(directions), directions, output=True)
    hit = found["primID"] >= 0
    # The rays have z = 1, so their length parameter is the depth.
    depth = np.where(hit, found["tfar"], np.inf).reshape(rays.shape[:2])
    return depth, found["primID"].reshape(rays.shape[:2])


def test_every_pixel_agrees_with_embree():
    vertices, faces = knot()
    raster = rasterize(vertices, faces, FOCAL_PX, CENTER_PX, SIZE)
    depth, face = embree(vertices, faces, pixel_rays())
    assert raster.mask.sum() > 3000
    np.testing.assert_array_equal(raster.mask, face >= 0)
    np.testing.assert_array_equal(raster.face_id, face)
    np.testing.assert_allclose(raster.depth_m[raster.mask], depth[raster.mask], atol=4e-6)


def test_agrees_with_embree_from_inside_the_body():
    """Every triangle around the camera, many across the near plane, some behind it."""
    mesh = trimesh.creation.icosphere(3, 1.0)
    vertices, faces = np.array(mesh.vertices) * [1.2, 0.8, 1.0] + [0.1, 0.05, 0.0], np.array(mesh.faces)
    raster = rasterize(vertices, faces, FOCAL_PX, CENTER_PX, SIZE)
    depth, face = embree(vertices, faces, pixel_rays())
    assert raster.mask.all()
    np.testing.assert_array_equal(raster.face_id, face)
    np.testing.assert_allclose(raster.depth_m, depth, rtol=1e-5)


def test_barycentrics_give_the_point_on_the_ray_and_the_surface():
    vertices, faces = knot()
    raster = rasterize(vertices, faces, FOCAL_PX, CENTER_PX, SIZE)
    mask = raster.mask
    corners = vertices[faces[raster.face_id[mask]]]
    on_surface = np.einsum("nk,nkc->nc", raster.barycentric[mask], corners)
    on_ray = pixel_rays()[mask] * raster.depth_m[mask][:, None]
    np.testing.assert_allclose(on_surface, on_ray, atol=1e-6)
    assert raster.barycentric[mask].min() >= 0
    np.testing.assert_allclose(raster.barycentric[mask].sum(-1), 1, atol=1e-6)


def test_background_is_empty():
    raster = rasterize(np.zeros((0, 3)), np.zeros((0, 3), int), 100.0, (8.0, 8.0), (16, 12))
    assert raster.face_id.shape == (12, 16) and not raster.mask.any()
    assert np.isinf(raster.depth_m).all() and not raster.barycentric.any()


def test_triangle_across_the_near_plane_is_clipped_not_dropped():
    """A floor from under the camera to the horizon: every pixel below the horizon sees it."""
    floor = np.array([[-1000.0, 1, -50], [1000, 1, -50], [0, 1, 50000]])
    raster = rasterize(floor, np.array([[0, 1, 2]]), 100.0, (32.0, 32.0), (64, 64), near_m=0.1)
    rows = np.arange(64) + 0.5
    expected = 100.0 / (rows[34:] - 32)
    np.testing.assert_allclose(raster.depth_m[34:], np.broadcast_to(expected[:, None], (30, 64)), rtol=1e-6)
    assert not raster.mask[:32].any()


def test_nothing_nearer_than_the_near_plane_is_drawn():
    wall = np.array([[-9.0, -9, 0], [9, -9, 0], [0, 9, 0]])
    for depth, seen in ((0.099, False), (0.101, True), (-1.0, False)):
        raster = rasterize(wall + [0, 0, depth], np.array([[0, 1, 2]]), 50.0, (4.0, 4.0), (8, 8), near_m=0.1)
        assert raster.mask.any() == seen


def test_tilted_triangle_is_cut_exactly_at_the_near_plane():
    tilted = np.array([[-5.0, -1, 0.02], [5, -1, 0.02], [0, 4, 2.0]])
    raster = rasterize(tilted, np.array([[0, 1, 2]]), 40.0, (32.0, 32.0), (64, 64), near_m=0.3)
    assert raster.mask.any() and raster.depth_m[raster.mask].min() >= 0.3


def test_neighbouring_triangles_leave_no_cracks():
    """A grid whose edges run exactly through pixel centres."""
    x, y = np.meshgrid(np.linspace(-2, 2, 41), np.linspace(-2, 2, 41))
    vertices = np.stack([x.ravel(), y.ravel(), np.full(x.size, 2.0)], -1)
    i = (np.arange(40)[:, None] * 41 + np.arange(40)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + 42], -1), np.stack([i, i + 42, i + 41], -1)])
    raster = rasterize(vertices, faces, 40.0, (32.5, 32.5), (65, 65))
    assert raster.mask.all()
    np.testing.assert_allclose(raster.depth_m, 2.0, rtol=1e-7)


def test_winding_does_not_matter_and_face_ties_go_to_the_lower_index():
    vertices, faces = knot()
    forward = rasterize(vertices, faces, FOCAL_PX, CENTER_PX, SIZE)
    backward = rasterize(vertices, faces[:, ::-1], FOCAL_PX, CENTER_PX, SIZE)
    np.testing.assert_array_equal(forward.face_id, backward.face_id)
    twice = rasterize(vertices, np.concatenate([faces, faces]), FOCAL_PX, CENTER_PX, SIZE)
    np.testing.assert_array_equal(forward.face_id, twice.face_id)


def test_a_window_of_a_picture_equals_the_picture():
    """What the overlay relies on to draw only where a body is."""
    vertices, faces = knot()
    whole = rasterize(vertices, faces, FOCAL_PX, CENTER_PX, SIZE)
    window = rasterize(vertices, faces, FOCAL_PX, (CENTER_PX[0] - 40, CENTER_PX[1] - 30), (50, 60))
    np.testing.assert_array_equal(window.face_id, whole.face_id[30:90, 40:90])


def _bytes(raster: Raster) -> bytes:
    return raster.depth_m.tobytes() + raster.face_id.tobytes() + raster.barycentric.tobytes()


def test_bit_equal_over_repeats():
    vertices, faces = knot()
    drawn = {_bytes(rasterize(vertices, faces, FOCAL_PX, CENTER_PX, SIZE)) for _ in range(5)}
    assert len(drawn) == 1


@pytest.mark.parametrize(
    "change, words",
    [
        ({"vertices_cam_m": np.full((3, 3), np.nan)}, "not finite"),
        ({"vertices_cam_m": np.zeros((3, 2))}, r"\[vertices, 3\]"),
        ({"faces": np.array([[0, 1, 3]])}, "different bodies"),
        ({"faces": np.array([[0, 1, -1]])}, "different bodies"),
        ({"faces": np.zeros((1, 4), int)}, r"\[faces, 3\]"),
        ({"focal_px": 0.0}, "focal 0.0 px"),
        ({"size": (0, 5)}, "0 x 5 pixels"),
        ({"size": (10**6, 10**6)}, "can't be drawn"),
    ],
)
def test_bad_input_gets_one_clear_sentence(change, words):
    good = {
        "vertices_cam_m": np.array([[0.0, 0, 1], [1, 0, 1], [0, 1, 1]]),
        "faces": np.array([[0, 1, 2]]),
        "focal_px": 50.0,
        "center_px": (4.0, 4.0),
        "size": (8, 8),
    }
    with pytest.raises(InputError, match=words):
        rasterize(**(good | change))


def test_works_where_no_cache_folder_can_be_written(tmp_path: Path):
    """Package folder and home are both unusable: files stand where the cache folders would go."""
    package = tmp_path / "package"
    package.mkdir()
    source = Path(alignhmr.__file__).parent / "core/synthetic/rasterizer.py"
    (package / "readonly.py").write_text(source.read_text())
    (package / "__pycache__").write_text("a file, so that no folder can be made here")
    (tmp_path / "home").write_text("the same")
    package.chmod(0o555)
    script = """
        import numpy as np, readonly
        raster = readonly.rasterize(np.array([[-9.0, -9, 1], [9, -9, 1], [0, 9, 1]]), np.array([[0, 1, 2]]),
                                    10.0, (4.0, 4.0), (8, 8))
        assert raster.mask.all() and not readonly._fill.stats.cache_path
        print("drawn")
    """
    home = str(tmp_path / "home")
    environment = os.environ | {
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "NUMBA_CACHE_DIR": home,
        "PYTHONPATH": os.pathsep.join([str(package), str(Path(alignhmr.__file__).parent.parent)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    package.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "drawn" in done.stdout
