"""From a listed entry to the picture's bytes, on any worker: disk, S3, the web, a tar's member, a table's row."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyarrow import fs as arrow_fs

from alignhmr.core.errors import ImageError, InputError
from alignhmr.deployments.labeling.manifests import image_bytes, parquet_file
from alignhmr.deployments.labeling.sources import Entry
from alignhmr.deployments.storage import local_path, open_location, s3_filesystem

if TYPE_CHECKING:
    from alignhmr.deployments.labeling.fetching import Fetcher


@dataclass
class Reader:
    """Reads entries. It travels to the workers; connections are made there."""

    max_bytes: int = 100 * 1024 * 1024
    fetcher: "Fetcher | None" = None
    """None: the web is off limits."""
    s3: arrow_fs.FileSystem | None = None
    """The driver's connection with its credentials, where a source is in a bucket."""
    _group: tuple[str, int, list[bytes | None]] | None = field(default=None, repr=False)

    @classmethod
    def for_sources(
        cls, sources: Sequence[str], max_bytes: int, fetcher: "Fetcher | None" = None
    ) -> "Reader":
        """One that carries the driver's S3 connection if a source names a bucket."""
        s3 = s3_filesystem() if any(source.startswith("s3://") for source in sources) else None
        return cls(max_bytes, fetcher, s3)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_group": None}

    def read(self, entry: Entry | str) -> bytes:
        """The bytes; raises ImageError with one of the codes of stage 'read'."""
        entry = Entry(entry) if isinstance(entry, str) else entry
        try:
            return self._read(entry)
        except FileNotFoundError as error:
            raise ImageError(f"{entry.uri} doesn't exist", code="missing") from error
        except PermissionError as error:
            raise ImageError(f"{entry.uri} may not be read", code="forbidden") from error
        except ImageError:
            raise
        except (OSError, InputError) as error:
            raise ImageError(f"{entry.uri} couldn't be read: {error}", code=_code_of(error)) from error

    def _read(self, entry: Entry) -> bytes:
        if entry.file is not None:
            return self._read_row(entry) if entry.size is None else self._read_member(entry)
        if entry.uri.startswith(("http://", "https://")):
            if self.fetcher is None:
                raise ImageError(
                    f"{entry.uri} is on the web, and --fetch wasn't asked for", code="not_fetched"
                )
            return self.fetcher.fetch(entry.uri, self.max_bytes)
        if entry.uri.startswith("s3://"):
            with self._s3().open_input_file(entry.uri.removeprefix("s3://")) as file:
                self._check_size(entry.uri, file.size())
                return file.read()
        if "://" in entry.uri and not entry.uri.startswith("file://"):
            raise ImageError(
                f"{entry.uri}: only local paths, file://, s3://, http:// and https:// are read",
                code="bad_location",
            )
        return self._read_local(local_path(entry.uri))

    def _read_local(self, path: str) -> bytes:
        # Opening a named pipe would wait for ever: look first.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path!r} is not a regular file", code="not_a_file")
        self._check_size(path, status.st_size)
        with open(path, "rb") as file:
            return file.read()

    def _read_member(self, entry: Entry) -> bytes:
        assert entry.file is not None and entry.at is not None and entry.size is not None
        self._check_size(entry.uri, entry.size)
        filesystem, path = self._filesystem(entry.file)
        with filesystem.open_input_file(path) as file:
            data = file.read_at(entry.size, entry.at)
        if len(data) != entry.size:
            raise ImageError(f"{entry.uri} is cut short: the tar ends before it does", code="truncated")
        return data

    def _read_row(self, entry: Entry) -> bytes:
        """A table is read by row group, and the last one is kept: neighbours come from the same."""
        assert entry.file is not None and entry.at is not None
        first, values = self._rows_around(
            entry.file, entry.at, entry.uri.rpartition("#")[2].rpartition("[")[0]
        )
        data = values[entry.at - first]
        if data is None:
            raise ImageError(f"{entry.uri} is null in the table", code="empty")
        self._check_size(entry.uri, len(data))
        return data

    def _rows_around(self, uri: str, row: int, column: str) -> tuple[int, list[bytes | None]]:
        if self._group and self._group[0] == uri and 0 <= row - self._group[1] < len(self._group[2]):
            return self._group[1], self._group[2]
        with parquet_file(uri) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < first + rows:
                    column_ = file.read_row_group(group, columns=[column]).column(0).combine_chunks()
                    values = image_bytes(column_)
                    self._group = (uri, first, values)
                    return first, values
                first += rows
        raise ImageError(f"{uri} has no row {row} any more", code="missing")

    def _filesystem(self, uri: str) -> tuple[arrow_fs.FileSystem, str]:
        return (self._s3(), uri.removeprefix("s3://")) if uri.startswith("s3://") else open_location(uri)

    def _s3(self) -> arrow_fs.FileSystem:
        if self.s3 is None:
            self.s3 = s3_filesystem()
        return self.s3

    def _check_size(self, uri: str, size: int) -> None:
        if size > self.max_bytes:
            raise ImageError(f"{uri} has {size} bytes, allowed are {self.max_bytes}", code="too_large")


def _code_of(error: Exception) -> str:
    # Arrow's S3 errors are OSErrors whose text alone says which.
    text = str(error)
    return "forbidden" if "ACCESS_DENIED" in text or "HTTP response code 403" in text else "read_failed"
