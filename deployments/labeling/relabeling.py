"""Cleaning of a label set as a run of the same pipeline: what is there is scored, instead of being sampled.

A part of the set is read where pictures would be; the scoring stage rates the row's own hypotheses with the scorer
asked for, chooses and mines anew, and says how wrong the old choice and the new one seem (``core/scoring/cleaning``).
When all are judged, ``decisions.parquet`` says of everyone: keep, relabel (take the new choice) or drop. Rows don't
keep silhouettes, so the scorer does without that evidence here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ray.actor import ActorHandle

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.language.shown import Shown
from alignhmr.core.scoring.cleaning import CleaningRule, clean, judged_mm, off_mm, standing_m
from alignhmr.core.scoring.confidence import ErrorConfidence
from alignhmr.deployments.labeling.captioning import KEPT
from alignhmr.deployments.labeling.counting import counting
from alignhmr.deployments.labeling.label_set import LabelSet
from alignhmr.deployments.labeling.model_captions import as_it_is
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.recovering import Columns, Row, Score
from alignhmr.deployments.labeling.rows import intrinsics_of, person_of
from alignhmr.deployments.labeling.schema import widened
from alignhmr.deployments.labeling.sources import Entry

if TYPE_CHECKING:
    from ray.data import Dataset

DECISIONS = "decisions.parquet"
_DECIDED = pa.schema(
    [("uri", pa.string()), ("image_sha256", pa.string()), ("person_index", pa.int32()), ("decision", pa.string()),
     ("judged_mm", pa.float32()), ("own_judged_mm", pa.float32())]
)  # fmt: skip


@dataclass(frozen=True)
class LabelListing:
    """The pictures of a label set, in ``Listing``'s place: each with the part that holds its rows."""

    labels: LabelSet
    limit: int | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.labels.output.location,)

    @property
    def source(self) -> str:
        return self.labels.output.location

    def entries(self) -> Iterator[Entry]:
        listed = 0
        for name, table in self.labels.tables(["uri"]):
            for uri in dict.fromkeys(table.column("uri").to_pylist()):
                if self.limit is not None and listed == self.limit:
                    return
                listed += 1
                yield Entry(uri, name)


def open_labels(location: str, body: str, limit: int | None = None) -> LabelListing:
    """InputError where there is no finished run, CompatibilityError where another body model made it."""
    labels = LabelSet(location)
    if labels.record["status"] != "finished":
        raise InputError(f"the run in {location!r} isn't finished; run its command again first")
    made_with = labels.record["identity"]["models"].get("body")
    if made_with != body:
        raise CompatibilityError(
            f"the labels in {location!r} were made with body model {made_with}, the one given is {body}; give theirs"
        )
    return LabelListing(labels, limit)


class KeptCaptions:
    """In a captioner's place: captions stay as they are."""

    source, num_cpus, num_gpus = KEPT, 0.0, 0.0
    shown: Shown | None = None

    def check(self) -> dict[str, str]:
        return {}

    def before_recovery(self, people: "Dataset") -> "Dataset":
        return people

    def ending(self):
        return as_it_is


@dataclass(frozen=True)
class ReadLabels:
    """The first stage: places of the plan to the rows of their pictures."""

    output: Output
    ledger: ActorHandle

    def __call__(self, table: pa.Table) -> pa.Table:
        import ray

        with counting(self.ledger, "read") as counts:
            places = [self.ledger.entries.remote(row["first"], row["stop"]) for row in table.to_pylist()]
            found: Any = ray.get(places)
            wanted: dict[str, set[str]] = {}
            for row in pa.concat_tables(found).to_pylist():
                wanted.setdefault(row["file"], set()).add(row["uri"])
            rows = pa.concat_tables([rows_of(self.output, name, uris) for name, uris in wanted.items()])
            counts["read"] += sum(map(len, wanted.values()))
            counts["searched"] += sum(map(len, wanted.values()))
            return rows


def rows_of(output: Output, part: str, uris: set[str]) -> pa.Table:
    """The part's rows of these pictures, without its summary."""
    with output.open_part(part) as file:
        table = file.read()
    keep = pa.array([uri in uris for uri in table.column("uri").to_pylist()])
    return table.filter(keep).replace_schema_metadata(None)


class Rescore(Score):
    """Rows to the same rows, scored anew."""

    def __call__(self, table: pa.Table) -> pa.Table:
        return super().__call__(widened(table, self.schema))

    def answer(self, row: Row) -> Columns:
        import torch

        from alignhmr.core.diffusion.condition import person_square
        from alignhmr.core.diffusion.parameters import BodyParameters
        from alignhmr.core.geometry.rotations import axis_angle_to_matrix
        from alignhmr.core.placement import stand
        from alignhmr.core.recovery import Sight

        person, camera, hyps = person_of(row), intrinsics_of(row), len(row["scores"])

        def tensor(value: Any, *shape: int) -> Any:
            return torch.tensor(np.asarray(value, np.float32).reshape(shape), device=self.recoverer.device)

        crop = person_square(tensor(person.box_px, 1, 4))
        points = tensor(person.keypoints_px, 1, -1, 3)
        sight = Sight(points, crop, tensor(camera.focal_px, 1), tensor(camera.center_px, 1, 2))
        parameters = BodyParameters(
            axis_angle_to_matrix(tensor(row["pose_aa"], 1, hyps, 24, 3)),
            tensor(row["betas"], 1, hyps, 10),
            tensor(np.zeros((hyps, 3)), 1, hyps, 3),
        )
        bodies = stand(parameters, self.recoverer.body, sight, tensor(row["transl_cam_m"], 1, hyps, 3))
        request = self._request_of(person, camera, row["seed"], hyps)
        recovery = self.recoverer.judged(request, sight, bodies)
        columns = self.columns_of(row, recovery)
        if "error_code" in columns:
            return columns
        found = recovery.hypotheses
        label, own = row["selected"], recovery.selected
        depth = standing_m(found.joints_cam_m[:, 0, 2], float(found.joints_cam_m[own, 0, 2]))
        off = off_mm(found.keypoints_px, person.keypoints_px, depth, camera.focal_px)
        expected = found.expected_error_mm
        kept = {"models": dict(row["models"]) | {"scorer": dict(columns["models"]).get("scorer", "unknown")}}
        return columns | kept | {
            "abstained": columns.get("abstained"), "pairs": columns.get("pairs"),
            "judged_mm": float(judged_mm(expected, off, float(expected[own]))[label]),
            "own_judged_mm": float(judged_mm(expected, off)[own]),
        }  # fmt: skip


def decide(
    output: Output, parts: list[str], rule: CleaningRule, confidence: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes ``decisions.parquet`` over the rows of a run, and tells how many were decided how."""
    columns = ["uri", "image_sha256", "person_index", "judged_mm", "own_judged_mm"]

    def tables() -> Iterator[pa.Table]:
        for name in parts:
            with output.open_part(name) as file:
                table = file.read(columns=columns)
            yield table.filter(table.column("judged_mm").is_valid())

    both = [np.empty((0, 2))]
    both += [
        np.column_stack([table.column(name).to_numpy() for name in ("judged_mm", "own_judged_mm")])
        for table in tables()
    ]
    judged, own = np.concatenate(both).T.astype(np.float64)
    if not len(judged):
        return {"people": 0}
    cleaned = clean(judged, own, ErrorConfidence.from_dict(dict(confidence)), rule)
    decisions = np.array(cleaned.decisions)

    def write(file: Any) -> None:
        start = 0
        with pq.ParquetWriter(file, _DECIDED, compression="zstd") as writer:
            for table in tables():
                some = pa.array(decisions[start : start + table.num_rows].tolist(), pa.string())
                start += table.num_rows
                writer.write_table(widened(table.append_column("decision", some), _DECIDED))

    output.write(DECISIONS, write)
    return {
        "people": len(judged), "rule": asdict(rule), "threshold_mm": round(cleaned.threshold_mm, 2),
        "expected_precision": None if np.isnan(cleaned.expected_precision) else round(cleaned.expected_precision, 4),
        **{decision: int((decisions == decision).sum()) for decision in ("keep", "relabel", "drop")},
    }  # fmt: skip
