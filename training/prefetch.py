"""The next items of a stream, made while the last one is used: in a background thread, or by several processes."""

import atexit
import itertools
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")


def made_ahead(make: Callable[[int], Item], start: int = 0, processes: int = 0) -> Iterator[Item]:
    """``make(start)``, ``make(start + 1)`` and so on, in order and without end.

    By a thread, or by as many ``processes``, each on one core, where whoever uses them is faster than that (a GPU):
    ``make`` is sent to them and must give the same anywhere. They end when the iterator is closed or forgotten.
    """
    numbers = itertools.count(start)
    if not processes:
        return prefetched(map(make, numbers))
    return iter(
        DataLoader(
            _Made(make),
            batch_size=None,
            sampler=numbers,
            num_workers=processes,
            collate_fn=_as_it_is,
            worker_init_fn=_alone_on_a_core,
            multiprocessing_context="spawn",
        )
    )


class _Made(Dataset, Generic[Item]):
    """What is made at each number."""

    def __init__(self, make: Callable[[int], Item]) -> None:
        self._make = make

    def __getitem__(self, number: int) -> Item:
        return self._make(number)


def _as_it_is(item: Item) -> Item:
    return item


def _alone_on_a_core(worker: int) -> None:
    import cv2

    cv2.setNumThreads(1)  # torch is held to one by the loader
    # Threads of the networks' libraries may outlive the interpreter, which then aborts; nothing is left to be done.
    atexit.register(os._exit, 0)


def prefetched(items: Iterable[Item], ahead: int = 2) -> Iterator[Item]:
    """The same items in the same order; up to ``ahead`` of them wait ready, and one more is in the making.

    An exception of ``items`` is raised where its item would have come. The thread starts with the first item that is
    asked for; it ends when the items do, or when the iterator is closed or forgotten, and ``items`` is closed in it.
    """
    assert ahead >= 1
    ready: queue.Queue[tuple[str, Item | BaseException | None]] = queue.Queue(ahead)
    unwanted = threading.Event()

    def hand_over(kind: str, what: Item | BaseException | None) -> None:
        while not unwanted.is_set():
            try:
                return ready.put((kind, what), timeout=0.05)
            except queue.Full:
                continue

    def work() -> None:
        source = iter(items)
        try:
            for item in source:
                hand_over("item", item)
                if unwanted.is_set():
                    break
            if hasattr(source, "close"):
                source.close()  # type: ignore[attr-defined]
        except BaseException as error:  # whatever it is, it belongs to whoever waits
            hand_over("error", error)
        else:
            hand_over("end", None)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, what = ready.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(what, BaseException)
                raise what
            yield what  # type: ignore[misc]
    finally:
        unwanted.set()
        # At the interpreter's end daemon threads stand still, and waiting would be forever.
        if not sys.is_finalizing():
            thread.join()
