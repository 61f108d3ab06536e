"""Where pictures come from: a folder, a glob, one file, a text file of locations, an ``s3://`` prefix.

Listing is done once, in the driver, and gives locations; ``Reader`` turns one into bytes on any worker.
"""

import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs as arrow_fs

from alignhmr.core.errors import ImageError, InputError, NoImagesError
from alignhmr.core.perception.images import SUFFIXES
from alignhmr.deployments.storage import local_path, local_uri, open_location, s3_filesystem

_ENDINGS = tuple(SUFFIXES)
"""What counts as a picture when a folder, a glob or a prefix is listed. A named file is taken as it is."""


@dataclass(frozen=True)
class Reader:
    """Reads a listed location. Travels to the workers with the S3 connection that the driver set up."""

    s3: arrow_fs.FileSystem | None = None
    max_bytes: int = 100 * 1024 * 1024

    def read(self, uri: str) -> bytes:
        """The bytes; raises ImageError with one of the codes of stage 'read'."""
        try:
            return self._read_s3(uri) if uri.startswith("s3://") else self._read_local(local_path(uri))
        except FileNotFoundError as error:
            raise ImageError(f"{uri} doesn't exist", code="missing") from error
        except PermissionError as error:
            raise ImageError(f"{uri} may not be read", code="forbidden") from error
        except OSError as error:
            raise ImageError(f"{uri} couldn't be read: {error}", code="read_failed") from error

    def _read_local(self, path: str) -> bytes:
        # Opening a named pipe would wait for ever: look first.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path!r} is not a regular file", code="not_a_file")
        self._check_size(path, status.st_size)
        with open(path, "rb") as file:
            return file.read()

    def _read_s3(self, uri: str) -> bytes:
        assert self.s3 is not None
        with self.s3.open_input_file(uri.removeprefix("s3://")) as file:
            self._check_size(uri, file.size())
            return file.read()

    def _check_size(self, uri: str, size: int) -> None:
        if size > self.max_bytes:
            raise ImageError(f"{uri} has {size} bytes, allowed are {self.max_bytes}", code="too_large")


@dataclass(frozen=True)
class Listing:
    """The pictures of a source, in a fixed order, and how to read them."""

    source: str
    uris: tuple[str, ...]
    s3: arrow_fs.FileSystem | None

    def digest(self) -> str:
        """SHA-256 over the locations: tells whether two runs were given the same pictures by name."""
        return hashlib.sha256("\n".join(self.uris).encode()).hexdigest()


def list_pictures(source: str | Path | Sequence[str | Path], limit: int | None = None) -> Listing:
    """The first ``limit`` pictures of one source or of several, or all. NoImagesError if there are none."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; give a number from 1 up, or leave it out")
    sources = [os.fspath(item) for item in ([source] if isinstance(source, str | Path) else source)]
    name = ", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
    found = [uri for item in sources for uri in _list_one(item)]
    uris = tuple(dict.fromkeys(found))
    if not uris:
        raise NoImagesError(
            f"{name!r} holds no pictures; files with {', '.join(sorted(SUFFIXES))} are looked for, in subfolders too"
        )
    s3 = s3_filesystem() if any(uri.startswith("s3://") for uri in uris) else None
    return Listing(name, uris[:limit], s3)


def _list_one(source: str) -> list[str]:
    if source.startswith("s3://"):
        return _list_s3(source)
    if "://" in source and not source.startswith("file://"):
        open_location(source)  # says which kinds of location are read
    path = local_path(source)
    if os.path.isdir(path):
        return _pictures(_walk(path))
    if os.path.isfile(path):
        return _list_file(path) if path.lower().endswith((".txt", ".list")) else [local_uri(path)]
    if glob.has_magic(path):
        return _pictures(sorted(glob.glob(path, recursive=True)))
    raise InputError(
        f"source {source!r} doesn't exist; give a folder, a glob, a picture, a .txt list or s3://BUCKET/PREFIX"
    )


def _walk(folder: str) -> Iterable[str]:
    # Dangling links and unreadable files are listed too: each of them gets its error row.
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield os.path.join(parent, name)


def _list_file(path: str) -> list[str]:
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list {path!r} can't be read as text: {error}") from error
    base = os.path.dirname(os.path.abspath(path))
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [_as_uri(entry if "://" in entry else os.path.join(base, entry)) for entry in entries]


def _list_s3(source: str) -> list[str]:
    filesystem, key = open_location(source)
    try:
        info = filesystem.get_file_info(key)
        if info.type == arrow_fs.FileType.File:
            return [f"s3://{key}"]
        entries = filesystem.get_file_info(arrow_fs.FileSelector(key, recursive=True, allow_not_found=True))
    except OSError as error:
        raise InputError(
            f"{source!r} can't be listed: {error}; check the bucket, the credentials and AWS_ENDPOINT_URL"
        ) from error
    if not entries:
        _check_bucket(filesystem, key.split("/", 1)[0])
    files = sorted(entry.path for entry in entries if entry.type == arrow_fs.FileType.File)
    return [f"s3://{path}" for path in files if path.lower().endswith(_ENDINGS)]


def _check_bucket(filesystem: arrow_fs.FileSystem, bucket: str) -> None:
    """InputError where there is none; whoever may not ask after the bucket itself isn't told."""
    try:
        found = filesystem.get_file_info(bucket).type
    except OSError:
        return
    if found == arrow_fs.FileType.NotFound:
        raise InputError(f"there is no bucket {bucket!r}; check its name, and AWS_ENDPOINT_URL")


def _pictures(paths: Iterable[str]) -> list[str]:
    return [local_uri(path) for path in paths if path.lower().endswith(_ENDINGS)]


def _as_uri(entry: str) -> str:
    if entry.startswith("s3://"):
        return entry
    if "://" in entry and not entry.startswith("file://"):
        open_location(entry)
    return local_uri(local_path(entry))
