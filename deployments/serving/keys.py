"""API keys: made once, shown once, kept as hashes in one JSON file that an operator edits with ``alignhmr keys``.

A key is 256 random bits, so that one SHA-256 is as good as a slow hash: there is nothing to guess. The file may lie on
storage that every ingress reaches (a path or ``s3://``).
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from pyarrow import fs as arrow_fs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alignhmr.core.errors import InputError
from alignhmr.deployments.storage import open_location, write_whole

PREFIX = "ahk_"
"""Begins each key, so that scanners of repositories and logs can find one that got lost."""


class KeyRecord(BaseModel):
    """What is known of a key: everything but the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Whose it is; in the log.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Hex digest of the key.")
    rate_per_s: float | None = Field(
        default=None, gt=0, description="Requests a second, and as many at once; null is any number."
    )
    pictures_per_day: int | None = Field(
        default=None, ge=1, description="Pictures a day, by UTC; null is any number."
    )


class KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[KeyRecord, ...]

    @field_validator("keys")
    @classmethod
    def _each_name_once(cls, keys: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        if len({key.name for key in keys}) < len(keys):
            raise ValueError("a name stands twice; give each key a name of its own")
        return keys


def read_keys(location: str) -> tuple[KeyRecord, ...]:
    """Every key of the file. InputError where it isn't there or isn't one: then nobody must get in."""
    filesystem, path = open_location(location)
    try:
        with filesystem.open_input_stream(path) as stream:
            return KeyFile.model_validate_json(stream.read()).keys
    except OSError as error:
        raise InputError(
            f"the key file {location} can't be read ({error}); make it with `alignhmr keys add {location} NAME`"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"the key file {location} is none: {where}: {first['msg']}; make it with `alignhmr keys add`"
        ) from None


def edition(location: str) -> tuple[datetime | None, int | None]:
    """Differs when the file does: when it was last written, and its size, since S3's clock counts seconds only."""
    filesystem, path = open_location(location)
    found = filesystem.get_file_info(path)
    return found.mtime, found.size


def add_key(
    location: str, name: str, *, rate_per_s: float | None = None, pictures_per_day: int | None = None
) -> str:
    """The new key, which is nowhere afterwards but with the caller. Makes the file where there is none."""
    filesystem, path = open_location(location)
    there = filesystem.get_file_info(path).type == arrow_fs.FileType.File
    keys = read_keys(location) if there else ()
    if any(key.name == name for key in keys):
        raise InputError(f"{location} has a key named {name!r}; remove it first, or give another name")
    secret = PREFIX + secrets.token_urlsafe(32)
    try:
        record = KeyRecord(
            name=name, sha256=_digest(secret), rate_per_s=rate_per_s, pictures_per_day=pictures_per_day
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}; correct it") from None
    _write(location, (*keys, record))
    return secret


def remove_key(location: str, name: str) -> None:
    """Takes a key back; running services notice within seconds. InputError where there is none of that name."""
    keys = read_keys(location)
    left = tuple(key for key in keys if key.name != name)
    if len(left) == len(keys):
        known = ", ".join(key.name for key in keys) or "none"
        raise InputError(f"{location} has no key named {name!r}; it has: {known}")
    _write(location, left)


def holder(presented: str, keys: Sequence[KeyRecord]) -> KeyRecord | None:
    """Whose key it is. Takes the same time whichever key it is and however much of one it is."""
    digest, found = _digest(presented), None
    for key in keys:
        if hmac.compare_digest(digest, key.sha256):
            found = key
    return found


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _write(location: str, keys: tuple[KeyRecord, ...]) -> None:
    filesystem, path = open_location(location)
    try:
        write_whole(filesystem, path, (KeyFile(keys=keys).model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise InputError(f"{location} can't be written ({error}); give a place that can be") from None
