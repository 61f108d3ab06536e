"""The second stage: bytes to people. Pixels exist here alone; what goes on is a person's surroundings, as a JPEG."""

import logging
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from ray.actor import ActorHandle

from alignhmr.core.errors import AlignhmrError
from alignhmr.core.language.shown import Shown
from alignhmr.core.records import Person, Picture
from alignhmr.deployments.labeling.counting import counting
from alignhmr.deployments.labeling.failures import failure
from alignhmr.deployments.labeling.guard import Guard
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.reading import claim_rows, read_one
from alignhmr.deployments.labeling.rows import person_columns
from alignhmr.deployments.labeling.schema import caption_fields, picture_fields, table_from_rows
from alignhmr.deployments.labeling.sources import Entry

log = logging.getLogger(__name__)

# Besides the row's own columns: what the model stages look at and the row doesn't keep.
PEOPLE_SCHEMA = pa.schema(
    [*picture_fields(), *caption_fields(), pa.field("exif_focal_px", pa.float64()),
     pa.field("mask", pa.binary()), pa.field("mask_width", pa.int32()), pa.field("mask_height", pa.int32()),
     pa.field("mask_box_px", pa.list_(pa.float32(), 4)), pa.field("crop_jpeg", pa.binary()),
     pa.field("bodies", pa.large_binary())]
)  # fmt: skip
Rows = list[dict[str, Any]]


class FindPeople:
    """Bytes to people: one row for each, or one error row for the picture."""

    def __init__(
        self, models: Models, ledger: ActorHandle, reader: Reader | None = None, *, max_pixels: int,
        max_people: int = 1000, shown: Shown | None = None, limit_s: float | None = None,
    ) -> None:  # fmt: skip
        from alignhmr.core.perception.images import decode
        from alignhmr.core.perception.views import with_views

        self.detector, self.decode, self.with_views = models.load_detector(), decode, with_views
        self.ledger, self.reader = ledger, reader or Reader()
        self.max_pixels, self.max_people, self.shown = max_pixels, max_people, shown
        self.guard = Guard(ledger, "people", limit_s)

    def __call__(self, table: pa.Table) -> pa.Table:
        with counting(self.ledger, "people") as counts:
            pictures = table.to_pylist()
            tried = [picture for picture in pictures if picture["error_code"] is None]
            found = iter(
                self.guard.run(tried, [picture["uri"] for picture in tried], self._search, self._set_aside)
            )
            rows = [
                row
                for picture in pictures
                for row in (next(found) if picture["error_code"] is None else [_unread(picture)])
            ]
            counts.update(f"error.{row['error_code']}" for row in rows if row.get("error_code"))
            counts["people"] += sum(row.get("person_index") is not None for row in rows)
            counts["searched"] += table.num_rows
            return table_from_rows(rows, PEOPLE_SCHEMA)

    def _search(self, pictures: Sequence[Mapping[str, Any]]) -> list[Rows]:
        found = []
        for picture in pictures:
            with self.guard.watching(picture["uri"]):
                found.append(self._rows(picture))
        return found

    def _set_aside(self, picture: Mapping[str, Any], code: str, message: str) -> Rows:
        return [_known(picture) | failure("people", code, message)]

    def _rows(self, row: Mapping[str, Any]) -> Rows:
        if row["data"] is None:  # its block was full
            late = dict(row) | read_one(self.reader, Entry(row["uri"], row["file"], row["at"], row["size"]))
            claim_rows([late], self.ledger)
            if late["error_code"] is not None:
                return [_unread(late)]
            row = late
        known = _known(row)
        try:
            picture = self.decode(row["data"], max_pixels=self.max_pixels)
        except AlignhmrError as error:
            return [known | failure("decode", error.code, str(error))]
        except Exception as error:
            # A decoder can fail in more ways than its documentation says; the picture is to blame for all.
            log.warning("decoding %s raised", row["uri"], exc_info=True)
            return [known | failure("decode", "unreadable", f"{type(error).__name__}: {error}")]
        known["width"], known["height"] = picture.size
        try:
            people = self.with_views(picture, self.detector.find(picture)[: self.max_people])
            found = [known | self._person(picture, person, index) for index, person in enumerate(people)]
        except Exception as error:
            log.warning("searching %s for people raised", row["uri"], exc_info=True)
            return [known | failure("people", "detector_failed", f"{type(error).__name__}: {error}")]
        return found or [known | failure("people", "no_person", "nobody was found in the picture")]

    def _person(self, picture: Picture, person: Person, index: int) -> dict[str, Any]:
        columns = {"person_index": index, "exif_focal_px": picture.exif_focal_px, **person_columns(person)}
        if person.mask is not None:
            mask_height, mask_width = person.mask.shape
            columns |= {
                "mask": zlib.compress(np.ascontiguousarray(person.mask).tobytes(), 1),
                "mask_width": mask_width,
                "mask_height": mask_height,
                "mask_box_px": person.mask_box_px,
            }
        if self.shown is not None:
            from alignhmr.deployments.shown import shown_jpeg

            columns["crop_jpeg"] = shown_jpeg(picture, person, self.shown)
        return columns


def _known(picture: Mapping[str, Any]) -> dict[str, Any]:
    return {"uri": picture["uri"], "image_sha256": picture["image_sha256"]}


def _unread(picture: Mapping[str, Any]) -> dict[str, Any]:
    code, message = picture["error_code"], picture["error_message"]
    return _known(picture) | failure("read", code, message) | {"duplicate_of": picture["duplicate_of"]}
