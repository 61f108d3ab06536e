"""Made samples: bit-equal from their seed, splits that share nothing, and truth that agrees with the picture."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from alignhmr.core.body.joint_sets import POINT_SETS
from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.perception.assets import fetch
from alignhmr.core.synthetic.domains import DOMAINS, SPLITS, belongs
from alignhmr.core.synthetic.motion import HELD_OUT_CLIPS, TARGET_CLIPS, Clip, load_clips, split_clips
from alignhmr.core.synthetic.samples import Maker, make_benchmark_samples, make_sample, true_vertices_m
from alignhmr.core.synthetic.scenes import FAMILIES
from alignhmr.core.truth.records import Sample


@pytest.fixture(scope="module", params=list(DOMAINS))
def maker(request) -> Maker:
    return Maker(request.param, "train", 3)


@pytest.fixture(scope="module")
def samples(maker) -> list[Sample]:
    return [make_sample(maker, index).sample for index in range(6)]


def same(first, second) -> bool:
    """Whether two records hold the same, arrays bit for bit."""
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if dataclasses.is_dataclass(first):
        return all(same(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def test_a_sample_made_again_in_another_order_is_bit_equal(maker, samples) -> None:
    other = Maker(maker.domain.name, "train", 3)
    for index in (5, 0, 2):
        made = make_sample(other, index)
        assert same(made.sample, samples[index])
        assert same(dataclasses.asdict(made), dataclasses.asdict(make_sample(maker, index)))
    assert not same(make_sample(Maker(maker.domain.name, "train", 4), 0).sample.picture, samples[0].picture)


@pytest.mark.slow
def test_another_process_with_other_threads_makes_the_same_bytes() -> None:
    here = [make_sample(Maker("crowd", "train", 3), index).sample.picture.sha256 for index in (1, 0)]
    code = (
        "from alignhmr.core.synthetic.samples import Maker, make_sample\n"
        "m = Maker('crowd', 'train', 3)\n"
        "print(*[make_sample(m, i).sample.picture.sha256 for i in (1, 0)])"
    )
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        )  # fmt: skip
        assert done.stdout.split() == here


def test_points_bodies_and_projection_agree(samples, maker) -> None:
    body = BodyModel.load()
    for sample in samples:
        focal, center = sample.intrinsics.focal_px, np.array(sample.intrinsics.center_px)
        for person in sample.people:
            assert person.body is not None
            assert person.body.body == f"{body.name}:{body.digest[:16]}"
            vertices = true_vertices_m(body, person.body)
            regressed = body._body.keypoint_regressor @ vertices
            for name, points in person.points.items():
                assert points.cam_m is not None and points.px is not None and points.visible is not None
                assert len(points.cam_m) == len(points.px) == len(points.visible) == len(POINT_SETS[name])
                before = points.cam_m[:, 2] > 0.06
                projected = points.cam_m[:, :2] / points.cam_m[:, 2:] * focal + center
                np.testing.assert_allclose(points.px[before], projected[before], atol=0.02)
                inside = ((points.px >= 0) & (points.px < maker.size)).all(1)
                assert not (points.visible & ~(inside & before)).any()
            np.testing.assert_allclose(regressed, person.points["coco23"].cam_m, atol=1e-5)
            turns = axis_angle_to_matrix(torch.tensor(person.body.pose_aa))
            posed = body.kinematics(turns, torch.tensor(person.body.betas))
            joints = posed.joints.numpy() + person.body.transl_cam_m
            np.testing.assert_allclose(joints, person.points["smpl24"].cam_m, atol=1e-5)


def test_masks_hold_the_visible_points_and_stay_in_their_boxes(samples) -> None:
    for sample in samples:
        for person in sample.people:
            assert person.mask is not None and person.mask.shape == sample.picture.pixels.shape[:2]
            assert set(np.unique(person.mask)) <= {0, 255}
            rows, columns = np.nonzero(person.mask)
            x0, y0, x1, y1 = person.box_px
            if len(rows):
                assert columns.min() + 0.5 >= x0 - 1 and columns.max() + 0.5 <= x1 + 1
                assert rows.min() + 0.5 >= y0 - 1 and rows.max() + 0.5 <= y1 + 1
            points = person.points["smpl24"]
            assert points.px is not None and points.visible is not None
            for x, y in points.px[points.visible]:
                near = person.mask[max(0, int(y) - 1) : int(y) + 2, max(0, int(x) - 1) : int(x) + 2]
                assert near.any()  # a visible joint lies on its person, within a pixel
        together = sum((person.mask > 0).astype(int) for person in sample.people if person.mask is not None)
        assert np.max(together) <= 1


def test_the_mask_is_the_projected_body_within_a_pixel() -> None:
    """Nobody before them, nothing in the way: every projected vertex is on the mask, and none of it is far off."""
    import cv2

    maker = Maker("studio", "train", 11)
    body = BodyModel.load("open", "full")
    checked = 0
    for index in range(8):
        sample = make_sample(maker, index).sample
        person = sample.people[0]
        assert person.body is not None and person.mask is not None
        if person.facts["truncation"] or float(person.facts["occlusion"]) > 0.03 or person.facts["skirt"]:
            continue
        vertices = true_vertices_m(body, person.body)
        pixels = vertices[:, :2] / vertices[:, 2:] * sample.intrinsics.focal_px + sample.intrinsics.center_px
        reached = cv2.dilate(person.mask, np.ones((3, 3), np.uint8))
        on = reached[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] > 0
        assert on.mean() > 0.995
        # Cloth, hair and shoes stand off the body by at most 8 cm.
        covered = np.zeros_like(person.mask)
        covered[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] = 255
        reach = int(np.ceil(0.08 * sample.intrinsics.focal_px / vertices[:, 2].min())) + 2
        grown = cv2.dilate(covered, np.ones((2 * reach + 1,) * 2, np.uint8))
        assert (grown[person.mask > 0] > 0).all()
        checked += 1
    assert checked >= 3


def test_people_stand_on_the_ground_and_not_in_each_other() -> None:
    from alignhmr.core.synthetic import contact
    from alignhmr.core.synthetic.staging import place_people

    maker = Maker("crowd", "test", 0)
    for index in range(6):
        people = place_people(
            lambda topic, i=index: maker.stream(i, topic), maker.domain, maker.actors, maker.skin, "t"
        )
        assert len(people) >= 2
        for number, person in enumerate(people):
            assert person.vertices_m[:, 1].min() == pytest.approx(0, abs=1e-9)
            for other in people[:number]:
                assert contact.contact(person.joints_m, other.joints_m, maker.actors.radii) <= 0


def test_no_clip_and_no_scene_is_in_two_places() -> None:
    clips = load_clips(fetch("motion"))
    where = {
        (domain, split): {clip.name for clip in clips if belongs(clip.name, domain, split)}
        for domain in DOMAINS
        for split in SPLITS
    }
    assert all(where.values())
    for domain in DOMAINS:
        assert not where[domain, "train"] & where[domain, "test"]
        if domain != "target":
            assert where[domain, "test"] == set(HELD_OUT_CLIPS)
            assert not (where[domain, "train"] | where[domain, "test"]) & set(TARGET_CLIPS)
    assert where["target", "train"] | where["target", "test"] == set(TARGET_CLIPS)
    training, held_out = split_clips(clips)
    assert not {clip.name for clip in training + held_out} & set(TARGET_CLIPS)

    train = {family for domain in DOMAINS.values() for family in domain.scenes["train"]}
    test = {family for domain in DOMAINS.values() for family in domain.scenes["test"]}
    assert not train & test and train | test <= set(FAMILIES)
    others = [domain for domain in DOMAINS.values() if domain.name != "target"]
    target = DOMAINS["target"]
    for split in SPLITS:
        assert not set(target.scenes[split]) & {
            f for domain in others for s in SPLITS for f in domain.scenes[s]
        }
    assert not set(target.wardrobes) & {wardrobe for domain in others for wardrobe in domain.wardrobes}


def test_a_sample_says_where_it_is_from(samples, maker) -> None:
    ids = [sample.id for sample in samples]
    assert len(set(ids)) == len(ids) and ids[0] == f"{maker.domain.name}-train-3-000000"
    allowed = {clip.name for clip in maker.actors.clips}
    for sample in samples:
        assert sample.domain == maker.domain.name
        assert sample.group.split("/")[0] in allowed | {"procedural"}
        assert len(sample.people) <= maker.domain.people[1]
        for person in sample.people:
            assert person.facts["clip"] in allowed | {"procedural"}
            assert person.facts["scene"] in maker.domain.scenes["train"]
            assert person.facts["clothing"] in maker.domain.wardrobes
            assert 0 <= float(person.facts["occlusion"]) <= 1 and 0 <= float(person.facts["truncation"]) <= 1


@pytest.mark.slow
def test_domains_shift_as_they_say() -> None:
    def share(domain: str, fact: str) -> float:
        maker = Maker(domain, "train", 1, size_px=64)
        people = [p for index in range(25) for p in make_sample(maker, index).sample.people]
        return float(np.mean([float(p.facts[fact]) for p in people]))

    hidden = {domain: share(domain, "occlusion") for domain in ("studio", "wild", "crowd")}
    assert hidden["studio"] < hidden["wild"] and hidden["studio"] + 0.05 < hidden["crowd"]
    assert share("studio", "truncation") < 0.01 < share("wild", "truncation")
    assert share("target", "camera_height_m") > share("studio", "camera_height_m") + 0.5


def test_benchmark_samples_are_the_test_split() -> None:
    made = list(make_benchmark_samples("wild", 3, 9))
    maker = Maker("wild", "test", 9)
    assert [sample.id for sample in made] == [f"wild-test-9-{index:06d}" for index in range(3)]
    assert same(made[2], make_sample(maker, 2).sample)


def test_own_photos_stand_behind_people_and_are_split_by_name(tmp_path) -> None:
    color = (10, 200, 30)
    for number in range(12):
        Image.new("RGB", (300, 200), color).save(tmp_path / f"photo {number}.png")
    train, test = (Maker("wild", split, 0, photos=tmp_path) for split in SPLITS)
    assert len(train.photos) + len(test.photos) == 12 and not set(train.photos) & set(test.photos)
    sample = make_sample(Maker("studio", "train", 0, photos=tmp_path), 0).sample
    assert sample.people[0].facts["scene"] == "photo" and sample.people[0].mask is not None
    behind = sample.picture.pixels[sample.people[0].mask == 0].astype(float)
    assert np.median(behind[:, 1] - behind[:, 0]) > 60  # green, in whatever light


def test_own_clips_join_the_shipped_ones() -> None:
    clips = [Clip(f"own/{n}", np.tile(np.eye(3), (4, 24, 1, 1))) for n in range(10)]
    train, test = (Maker("wild", split, 0, own_clips=clips) for split in SPLITS)
    names = [{clip.name for clip in maker.actors.own} for maker in (train, test)]
    assert not names[0] & names[1] and {clip.name for clip in clips} == names[0] | names[1]
    assert all("own/" not in clip.name for maker in (train, test) for clip in maker.actors.clips)


def test_half_of_the_motion_is_the_users_however_few_the_clips() -> None:
    maker = Maker("studio", "train", 0, own_clips=[Clip("own/0", np.tile(np.eye(3), (4, 24, 1, 1)))])
    assert [clip.name for clip in maker.actors.own] == ["own/0"]
    rng = np.random.default_rng(0)
    drawn = [maker.actors.draw(rng, {"mocap": 1.0}, 0.0, "x").clip for _ in range(200)]
    assert 0.4 < np.mean([clip == "own/0" for clip in drawn]) < 0.6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("moon", "train", 0), "unknown domain 'moon'; choose from studio, wild, crowd, target"),
        (("wild", "dev", 0), "unknown split 'dev'"),
    ],
)
def test_what_does_not_exist_is_said(arguments, words) -> None:
    with pytest.raises(InputError, match=words):
        Maker(*arguments)
    with pytest.raises(InputError, match="5000 px"):
        Maker("wild", "train", 0, size_px=5000)
