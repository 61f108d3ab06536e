"""How a run goes, while it goes: a line in the terminal, a sign of life in the folder, a timeline for the record."""

import _thread
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from alignhmr.deployments.labeling.output import Output

log = logging.getLogger(__name__)

_LOOK_S, _BEAT_S = 0.5, 5.0
_WINDOW_S = 60.0
"""Over which the rate is taken."""
_POINTS = 400
Counts = Callable[[], Mapping[str, float]]


class Monitor:
    """Looks at the ledger's counts from a thread of its own, as long as it is entered.

    It ends the run when another attempt has begun in the same folder: that one counts.
    """

    def __init__(self, console: Console, total: int, counts: Counts, output: Output) -> None:
        self.total, self._counts, self.output = total, counts, output
        self.taken_over = False
        self.last: dict[str, float] = {}
        self.timeline: list[list[float]] = []
        self._began = time.perf_counter()
        self._recent: deque[tuple[float, float]] = deque()
        self._beaten = float("-inf")
        self._done = threading.Event()
        columns = (
            SpinnerColumn(), TextColumn("labelling"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=total, text="starting workers")
        self._thread = threading.Thread(target=self._run, daemon=True, name="monitor")

    def __enter__(self) -> "Monitor":
        self.output.beat({"seconds": 0.0})
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=10)
        self._look()
        self._progress.stop()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def busy_s(self) -> dict[str, float]:
        """Seconds that workers worked, by stage."""
        return self._by_stage("seconds.")

    def computed_s(self) -> dict[str, float]:
        """Seconds of a CPU that workers used, by stage."""
        return self._by_stage("computed.")

    def _by_stage(self, kind: str) -> dict[str, float]:
        return {
            name.removeprefix(kind): round(value, 2)
            for name, value in self.last.items()
            if name.startswith(kind)
        }

    def _run(self) -> None:
        while not self._done.wait(_LOOK_S):
            self._look()
            if self.seconds - self._beaten >= _BEAT_S:
                self._beaten = self.seconds
                self._beat()

    def _look(self) -> None:
        try:
            self.last = dict(self._counts())
        except Exception:  # a busy machine, or the run is ending: what matters is told elsewhere
            return
        images, now = self.last.get("searched", 0), self.seconds
        if images:
            self._recent.append((now, images))
            while self._recent[0][0] < now - _WINDOW_S:
                self._recent.popleft()
            self._progress.update(self._task, completed=min(images, self.total), text=self._text(images))
        if not self.timeline or now - self.timeline[-1][0] >= 1:
            self.timeline.append([round(now, 1), images])
            if len(self.timeline) > _POINTS:
                self.timeline = self.timeline[::2]

    def _beat(self) -> None:
        try:
            record = self.output.record()
            if record is not None and record.get("attempt", 0) > self.output.attempt:
                self.taken_over = True
                _thread.interrupt_main()
                return
            done = self.last.get("searched", 0)
            self.output.beat({"seconds": round(self.seconds, 2), "busy_s": self.busy_s(), "images": done})
        except Exception:
            log.warning("no sign of life could be written to %s", self.output.location, exc_info=True)

    def rate(self) -> float | None:
        """Images a second of late; None so early that nobody knows."""
        if len(self._recent) < 2 or self._recent[-1][0] - self._recent[0][0] < 1:
            return None
        (start, before), (end, after) = self._recent[0], self._recent[-1]
        return (after - before) / (end - start)

    def _text(self, images: float) -> str:
        counts = self.last
        items = [f"{counts.get('people', 0):.0f} people", f"{counts.get('pairs', 0):.0f} pairs"]
        errors = {
            key.removeprefix("error."): value for key, value in counts.items() if key.startswith("error.")
        }
        items += [f"{value:.0f} {code}" for code, value in sorted(errors.items())]
        rate = self.rate()
        if rate:
            items += [f"{rate:.1f} images/s", f"{duration(max(self.total - images, 0) / rate)} left"]
        return ", ".join(items)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
