"""Asking replicas, without any: retries, deadlines, places, and a candidate that fails."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from alignhmr.core.errors import ImageError, InputError, ServiceError
from alignhmr.deployments.serving.asking import Models
from alignhmr.deployments.serving.intake import Limits
from alignhmr.deployments.serving.messages import Found, Look, Seen
from alignhmr.deployments.serving.settings import Pool, ServeSettings

LOOK = Look(hypotheses=2, seed=0, boxes=None, focal_px=None, vertices=False)
FOUND: Any = Found(size=(9, 9), sha256="a" * 64, intrinsics=None, people=[], detector="d", timings_ms={})  # type: ignore[arg-type]


def seen(base: str = "own") -> Seen:
    return Seen((9, 9), "a" * 64, None, [], [], [], "body", {"base": base}, None, None, {})  # type: ignore[arg-type]


class Handle:
    """A deployment whose one method answers, raises or waits as it is told, call by call."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.calls, self.cancelled = list(outcomes), 0, 0
        self.find = self.recover = self
        self.asked_for: list[str] = []

    def options(self, multiplexed_model_id: str) -> "Handle":
        self.asked_for.append(multiplexed_model_id)
        return self

    def remote(self, *_: Any) -> "Response":
        self.calls += 1
        return Response(self, self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0])


class Response:
    def __init__(self, handle: Handle, outcome: Any) -> None:
        self.handle, self.outcome = handle, outcome

    def __await__(self):
        if isinstance(self.outcome, float):
            yield from asyncio.sleep(self.outcome).__await__()
        if isinstance(self.outcome, Exception) and not isinstance(self.outcome, InputError):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.handle.cancelled += 1


def models(eyes: Handle, bodies: Handle, canary: Any = None, **settings) -> Any:
    return Models(eyes, bodies, ServeSettings(**settings), canary)  # type: ignore[arg-type]


def code_of(act: Callable[[], Any]) -> str:
    with pytest.raises((ServiceError, InputError)) as caught:
        act()
    return caught.value.code


def see(asked: Any, look: Look = LOOK) -> Any:
    return asyncio.run(asked.see(b"", look))


def test_one_that_died_is_asked_anew_once():
    perception, recovery = Handle(RayActorError(), FOUND), Handle(RayActorError(), seen())
    assert see(models(perception, recovery)).models == {"base": "own"}
    assert (perception.calls, recovery.calls) == (2, 2)
    killer = Handle(RayActorError())
    assert code_of(lambda: see(models(killer, recovery))) == "replica_lost"
    assert killer.calls == 2, "a picture that kills must not kill them all"


def test_a_picture_that_can_not_be_used_goes_no_further():
    recovery = Handle(seen())
    assert see(models(Handle(ImageError("no", code="truncated")), recovery)).code == "truncated"
    assert recovery.calls == 0


def test_who_is_waited_for_too_long_is_called_back():
    slow = Handle(5.0)
    asked = models(Handle(FOUND), slow, limits=Limits(deadline_s=0.05))
    assert code_of(lambda: see(asked)) == "deadline"
    assert slow.cancelled == 1


def test_a_full_queue_is_an_overload():
    full = Handle(BackPressureError(num_queued_requests=1, max_queued_requests=1))
    assert code_of(lambda: see(models(Handle(FOUND), full))) == "overloaded"


def test_what_would_find_no_place_later_is_refused_before_anybody_looks():
    perception, recovery = Handle(FOUND), Handle(0.2)
    asked = models(
        perception, recovery, recovery=Pool(max_ongoing=2, max_queued=1), limits=Limits(deadline_s=0.1)
    )

    async def crowd() -> list:
        return await asyncio.gather(*(asked.see(b"", LOOK) for _ in range(5)), return_exceptions=True)

    codes = [getattr(answer, "code", None) for answer in asyncio.run(crowd())]
    assert codes == ["deadline"] * 3 + ["overloaded"] * 2
    assert perception.calls == 3
    assert asked.room.inside == 0


def test_a_checkpoint_must_be_one_that_there_is():
    recovery = Handle(seen("new"))
    asked = models(Handle(FOUND), recovery, checkpoints={"new": "x"})
    named = Look(2, 0, None, None, False, checkpoint="new")
    assert see(asked, named).models["base"] == "new"
    assert recovery.asked_for == ["new"]
    assert code_of(lambda: see(asked, Look(2, 0, None, None, False, checkpoint="old"))) == "invalid_options"


class Bird:
    """A canary that takes every picture."""

    checkpoint, share = "new", 0.5

    def __init__(self) -> None:
        self.compared: list[tuple[Any, Any]] = []

    def takes(self, sha256: str) -> bool:
        return True

    def compare(self, candidate: Any, incumbent: Any) -> None:
        self.compared.append((candidate, incumbent))


def test_a_candidate_that_fails_costs_its_caller_nothing_but_time():
    bird, recovery = Bird(), Handle(RuntimeError("no such layer"), seen())
    assert see(models(Handle(FOUND), recovery, bird)).models["base"] == "own"
    [(candidate, incumbent)] = bird.compared
    assert candidate is None
    assert asyncio.run(incumbent).models["base"] == "own"


def test_a_candidate_that_answers_is_compared():
    bird, recovery = Bird(), Handle(seen("new"), seen())
    assert see(models(Handle(FOUND), recovery, bird)).models["base"] == "new"
    [(candidate, incumbent)] = bird.compared
    assert candidate.models["base"] == "new"
    assert asyncio.run(incumbent).models["base"] == "own"
    assert recovery.asked_for == ["new"]


def test_an_overload_is_no_failure_of_the_candidate():
    full, bird = Handle(BackPressureError(num_queued_requests=1, max_queued_requests=1)), Bird()
    assert code_of(lambda: see(models(Handle(FOUND), full, bird))) == "overloaded"
    assert bird.compared == []


def test_requests_that_fail_together_are_called_back():
    async def story() -> SimpleNamespace:
        from alignhmr.deployments.serving.asking import together

        slow = Handle(5.0)
        asked = models(Handle(FOUND), slow)

        async def fails() -> None:
            await asyncio.sleep(0.05)
            raise ServiceError("full")

        with pytest.raises(ServiceError, match="full"):
            await together([asked.see(b"", LOOK), fails()])
        await asyncio.sleep(0.01)
        return SimpleNamespace(cancelled=slow.cancelled, inside=asked.room.inside)

    assert vars(asyncio.run(story())) == {"cancelled": 1, "inside": 0}
