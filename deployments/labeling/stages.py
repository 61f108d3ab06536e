"""The stages of a labelling run: each takes and gives an Arrow table, and costs a bad row nothing but itself.

A stage that holds a model builds it in its constructor: one core object, once for each worker process.
"""

import hashlib
import io
import logging
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from ray.actor import ActorHandle

from alignhmr.core.errors import AlignhmrError
from alignhmr.core.records import Person, Picture, Recovery
from alignhmr.core.scoring.preference import Abstention, MiningRule, mine_pairs
from alignhmr.deployments.labeling.rows import person_columns, person_of, recovery_columns
from alignhmr.deployments.labeling.schema import (
    ERROR_CODES,
    SCHEMA_VERSION,
    caption_fields,
    picture_fields,
    row_schema,
    rows_from_table,
    table_from_rows,
    with_columns,
)
from alignhmr.deployments.labeling.sources import Reader

if TYPE_CHECKING:
    from alignhmr.core.perception.detector import Detector
    from alignhmr.core.recovery import Recoverer

log = logging.getLogger(__name__)

READ_SCHEMA = pa.schema(
    [("uri", pa.string()), ("image_sha256", pa.string()), ("data", pa.binary()),
     ("error_code", pa.string()), ("error_message", pa.string())]
)  # fmt: skip

# Besides the row's own columns: what the model stages look at and the row doesn't keep.
PEOPLE_SCHEMA = pa.schema(
    [*picture_fields(), *caption_fields(), pa.field("exif_focal_px", pa.float64()),
     pa.field("mask", pa.binary()), pa.field("mask_width", pa.int32()), pa.field("mask_height", pa.int32()),
     pa.field("mask_box_px", pa.list_(pa.float32(), 4)), pa.field("crop_jpeg", pa.binary())]
)  # fmt: skip


@dataclass(frozen=True)
class Models:
    """Names of the models of a run; a worker turns them into the one object that its stage needs."""

    base: str
    scorer: str
    body: str
    detector: str
    device: str

    def load_detector(self) -> "Detector":
        from alignhmr.core.perception.detector import load_detector

        return load_detector(self.detector, self.device)

    def load_recoverer(self) -> "Recoverer":
        from alignhmr.core.recovery import Recoverer

        return Recoverer.load(
            base=self.base, scorer=self.scorer, body=self.body, detector=self.detector, device=self.device
        )


def read_pictures(table: pa.Table, reader: Reader, ledger: ActorHandle) -> pa.Table:
    """Locations to bytes. Of pictures with the same bytes, one goes on; the others become error rows."""
    import ray

    with _counting(ledger, "read") as counts:
        rows = [_read(reader, uri) for uri in table.column("uri").to_pylist()]
        good = [row for row in rows if row.get("error_code") is None]
        claims = [(row["image_sha256"], row["uri"]) for row in good]
        for row, owner in zip(good, ray.get(ledger.claim.remote(claims)), strict=True):
            if owner != row["uri"]:
                row.update(data=None, error_code="duplicate", error_message=f"the same bytes as {owner}")
        counts["read"] += len(rows)
        return table_from_rows(rows, READ_SCHEMA)


def _read(reader: Reader, uri: str) -> dict[str, Any]:
    try:
        data = reader.read(uri)
    except AlignhmrError as error:
        return {"uri": uri, "error_code": error.code, "error_message": str(error)}
    return {"uri": uri, "image_sha256": hashlib.sha256(data).hexdigest(), "data": data}


class FindPeople:
    """Bytes to people: one row for each, or one error row for the picture."""

    def __init__(
        self, models: Models, ledger: ActorHandle, *, max_pixels: int, crop_side_px: int | None = None
    ) -> None:
        from alignhmr.core.perception.images import decode
        from alignhmr.core.perception.views import with_views

        self.detector, self.decode, self.with_views = models.load_detector(), decode, with_views
        self.ledger, self.max_pixels, self.crop_side_px = ledger, max_pixels, crop_side_px

    def __call__(self, table: pa.Table) -> pa.Table:
        with _counting(self.ledger, "people") as counts:
            rows = [row for picture in table.to_pylist() for row in self._rows(picture)]
            counts.update(f"error.{row['error_code']}" for row in rows if row.get("error_code"))
            counts["people"] += sum(row.get("person_index") is not None for row in rows)
            counts["searched"] += table.num_rows
            return table_from_rows(rows, PEOPLE_SCHEMA)

    def _rows(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        known = {"uri": row["uri"], "image_sha256": row["image_sha256"]}
        if row["error_code"] is not None:
            return [known | _error("read", row["error_code"], row["error_message"])]
        try:
            picture = self.decode(row["data"], max_pixels=self.max_pixels)
        except AlignhmrError as error:
            return [known | _error("decode", error.code, str(error))]
        except Exception as error:
            # A decoder can fail in more ways than its documentation says; the picture is to blame for all.
            log.warning("decoding %s raised", row["uri"], exc_info=True)
            return [known | _error("decode", "unreadable", f"{type(error).__name__}: {error}")]
        known["width"], known["height"] = picture.size
        try:
            people = self.with_views(picture, self.detector.find(picture))
            found = [known | self._person(picture, person, index) for index, person in enumerate(people)]
        except Exception as error:
            log.warning("searching %s for people raised", row["uri"], exc_info=True)
            return [known | _error("people", "detector_failed", f"{type(error).__name__}: {error}")]
        return found or [known | _error("people", "no_person", "nobody was found in the picture")]

    def _person(self, picture: Picture, person: Person, index: int) -> dict[str, Any]:
        columns = {"person_index": index, "exif_focal_px": picture.exif_focal_px, **person_columns(person)}
        if person.mask is not None:
            mask_height, mask_width = person.mask.shape
            columns |= {"mask": zlib.compress(np.ascontiguousarray(person.mask).tobytes(), 1)}
            columns |= {
                "mask_width": mask_width,
                "mask_height": mask_height,
                "mask_box_px": person.mask_box_px,
            }
        if self.crop_side_px is not None:
            columns["crop_jpeg"] = crop_jpeg(picture.pixels, person.box_px, self.crop_side_px)
        return columns


class Recover:
    """People to hypotheses with scores, vetoes and preference pairs. Error rows pass through."""

    def __init__(
        self, models: Models, ledger: ActorHandle, *, hypotheses: int, seed: int, rule: MiningRule | None = None
    ) -> None:  # fmt: skip
        from alignhmr.core.geometry.cameras import intrinsics_for
        from alignhmr.core.recovery import RecoveryRequest

        self.recoverer, self.request, self.intrinsics_for = (
            models.load_recoverer(),
            RecoveryRequest,
            intrinsics_for,
        )
        self.ledger, self.hypotheses, self.seed, self.rule = ledger, hypotheses, seed, rule or MiningRule()
        self.schema = row_schema(hypotheses)

    def __call__(self, table: pa.Table) -> pa.Table:
        with _counting(self.ledger, "recover") as counts:
            rows = rows_from_table(table.drop_columns("crop_jpeg"))
            people = [row for row in rows if row["error_code"] is None]
            for row, answer in zip(
                people, self._answers([self._request(row) for row in people]), strict=True
            ):
                row.update(answer)
            counts["recovered"] += sum(row["error_code"] is None for row in people)
            counts["pairs"] += sum(len(row.get("pairs") or ()) for row in people)
            counts.update(f"error.{row['error_code']}" for row in people if row["error_code"])
            return table_from_rows(rows, self.schema)

    def _request(self, row: Mapping[str, Any]) -> Any:
        person = person_of(row)
        if row["mask"] is not None:
            mask = np.frombuffer(zlib.decompress(row["mask"]), np.uint8)
            shape = row["mask_height"], row["mask_width"]
            person = replace(person, mask=mask.reshape(shape), mask_box_px=row["mask_box_px"])
        seed = person_seed(self.seed, row["image_sha256"], row["person_index"])
        camera = self.intrinsics_for(row["width"], row["height"], exif_focal_px=row["exif_focal_px"])
        return self.request(person, camera, seed, self.hypotheses)

    def _answers(self, requests: list) -> list[dict[str, Any]]:
        try:
            return [self._columns(recovery) for recovery in self.recoverer.recover_batch(requests)]
        except Exception as error:
            if len(requests) == 1:
                log.warning("recovering a person raised", exc_info=True)
                return [_error("recover", "recovery_failed", f"{type(error).__name__}: {error}")]
        # One of them is to blame: answer each by itself.
        return [answer for request in requests for answer in self._answers([request])]

    def _columns(self, recovery: Recovery) -> dict[str, Any]:
        columns = _checked(recovery)
        if "error_code" in columns:
            return columns
        vetoed, hyps = self.recoverer.vetoes(recovery), recovery.hypotheses
        mined = mine_pairs(
            hyps.scores, hyps.expected_error_mm, self.rule, vetoed=vetoed,
            joints_m=hyps.joints_cam_m - hyps.joints_cam_m[:, :1],
        )  # fmt: skip
        against = [[name for name, hit in vetoed.items() if hit[index]] for index in range(len(hyps))]
        columns["vetoes"] = [",".join(names) or None for names in against]
        if isinstance(mined, Abstention):
            return columns | {"abstained": mined.reason}
        return columns | {"pairs": [vars(pair) for pair in mined]}


def finish(table: pa.Table, package_version: str) -> pa.Table:
    """Adds what made the row."""
    return with_columns(
        table,
        package_version=[package_version] * table.num_rows,
        schema_version=[SCHEMA_VERSION] * table.num_rows,
    )


def person_seed(run_seed: int, image_sha256: str, person_index: int) -> int:
    """Seed of one person: the same for the same bytes and run seed, wherever and beside whomever they are."""
    digest = hashlib.sha256(f"{run_seed}:{image_sha256}:{person_index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def crop_jpeg(pixels: np.ndarray, box_px: np.ndarray, side_px: int) -> bytes:
    """The person with a margin of an eighth of the box, as a JPEG of at most ``side_px`` a side."""
    from PIL import Image

    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = (float(value) for value in box_px)
    margin = max(x1 - x0, y1 - y0) / 8
    left, top = int(np.clip(x0 - margin, 0, width - 1)), int(np.clip(y0 - margin, 0, height - 1))
    right, bottom = int(np.clip(x1 + margin, left + 1, width)), int(np.clip(y1 + margin, top + 1, height))
    image = Image.fromarray(pixels[top:bottom, left:right])
    image.thumbnail((side_px, side_px))
    # Models refuse pictures of a few pixels, or ones too narrow for their patches.
    if min(image.size) < 28:
        image = image.resize((max(image.width, 28), max(image.height, 28)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _checked(recovery: Recovery) -> dict[str, Any]:
    columns = recovery_columns(recovery)
    for name in ("pose_aa", "betas", "transl_cam_m", "scores", "expected_error_mm", "selected_joints_cam_m"):
        if not np.isfinite(columns[name]).all():
            return _error(
                "recover", "recovery_failed", f"the model gave numbers in {name} that aren't finite"
            )
    return columns


def _error(stage: str, code: str, message: str) -> dict[str, Any]:
    # A code that isn't on the list would be new to whoever counts by it; the message keeps the fact.
    known = code if code in ERROR_CODES else {"decode": "unreadable", "read": "read_failed"}[stage]
    # Addresses of objects would make the same error differ from run to run.
    message = re.sub(r" at 0x[0-9a-f]+", "", " ".join(message.split()))
    return {"error_code": known, "error_stage": stage, "error_message": message[:500]}


@contextmanager
def _counting(ledger: ActorHandle, stage: str) -> Iterator[Counter[str]]:
    """Reports the counts and the busy seconds of one call, once it has succeeded."""
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    yield counts
    counts[f"seconds.{stage}"] += time.perf_counter() - start  # type: ignore[assignment]
    ledger.count.remote(dict(counts))
