"""Where pictures come from: folders, globs, ``s3://`` prefixes, manifests, Parquet tables, WebDataset tars.

A source is listed as a stream: nothing here holds more than one entry, so that ten million take no more memory
than ten. ``readers.py`` turns an entry into bytes, on any worker.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError, NoImagesError
from alignhmr.core.perception.images import SUFFIXES
from alignhmr.deployments.labeling import manifests
from alignhmr.deployments.storage import list_objects, local_path, local_uri, open_location

_PICTURES = tuple(SUFFIXES)
"""What counts as a picture when a folder, a glob or a prefix is listed. A named file is taken as it is."""
_TARS, _PACKED_TARS = (".tar",), (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
_TABLES = (".parquet", ".pq")
_TEXTS = (".txt", ".list", ".csv", ".tsv", ".jsonl", ".ndjson")
_REMOTE = ("http://", "https://")


class Entry(NamedTuple):
    """One picture of a source."""

    uri: str
    """Its name: a location, or ``FILE#MEMBER`` for a picture inside a file."""
    file: str | None = None
    """The file that it lies in; None for a picture that is a file."""
    at: int | None = None
    """Where in that file: first byte in a tar, row in a Parquet table."""
    size: int | None = None
    """Bytes in a tar."""


@dataclass(frozen=True)
class Listing:
    """What a run is to label; ``entries`` lists it anew each time, in the same order."""

    sources: tuple[str, ...]
    limit: int | None = None
    column: str | None = None
    remote: bool = False
    """Whether http(s) addresses are taken."""

    @property
    def source(self) -> str:
        """In words, for a record."""
        more = f" and {len(self.sources) - 3} more" if len(self.sources) > 3 else ""
        return ", ".join(self.sources[:3]) + more

    def entries(self) -> Iterator[Entry]:
        """Every picture, repeated ones too. InputError for a source that can't be listed."""
        found = (entry for source in self.sources for entry in self._of(source))
        return islice(found, self.limit)

    def _of(self, source: str) -> Iterator[Entry]:
        for entry in _list_one(source, self.column):
            if not self.remote and entry.file is None and entry.uri.startswith(_REMOTE):
                raise InputError(
                    f"{source!r} lists {entry.uri[:120]!r}: pictures are fetched from the web only if you ask for it;"
                    " pass --fetch, or take such addresses out"
                )
            yield entry


def list_pictures(
    source: str | Path | Sequence[str | Path], limit: int | None = None, *, column: str | None = None,
    remote: bool = False,
) -> Listing:  # fmt: skip
    """The first ``limit`` pictures of one source or of several, or all. NoImagesError if there are none."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; give a number from 1 up, or leave it out")
    given = [source] if isinstance(source, str | Path) else source
    listing = Listing(tuple(os.fspath(item) for item in given), limit, column, remote)
    # The first entry of each source: what can't be listed at all is said before anything else is done.
    if not [entry for item in listing.sources for entry in islice(listing._of(item), 1)]:
        raise NoImagesError(
            f"{listing.source!r} holds no pictures; files with {', '.join(sorted(SUFFIXES))} are looked for, in"
            " subfolders too, or .tar and .parquet files where there are none"
        )
    return listing


def _list_one(source: str, column: str | None) -> Iterator[Entry]:
    if source.startswith("s3://"):
        return _list_s3(source, column)
    if source.startswith(_REMOTE):
        return iter([Entry(source)])
    if "://" in source and not source.startswith("file://"):
        open_location(source)  # says which kinds of location are read
    path = local_path(source)
    if os.path.isdir(path):
        return _pictures_or_containers(lambda: _walk(path), column)
    if os.path.isfile(path):
        return _list_file(local_uri(path), column)
    if glob.has_magic(path):
        return _pictures_or_containers(
            lambda: map(local_uri, sorted(glob.glob(path, recursive=True))), column
        )
    raise InputError(
        f"source {source!r} doesn't exist; give a folder, a glob, a picture, a .tar, .parquet, .txt, .csv or .jsonl"
        " file, or s3://BUCKET/PREFIX"
    )


def _pictures_or_containers(names, column: str | None) -> Iterator[Entry]:
    """The pictures among them; where there are none, those inside the tars and tables among them."""
    some = False
    for name in names():
        if name.lower().endswith(_PICTURES):
            some = True
            yield Entry(name)
    if not some:
        for name in names():
            if name.lower().endswith((*_TARS, *_TABLES)):
                yield from _list_file(name, column)


def _walk(folder: str) -> Iterator[str]:
    # Dangling links and unreadable files are listed too: each of them gets its error row.
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield local_uri(os.path.join(parent, name))


def _list_file(uri: str, column: str | None) -> Iterator[Entry]:
    """What a file holds: a manifest's, a table's or a tar's pictures, or the file itself."""
    name = uri.lower()
    if name.endswith(_PACKED_TARS):
        raise InputError(
            f"{uri!r} is a compressed tar, which can't be read from the middle; unpack it to .tar"
        )
    if name.endswith(_TARS):
        return (Entry(f"{uri}#{member}", uri, at, size) for member, at, size in manifests.tar_members(uri))
    if name.endswith(_TABLES):
        return _list_table(uri, column)
    if name.endswith(_TEXTS):
        return (Entry(_beside(uri, text)) for text in manifests.text_locations(uri, column))
    return iter([Entry(uri)])


def _list_table(uri: str, column: str | None) -> Iterator[Entry]:
    kind, name, rows = manifests.table_kind(uri, column)
    if kind == "images":
        for row in range(rows):
            yield Entry(f"{uri}#{name}[{row}]", uri, row)
    else:
        for text in manifests.table_locations(uri, name):
            yield Entry(_beside(uri, text))


def _beside(manifest: str, text: str) -> str:
    """The location that a manifest means; relative ones are relative to the manifest."""
    if "://" in text:
        return text
    if manifest.startswith("s3://") and not text.startswith("/"):
        return f"{manifest.rpartition('/')[0]}/{text}"
    return local_uri(os.path.join(os.path.dirname(local_path(manifest)), text))


def _list_s3(source: str, column: str | None) -> Iterator[Entry]:
    filesystem, key = open_location(source)
    try:
        if filesystem.get_file_info(key).type == arrow_fs.FileType.File and not source.endswith("/"):
            return _list_file(f"s3://{key}", column)
    except OSError as error:
        raise InputError(
            f"{source!r} can't be looked up: {error}; check the bucket, the credentials and AWS_ENDPOINT_URL"
        ) from error

    def names() -> Iterable[str]:
        return list_objects(f"s3://{key}")

    return _pictures_or_containers(names, column)
