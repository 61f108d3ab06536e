"""The next items of an iterator, made in a background thread while the last one is used."""

import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


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
