"""A joint's visibility off the depth map agrees with rays through the same surfaces, and with what it should mean."""

import numpy as np
import pytest
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.synthetic.cameras import Camera, look
from alignhmr.core.synthetic.objects import Thing, box
from alignhmr.core.synthetic.performances import rotation_matrices
from alignhmr.core.synthetic.rasterizer import rasterize
from alignhmr.core.synthetic.skinning import Skin
from alignhmr.core.synthetic.visibility import TOLERANCE_M, own_parts, thickness_m, visible_points

_SIZE, _SAMPLES = 256, 2


@pytest.fixture(scope="module")
def skin() -> Skin:
    return Skin.of(BodyModel.load())


@pytest.fixture(scope="module")
def thickness(skin) -> np.ndarray:
    return thickness_m(skin)


def camera_at(azimuth: float, height: float = 1.0, distance: float = 4.0) -> Camera:
    return look(
        np.array([0.0, 0.0, 0.0]), azimuth, height - 1.0, distance, roll_rad=0.0, focal_px=400.0,
        size=(_SIZE, _SIZE), target_px=(_SIZE / 2, _SIZE / 2),
    )  # fmt: skip


class Crew:
    """Bodies and things as one mesh, seen by a camera."""

    def __init__(self, skin: Skin, bodies: list, things: list[Thing], camera: Camera) -> None:
        self.camera = camera
        posed = [skin.motions(rotations, np.zeros(10)) for rotations, _ in bodies]
        surfaces = [skin.vertices(m, np.zeros(10)) + at for m, (_, at) in zip(posed, bodies, strict=True)]
        meshes = [(v, skin.faces) for v in surfaces] + [(t.vertices_m, t.faces) for t in things]
        starts = np.cumsum([0] + [len(v) for v, _ in meshes[:-1]])
        self.vertices = camera.see(np.concatenate([v for v, _ in meshes]))
        self.faces = np.concatenate([f + s for (_, f), s in zip(meshes, starts, strict=True)])
        self.owner = np.concatenate(
            [np.full(len(skin.faces), i) for i in range(len(bodies))]
            + [np.full(len(t.faces), -1) for t in things]
        )
        self.part = np.resize(skin.part[skin.faces[:, 0]], len(self.faces))
        self.points = [
            camera.see(np.concatenate([m[:, :, 3] + at, skin.keypoints_of(v)]))
            for m, v, (_, at) in zip(posed, surfaces, bodies, strict=True)
        ]

    def shown(self, person: int, thickness: np.ndarray) -> np.ndarray:
        n = _SAMPLES
        middle = (_SIZE * n / 2, _SIZE * n / 2)
        raster = rasterize(self.vertices, self.faces, 400.0 * n, middle, (_SIZE * n, _SIZE * n))
        points = self.points[person]
        return visible_points(
            points, self.camera.project(points), person, raster.depth_m, raster.face_id, self.owner, self.part,
            thickness, n,
        )  # fmt: skip

    def by_rays(self, person: int, thickness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The definition by one exact ray a point; and how far each verdict is from changing, in metres."""
        scene = EmbreeScene()
        TriangleMesh(scene, self.vertices[self.faces].astype(np.float32))
        points = self.points[person]
        hit = scene.run(np.zeros_like(points, dtype=np.float32), points.astype(np.float32), output=True)
        own = own_parts()
        verdict, margin = np.zeros(len(points), bool), np.full(len(points), np.inf)
        pixels = self.camera.project(points)
        inside = ((pixels >= 0) & (pixels < _SIZE)).all(1)
        for k in np.flatnonzero(inside):
            if hit["primID"][k] < 0:
                verdict[k] = True
                continue
            face = hit["primID"][k]
            before = points[k, 2] * (1 - hit["tfar"][k])
            mine = self.owner[face] == person and own[k, self.part[face]]
            limit = max(TOLERANCE_M, thickness[k]) if mine else TOLERANCE_M
            verdict[k], margin[k] = before <= limit, abs(before - limit)
        return verdict, margin


def test_it_agrees_with_rays(skin, thickness) -> None:
    rng = np.random.default_rng(0)
    same, total, hidden = 0, 0, 0
    for azimuth in rng.uniform(0, 2 * np.pi, 12):
        bodies = [
            (rotation_matrices(rng.normal(0, 0.35, (24, 3))), np.array([x, 0.0, z]))
            for x, z in ((0.0, 0.0), (rng.uniform(0.3, 0.7), rng.uniform(-0.8, 0.8)))
        ]
        crew = Crew(skin, bodies, [box((0.5, 0.9, 0.5), (0.2, -0.6, 1.2))], camera_at(azimuth, 1.4))
        for person in range(2):
            shown = crew.shown(person, thickness)
            verdict, _ = crew.by_rays(person, thickness)
            same += int((shown == verdict).sum())
            total += len(shown)
            hidden += int((~verdict).sum())
    assert 0.2 < hidden / total < 0.8  # both answers are common, so that agreement means something
    assert same / total > 0.97  # what is left lies within a pixel of an outline


def _shown_names(shown: np.ndarray) -> set[str]:
    names = [*JOINTS, *(f"{name} point" for name in KEYPOINTS)]
    return {name for name, seen in zip(names, shown, strict=True) if seen}


def test_who_stands_facing_us_shows_the_face_and_who_turns_away_does_not(skin, thickness) -> None:
    rest = np.tile(np.eye(3), (24, 1, 1))
    front = _shown_names(Crew(skin, [(rest, np.zeros(3))], [], camera_at(0.0)).shown(0, thickness))
    back = _shown_names(Crew(skin, [(rest, np.zeros(3))], [], camera_at(np.pi)).shown(0, thickness))
    assert set(JOINTS) <= front  # arms out, legs apart: nothing is before anything
    assert {"nose point", "left_eye point", "right_eye point"} <= front
    assert not {"nose point", "left_eye point", "right_eye point"} & back
    assert {"left_knee", "right_elbow", "head", "left_ankle", "left_hip point"} <= back


def test_from_the_side_the_far_hip_and_arm_are_hidden(skin, thickness) -> None:
    rest = np.tile(np.eye(3), (24, 1, 1))
    left = _shown_names(Crew(skin, [(rest, np.zeros(3))], [], camera_at(np.pi / 2)).shown(0, thickness))
    assert {"left_hip", "left_knee", "left_ear point"} <= left
    assert not {"right_hip", "right_knee", "right_shoulder", "right_elbow", "right_ear point"} & left


def test_a_wall_hides_everything_and_so_does_the_pictures_edge(skin, thickness) -> None:
    rest = np.tile(np.eye(3), (24, 1, 1))
    wall = box((6.0, 6.0, 0.1), (0.0, 0.0, 1.5))
    assert not Crew(skin, [(rest, np.zeros(3))], [wall], camera_at(0.0)).shown(0, thickness).any()
    behind = box((6.0, 6.0, 0.1), (0.0, 0.0, -1.5))
    assert (
        Crew(skin, [(rest, np.zeros(3))], [behind], camera_at(0.0)).shown(0, thickness)[: len(JOINTS)].all()
    )
    beside = Crew(skin, [(rest, np.array([1.5, 0.0, 0.0]))], [], camera_at(0.0))
    pixels = beside.camera.project(beside.points[0])
    inside = ((pixels >= 0) & (pixels < _SIZE)).all(1)
    assert inside.any() and not inside.all()
    assert not (beside.shown(0, thickness) & ~inside).any()


def test_thickness_is_that_of_limbs_and_trunk(thickness) -> None:
    by_name = dict(zip([*JOINTS, *(f"{n} point" for n in KEYPOINTS)], thickness, strict=True))
    assert by_name["nose point"] <= 0.035 and by_name["left_eye point"] <= 0.06
    assert 0.05 < by_name["left_elbow"] < 0.12 and 0.1 < by_name["left_hip"] < 0.26
    assert 0.1 < by_name["spine2"] < 0.26
