"""Model replicas without Ray, around the shipped starter: sharing a batch changes nothing."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.geometry.cameras import intrinsics_for
from alignhmr.core.records import Recovery
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.deployments.serving import recovering
from alignhmr.deployments.serving.messages import Found, Look, Seen
from alignhmr.deployments.serving.perception import PerceptionReplica
from alignhmr.deployments.serving.recovering import RecoveryReplica, _recover


@pytest.fixture(scope="module")
def recoverer(fake) -> Recoverer:
    return fake.starter()


@pytest.fixture
def replica(recoverer) -> RecoveryReplica:
    return RecoveryReplica(lambda: recoverer)


@pytest.fixture
def eyes(recoverer) -> PerceptionReplica:
    return PerceptionReplica(lambda: recoverer, max_pixels=10_000)


@pytest.fixture
def ask(eyes, replica) -> Callable[..., Seen | InputError]:
    """A picture through both kinds of replicas."""

    def through(data: bytes, **options) -> Seen | InputError:
        wanted = look(**options)
        found = asyncio.run(eyes.find(data, wanted))
        return asyncio.run(replica.recover(found, wanted)) if isinstance(found, Found) else found

    return through


@pytest.fixture
def request_of(fake) -> Callable[..., RecoveryRequest]:
    def make(seed: int, hypotheses: int = 3, width: float = 60.0) -> RecoveryRequest:
        (person,) = fake.Stander().from_boxes(None, np.array([[10.0, 5.0, 10.0 + width, 115.0]]))
        return RecoveryRequest(person, intrinsics_for(160, 120), seed, hypotheses)

    return make


def look(**options) -> Look:
    return Look(**{"hypotheses": 2, "seed": 0, "boxes": None, "focal_px": None, "vertices": False, **options})


def test_a_person_has_the_same_answer_to_the_last_bit_alone_and_in_a_batch(recoverer, request_of):
    requests = [request_of(seed=i, hypotheses=2 + i % 3, width=40.0 + 5 * i) for i in range(6)]
    batch = _recover(recoverer, requests)
    for request, among in zip(requests, batch, strict=True):
        (alone,) = _recover(recoverer, [request])
        assert isinstance(alone, Recovery) and isinstance(among, Recovery)
        assert alone.selected == among.selected
        for name, values in vars(alone.hypotheses).items():
            np.testing.assert_array_equal(values, getattr(among.hypotheses, name), err_msg=name)


def test_one_person_at_fault_in_a_batch_is_alone_with_its_error(recoverer, request_of):
    good, bad = request_of(seed=1), request_of(seed=1, hypotheses=10_000)
    first, error, last = _recover(recoverer, [good, bad, good])
    assert isinstance(error, InputError)
    assert isinstance(first, Recovery) and isinstance(last, Recovery)
    np.testing.assert_array_equal(first.hypotheses.joints_cam_m, last.hypotheses.joints_cam_m)


def test_a_picture_that_can_not_be_used_is_an_answer_and_not_a_failure(ask, picture):
    assert ask(b"no picture").code == "not_an_image"
    assert ask(picture(size=(400, 300))).code == "too_large"
    assert ask(picture(), boxes=[[300.0, 0.0, 400.0, 100.0]]).code == "invalid_options"
    assert ask(picture(people=0)).recoveries == []


def test_a_model_that_can_not_answer_never_gets_ready(recoverer, monkeypatch):
    def broken(requests):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(recoverer, "recover_batch", broken)
    with pytest.raises(RuntimeError, match="no kernel image"):
        RecoveryReplica(lambda: recoverer)


def test_a_detector_that_can_not_look_never_gets_ready(recoverer, monkeypatch):
    def broken(picture):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(recoverer, "find", broken)
    with pytest.raises(RuntimeError, match="no such operator"):
        PerceptionReplica(lambda: recoverer, max_pixels=100)


@pytest.mark.usefixtures("unbatched")
def test_an_answer_names_who_found_the_people_and_holds_no_pixels(ask, picture):
    seen = ask(picture(size=(96, 96)), vertices=True)
    assert seen.models["detector"] == "stander:" + 16 * "0"
    assert seen.recoveries[0].person.view is None
    assert len(seen.vertices_cam_m) == 1 and len(seen.faces) > 1000
    assert set(seen.timings_ms) == {"decode", "find", "recover"}


def test_it_describes_what_it_runs(replica, recoverer):
    described = replica.describe()
    assert described.body_model == recoverer.body.name
    assert described.models == recoverer.models
    assert described.faces == len(recoverer.body.faces)


@pytest.fixture
def unbatched(monkeypatch) -> None:
    """People are recovered without Serve, whose batching needs a deployment around it."""

    async def alone(self: RecoveryReplica, asked: tuple[Recoverer, RecoveryRequest]):
        return _recover(asked[0], [asked[1]])[0], 0.0

    monkeypatch.setattr(RecoveryReplica, "_recover_people", alone)


@pytest.mark.usefixtures("unbatched")
def test_answers_are_drawn_to_keypoints_and_words_on_request(ask, picture):
    def seen(people: int = 1, **options):
        return ask(picture(people, size=(96, 96)), hypotheses=9, **options)

    [plain], [refined] = seen().recoveries, seen(refine=True).recoveries
    assert plain.refinement is None and refined.refinement.off_after < refined.refinement.off_before
    [said] = seen(text="The left arm is raised straight up.").recoveries
    assert said.refinement.told == {"left_upper_arm": "up"}
    assert said.refinement.told_after > said.refinement.told_before
    assert "nothing was understood" in str(seen(text="purple monkeys"))
    assert "2 were found" in str(seen(2, text="The left arm is raised straight up."))
    assert seen(2, text="The left arm is raised.", boxes=[[0.0, 0.0, 48.0, 96.0]]).recoveries


@pytest.mark.usefixtures("unbatched")
def test_keypoints_that_are_given_take_the_detectors_place(ask, picture):
    given = [(20.0 + index, 10.0 + 3 * index, 1.0) for index in range(23)]
    seen = ask(picture(2, size=(96, 96)), keypoints=[given])
    [recovery] = seen.recoveries
    np.testing.assert_array_equal(recovery.person.keypoints_px, np.array(given, np.float32))
    assert recovery.refinement.given_keypoints


@pytest.mark.usefixtures("unbatched")
def test_meshes_that_would_fill_the_memory_are_refused(ask, picture, monkeypatch):
    monkeypatch.setattr(recovering, "MAX_MESH_BYTES", 2 * 1229 * 6)
    one = picture(1, size=(96, 96))
    assert ask(one, meshes=True).meshes_cam_m[0].shape == (2, 1229, 3)
    refused = ask(one, meshes=True, hypotheses=3)
    assert isinstance(refused, InputError)
    assert "3 hypotheses of 1 people" in str(refused)
    assert not isinstance(ask(one, hypotheses=3), InputError)
