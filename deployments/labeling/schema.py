"""The row that a labelling run writes: its columns, their types and meaning, and tables of such rows.

One row for each person found, or one error row for a picture that gave none; ``error_code`` tells which.
A person's row is known by ``(image_sha256, person_index)``. With M hypotheses, M times N numbers lie in one
fixed-size list, hypothesis by hypothesis: ``column.reshape(M, 24, 3)``. Nothing is pickled.

Columns may be added within a schema version; a changed or removed column raises it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.language.facts import PARTS

SCHEMA_VERSION = 1

ERROR_CODES: dict[str, str] = {
    "missing": "the source lists it, but it can't be found",
    "forbidden": "no permission to read it",
    "not_a_file": "a folder, a device or the like",
    "read_failed": "storage failed while it was read",
    "bad_location": "no path or address that can be read",
    "refused_address": "on the web, at an address that isn't public",
    "opted_out": "on the web, and its server asks not to use it",
    "fetch_failed": "on the web, and the server didn't give it",
    "not_fetched": "on the web, and fetching wasn't asked for",
    "empty": "no bytes in it",
    "too_large": "more bytes or pixels than allowed",
    "too_small": "fewer pixels than a person needs",
    "truncated": "damaged, or cut short",
    "not_an_image": "the bytes are something else than a picture",
    "unsupported": "a picture, in a format that isn't read",
    "unreadable": "decoding failed in another way",
    "duplicate": "the same bytes as another picture, which is labelled; the message names it",
    "no_person": "nobody was found",
    "detector_failed": "the detector raised on this picture",
    "recovery_failed": "the recovery raised on this person, or gave numbers that aren't finite",
    "score_failed": "the scorer raised on this person",
    "captioner_refused": "the vision-language model declined to describe this person, and captions are required",
    "caption_failed": "there is no whole caption, and captions are required; the message says why",
    "timed_out": "it took longer than the time limit",
    "worker_killed": "its worker died of it, as often as it was tried",
}
"""Closed list of what ``error_code`` can be."""

STAGES: tuple[str, ...] = ("read", "decode", "people", "caption", "recover", "score")

_J, _K = len(JOINTS), len(KEYPOINTS)


def _numbers(count: int) -> pa.DataType:
    return pa.list_(pa.float32(), count)


_PAIR = pa.struct([("winner", pa.int32()), ("loser", pa.int32()), ("margin", pa.float32())])


def picture_fields() -> list[pa.Field]:
    """Columns known once a picture has been read and searched for people."""
    return [
        _field("image_sha256", pa.string(), "digest of the encoded bytes; null if they couldn't be read"),
        _field("person_index", pa.int32(), "0 is the detector's most confident person; null in an error row"
               " that concerns the whole picture"),
        _field("uri", pa.string(), "where the picture was read"),
        _field("width", pa.int32(), "pixels of the upright picture"),
        _field("height", pa.int32(), ""),
        _field("error_code", pa.string(), "null for a good row, else a key of ERROR_CODES"),
        _field("error_stage", pa.string(), "one of STAGES"),
        _field("error_message", pa.string(), "one sentence"),
        _field("duplicate_of", pa.string(), "in a row 'duplicate': the picture that is labelled"),
        _field("box_px", _numbers(4), "x0, y0, x1, y1"),
        _field("detection_score", pa.float32(), "0..1"),
        _field("keypoints_px", _numbers(_K * 3), "x, y, confidence in the order of skeleton.KEYPOINTS"),
        _field("keypoints_3d_m", _numbers(_K * 3), "the detector's own, hip-centred; null if it has none"),
        _field("view_jpeg", pa.binary(), "the square around the box that the models look at, 256 px; to train on"),
    ]  # fmt: skip


def caption_fields() -> list[pa.Field]:
    """Columns that a captioner fills."""
    return [
        _field(
            "captions", pa.struct([(part, pa.string()) for part in PARTS]), "a sentence for each body part"
        ),
        _field("caption_source", pa.string(), "pose (computed from the selected hypothesis) or vlm:NAME"),
        _field("caption_error", pa.string(), "why a caption is missing or not whole; null for a whole one"),
    ]


def recovery_fields(hypotheses: int) -> list[pa.Field]:
    """Columns that the model and the scorer fill, for a run with this many hypotheses."""
    m = hypotheses
    return [
        _field("focal_px", pa.float32(), ""),
        _field("center_px", _numbers(2), "principal point"),
        _field("intrinsics_source", pa.string(), "given, exif or default"),
        _field("crop_px", _numbers(3), "centre x, centre y and side of the square the model looked at"),
        _field("pose_aa", _numbers(m * _J * 3), "axis-angle; joint 0 is the root in the camera frame"),
        _field("betas", _numbers(m * 10), "shape in the body model's own space: see models"),
        _field("transl_cam_m", _numbers(m * 3), "added to every vertex and joint"),
        _field("scores", _numbers(m), "larger is better, comparable within the row only"),
        _field("expected_error_mm", _numbers(m), "the scorer's estimate of the MPJPE"),
        _field("hypothesis_keypoints_px", _numbers(m * _K * 2), "each hypothesis' keypoints, projected"),
        _field("selected", pa.int32(), "index of the answer: the last, a mean body, of 8 or more, else the best"),
        _field("selected_joints_cam_m", _numbers(_J * 3), "joints of the selected hypothesis"),
        _field("agreement", _numbers(m * len(PARTS)), "of each hypothesis with what a model's caption says of each"
               " part, 0..1; NaN of a part of which it says nothing; null without such a caption"),
        _field("joint_spread_mm", _numbers(_J), "standard deviation over the hypotheses, root-relative"),
        _field("error_interval_mm", _numbers(2), "90 % interval of the selected one's MPJPE; null if not calibrated"),
        _field("joint_error_mm", _numbers(_J * 3), "expected error and its 90 % interval; null if not calibrated"),
    ]  # fmt: skip


def origin_fields() -> list[pa.Field]:
    """Columns that say what made the row."""
    return [
        _field(
            "vetoes",
            pa.list_(pa.string()),
            "what speaks against each hypothesis whatever its score, or null",
        ),
        _field("pairs", pa.list_(_PAIR), "hypotheses preferred over others; null where none could be made"),
        _field("abstained", pa.string(), "why there are no pairs; null where there are"),
        _field("judged_mm", pa.float32(), "of a cleaning run: how wrong the label seems; else null"),
        _field(
            "own_judged_mm",
            pa.float32(),
            "of a cleaning run: how wrong the selected hypothesis seems; else null",
        ),
        _field("seed", pa.int64(), "of this person, from the run's seed and the row's identity"),
        _field("models", pa.map_(pa.string(), pa.string()), "name -> digest of all that touched the row"),
        _field("package_version", pa.string(), "of alignhmr"),
        _field("schema_version", pa.int32(), ""),
    ]


def row_schema(hypotheses: int) -> pa.Schema:
    """The schema of a run's rows."""
    fields = [*picture_fields(), *recovery_fields(hypotheses), *caption_fields(), *origin_fields()]
    metadata = {"alignhmr.schema_version": str(SCHEMA_VERSION), "alignhmr.hypotheses": str(hypotheses)}
    return pa.schema(fields, metadata=metadata)


def hypotheses_of(schema: pa.Schema) -> int:
    """M of rows with this schema."""
    return schema.field("scores").type.list_size


def _field(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, kind, metadata={"doc": doc} if doc else None)


def table_from_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table with exactly this schema. Keys that a row lacks are null; others are left out."""
    return pa.table(
        [_column([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema
    )


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        if pa.types.is_map(kind):
            values = [None if value is None else list(dict(value).items()) for value in values]
        return pa.array(values, kind)
    # By way of one numpy block: a Python list of thousands of floats a row would cost more than the model.
    flat = np.zeros((len(values), kind.list_size), np.float32)
    missing = np.zeros(len(values), bool)
    for index, value in enumerate(values):
        if value is None:
            missing[index] = True
        else:
            flat[index] = np.asarray(value, np.float32).reshape(-1)
    mask = pa.array(missing) if missing.any() else None
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=kind, mask=mask)


def rows_from_table(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dictionaries; fixed-size lists as flat numpy arrays, everything else as Python values."""
    columns = {name: _values(table.column(name)) for name in table.column_names}
    return [{name: values[index] for name, values in columns.items()} for index in range(table.num_rows)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_pylist()
    values: list[Any] = []
    for chunk in column.chunks:
        size = chunk.type.list_size
        # .values looks past slicing and nulls: cut the chunk's own part out, then put the nulls back.
        flat = chunk.values.slice(chunk.offset * size, len(chunk) * size).to_numpy(zero_copy_only=False)
        block = flat.reshape(len(chunk), size)
        valid = chunk.is_valid().to_pylist()
        values.extend(row if ok else None for row, ok in zip(block, valid, strict=True))
    return values


def widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's rows with exactly this schema: columns that it lacks are null, others are left out."""
    names, rows = set(table.column_names), table.num_rows
    columns = [
        table.column(field.name) if field.name in names else pa.nulls(rows, field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def with_columns(table: pa.Table, **columns: Sequence[Any]) -> pa.Table:
    """The table with these columns' values replaced, types kept."""
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, _column(list(values), field.type))
    return table
