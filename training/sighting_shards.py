"""People prepared for training, in files: Parquet shards that name their plan, their body models and their counts.

One row is one ``Sighting``; arrays are flattened row by row, units are in the names. A shard is read whole and
gives its rows one by one, its pictures still encoded.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as arrow_fs

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.training.sightings import MASK_PX, Sighting

SCHEMA_VERSION = 1
METADATA_KEY = b"alignhmr.people"
"""Key of the Parquet schema's metadata: a JSON object of version, identity, bodies and counts."""

_NUMBERS: dict[str, tuple[int, ...]] = {
    "window_px": (3,), "box_px": (4,), "keypoints_px": (23, 3), "keypoints_3d_m": (23, 3), "pose_aa": (24, 3),
    "betas": (10,), "transl_cam_m": (3,), "smpl24_cam_m": (24, 3), "coco23_cam_m": (23, 3),
}  # fmt: skip
_FLAGS = {"smpl24_visible": 24, "coco23_visible": 23}
_MASKS = ("mask", "true_mask")
_NULLABLE = {"keypoints_3d_m", *_FLAGS, *_MASKS}


def _type(name: str) -> pa.DataType:
    if name in _NUMBERS:
        return pa.list_(pa.float32(), int(np.prod(_NUMBERS[name])))
    if name in _FLAGS:
        return pa.list_(pa.bool_(), _FLAGS[name])
    if name in _MASKS:
        return pa.binary(MASK_PX * MASK_PX)
    others = {
        "crop_jpeg": pa.binary(), "picture_px": pa.list_(pa.int32(), 2), "focal_px": pa.float64(),
        "center_px": pa.list_(pa.float64(), 2), "score": pa.float64(),
    }  # fmt: skip
    return others.get(name, pa.string())


SCHEMA = pa.schema([pa.field(f.name, _type(f.name), nullable=f.name in _NULLABLE) for f in fields(Sighting)])
"""Masks are 64 rows of 64 bytes; ``facts`` is a JSON object."""


@dataclass(frozen=True)
class ShardInfo:
    """What a shard says about itself, without its rows."""

    rows: int
    identity: Mapping[str, Any]
    """The plan that it is a part of."""
    bodies: tuple[str, ...]
    counts: Mapping[str, Any]
    """How it came about: pictures, people left out by reason, ..."""


class Shard(Sequence[Sighting]):
    """The rows of one file, in memory; a row is put together when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._rows, self.nbytes = table.num_rows, table.nbytes
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        # One array for a column: reading lists row by row is slow.
        self._arrays = {
            name: _flat(columns.pop(name)).reshape(-1, *shape)
            for name, shape in {**_NUMBERS, **{name: (count,) for name, count in _FLAGS.items()}}.items()
        }
        self._known = {name: table.column(name).is_valid().to_numpy() for name in self._arrays}
        self._columns = columns

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> Sighting:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not 0 <= row < self._rows:
            raise IndexError(row)
        # Copied: a row that is kept must not keep the shard, and torch wants arrays that it may write to.
        values: dict[str, Any] = {
            name: array[row].copy() if self._known[name][row] else None
            for name, array in self._arrays.items()
        }
        for name, column in self._columns.items():
            values[name] = column[row].as_py()
        for name in _MASKS:
            if values[name] is not None:
                values[name] = np.frombuffer(values[name], np.uint8).reshape(MASK_PX, MASK_PX).copy()
        for name in ("picture_px", "center_px"):
            values[name] = tuple(values[name])
        return Sighting(**values | {"facts": json.loads(values["facts"])})


def shard_bytes(
    sightings: Iterable[Sighting], identity: Mapping[str, Any], counts: Mapping[str, Any] | None = None
) -> bytes:
    """One shard as a file. The same rows, identity and counts give the same bytes."""
    rows = list(sightings)
    about = {
        "version": SCHEMA_VERSION,
        "identity": dict(identity),
        "bodies": sorted({row.body for row in rows}),
        "counts": dict(counts or {}),
    }
    text = json.dumps(about, sort_keys=True)
    table = pa.table(
        [_column(name, [getattr(row, name) for row in rows]) for name in SCHEMA.names],
        schema=SCHEMA.with_metadata({METADATA_KEY: text.encode()}),
    )
    sink = io.BytesIO()
    # Pictures are compressed already.
    how: Any = {leaf: "NONE" if leaf == "crop_jpeg" else "ZSTD" for leaf in _leaves()}
    names: Any = ["group", "domain", "body"]  # stubs know one for all only, as of `how`
    pq.write_table(table, sink, compression=how, use_dictionary=names)
    return sink.getvalue()


def read_info(filesystem: arrow_fs.FileSystem, path: str) -> ShardInfo:
    """From the end of the file alone. InputError names a file that is no shard, CompatibilityError one of another
    version."""
    try:
        with filesystem.open_input_file(path) as source:
            return _info(pq.ParquetFile(source), path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def read_shard(filesystem: arrow_fs.FileSystem, path: str) -> Shard:
    """All rows. InputError names a file that can't be read."""
    try:
        with filesystem.open_input_file(path) as source:
            parquet = pq.ParquetFile(source)
            _info(parquet, path)
            return Shard(parquet.read())
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _info(parquet: pq.ParquetFile, path: str) -> ShardInfo:
    schema = parquet.schema_arrow
    try:
        about = json.loads((schema.metadata or {})[METADATA_KEY])
        version = about["version"]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path} holds no prepared people (its columns begin with {', '.join(schema.names[:3])}); give a folder"
            " written by `alignhmr prepare`"
        ) from None
    if version != SCHEMA_VERSION or not schema.equals(SCHEMA):
        raise CompatibilityError(
            f"{path} holds prepared people of version {version}, this alignhmr reads {SCHEMA_VERSION}; prepare them"
            " again"
        )
    return ShardInfo(parquet.metadata.num_rows, about["identity"], tuple(about["bodies"]), about["counts"])


def _column(name: str, cells: list[Any]) -> pa.Array:
    kind = SCHEMA.field(name).type
    if name in _NUMBERS or name in _FLAGS:
        shape = _NUMBERS.get(name) or (_FLAGS[name],)
        empty = np.zeros(shape, bool if name in _FLAGS else np.float32)
        stacked = np.stack([empty if cell is None else cell for cell in cells] or [empty])[: len(cells)]
        assert stacked.shape[1:] == shape and stacked.dtype == empty.dtype, (
            f"{name}: {stacked.dtype}{stacked.shape}"
        )
        missing = pa.array([cell is None for cell in cells], pa.bool_())
        return pa.FixedSizeListArray.from_arrays(pa.array(stacked.ravel()), type=kind, mask=missing)
    if name in _MASKS:
        cells = [None if cell is None else cell.tobytes() for cell in cells]
    elif name == "facts":
        cells = [json.dumps(dict(cell)) for cell in cells]
    return pa.array(cells, kind)


def _flat(column: pa.FixedSizeListArray) -> np.ndarray:
    """All numbers of a column in a row; those of missing rows stand for nothing."""
    numbers = column.values
    return (numbers.fill_null(False) if pa.types.is_boolean(numbers.type) else numbers).to_numpy(
        zero_copy_only=False
    )


def _leaves() -> list[str]:
    empty = io.BytesIO()
    pq.write_table(SCHEMA.empty_table(), empty)
    schema = pq.ParquetFile(empty).schema
    return [schema.column(index).path for index in range(len(schema.names))]


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(
        f"{path} can't be read as prepared people ({str(error).splitlines()[0]}); remove it and run"
        " `alignhmr prepare` again"
    )
