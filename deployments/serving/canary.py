"""A share of pictures answered by a candidate checkpoint, and what the scorer makes of it and of the incumbent.

Which pictures follows from their bytes: the same picture has the same answer, from whichever ingress. Of those pictures
the incumbent's answer is made, too, once the caller has the candidate's: both are judged by the service's own scorer,
and each person is a row on storage that ``alignhmr promote`` reads. What that command decides is read here within
seconds, without a restart.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable

from pyarrow import fs as arrow_fs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alignhmr.core.errors import InputError
from alignhmr.deployments.serving.messages import Seen
from alignhmr.deployments.serving.settings import CanarySettings
from alignhmr.deployments.storage import open_location, write_whole

log = logging.getLogger("ray.serve.alignhmr")

REFRESH_S = 3.0
"""How long a decision may take to arrive."""
FLUSH_S = 2.0
"""How long rows wait for company before they are written."""


class Comparison(BaseModel):
    """One person, as both checkpoints see them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    person: int
    candidate: str
    """Digest of the candidate's base model."""
    incumbent: str
    candidate_mm: float | None
    """The scorer's expected error; None where the candidate failed."""
    incumbent_mm: float


class Decision(BaseModel):
    """Written by ``alignhmr promote``; goes before the settings' share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str
    share: float = Field(ge=0, le=1)


class ComparisonStore:
    """LOCATION/decision.json and LOCATION/CHECKPOINT/*.jsonl. Blocking: for threads, not for an event loop."""

    def __init__(self, location: str) -> None:
        self.filesystem, self.root = open_location(location)

    def decision(self) -> Decision | None:
        """None where nothing was decided. InputError for a file that can't be read."""
        try:
            with self.filesystem.open_input_stream(f"{self.root}/decision.json") as stream:
                return Decision.model_validate_json(stream.read())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InputError(
                f"{self.root}/decision.json is no decision ({error.error_count()} faults); remove it"
            ) from None

    def decide(self, decision: Decision) -> None:
        self._write("decision.json", decision.model_dump_json().encode())

    def add(self, checkpoint: str, rows: list[Comparison]) -> None:
        lines = "".join(f"{row.model_dump_json()}\n" for row in rows)
        self._write(f"{checkpoint}/{uuid.uuid4().hex}.jsonl", lines.encode())

    def rows(self, checkpoint: str) -> list[Comparison]:
        selector = arrow_fs.FileSelector(f"{self.root}/{checkpoint}", allow_not_found=True)
        rows = []
        for info in self.filesystem.get_file_info(selector):
            if info.base_name.endswith(".jsonl"):
                with self.filesystem.open_input_stream(info.path) as stream:
                    rows += [Comparison.model_validate_json(line) for line in stream.read().splitlines()]
        return rows

    def _write(self, path: str, data: bytes) -> None:
        write_whole(self.filesystem, f"{self.root}/{path}", data)


class Canary:
    """One ingress's part in it. For one event loop."""

    def __init__(self, settings: CanarySettings) -> None:
        self.checkpoint, self.share = settings.checkpoint, settings.share
        self.store = ComparisonStore(settings.location)
        self._looked_s = float("-inf")
        self._rows: list[Comparison] = []
        self._tasks: set[asyncio.Task] = set()

    def takes(self, sha256: str) -> bool:
        """Whether a picture is the candidate's."""
        if time.monotonic() - self._looked_s > REFRESH_S:
            self._looked_s = time.monotonic()
            self._in_background(asyncio.to_thread(self.refresh))
        return int(sha256[:8], 16) / 2**32 < self.share

    def refresh(self) -> None:
        """Takes over what was decided; what can't be read leaves everything as it was, and is logged."""
        try:
            decision = self.store.decision()
        except (InputError, OSError) as error:
            log.error("the canary's share stays %g: %s", self.share, error)
            return
        if decision is not None and decision.checkpoint == self.checkpoint and decision.share != self.share:
            log.warning("the candidate %s now has %g of the pictures", self.checkpoint, decision.share)
            self.share = decision.share

    def compare(self, candidate: Seen | None, incumbent: Awaitable[Seen]) -> None:
        """Notes both answers, in the background; ``candidate`` is None where it failed."""
        self._in_background(self._compare(candidate, incumbent))

    async def _compare(self, candidate: Seen | None, incumbent: Awaitable[Seen]) -> None:
        other = await incumbent
        mine = [None] * len(other.recoveries) if candidate is None else candidate.recoveries
        if len(mine) != len(other.recoveries):
            log.info("not compared: the checkpoints leave out different people")
            return
        for person, (one, two) in enumerate(zip(mine, other.recoveries, strict=True)):
            row = Comparison(
                sha256=other.sha256,
                person=person,
                candidate="" if candidate is None else candidate.models.get("base", ""),
                incumbent=other.models.get("base", ""),
                candidate_mm=None if one is None else float(one.hypotheses.expected_error_mm[one.selected]),
                incumbent_mm=float(two.hypotheses.expected_error_mm[two.selected]),
            )
            self._rows.append(row)
        if self._rows and len(self._rows) == len(other.recoveries):  # nobody is about to write yet
            await asyncio.sleep(FLUSH_S)
            rows, self._rows = self._rows, []
            await asyncio.to_thread(self.store.add, self.checkpoint, rows)

    def _in_background(self, work: Awaitable[None]) -> None:
        async def watched() -> None:
            try:
                await work
            except Exception as error:
                # A comparison less: no caller must notice.
                log.warning("a comparison was lost: %r", error)

        task = asyncio.create_task(watched())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
