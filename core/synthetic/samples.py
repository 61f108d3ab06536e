"""Made pictures of people with everything about them known, each from its domain, split, seed and index alone.

The same four always give the same bytes: in any process, in any order, with any number of workers. All sums are
taken in a fixed order (numba, no threaded linear algebra), and every topic has its own stream of random numbers.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import InputError
from alignhmr.core.perception.assets import fetch
from alignhmr.core.perception.images import decode, iter_image_files
from alignhmr.core.records import Intrinsics
from alignhmr.core.synthetic.backgrounds import crop_photo, draw_background
from alignhmr.core.synthetic.cameras import Camera
from alignhmr.core.synthetic.domains import SPLITS, Domain, Split, belongs, domain_named
from alignhmr.core.synthetic.drawing import SAMPLES, Dressed, Layer, Stage, draw, stage
from alignhmr.core.synthetic.motion import Clip, load_clips
from alignhmr.core.synthetic.performances import Actors, axis_angles
from alignhmr.core.synthetic.rasterizer import rasterize
from alignhmr.core.synthetic.scenes import Clearing, Scene, make_scene
from alignhmr.core.synthetic.sensor import Sensor, develop
from alignhmr.core.synthetic.shadows import cast
from alignhmr.core.synthetic.shards import read_samples as read_samples
from alignhmr.core.synthetic.skinning import Skin
from alignhmr.core.synthetic.staging import Placed, place_camera, place_people, place_things
from alignhmr.core.synthetic.visibility import thickness_m, visible_points
from alignhmr.core.truth.records import Points, Sample, TrueBody, Truth

SIZE_PX = 256
JOINT_COUNT = 24


@dataclass(frozen=True)
class MadeSample:
    """A picture as it is kept: what is known, and the file's bytes."""

    sample: Sample
    jpeg: bytes


class Maker:
    """Draws the samples of one domain, split and seed. Holds meshes and clips; keeps no state between samples."""

    def __init__(
        self, domain: str, split: str = "train", seed: int = 0, *, size_px: int = SIZE_PX,
        clips: list[Clip] | None = None, own_clips: list[Clip] | None = None, photos: Path | None = None,
    ) -> None:  # fmt: skip
        """``clips`` are the shipped ones if not given; ``own_clips`` and ``photos`` are the user's; half of the
        poses from motion come from such clips. Photos
        should show no people: those in them would stand in the picture without truth.

        InputError for an unknown domain or split, for a size outside 64..2048, and where the user's clips or
        photos leave this split without any.
        """
        self.domain: Domain = domain_named(domain)
        if split not in SPLITS:
            raise InputError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
        if not 64 <= size_px <= 2048:
            raise InputError(f"pictures of {size_px} px can't be made; give a size from 64 to 2048")
        self.split: Split = split  # pyright: ignore[reportAttributeAccessIssue]
        self.seed = seed
        self.size = (size_px, size_px)
        small = BodyModel.load("open", "small")
        self.body, self.skin = Skin.of(small), Skin.of(BodyModel.load("open", "full"))
        shipped = load_clips(fetch("motion")) if clips is None else clips
        kept = [clip for clip in shipped if belongs(clip.name, domain, self.split)]
        own = [clip for clip in own_clips or [] if _split_of(clip.name) == split]
        if not kept and not own:
            raise InputError(f"no motion clip belongs to the {split} split of {domain}; give more clips")
        self.actors = Actors(kept, self.body, own)
        self.thickness = thickness_m(self.body)
        self.photos = _photos_of(photos, split) if photos else []

    def stream(self, index: int, topic: str) -> np.random.Generator:
        """The random numbers of one topic of one sample."""
        name = f"{self.domain.name}/{self.split}/{self.seed}/{index}/{topic}"
        return np.random.Generator(
            np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16]))
        )


def make_sample(maker: Maker, index: int) -> MadeSample:
    """The sample of that index: the picture's bytes and the truth about everyone in it."""
    domain = maker.domain

    def stream(topic: str) -> np.random.Generator:
        return maker.stream(index, topic)

    tag = f"procedural/{maker.split}/{maker.seed}/{index}"
    people = place_people(stream, domain, maker.actors, maker.skin, tag)
    camera = place_camera(stream, domain, people, maker.size)
    things = place_things(stream, domain, people, camera, maker.skin)
    scene, dark = _scene(maker, stream, people, camera)

    small = [maker.body.vertices(p.motions, p.performance.betas) + p.offset_m for p in people]
    shadow_mesh = _joined([(v, maker.body.faces) for v in small] + [(t.vertices_m, t.faces) for t in things])
    shadows = cast(*shadow_mesh, scene.light.toward)
    mesh = stage(maker.skin, [Dressed(p.vertices_m, p.outfit) for p in people], things)
    layer = draw(mesh, camera, scene.light, shadows, maker.size, len(people))
    background = draw_background(scene, camera, shadows, maker.size)
    sensor = Sensor.draw(stream("sensor"), domain, maker.size[0], dark)
    jpeg = develop(background, layer.rgba, sensor, stream("noise"), dark)

    facts = {
        "scene": scene.family,
        "dark": dark,
        "blur_px": max(sensor.blur_px, sensor.people_blur_px),
        "camera_height_m": float(camera.eye_m[1]),
        "focal_px": camera.focal_px,
        "people": float(len(people)),
    }
    skirts = {thing.owner for thing in things}
    truths = [
        _truth(maker, person, number, camera, layer, mesh, small[number], facts | {"skirt": number in skirts})
        for number, person in enumerate(people)
    ]
    # Who stands beside the picture was drawn into nobody's sight.
    truths = [truth for truth in truths if _area(truth.box_px) >= 1.0]
    sample = Sample(
        id=f"{domain.name}-{maker.split}-{maker.seed}-{index:06d}",
        group=people[0].performance.segment,
        domain=domain.name,
        picture=decode(jpeg),
        intrinsics=Intrinsics(camera.focal_px, camera.center_px, "given"),
        people=truths,
    )
    return MadeSample(sample, jpeg)


def make_benchmark_samples(domain: str, count: int, seed: int) -> Iterator[Sample]:
    """The first ``count`` samples of the test split, made in this process. InputError for an unknown domain."""
    maker = Maker(domain, "test", seed)
    return (make_sample(maker, index).sample for index in range(count))


def true_vertices_m(body: BodyModel, truth: TrueBody) -> Float[np.ndarray, "verts 3"]:
    """The naked body's vertices on camera axes, at the body's resolution: nothing stores them."""
    from alignhmr.core.geometry.rotations import axis_angle_to_matrix

    rotations = axis_angle_to_matrix(torch.as_tensor(truth.pose_aa)[None].float())
    vertices = body.vertices(rotations, torch.as_tensor(truth.betas)[None].float())[0]
    return vertices.numpy() + truth.transl_cam_m


def _scene(maker: Maker, stream, people: list[Placed], camera: Camera) -> tuple[Scene, bool]:
    domain, rng = maker.domain, stream("scene")
    families = domain.scenes[maker.split]
    family = families[int(rng.integers(len(families)))]
    dark = bool(rng.random() < domain.dark) and not maker.photos  # a photo brings its own light
    reach = max(float(np.hypot(*person.vertices_m[:, [0, 2]].T).max()) for person in people)
    clearing = Clearing(camera.eye_m, reach)
    scene = make_scene(rng, family, clearing, softness=domain.shadow_softness, dark=dark, cold=domain.cold)
    if not maker.photos:
        return scene, dark
    pixels = _photo(maker.photos[int(rng.integers(len(maker.photos)))])
    photo = crop_photo(pixels, rng, maker.size)
    return Scene(**{**vars(scene), "family": "photo", "photo": photo}), dark


def _truth(
    maker: Maker, person: Placed, number: int, camera: Camera, layer: Layer, mesh: Stage,
    naked_m: Float[np.ndarray, "verts 3"], facts: dict,
) -> Truth:  # fmt: skip
    joints = camera.see(person.joints_m)
    keypoints = camera.see(maker.body.keypoints_of(naked_m))
    points = np.concatenate([joints, keypoints])
    pixels = camera.project(points)
    visible = visible_points(
        points, pixels, number, layer.raster.depth_m, layer.raster.face_id, mesh.owner,
        mesh.part[mesh.faces[:, 0]], maker.thickness, SAMPLES,
    )  # fmt: skip
    surface = camera.see(person.vertices_m)
    outline = camera.project(surface[surface[:, 2] > 0.05])
    width, height = maker.size
    inside = ((outline >= 0) & (outline < (width, height))).all(1)
    limit = np.array([width, height])
    ends = [outline.min(0), outline.max(0)] if len(outline) else [0 * limit] * 2  # stands behind the camera
    box = np.concatenate([np.clip(end, 0, limit) for end in ends])
    seen_naked = camera.see(naked_m)
    alone = rasterize(seen_naked, maker.body.faces, camera.focal_px, camera.center_px, maker.size).mask
    mask = layer.masks[number]
    hidden = 1 - float((alone & (mask > 0)).sum()) / max(1, int(alone.sum()))
    rotations = person.rotations.copy()
    rotations[0] = (camera.R_cam_world[:, :, None] * rotations[0][None]).sum(1)
    root = person.motions[0, :, 3]
    transl = camera.see((root + person.offset_m)[None])[0] - root
    performance = person.performance

    def points_of(part: slice) -> Points:
        return Points(points[part].astype(np.float32), pixels[part].astype(np.float32), visible[part])

    return Truth(
        box_px=box.astype(np.float32),
        points={"smpl24": points_of(slice(0, JOINT_COUNT)), "coco23": points_of(slice(JOINT_COUNT, None))},
        body=TrueBody(
            maker.body.name,
            axis_angles(rotations).astype(np.float32),
            performance.betas.astype(np.float32),
            transl.astype(np.float32),
        ),
        mask=mask,
        facts={
            "occlusion": round(hidden, 4),
            "truncation": round(1 - float(inside.sum()) / len(surface), 4),
            "pose": performance.kind,
            "clip": performance.clip,
            "clothing": person.outfit.wardrobe,
            "self_contact": round(performance.overlap, 4),
            **facts,
        },
    )


def _area(box_px: Float[np.ndarray, "4"]) -> float:
    return float(box_px[2] - box_px[0]) * float(box_px[3] - box_px[1])


def _joined(meshes) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0] + [len(v) for v, _ in meshes[:-1]])
    return (
        np.concatenate([v for v, _ in meshes]),
        np.concatenate([f + start for (_, f), start in zip(meshes, starts, strict=True)]),
    )


def _split_of(name: str) -> Split:
    """A fifth of the user's own clips and photos, by name, is for testing."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 5 == 0 else "train"


def _photos_of(folder: Path, split: str) -> list[Path]:
    found = iter_image_files(folder)
    kept = [path for path in found if _split_of(path.name) == split]
    if not kept:
        raise InputError(
            f"none of the {len(found)} photos in {folder} falls into the {split} split (a fifth, by name, is for"
            " test); give more photos"
        )
    return kept


@lru_cache(maxsize=32)
def _photo(path: Path) -> np.ndarray:
    return decode(path.read_bytes()).pixels
