"""The first stage: entries to bytes and their digest. Of pictures with the same bytes one goes on."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from ray.actor import ActorHandle

from alignhmr.core.errors import AlignhmrError
from alignhmr.deployments.labeling.counting import counting
from alignhmr.deployments.labeling.plan import LISTED_SCHEMA
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.schema import table_from_rows
from alignhmr.deployments.labeling.sources import Entry

READ_SCHEMA = pa.schema(
    [*LISTED_SCHEMA, ("image_sha256", pa.string()), ("data", pa.large_binary()),
     ("error_code", pa.string()), ("error_message", pa.string()), ("duplicate_of", pa.string())]
)  # fmt: skip
"""A row without data and without error was left for the next stage to read: the block was full."""


@dataclass(frozen=True)
class ReadPictures:
    """Reads a block's entries, as long as the bytes stay within ``budget``; the others are read one by one later.

    A block comes as its place in the plan.
    """

    reader: Reader
    ledger: ActorHandle
    budget: int
    parallel: int = 1
    """Entries read at the same time; what waits for a network gains from it."""

    def __call__(self, table: pa.Table) -> pa.Table:
        import ray

        with counting(self.ledger, "read") as counts:
            places = [self.ledger.entries.remote(row["first"], row["stop"]) for row in table.to_pylist()]
            found: Any = ray.get(places)
            columns = [column.to_pylist() for column in pa.concat_tables(found).columns]
            entries = [Entry(*values) for values in zip(*columns, strict=True)]
            allowance = _Allowance(self.budget)
            if self.parallel > 1 and len(entries) > 1:
                with ThreadPoolExecutor(self.parallel) as pool:
                    rows = list(pool.map(lambda entry: self._read(entry, allowance), entries))
            else:
                rows = [self._read(entry, allowance) for entry in entries]
            claim_rows(rows, self.ledger)
            counts["read"] += len(rows)
            return table_from_rows(rows, READ_SCHEMA)

    def _read(self, entry: Entry, allowance: "_Allowance") -> dict[str, Any]:
        row = entry._asdict()
        return row if allowance.spent() else row | read_one(self.reader, entry, allowance.spend)


class _Allowance:
    def __init__(self, budget: int) -> None:
        self._left, self._lock = budget, threading.Lock()

    def spend(self, size: int) -> None:
        with self._lock:
            self._left -= size

    def spent(self) -> bool:
        return self._left <= 0


def read_one(reader: Reader, entry: Entry, spend: Callable[[int], None] | None = None) -> dict[str, Any]:
    """The entry's bytes and digest, or its error."""
    try:
        data = reader.read(entry)
    except AlignhmrError as error:
        return {"error_code": error.code, "error_message": str(error)}
    except Exception as error:
        # A reader can fail in more ways than it says (a table's page that is damaged); the picture is to blame for all.
        return {"error_code": "read_failed", "error_message": f"{type(error).__name__}: {error}"}
    if not data:  # without bytes it has no identity: each of them is told, not all but one as its duplicates
        return {"error_code": "empty", "error_message": "the file is empty; get the picture anew"}
    if spend is not None:
        spend(len(data))
    return {"image_sha256": hashlib.sha256(data).hexdigest(), "data": data}


def claim_rows(rows: list[dict[str, Any]], ledger: ActorHandle) -> None:
    """Turns rows whose bytes another picture labels into errors."""
    import ray

    good = [row for row in rows if row.get("data") is not None]
    if not good:
        return
    owners: Any = ray.get(ledger.claim.remote([(row["image_sha256"], row["uri"]) for row in good]))
    for row, owner in zip(good, owners, strict=True):
        if owner != row["uri"]:
            row.update(
                data=None,
                error_code="duplicate",
                error_message=f"the same bytes as {owner}",
                duplicate_of=owner,
            )
