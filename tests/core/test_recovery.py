"""Recovery: the same request, the same answer in any company; answers that agree with themselves; refusals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import load_checkpoint, resolve
from alignhmr.core.diffusion.condition import CROP_MARGIN
from alignhmr.core.diffusion.guidance_terms import GuidanceConfig
from alignhmr.core.errors import AcceleratorError, InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix, nearest_rotation
from alignhmr.core.perception.assets import fetch
from alignhmr.core.records import Intrinsics, Person, Picture
from alignhmr.core.recovery import Recoverer, RecoveryRequest, resolve_device
from alignhmr.core.refinement import Prompt
from alignhmr.core.scoring.confidence import fit_confidence
from alignhmr.core.scoring.selection import BEST, ZERO_NOISE
from alignhmr.core.synthetic.motion import load_clips, split_clips
from alignhmr.core.synthetic.observations import ObservationSampler
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler


class NobodyDetector:
    name, digest = "nobody", "0" * 64

    def find(self, picture: Picture) -> list[Person]:
        return []

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        return []


@pytest.fixture(scope="module")
def recoverer() -> Recoverer:
    body = BodyModel.load()
    models = [
        load_checkpoint(resolve("starter", kind), kind, body_digest=body.digest)[0]
        for kind in ("base", "scorer")
    ]
    return Recoverer(models[0], models[1], body, NobodyDetector())  # type: ignore[arg-type]


def _box(crop_px: torch.Tensor) -> np.ndarray:
    """A box around which that crop stands."""
    x, y, side = crop_px.tolist()
    half = side / CROP_MARGIN / 2
    return np.array([x - half, y - half, x + half, y + half], np.float32)


@pytest.fixture(scope="module")
def made(recoverer: Recoverer):
    """Made people in held-out poses, and requests that describe them."""
    _, held_out = split_clips(load_clips(fetch("motion")))
    sampler = ObservationSampler(
        recoverer.body, PoseSampler(held_out, PoseMix(mocap=1.0, recombined=0.0, jitter=0.2))
    )
    batch = sampler.sample(64, torch.Generator().manual_seed(0))
    requests = [
        RecoveryRequest(
            Person(
                _box(batch.crop_px[i]), 1.0, batch.keypoints_px[i].numpy(), batch.detector_3d_m[i].numpy()
            ),
            Intrinsics(float(batch.focal_px[i]), tuple(batch.center_px[i].tolist()), "given"),
            seed=i,
        )
        for i in range(len(batch.betas))
    ]
    return batch, requests


def test_alone_or_among_others_the_answer_is_bit_equal(recoverer: Recoverer, made) -> None:
    requests = made[1][:5]
    together = recoverer.recover_batch(requests)
    for request, expected in zip(requests, together, strict=True):
        alone = recoverer.recover_batch([request])[0]
        for name, value in vars(expected.hypotheses).items():
            assert np.array_equal(getattr(alone.hypotheses, name), value), name
        assert alone.selected == expected.selected


def test_another_seed_changes_all_but_the_zero_noise_answer(recoverer: Recoverer, made) -> None:
    request = made[1][0]
    first, second = recoverer.recover_batch([request, replace(request, seed=999)])
    assert np.array_equal(first.hypotheses.pose_aa[0], second.hypotheses.pose_aa[0])
    assert not np.allclose(first.hypotheses.pose_aa[1:], second.hypotheses.pose_aa[1:])


def test_an_answer_agrees_with_itself(recoverer: Recoverer, made) -> None:
    """Joints in metres, keypoints in pixels and the mesh all follow from pose, betas and translation."""
    answer = recoverer.recover_batch(made[1][:1])[0]
    hyps = answer.hypotheses
    rotations = axis_angle_to_matrix(torch.from_numpy(hyps.pose_aa))
    points = recoverer.body.kinematics(rotations, torch.from_numpy(hyps.betas))
    np.testing.assert_allclose(
        points.joints.numpy() + hyps.transl_cam_m[:, None], hyps.joints_cam_m, atol=2e-4
    )
    xyz = hyps.keypoints_cam_m
    pixels = xyz[..., :2] / xyz[..., 2:] * answer.intrinsics.focal_px + np.array(answer.intrinsics.center_px)
    np.testing.assert_allclose(pixels, hyps.keypoints_px, atol=0.1)
    vertices = recoverer.vertices(answer, 3)
    assert np.abs(vertices.mean(0) - hyps.joints_cam_m[3].mean(0)).max() < 0.4


def test_made_people_are_recovered(recoverer: Recoverer, made) -> None:
    """Shipped weights on poses of clips they never saw: far better than a standing body, on the keypoints."""
    batch, requests = made
    answers = recoverer.recover_batch(requests)
    joints = np.stack([a.hypotheses.joints_cam_m[0] for a in answers])
    joints -= joints[:, :1]
    true = (batch.joints_m - batch.joints_m[:, :1]).numpy()
    error = np.linalg.norm(joints - true, axis=-1).mean()
    standing = (
        recoverer.body.kinematics(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10)).joints[0].numpy()
    )
    reference = np.linalg.norm((standing - standing[:1]) * [1, -1, -1] - true, axis=-1).mean()
    assert error < 0.5 * reference
    off = np.stack([
        np.linalg.norm(a.hypotheses.keypoints_px[0] - p[:, :2], axis=-1)[p[:, 2] > 0.7].mean() / a.crop_px[2]
        for a, p in zip(answers, batch.keypoints_px.numpy(), strict=True)
    ])  # fmt: skip
    assert np.median(off) < 0.05


def test_spread_is_zero_for_one_hypothesis_and_not_for_many(recoverer: Recoverer, made) -> None:
    one, many = recoverer.recover_batch([replace(made[1][0], hypotheses=1), made[1][0]])
    assert one.joint_spread_mm.max() == 0 and many.joint_spread_mm[1:].min() > 0
    assert many.joint_spread_mm[0] == pytest.approx(0, abs=1e-3)  # the root is where errors are measured from


@pytest.mark.parametrize("count", [0, -1, 10**9])
def test_impossible_numbers_of_hypotheses_are_refused(recoverer: Recoverer, made, count: int) -> None:
    with pytest.raises(InputError, match="hypotheses is"):
        recoverer.recover_batch([replace(made[1][0], hypotheses=count)])


def test_keypoints_that_say_nothing_or_nonsense_are_refused(recoverer: Recoverer, made) -> None:
    request = made[1][0]
    unseen, broken = request.person.keypoints_px.copy(), request.person.keypoints_px.copy()
    unseen[:, 2], broken[3, 0] = 0, np.nan
    for keypoints, message in ((unseen, "fewer than 3"), (broken, "non-finite")):
        with pytest.raises(InputError, match=message):
            recoverer.recover_batch(
                [replace(request, person=replace(request.person, keypoints_px=keypoints))]
            )


def test_devices_that_are_not_there_are_refused() -> None:
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(InputError, match="unknown device"):
        resolve_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(AcceleratorError, match="no CUDA GPU"):
            resolve_device("cuda")


def test_the_answer_is_the_mean_of_the_best_where_there_are_enough(recoverer: Recoverer, made) -> None:
    request = made[1][0]
    many, few = recoverer.recover_batch([replace(request, hypotheses=20), replace(request, hypotheses=7)])
    assert many.selected == 19 and few.selected == few.hypotheses.scores.argmax()
    np.testing.assert_array_equal(many.hypotheses.pose_aa[:7], few.hypotheses.pose_aa)
    best = np.argsort(-many.hypotheses.scores[:19])[:BEST]
    matrices = axis_angle_to_matrix(torch.from_numpy(many.hypotheses.pose_aa))
    expected = nearest_rotation(ZERO_NOISE * matrices[0] + (1 - ZERO_NOISE) * matrices[best].mean(0))
    torch.testing.assert_close(matrices[19], expected, atol=1e-4, rtol=0)
    betas = many.hypotheses.betas
    np.testing.assert_allclose(
        betas[19], ZERO_NOISE * betas[0] + (1 - ZERO_NOISE) * betas[best].mean(0), atol=1e-5
    )
    assert many.hypotheses.scores[19] >= np.median(many.hypotheses.scores), "it agrees with the others"


def test_a_calibrated_model_tells_how_far_off_each_joint_may_be(recoverer: Recoverer, made) -> None:
    request = made[1][0]
    assert recoverer.recover_batch([request])[0].joint_error_mm is None
    rng = np.random.default_rng(0)
    spread, error = rng.lognormal(3, 1, (60, 24)), rng.lognormal(4, 1, (60, 24))
    confidence = fit_confidence(spread, error, hypotheses=20, data="made up")
    calibrated = Recoverer(
        recoverer.base, recoverer.scorer, recoverer.body, NobodyDetector(), confidence=confidence
    )
    answer, alone = calibrated.recover_batch([request, replace(request, hypotheses=1)])
    np.testing.assert_array_equal(answer.joint_error_mm, confidence.of(answer.joint_spread_mm))
    np.testing.assert_array_equal(alone.joint_error_mm, confidence.of(None))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keypoints_px": np.full((23, 3), np.nan, np.float32)}, "non-finite"),
        ({"box_px": np.array([0, 0, np.inf, 5], np.float32)}, "the box is"),
        ({"box_px": np.array([50, 50, 20, 80], np.float32)}, "x0 < x1"),
        ({"box_px": np.array([9000, 9000, 9100, 9200], np.float32)}, "not this person's"),
        ({"keypoints_px": np.zeros((23, 3), np.float32)}, "fewer than 3 keypoints"),
    ],
)
def test_evidence_that_contradicts_itself_is_refused(recoverer: Recoverer, made, change, said: str) -> None:
    request = made[1][0]
    broken = replace(request, person=replace(request.person, **change))
    with pytest.raises(InputError, match=said):
        recoverer.recover_batch([broken])
    recoverer.recover_batch([request])


def _confidence(value: float) -> Callable[[Person], Person]:
    def changed(person: Person) -> Person:
        keypoints = person.keypoints_px.copy()
        keypoints[3, 2] = value
        return replace(person, keypoints_px=keypoints)

    return changed


@pytest.mark.parametrize(
    ("person", "camera", "words"),
    [
        (_confidence(50), {}, "from 0 to 1"),
        (_confidence(-1), {}, "from 0 to 1"),
        (lambda p: replace(p, keypoints_px=p.keypoints_px[:17]), {}, "give 23 rows"),
        (
            lambda p: replace(p, keypoints_px=p.keypoints_px + np.array([1e30, 0, 0], np.float32)),
            {},
            "pixels away",
        ),
        (lambda p: replace(p, keypoints_3d_m=np.full((23, 3), np.nan)), {}, "finite points in metres"),
        (lambda p: replace(p, keypoints_3d_m=np.full((23, 3), 1e9)), {}, "finite points in metres"),
        (lambda p: replace(p, view=np.zeros((100, 256, 3), np.uint8)), {}, "square of RGB bytes"),
        (lambda p: replace(p, view=np.full((256, 256, 3), np.nan, np.float32)), {}, "square of RGB bytes"),
        (lambda p: p, {"focal_px": -300.0}, "focal length"),
        (lambda p: p, {"focal_px": float("nan")}, "focal length"),
        (lambda p: p, {"center_px": (float("inf"), 1.0)}, "centre"),
    ],
)
def test_what_nobody_can_mean_is_refused(recoverer: Recoverer, made, person, camera, words) -> None:
    request = made[1][0]
    asked = replace(request, person=person(request.person), intrinsics=replace(request.intrinsics, **camera))
    with pytest.raises(InputError, match=words):
        recoverer.recover_batch([asked])


def test_as_many_hypotheses_as_there_may_be(recoverer: Recoverer, made) -> None:
    with pytest.raises(InputError, match="from 1 to 1000"):
        recoverer.recover_batch([replace(made[1][0], hypotheses=1001)])


def test_refined_answers_lie_nearer_to_the_keypoints_and_say_so(recoverer: Recoverer, made) -> None:
    requests = [replace(request, prompt=Prompt()) for request in made[1][:6]]
    plain, refined = recoverer.recover_batch(made[1][:6]), recoverer.recover_batch(requests)
    assert all(answer.refinement is None for answer in plain)
    told = [answer.refinement for answer in refined]
    off = np.array([[report.off_before, report.off_after] for report in told if report is not None])
    assert len(off) == 6 and off[:, 1].mean() < 0.8 * off[:, 0].mean()
    for before, after, report in zip(plain, refined, told, strict=True):
        assert report is not None and report.hypotheses == 19 and report.told_after is None
        assert after.hypotheses.pose_aa.shape == before.hypotheses.pose_aa.shape
        assert 0 < report.moved_mm < 150
        assert (after.hypotheses.joints_cam_m != before.hypotheses.joints_cam_m).any()


@pytest.mark.parametrize("hypotheses", [1, 5])
def test_few_hypotheses_can_be_refined(recoverer: Recoverer, made, hypotheses: int) -> None:
    request = replace(made[1][0], prompt=Prompt(), hypotheses=hypotheses)
    [answer] = recoverer.recover_batch([request])
    report = answer.refinement
    assert report is not None and report.hypotheses == hypotheses == len(answer.hypotheses)
    keypoints, crop = answer.person.keypoints_px, answer.crop_px
    sure = keypoints[:, 2]
    off = (
        np.linalg.norm(answer.hypotheses.keypoints_px[answer.selected] - keypoints[:, :2], axis=-1) / crop[2]
    )
    assert report.off_after == pytest.approx(float((off * sure).sum() / sure.sum()), abs=1e-5)


def test_what_is_said_is_followed(recoverer: Recoverer, made) -> None:
    prompt = Prompt("The left arm is raised straight up. Purple monkeys.")
    plain = recoverer.recover_batch(made[1][:8])
    said = recoverer.recover_batch([replace(request, prompt=prompt) for request in made[1][:8]])
    reports = [answer.refinement for answer in said if answer.refinement is not None]
    assert all(report.told["left_upper_arm"] == "up" for report in reports)
    assert all(report.unread == ("purple monkeys",) for report in reports)
    before, after = (
        np.array([getattr(report, f"told_{when}") for report in reports]) for when in ("before", "after")
    )
    assert len(after) == 8 and before.sum() <= 1 and after.sum() >= 6
    joints = [np.stack([a.hypotheses.joints_cam_m[a.selected] for a in answers]) for answers in (plain, said)]
    heights = [some[:, 16, 1] - some[:, 18, 1] for some in joints]  # y points down
    assert (heights[1] > heights[0] + 0.05).sum() >= 6


def test_a_text_of_which_nothing_is_understood_is_refused(recoverer: Recoverer, made) -> None:
    with pytest.raises(InputError, match="nothing was understood of 'Purple monkeys'"):
        recoverer.recover_batch([replace(made[1][0], prompt=Prompt("Purple monkeys"))])


def test_bodies_can_be_noised_and_denoised_between(recoverer: Recoverer, made) -> None:
    plain, again = (
        recoverer.recover_batch([replace(made[1][0], prompt=Prompt(config=GuidanceConfig(levels=levels)))])[0]
        for levels in ((), (40,))
    )
    assert again.refinement is not None
    assert not np.allclose(plain.hypotheses.joints_cam_m, again.hypotheses.joints_cam_m, atol=1e-3)
    assert again.refinement.off_after < again.refinement.off_before


def test_a_silhouette_can_be_leaned_on(recoverer: Recoverer, made) -> None:
    request = made[1][0]
    x, y, side = (float(value) for value in made[0].crop_px[0])
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255  # only the left half of the crop is the person's
    person = replace(request.person, mask=mask, mask_box_px=box)
    off = GuidanceConfig(keypoints=0.0, free=3.0, iterations=4)
    without, leaned = (
        recoverer.recover_batch([replace(request, person=person, prompt=Prompt(config=config))])[0]
        for config in (off, replace(off, silhouette=1.0))
    )
    middles = [
        float((a.hypotheses.joints_cam_m[0, :, 0] / a.hypotheses.joints_cam_m[0, :, 2]).mean())
        for a in (without, leaned)
    ]
    assert middles[1] < middles[0] - 0.005


def test_held_eyes_look_once_for_both_models_and_it_changes_no_bit(recoverer: Recoverer, made) -> None:
    view = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    _, requests = made
    request = replace(requests[0], person=replace(requests[0].person, view=view), hypotheses=8)
    looked: list[int] = []
    eyes = recoverer.scorer.image
    assert eyes is not None
    hook = eyes.register_forward_hook(lambda *_: looked.append(1))
    try:
        [once] = recoverer.recover_batch([request])
        assert not looked, "the base's eyes have seen it"
        # Another's eyes, by one weight that hardly matters.
        parameter = next(eyes.parameters())
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[0] += 1e-3
        apart = Recoverer(recoverer.base, recoverer.scorer, recoverer.body, NobodyDetector())  # type: ignore[arg-type]
        with torch.no_grad():
            parameter.copy_(kept)
        [twice] = apart.recover_batch([request])
    finally:
        hook.remove()
    assert looked
    np.testing.assert_array_equal(once.hypotheses.scores, twice.hypotheses.scores)
    np.testing.assert_array_equal(once.hypotheses.pose_aa, twice.hypotheses.pose_aa)
