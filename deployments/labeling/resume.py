"""Where a run stands: what its parts hold, and which pictures are therefore done.

One pass over the narrow columns of the parts fills the books, on the disk. A part that overlaps with what others
hold is not counted: its pictures are done again.
"""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from alignhmr.core.errors import InputError
from alignhmr.deployments.labeling.books import Books
from alignhmr.deployments.labeling.output import ATTEMPTS, RECORD, SUMMARY_KEY, Output
from alignhmr.deployments.labeling.schema import ERROR_CODES
from alignhmr.deployments.labeling.summaries import Tally, summary

log = logging.getLogger(__name__)

_COLUMNS = ["uri", "image_sha256", "error_code"]
_READERS = 8
_AHEAD = 32
RETRIED = frozenset(ERROR_CODES) - {"duplicate", "no_person"}
"""What is tried again if no code is named: the same models would find the same of the two others."""


@dataclass(frozen=True)
class Standing:
    """What was there when an attempt began."""

    output: Output
    """Of the new attempt."""
    parts: tuple[str, ...]
    """That count."""
    total: dict[str, Any]
    """Their summaries, added up."""
    put_back: int = 0
    """Pictures with failures that are tried again."""


def stand(
    output: Output, last_attempt: int, books: Books, *, retry: Collection[str] | None = None
) -> Standing:
    """Takes stock after the last attempt and begins the next; nothing before its record is written changes what counts.

    ``retry`` are codes whose pictures are put back (an empty collection: all of RETRIED). The books learn which
    pictures are done and which bytes have an owner.
    """
    kept, tally, put_back = [], Tally(), 0
    again = frozenset() if retry is None else frozenset(retry) or RETRIED
    mine = output.of(last_attempt + 1)
    for name, table, told in _read(output, output.counted_parts(last_attempt)):
        uris = table.column("uri").to_pylist()
        codes = table.column("error_code").to_pylist()
        back = {uri for uri, code in zip(uris, codes, strict=True) if code in again}
        names = [uri for uri in dict.fromkeys(uris) if uri not in back]
        if not books.see_together(names):
            log.warning("part %s holds pictures that others hold: its pictures are done again", name)
            continue
        if back:
            put_back += len(back)
            left = _without(output, name, back)
            if left is None:
                continue
            told = mine.write_part(left)
            name = told.pop("file")
            table = left.select(_COLUMNS)
        books.give(_owned(table))
        kept.append(name)
        tally.add(told)
    mine.write_json(f"{ATTEMPTS}/{mine.attempt:04}.json", kept)
    return Standing(mine, tuple(kept), tally.total(), put_back)


def begin(standing: Standing, record: Mapping[str, Any]) -> None:
    """The new attempt counts from here on; what others left lying about is removed."""
    standing.output.write_json(RECORD, record)
    standing.output.keep_only(standing.parts)


def check_whole(output: Output, parts: Sequence[str]) -> dict[str, int]:
    """Looks at every row once more: pictures, pictures that come in two parts, and bytes that two pictures label."""
    books, pictures, twice, labelled_twice = Books(), 0, 0, 0
    try:
        for _, table, _told in _read(output, list(parts)):
            uris = table.column("uri").to_pylist()
            names = list(dict.fromkeys(uris))
            pictures += len(names)
            twice += len(names) - books.count_new(names)
            owned = _owned(table)
            labelled_twice += len(owned) - books.give(owned)
    finally:
        books.close()
    return {"pictures": pictures, "in_two_parts": twice, "labelled_twice": labelled_twice}


def _owned(table: pa.Table) -> list[tuple[str, str]]:
    """Whose bytes these pictures are the owner of."""
    columns = (table.column(name).to_pylist() for name in ("image_sha256", "uri", "error_code"))
    return sorted(
        {(sha, uri) for sha, uri, code in zip(*columns, strict=True) if sha and code != "duplicate"}
    )


def _read(output: Output, names: list[str]) -> Iterator[tuple[str, pa.Table, dict[str, Any]]]:
    """Narrow columns and summary of each part, in order, some of them read ahead."""

    def one(name: str) -> tuple[str, pa.Table, dict[str, Any]]:
        try:
            with output.open_part(name) as file:
                told = (file.schema_arrow.metadata or {}).get(SUMMARY_KEY)
                table = file.read(columns=_COLUMNS)
                found = json.loads(told) if told else summary(file.read())
        except (pa.ArrowInvalid, ValueError) as error:
            raise InputError(
                f"{output.location}/rows/{name} can't be read ({error}); remove it, and run the same command again: its"
                " pictures are done again"
            ) from error
        found["shown"] = [shown | {"file": name} for shown in found["shown"]]
        return name, table, found

    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(names), _AHEAD):
            yield from pool.map(one, names[start : start + _AHEAD])


def _without(output: Output, name: str, uris: Collection[str]) -> pa.Table | None:
    """The part's rows less those of these pictures; None if nothing is left."""
    with output.open_part(name) as file:
        table = file.read()
    keep = [uri not in uris for uri in table.column("uri").to_pylist()]
    if not any(keep):
        return None
    return table.filter(pa.array(keep))
