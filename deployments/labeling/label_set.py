"""Rows of a finished run as a stream, from a disk or a bucket: a part at a time, never the whole."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from alignhmr.core.errors import InputError
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.schema import rows_from_table

Row = dict[str, Any]


class LabelSet:
    """What ``alignhmr label`` wrote into a folder. InputError where there is no run."""

    def __init__(self, location: str) -> None:
        self.output = Output.at(location)
        record = self.output.record()
        if record is None or "attempt" not in record:
            raise InputError(f"{location!r} holds no labelling run; give the --out of `alignhmr label`")
        self.record = record
        self.parts = self.output.counted_parts(record["attempt"])

    def tables(self, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Each part's name and rows."""
        for name in self.parts:
            with self.output.open_part(name) as file:
                yield name, file.read(columns=columns)

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:
        for _, table in self.tables(columns):
            yield from rows_from_table(table)

    def find(self, wanted: str) -> list[Row]:
        """Rows of the picture with these first digits of its digest, or with this in its location; one picture's."""
        found: dict[str, list[tuple[str, int]]] = {}
        for name, table in self.tables(["uri", "image_sha256"]):
            pairs = zip(
                table.column("uri").to_pylist(), table.column("image_sha256").to_pylist(), strict=True
            )
            for row, (uri, sha) in enumerate(pairs):
                if (sha and len(wanted) >= 6 and sha.startswith(wanted.lower())) or wanted in uri:
                    found.setdefault(uri, []).append((name, row))
        exact = [uri for uri in found if uri == wanted or uri.endswith(f"/{wanted}")]
        uris = exact or list(found)
        if not uris:
            raise InputError(f"no row of {self.output.location} has {wanted!r} in its digest or location")
        if len(uris) > 1:
            some = ", ".join(uris[:5])
            raise InputError(f"{wanted!r} means {len(uris)} pictures ({some}); give more of the name")
        return [self.row(name, row) for name, row in found[uris[0]]]

    def row(self, part: str, index: int) -> Row:
        with self.output.open_part(part) as file:
            return rows_from_table(file.read().slice(index, 1))[0]
