"""Samples in files: Parquet with typed columns, or a WebDataset tar of JPEG, JSON and PNG. Never a pickle.

Both hold the same and are read back to the same ``Sample``, bit for bit: coordinates are float32, masks PNG.
Files are named by the range of their indices, and hold samples in order.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.records import Points, Sample, TrueBody, Truth

FORMATS: tuple[str, ...] = ("parquet", "webdataset")
SUFFIX = {"parquet": ".parquet", "webdataset": ".tar"}
MANIFEST = "synth.json"
IDENTITY_KEY = b"alignhmr.synth"
"""Key of the Parquet schema's metadata that names the run."""
_SETS = {"smpl24": 24, "coco23": 23}


def _numbers(count: int) -> pa.DataType:
    return pa.list_(pa.float32(), count)


_PERSON = pa.struct(
    [("box_px", _numbers(4))]
    + [
        field
        for name, count in _SETS.items()
        for field in (
            (f"{name}_cam_m", _numbers(3 * count)),
            (f"{name}_px", _numbers(2 * count)),
            (f"{name}_visible", pa.list_(pa.bool_(), count)),
        )
    ]
    + [
        ("body", pa.string()), ("pose_aa", _numbers(72)), ("betas", _numbers(10)), ("transl_cam_m", _numbers(3)),
        ("mask_png", pa.binary()), ("facts", pa.string()),
    ]
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("group", pa.string()), ("domain", pa.string()), ("image", pa.binary()),
        ("focal_px", pa.float64()), ("center_px", pa.list_(pa.float64(), 2)), ("people", pa.list_(_PERSON)),
    ]
)  # fmt: skip
"""Units are in the names; point sets are flattened row by row; ``facts`` is a JSON object."""


def to_row(sample: Sample, jpeg: bytes) -> dict[str, Any]:
    """One row of ``SCHEMA``."""
    return {
        "id": sample.id,
        "group": sample.group,
        "domain": sample.domain,
        "image": jpeg,
        "focal_px": sample.intrinsics.focal_px,
        "center_px": list(sample.intrinsics.center_px),
        "people": [_person_row(person) for person in sample.people],
    }


def _person_row(truth: Truth) -> dict[str, Any]:
    assert truth.body is not None and truth.mask is not None
    row: dict[str, Any] = {"box_px": truth.box_px.tolist()}
    for name in _SETS:
        points = truth.points[name]
        assert points.cam_m is not None and points.px is not None and points.visible is not None
        row |= {
            f"{name}_cam_m": points.cam_m.ravel().tolist(),
            f"{name}_px": points.px.ravel().tolist(),
            f"{name}_visible": points.visible.tolist(),
        }
    return row | {
        "body": truth.body.body,
        "pose_aa": truth.body.pose_aa.ravel().tolist(),
        "betas": truth.body.betas.tolist(),
        "transl_cam_m": truth.body.transl_cam_m.tolist(),
        "mask_png": cv2.imencode(".png", truth.mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes(),
        "facts": json.dumps(dict(truth.facts)),
    }


def from_row(row: Mapping[str, Any]) -> Sample:
    """Inverse of ``to_row``."""
    return Sample(
        id=row["id"],
        group=row["group"],
        domain=row["domain"],
        picture=decode(row["image"]),
        intrinsics=Intrinsics(row["focal_px"], tuple(row["center_px"]), "given"),
        people=[_truth(person) for person in row["people"]],
    )


def _truth(row: Mapping[str, Any]) -> Truth:
    def numbers(key: str, *shape: int) -> np.ndarray:
        return np.array(row[key], np.float32).reshape(shape)

    return Truth(
        box_px=numbers("box_px", 4),
        points={
            name: Points(
                numbers(f"{name}_cam_m", count, 3), numbers(f"{name}_px", count, 2), np.array(row[f"{name}_visible"])
            )
            for name, count in _SETS.items()
        },
        body=TrueBody(
            row["body"], numbers("pose_aa", 24, 3), numbers("betas", 10), numbers("transl_cam_m", 3)
        ),
        mask=_grey(row["mask_png"]),
        facts=json.loads(row["facts"]),
    )  # fmt: skip


def parquet_bytes(rows: Iterable[Mapping[str, Any]], identity: str) -> bytes:
    """One shard. Pictures are compressed already, so their column is left as it is."""
    table = pa.Table.from_pylist(list(rows), SCHEMA.with_metadata({IDENTITY_KEY: identity.encode()}))
    sink = io.BytesIO()
    how: Any = {
        name: "NONE" if name == "image" else "ZSTD" for name in _leaves()
    }  # stubs know one for all only
    pq.write_table(table, sink, compression=how)
    return sink.getvalue()


def _grey(png: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise InputError(f"a mask of {len(png)} bytes is no readable PNG; make the samples again")
    return picture


def _leaves() -> list[str]:
    empty = io.BytesIO()
    pq.write_table(SCHEMA.empty_table(), empty)
    schema = pq.ParquetFile(empty).schema
    return [schema.column(index).path for index in range(len(schema.names))]


def tar_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """One shard as WebDataset has it: for each id a .jpg, a .json, and a .mask.png with person k as value k + 1.

    Masks never overlap, so one picture holds them all.
    """
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for row in rows:
            known = {key: value for key, value in row.items() if key != "image"}
            masks = [_grey(p["mask_png"]) for p in row["people"]]
            joined = np.zeros_like(masks[0])
            for number, mask in enumerate(masks):
                joined[(mask > 0) & (joined == 0)] = number + 1
            known["people"] = [{k: v for k, v in p.items() if k != "mask_png"} for p in row["people"]]
            text = json.dumps(known, separators=(",", ":"))
            for suffix, data in (
                ("jpg", row["image"]), ("json", text.encode()), ("mask.png", cv2.imencode(".png", joined)[1].tobytes())
            ):  # fmt: skip
                entry = tarfile.TarInfo(
                    f"{row['id']}.{suffix}"
                )  # time 0, owner 0: the bytes are the samples' alone
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def tar_rows(file) -> Iterator[dict[str, Any]]:
    """Rows of a tar that ``tar_bytes`` wrote. tarfile.ReadError for one that is cut short."""
    data = file.read()
    # tarfile takes a missing end for the end; whole archives end with two empty blocks.
    if len(data) % tarfile.RECORDSIZE or data[-1024:].strip(b"\0"):
        raise tarfile.ReadError("it is cut short")
    held: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for entry in archive:
            name, _, suffix = entry.name.partition(".")
            stream = archive.extractfile(entry)
            held[suffix] = stream.read() if stream else b""
            if suffix != "mask.png":
                continue
            row = json.loads(held["json"])
            joined = _grey(held["mask.png"])
            for number, person in enumerate(row["people"]):
                mask = np.where(joined == number + 1, np.uint8(255), np.uint8(0))
                person["mask_png"] = cv2.imencode(".png", mask)[1].tobytes()
            assert row["id"] == name
            yield row | {"image": held["jpg"]}


def read_samples(location: str | Path, filesystem: arrow_fs.FileSystem | None = None) -> Iterator[Sample]:
    """Every sample of a folder that ``alignhmr synth`` wrote, in order of their indices.

    ``filesystem`` is the local one if not given. InputError for a folder without samples, and at the file that
    can't be read.
    """
    where = filesystem or arrow_fs.LocalFileSystem()
    return (from_row(row) for file in sample_files(where, str(location)) for row in rows_of(where, file))


def sample_files(filesystem: arrow_fs.FileSystem, path: str) -> list[str]:
    """The files of a folder that ``alignhmr synth`` wrote, in order of their indices. InputError for none."""
    found = filesystem.get_file_info(arrow_fs.FileSelector(path, allow_not_found=True, recursive=True))
    files = sorted(info.path for info in found if info.path.endswith(tuple(SUFFIX.values())))
    if not files:
        raise InputError(
            f"{path} holds no samples (*.parquet or *.tar); name a folder written by `alignhmr synth`"
        )
    return files


def rows_of(filesystem: arrow_fs.FileSystem, path: str) -> Iterator[dict[str, Any]]:
    """The rows of one such file, their pictures still encoded. InputError where it can't be read."""
    try:
        if path.endswith(SUFFIX["webdataset"]):
            with filesystem.open_input_stream(path) as stream:
                yield from tar_rows(stream)
            return
        with filesystem.open_input_file(path) as source:
            parquet = pq.ParquetFile(source)
            if not parquet.schema_arrow.equals(SCHEMA):
                raise InputError(
                    f"{path} doesn't hold made people: its columns are {parquet.schema_arrow.names}"
                )
            for batch in parquet.iter_batches(batch_size=16):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, tarfile.TarError, json.JSONDecodeError, KeyError, OSError) as error:
        raise InputError(
            f"{path} can't be read as samples ({error}); make it again with `alignhmr synth`"
        ) from error
