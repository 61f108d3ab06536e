"""What a file says of pictures: locations in text, CSV, JSONL and Parquet, pictures in Parquet and in tars.

Everything streams; a file is on a disk or in a bucket.
"""

import csv
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from alignhmr.core.errors import InputError
from alignhmr.core.perception.images import SUFFIXES
from alignhmr.deployments.storage import open_location

LOCATIONS = ("uri", "url", "path", "image_url", "image_path", "file", "file_name", "filename", "image")
"""Columns that are taken to hold locations, if none is named; the first that is there."""
_PICTURES = tuple(SUFFIXES)


def text_locations(uri: str, column: str | None) -> Iterator[str]:
    """The locations of a text, CSV or JSONL file, as written. InputError for what can't be read as one."""
    ending = uri.lower().rpartition(".")[2]
    with _opened(uri) as file:
        lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            if ending in ("csv", "tsv"):
                yield from _csv(lines, uri, column, "\t" if ending == "tsv" else ",")
            elif ending in ("jsonl", "ndjson"):
                yield from _jsonl(lines, uri, column)
            else:
                texts = (line.strip() for line in lines)
                yield from (text for text in texts if text and not text.startswith("#"))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"list {uri!r} can't be read as text: {error}; save it as UTF-8") from error


def _csv(lines: io.TextIOWrapper, uri: str, column: str | None, delimiter: str) -> Iterator[str]:
    reader = csv.DictReader(lines, delimiter=delimiter)
    name = _chosen(reader.fieldnames or (), uri, column)
    yield from (row[name].strip() for row in reader if row[name] and row[name].strip())


def _jsonl(lines: io.TextIOWrapper, uri: str, column: str | None) -> Iterator[str]:
    name = column
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if isinstance(value, dict):
                name = name or _chosen(tuple(value), uri, None)
                value = value[name]
            str(value).encode()  # half of a surrogate pair is no text
        except (ValueError, KeyError) as error:
            raise InputError(
                f"line {number} of {uri!r} gives no location ({type(error).__name__}: {error}); write one JSON object a"
                " line, each with the same key"
            ) from error
        if not isinstance(value, str):
            raise InputError(f"line {number} of {uri!r} gives {str(value)[:40]!r}, no location; write a text")
        yield value


def _chosen(columns, uri: str, column: str | None) -> str:
    names = {name.strip().lower(): name for name in columns if name}
    for wanted in [column.lower()] if column else LOCATIONS:
        if wanted in names:
            return names[wanted]
    told = f"no column {column!r}" if column else f"no column named {', '.join(LOCATIONS[:4])} or the like"
    raise InputError(f"{uri!r} has {told}, only {', '.join(columns) or 'none'}; name one with --column")


def table_kind(uri: str, column: str | None) -> tuple[Literal["images", "locations"], str, int]:
    """Whether a Parquet table holds pictures or locations, in which column, and its number of rows."""
    with parquet_file(uri) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    if column is not None and column not in schema.names:
        _chosen(schema.names, uri, column)
    fields = [schema.field(column)] if column else list(schema)
    for field in fields:
        if _bytes_of(field.type):
            return "images", field.name, rows
    return "locations", _chosen(schema.names, uri, column), rows


def image_bytes(values: pa.Array) -> list[bytes | None]:
    """The pictures of a column: plain binary, or the struct of bytes and path that data set hubs write."""
    if pa.types.is_struct(values.type):
        values = values.field("bytes")
    return values.to_pylist()


def _bytes_of(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _bytes_of(kind.field(index).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def table_locations(uri: str, column: str) -> Iterator[str]:
    with parquet_file(uri) as file:
        for batch in file.iter_batches(batch_size=4096, columns=[column]):
            for value in batch.column(0).to_pylist():
                if value:
                    yield str(value)


def tar_members(uri: str) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of each picture in a tar; its headers alone are read."""
    try:
        with _opened(uri) as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            # Not `for member in tar`: that keeps every header in memory.
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]
                if member.isfile() and member.name.lower().endswith(_PICTURES):
                    yield member.name, member.offset_data, member.size
    except tarfile.TarError as error:
        raise InputError(f"{uri!r} can't be read as a tar: {error}; get it anew") from error


@contextmanager
def parquet_file(uri: str) -> Iterator[pq.ParquetFile]:
    with _opened(uri) as raw:
        try:
            yield pq.ParquetFile(raw)
        except pa.ArrowInvalid as error:
            raise InputError(f"{uri!r} can't be read as Parquet: {error}; get it anew") from error


@contextmanager
def _opened(uri: str) -> Iterator[IO[bytes]]:
    filesystem, path = open_location(uri)
    try:
        file = filesystem.open_input_file(path)
    except OSError as error:
        raise InputError(f"{uri!r} can't be opened: {error}") from error
    with file:
        yield file  # type: ignore[misc]
