"""Items come in order and ahead of time; threads end with whoever asked for them, and errors arrive."""

import gc
import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from alignhmr.training.prefetch import made_ahead, prefetched


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def wait_for(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_the_same_items_in_the_same_order() -> None:
    assert list(prefetched(range(50), 3)) == list(range(50))
    assert list(prefetched([], 1)) == []
    assert threads() == 0


def test_it_runs_ahead_and_no_further() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            made.append(number)
            yield number

    ahead = prefetched(items(), 2)
    assert not made
    assert next(ahead) == 0
    assert wait_for(lambda: len(made) == 4), made  # one is used, two wait, one is in hand
    time.sleep(0.1)
    assert len(made) == 4
    ahead.close()  # type: ignore[attr-defined]


def test_an_error_comes_in_its_place_and_once() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    ahead = prefetched(items(), 4)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert threads() == 0
    with pytest.raises(StopIteration):
        next(ahead)


def test_closing_and_forgetting_end_the_thread_and_close_the_source() -> None:
    closed: list[str] = []

    def items(name: str) -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(name)

    first, second = prefetched(items("closed"), 1), prefetched(items("forgotten"), 1)
    assert next(first) == next(second) == 0
    assert threads() == 2
    first.close()  # type: ignore[attr-defined]
    assert threads() == 1 and closed == ["closed"]
    del second
    gc.collect()
    assert threads() == 0 and closed == ["closed", "forgotten"]


def square(number: int) -> int:
    if number == 12:
        raise OSError("twelve is gone")
    return number * number


@pytest.mark.parametrize("processes", [0, 2])
def test_numbers_in_order_whoever_makes_them(processes) -> None:
    items = made_ahead(square, 5, processes)
    assert list(itertools.islice(items, 7)) == [25, 36, 49, 64, 81, 100, 121]
    with pytest.raises(OSError, match="twelve is gone"):
        next(items)
