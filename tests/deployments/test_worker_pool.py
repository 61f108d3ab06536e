"""Work on Ray: every task once, workers replaced, and this program's errors come through."""

import os
from collections.abc import Callable
from itertools import count

import pytest

from alignhmr.core.errors import ImageError, SetupError
from alignhmr.deployments.worker_pool import check_slots, each


def test_every_task_is_done_once_and_taken_when_there_is_room(ray_session) -> None:
    taken: list[int] = []

    def tasks():
        for number in range(11):
            taken.append(number)
            yield number

    def make() -> Callable[[int], int]:
        return lambda number: number * number

    answers = each(make, tasks(), 2)
    first = next(answers)
    assert len(taken) == 5, taken  # two a worker, and one for the first that was done
    assert sorted([first, *answers]) == [number**2 for number in range(11)]
    assert list(each(make, [], 2)) == []


def test_an_error_of_this_program_ends_the_work_as_it_is(ray_session) -> None:
    def make() -> Callable[[int], int]:
        def work(number: int) -> int:
            if number == 3:
                raise ImageError("picture 3 is broken", code="too_large")
            return number

        return work

    with pytest.raises(ImageError, match=r"^picture 3 is broken$") as caught:
        list(each(make, count(), 1))
    assert (type(caught.value), caught.value.code) == (ImageError, "too_large")


def test_an_error_where_a_worker_is_made_comes_through(ray_session) -> None:
    def make() -> Callable[[int], int]:
        raise SetupError("no model here")

    with pytest.raises(SetupError, match=r"^no model here$"):
        list(each(make, range(3), 1))


def test_another_error_says_what_to_do(ray_session) -> None:
    def make() -> Callable[[int], int]:
        return lambda number: 1 // number

    with pytest.raises(SetupError, match=r"a worker failed .*run it again, whole shards are kept"):
        list(each(make, [0], 1))


def test_a_worker_that_dies_is_replaced(ray_session, tmp_path) -> None:
    marker = tmp_path / "died"

    def make() -> Callable[[int], int]:
        def work(number: int) -> int:
            if number == 1 and not marker.exists():
                marker.touch()
                os._exit(1)
            return number

        return work

    assert sorted(each(make, range(4), 1)) == [0, 1, 2, 3]
    assert marker.exists()


def test_too_many_workers_are_refused(ray_session) -> None:
    with pytest.raises(SetupError, match=r"1000 workers need as many CPU slots, Ray has 6; lower --workers"):
        check_slots(1000)
