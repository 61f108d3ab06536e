"""Skirts, things, scenes, lamps and sensors: what surrounds a made person keeps to its own rules."""

import cv2
import numpy as np
import pytest

from alignhmr.core.body.model import BodyModel
from alignhmr.core.synthetic.backgrounds import draw_background
from alignhmr.core.synthetic.cameras import look
from alignhmr.core.synthetic.domains import DOMAINS
from alignhmr.core.synthetic.drawing import smooth_normals
from alignhmr.core.synthetic.objects import CLUTTER, HELD, OCCLUDERS, box, make_thing
from alignhmr.core.synthetic.performances import rotation_matrices
from alignhmr.core.synthetic.scenes import FAMILIES, Clearing, make_scene
from alignhmr.core.synthetic.sensor import Sensor, develop
from alignhmr.core.synthetic.shadows import cast, lit
from alignhmr.core.synthetic.skinning import Skin
from alignhmr.core.synthetic.skirts import make_skirt


@pytest.fixture(scope="module")
def skin() -> Skin:
    return Skin.of(BodyModel.load())


def test_normals_are_those_of_the_drawn_body(skin) -> None:
    np.testing.assert_allclose(smooth_normals(skin.template_m, skin.faces), skin.normals, atol=1e-12)


def skirt_on(skin: Skin, length: float, **hips):
    pose = np.zeros((24, 3))
    for joint, vector in ((1, hips.get("left")), (2, hips.get("right"))):
        if vector:
            pose[joint] = vector
    motions = skin.motions(rotation_matrices(pose), np.zeros(10))
    vertices = skin.vertices(motions, np.zeros(10))
    made = make_skirt(length, np.full(3, 0.3), motions[:, :, 3], vertices, skin.part, 2)
    return made, vertices, motions[:, :, 3]


@pytest.mark.parametrize("hips", [{}, {"left": (-0.5, 0, 0), "right": (0.3, 0, 0)}, {"left": (0, 0, 0.3)}])
def test_no_leg_shows_through_a_skirt(skin, hips) -> None:
    from trimesh import Trimesh

    made, vertices, joints = skirt_on(skin, 0.8, **hips)
    assert made is not None and made.owner == 2
    legs = vertices[np.isin(skin.part, [1, 2])]
    middle = (joints[1] + joints[2] + joints[4] + joints[5]) / 4
    near = legs[np.abs(legs[:, 1] - middle[1]) < 0.1]
    mesh = Trimesh(made.vertices_m, made.faces, process=False)
    # From the axis outwards, the skirt is met beyond the leg: the ray from a leg's vertex outwards meets it once.
    out = near - middle
    out[:, 1] = 0
    hits = mesh.ray.intersects_id(near, out, multiple_hits=True, return_locations=False)[1]
    assert (np.bincount(hits, minlength=len(near)) == 1).mean() > 0.98


def test_a_skirt_is_as_long_as_asked_and_left_off_where_it_cannot_hang(skin) -> None:
    short, long = (skirt_on(skin, length)[0] for length in (0.5, 1.4))
    joints = skin.joint_template_m
    assert short is not None and long is not None
    assert short.vertices_m[:, 1].min() > joints[4, 1] > long.vertices_m[:, 1].min()
    assert skirt_on(skin, 0.8, left=(-1.5, 0, 0), right=(-1.5, 0, 0))[0] is None
    assert skirt_on(skin, 0.8, left=(0, 0, 0.8), right=(0, 0, -0.8))[0] is None


@pytest.mark.parametrize("name", sorted({*HELD, *CLUTTER, *OCCLUDERS}))
def test_things_are_whole_repeatable_and_of_human_size(name) -> None:
    for seed in range(5):
        thing, again = (make_thing(np.random.default_rng(seed), name) for _ in range(2))
        np.testing.assert_array_equal(thing.vertices_m, again.vertices_m)
        assert thing.faces.max() == len(thing.vertices_m) - 1 and thing.faces.min() == 0
        assert len(thing.colors) == len(thing.faces) and 0 <= thing.colors.min() and thing.colors.max() <= 1
        assert 0.05 < np.ptp(thing.vertices_m, axis=0).max() < 4.0
        if name not in HELD:
            assert thing.vertices_m[:, 1].min() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_camera_and_people_are_inside_and_the_ground_is_in_perspective(family) -> None:
    size = (96, 96)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        eye = np.array([rng.uniform(-6, 6), rng.uniform(0.5, 4), rng.uniform(3, 6)])
        scene = make_scene(rng, family, Clearing(eye, 1.2), softness=(1.0, 2.0), dark=False, cold=0.0)
        c, s = np.cos(scene.yaw_rad), np.sin(scene.yaw_rad)
        if scene.room_m[0]:
            for x, z, reach in ((eye[0], eye[2], 0.3), (0.0, 0.0, 1.2)):
                across, along = c * x + s * z - scene.room_m[3], -s * x + c * z - scene.room_m[4]
                assert abs(across) + reach <= scene.room_m[0] + 1e-9
                assert abs(along) + reach <= scene.room_m[2] + 1e-9
            assert eye[1] + 0.3 < scene.room_m[1]
        for block in scene.blocks[scene.blocks[:, 3] > 0] if len(scene.blocks) else []:
            for x, z in ((eye[0], eye[2]), (0.0, 0.0)):
                away = np.abs(
                    [c * (x - block[0]) + s * (z - block[1]), -s * (x - block[0]) + c * (z - block[1])]
                )
                assert (away > block[2:4]).any()
        camera = look(
            np.array([0.0, 0.9, 0.0]), float(np.arctan2(eye[0], eye[2])), float(eye[1]),
            float(np.hypot(eye[0], eye[2])), roll_rad=0.0, focal_px=80.0, size=size, target_px=(48, 48),
        )  # fmt: skip
        pillar = box((0.4, 1.8, 0.4), (0.0, 0.9, 0.0))
        shadows = cast(pillar.vertices_m, pillar.faces, scene.light.toward)
        picture = draw_background(scene, camera, shadows, size)
        assert np.isfinite(picture).all() and picture.min() >= 0
        assert picture.std() > 0.001  # something is seen
        np.testing.assert_array_equal(picture, draw_background(scene, camera, shadows, size))


def test_a_lamp_reaches_what_nothing_stands_before() -> None:
    pillar = box((0.5, 1.0, 0.5), (0.0, 0.5, 0.0))
    toward = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
    shadows = cast(pillar.vertices_m, pillar.faces, toward)

    def light(x: float, y: float, z: float) -> float:
        return lit(x, y, z, shadows.depth_m, shadows.view, 1.0, 0.03)

    assert light(-0.6, 0.0, 0.0) == 0  # behind the pillar, seen from the lamp
    assert light(0.6, 0.0, 0.0) == 1 and light(0.0, 1.01, 0.0) == 1
    assert light(-0.6, 0.0, 1.0) == 1 and light(-1.4, 0.0, 0.0) == 1  # beside, and past the shadow's end


def test_the_ground_is_darkest_where_things_touch_it() -> None:
    foot = box((0.3, 0.1, 0.3), (1.0, 0.05, 0.0))
    contact = cast(foot.vertices_m, foot.faces, np.array([0.0, 1.0, 0.0])).contact
    assert contact[64, 64 + 16] > 0.1 and contact[64, 64 - 32] == 0


def test_blur_moves_nothing_and_noise_and_light_do_what_they_say() -> None:
    from dataclasses import replace

    size = 64
    still = Sensor(0, 0.3, 0, 0, 1.0, (1.0, 1.0, 1.0), 0.0, 0.0, 95)
    background = np.full((size, size, 3), 0.1, np.float32)
    layer = np.zeros((size, size, 4), np.float32)
    layer[24:40, 28:36] = 1.0

    def shot(sensor: Sensor) -> np.ndarray:
        data = np.frombuffer(develop(background, layer, sensor, np.random.default_rng(0), False), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None
        return picture.astype(float)

    def middle(picture: np.ndarray) -> np.ndarray:
        bright = picture.mean(2) - np.median(picture)
        y, x = np.mgrid[:size, :size]
        return np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()

    clean = shot(still)
    for blurred in (
        replace(still, people_blur_px=6.0),
        replace(still, blur_px=6.0),
        replace(still, focus_px=2.0),
    ):
        picture = shot(blurred)
        assert np.abs(middle(picture) - middle(clean)).max() < 0.3
        assert (
            np.abs(np.diff(picture.mean(2), axis=1)).max()
            < 0.8 * np.abs(np.diff(clean.mean(2), axis=1)).max()
        )
    noisy = shot(replace(still, noise=8.0))
    assert noisy[:16].std() > 3 * clean[:16].std() + 1
    warm = shot(replace(still, gains=(1.5, 1.0, 0.7)))
    assert warm[0, 0, 2] > clean[0, 0, 2] + 10 and warm[0, 0, 0] < clean[0, 0, 0] - 10
    assert shot(replace(still, exposure=0.4)).mean() < clean.mean() - 20


def test_studio_is_clean_and_wild_is_not() -> None:
    rng = np.random.default_rng(0)
    drawn = {
        name: [Sensor.draw(rng, DOMAINS[name], 256, False) for _ in range(200)] for name in ("studio", "wild")
    }
    assert all(s.blur_px == s.people_blur_px == s.focus_px == 0 and s.noise <= 2 for s in drawn["studio"])
    assert 0.15 < np.mean([s.people_blur_px > 0 for s in drawn["wild"]]) < 0.4
    assert min(s.quality for s in drawn["wild"]) < 60 < min(s.quality for s in drawn["studio"])
