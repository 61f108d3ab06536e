"""What any system said about the people of a benchmark, as one Parquet file: how it is written, read and checked.

A row is one person, with M hypotheses (M = 1 for most systems; hypothesis 0 is the deterministic answer):

    sample_id          string              ``Sample.id``
    person             int32               index in ``Sample.people``
    points_m.SET       float32[M * n * 3]  points of a set of ``joint_sets.POINT_SETS``; x right, y down, z forward,
                                           metres, standing anywhere. NaN for a point that the system doesn't know
    points_px.SET      float32[M * n * 2]  the same in pixels of the full picture; for the 2D figures
    pose_aa            float32[M * 72]     24 SMPL joint rotations, axis-angle, the root in the camera's frame
    betas              float32[M * 10]     of the body model that the file names
    scores             float32[M]          larger is better
    expected_error_mm  float32[M]          the system's own estimate of its MPJPE
    selected           int32               chosen without any truth; 0 where the column is missing

Lists are fixed in size, hypothesis by hypothesis. Either ``points_m.SET`` or ``pose_aa`` and ``betas`` must be
there: points are then computed with the body model. A person without a row was missed. The schema's metadata
holds, under ``alignhmr.predictions``, the JSON of `SystemInfo` with ``format`` and ``hypotheses``.
``alignhmr eval BENCHMARK --export DIR`` writes the pictures, boxes and cameras to be answered. From CameraHMR's
SMPL parameters, for instance:

    import json, pyarrow as pa, pyarrow.parquet as pq
    from scipy.spatial.transform import Rotation

    rows = {"sample_id": [], "person": [], "pose_aa": [], "betas": []}
    for sample_id, person, smpl in outputs:            # rotations of 24 joints, as matrices, and 10 betas
        rows["sample_id"].append(sample_id)
        rows["person"].append(person)
        rows["pose_aa"].append(Rotation.from_matrix(smpl["rotations"]).as_rotvec().ravel())
        rows["betas"].append(smpl["betas"])
    about = {"format": "alignhmr.predictions/1", "hypotheses": 1, "name": "CameraHMR", "version": "1.0",
             "boxes": "given", "intrinsics": "default", "digests": {"weights": "sha256 of the checkpoint"},
             "body": "smpl-neutral:DIGEST"}  # 16 digits of `sha256sum smpl.npz`
    kinds = {"person": pa.int32(), "sample_id": pa.string()}
    table = pa.table({k: pa.array(v, kinds.get(k, pa.list_(pa.float32()))) for k, v in rows.items()})
    pq.write_table(table.replace_schema_metadata({"alignhmr.predictions": json.dumps(about)}), "camerahmr.parquet")

From SAM 3D Body, no parameters and ``"body": null``: ``points_m.coco23`` is ``pred_keypoints_3d`` (its 70 points,
already on these axes) at ``[*range(9), 62, 41, *range(9, 21)]``, and ``points_px.coco23`` its ``pred_keypoints_2d``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from alignhmr.core.body.joint_sets import POINT_SETS
from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.truth.records import Prediction

FORMAT = "alignhmr.predictions/1"
KEY = b"alignhmr.predictions"
Boxes = Literal["given", "detected"]
Camera = Literal["given", "default"]
_PLAIN = ("sample_id", "person", "selected", "scores", "expected_error_mm", "pose_aa", "betas")
_SPAN_M = (0.2, 4.0)
"""Between a seated child's limbs and the tallest person's reach: outside, the unit is not metres."""

_ROW_GROUP = 512  # a person's 20 hypotheses are 25 kB


@dataclass(frozen=True)
class SystemInfo:
    """Who answered, and under which terms; goes into every record."""

    name: str
    version: str
    boxes: Boxes
    """``given``: the system was told the true boxes. ``detected``: it found the people itself."""
    intrinsics: Camera
    """``given``: it was told the true camera. ``default``: it assumed or estimated one."""
    digests: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """``name:digest`` of the body model that parameters belong to."""


@dataclass(frozen=True)
class PredictionFile:
    """A file that was read and found in order."""

    info: SystemInfo
    hypotheses: int
    predictions: list[Prediction]


def body_key(body: BodyModel) -> str:
    """The body's name in records: ``name:`` and 16 digits of its digest."""
    return f"{body.name}:{body.digest[:16]}"


def same_body(first: str, second: str) -> bool:
    """Whether parameters mean the same: one body, or two resolutions of one version of the open body."""
    names = first.partition(":")[0], second.partition(":")[0]
    return first == second or (names[0] == names[1] and names[0].startswith("open-body-"))


class PredictionWriter:
    """Writes predictions as they come, some hundreds at a time; the file appears whole when the block ends well."""

    def __init__(self, path: Path, info: SystemInfo) -> None:
        self.path, self.info = path, info
        self._partial = path.with_name(path.name + ".partial")
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self._first: tuple[int, list[str]] | None = None

    def __enter__(self) -> "PredictionWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, predictions: Iterable[Prediction]) -> None:
        """InputError for one that fills other fields, or has another M, than the first did."""
        for prediction in predictions:
            row, hyps = _row(prediction), hypotheses_of(prediction)
            self._first = self._first or (hyps, list(row))
            if (hyps, list(row)) != self._first:
                raise InputError(
                    f"person {prediction.person} of {prediction.sample_id} has {hyps} hypotheses of {', '.join(row)},"
                    f" the first one {self._first[0]} of {', '.join(self._first[1])}; fill all rows alike"
                )
            self._rows.append(row)
            if len(self._rows) >= _ROW_GROUP:
                self._flush()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()
        if kind is None and self._writer is not None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._rows:
            return
        assert self._first is not None
        table = pa.table({name: _array(name, [row[name] for row in self._rows]) for name in self._first[1]})
        if self._writer is None:
            about = {"format": FORMAT, "hypotheses": self._first[0], **asdict(self.info)}
            schema = table.schema.with_metadata({KEY: json.dumps(about, sort_keys=True)})
            self._writer = pq.ParquetWriter(self._partial, schema, compression="zstd")
        self._writer.write_table(table.replace_schema_metadata(self._writer.schema.metadata))
        self._rows = []


def write_predictions(path: Path, info: SystemInfo, predictions: Sequence[Prediction]) -> None:
    """Writes the file whole or not at all. All predictions must fill the same fields with the same M."""
    if not predictions:
        raise InputError(f"there are no predictions to write to {path}; the system answered nobody")
    with PredictionWriter(path, info) as writer:
        writer.write(predictions)


def read_predictions(path: Path, body: BodyModel | None = None) -> PredictionFile:
    """The file's predictions, checked; points computed with ``body`` where the file holds parameters alone.

    InputError or CompatibilityError say which column of which row is wrong, and how it should be.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} is not a readable Parquet file ({_first_line(error)}); write it anew"
        ) from error
    info, hyps = _about(path, table.schema.metadata or {})
    columns = _columns(path, table, hyps)
    points = sorted(name for name in columns if name.startswith("points_m."))
    has_pose = "pose_aa" in columns
    if has_pose != ("betas" in columns):
        raise InputError(f"{path} has pose_aa or betas alone; a body needs both, joints alone need neither")
    if not points and not has_pose:
        raise InputError(f"{path} has neither points_m.SET nor pose_aa and betas; one of them is wanted")
    if has_pose and info.body is None:
        raise InputError(f"{path} has pose_aa, but its metadata names no body; add body as NAME:DIGEST")
    if not points:
        columns |= _posed(path, columns, info, body or _open_body(info))
        points = sorted(name for name in columns if name.startswith("points_m."))
    _check_span(path, columns[points[0]])
    return PredictionFile(info, hyps, _predictions(columns, info))


def hypotheses_of(prediction: Prediction) -> int:
    """M."""
    return len(next(iter(prediction.points_m.values())))


def _row(prediction: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        "sample_id": prediction.sample_id,
        "person": prediction.person,
        "selected": prediction.selected,
    }
    row |= {f"points_m.{name}": points for name, points in sorted(prediction.points_m.items())}
    row |= {f"points_px.{name}": points for name, points in sorted(prediction.points_px.items())}
    optional = ("pose_aa", "betas", "scores", "expected_error_mm")
    return row | {name: value for name in optional if (value := getattr(prediction, name)) is not None}


def _array(name: str, values: list[Any]) -> pa.Array:
    if name == "sample_id":
        return pa.array(values, pa.string())
    if name in ("person", "selected"):
        return pa.array(values, pa.int32())
    block = np.stack([np.asarray(value, np.float32).reshape(-1) for value in values])
    return pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), block.shape[1])


def _about(path: Path, metadata: Mapping[bytes, bytes]) -> tuple[SystemInfo, int]:
    wanted = f"the schema's metadata must hold, under {KEY.decode()}, JSON as core/truth/predictions.py says"
    if KEY not in metadata:
        raise InputError(f"{path} doesn't say which system it is of; {wanted}")
    try:
        about = dict(json.loads(metadata[KEY]))
    except ValueError as error:
        raise InputError(f"{path} has metadata that is no JSON object ({error}); {wanted}") from error
    if about.get("format") != FORMAT:
        raise CompatibilityError(f"{path} has format {about.get('format')!r}, {FORMAT!r} is read here")
    hyps = about.get("hypotheses")
    if not isinstance(hyps, int) or isinstance(hyps, bool) or hyps < 1:
        raise InputError(f"{path} says hypotheses is {hyps!r}; a whole number from 1 is wanted")
    for key, choices in (("boxes", get_args(Boxes)), ("intrinsics", get_args(Camera))):
        if about.get(key) not in choices:
            raise InputError(f"{path} says {key} is {about.get(key)!r}; say one of {', '.join(choices)}")
    for key in ("name", "version"):
        if not isinstance(about.get(key), str) or not about[key]:
            raise InputError(f"{path} says {key} is {about.get(key)!r}; give the system's {key} as text")
    digests, body = about.get("digests", {}), about.get("body")
    if not isinstance(digests, dict) or not (body is None or isinstance(body, str)):
        raise InputError(f"{path} has digests {digests!r} and body {body!r}; an object and a text are wanted")
    named = {str(key): str(value) for key, value in digests.items()}
    return SystemInfo(about["name"], about["version"], about["boxes"], about["intrinsics"], named, body), hyps


def _width(name: str, hyps: int) -> int | None:
    """Numbers in a row of that column; None if there is no such column in the format."""
    widths = {"pose_aa": 72, "betas": 10, "scores": 1, "expected_error_mm": 1}
    if name in widths:
        return hyps * widths[name]
    kind, _, points = name.partition(".")
    if kind in ("points_m", "points_px") and points in POINT_SETS:
        return hyps * len(POINT_SETS[points]) * (3 if kind == "points_m" else 2)
    return None


def _columns(path: Path, table: pa.Table, hyps: int) -> dict[str, Any]:
    for name in ("sample_id", "person"):
        if name not in table.column_names:
            raise InputError(f"{path} has no column {name}; it has {', '.join(table.column_names)}")
    if not table.num_rows:
        raise InputError(f"{path} has no rows; a row for each person is wanted")
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column, width = table.column(name).combine_chunks(), _width(name, hyps)
        if name not in _PLAIN and width is None:
            sets = ", ".join(POINT_SETS)
            raise InputError(
                f"{path} has a column {name!r}; columns are {', '.join(_PLAIN)}, and points_m.SET and"
                f" points_px.SET with SET one of {sets}"
            )
        if column.null_count:
            raise InputError(f"{path}: {name} is null in {column.null_count} rows; leave those rows out")
        kind = pa.string() if name == "sample_id" else pa.int32()
        try:
            cast = column.cast(kind if width is None else pa.list_(pa.float32(), width))
        except (pa.ArrowException, NotImplementedError) as error:
            wanted = kind if width is None else f"lists of {width} numbers for {hyps} hypotheses"
            raise InputError(f"{path}: {name} is {column.type}; wanted are {wanted}") from error
        columns[name] = (
            cast.to_pylist() if width is None else cast.flatten().to_numpy().reshape(-1, hyps, width // hyps)
        )
    _check_rows(path, columns, hyps)
    return columns


def _check_rows(path: Path, columns: Mapping[str, Any], hyps: int) -> None:
    keys = list(zip(columns["sample_id"], columns["person"], strict=True))
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise InputError(
            f"{path} has person {twice[1]} of {twice[0]} twice; one row for each person is wanted"
        )
    for key, chosen in zip(keys, columns.get("selected", []), strict=False):
        if not 0 <= chosen < hyps:
            raise InputError(f"{path}: person {key[1]} of {key[0]} selects hypothesis {chosen} of {hyps}")
    for name, values in columns.items():
        if isinstance(values, np.ndarray):
            # A point that a system doesn't know is NaN; no other column may be.
            bad = np.isinf(values) if name.startswith("points") else ~np.isfinite(values)
            if bad.any():
                key = keys[int(np.argwhere(bad)[0, 0])]
                raise InputError(
                    f"{path}: {name} of person {key[1]} of {key[0]} holds numbers that aren't finite"
                )


def _check_span(path: Path, points_m: np.ndarray) -> None:
    xyz = points_m[:, 0].reshape(len(points_m), -1, 3)
    known = xyz[:, np.isfinite(xyz).all((0, 2))]
    if known.shape[1] < 2:
        return
    span = float(np.median(np.ptp(known, axis=1).max(-1)))
    if not _SPAN_M[0] <= span <= _SPAN_M[1]:
        raise InputError(
            f"{path}: points of a person span {span:.3g} at the median; metres are wanted, so 1 to 2"
        )


def _open_body(info: SystemInfo) -> BodyModel:
    body = BodyModel.load("open", "small")
    if not same_body(info.body or "", body_key(body)):
        raise InputError(
            f"the predictions are parameters of body {info.body}, which doesn't ship with alignhmr; name its file"
            " with --body"
        )
    return body


def _posed(
    path: Path, columns: Mapping[str, Any], info: SystemInfo, body: BodyModel
) -> dict[str, np.ndarray]:
    if not same_body(info.body or "", body_key(body)):
        raise CompatibilityError(
            f"{path} holds parameters of body {info.body}, but the body loaded is {body_key(body)}; give the file"
            " that they were made with"
        )
    pose, betas = (torch.from_numpy(columns[name].astype(np.float32)) for name in ("pose_aa", "betas"))
    with torch.no_grad():
        points = body.kinematics(axis_angle_to_matrix(pose.unflatten(-1, (24, 3))), betas)
    return {
        "points_m.smpl24": points.joints.flatten(-2).numpy(),
        "points_m.coco23": points.keypoints.flatten(-2).numpy(),
    }


def _predictions(columns: Mapping[str, Any], info: SystemInfo) -> list[Prediction]:
    def points(kind: str, row: int, axes: int) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(kind): values[row].reshape(len(values[row]), -1, axes)
            for name, values in columns.items()
            if name.startswith(kind)
        }

    def numbers(name: str, row: int, *shape: int) -> np.ndarray | None:
        return columns[name][row].reshape(-1, *shape) if name in columns else None

    return [
        Prediction(
            sample_id=columns["sample_id"][row],
            person=columns["person"][row],
            points_m=points("points_m.", row, 3),
            points_px=points("points_px.", row, 2),
            body=info.body,
            pose_aa=numbers("pose_aa", row, 24, 3),
            betas=numbers("betas", row, 10),
            scores=numbers("scores", row),
            expected_error_mm=numbers("expected_error_mm", row),
            selected=columns["selected"][row] if "selected" in columns else 0,
        )
        for row in range(len(columns["sample_id"]))
    ]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
