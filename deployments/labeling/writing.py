"""The last stage: a block of scored rows becomes a part.

Imports no models: Ray starts processes for it as they are needed, and torch would cost each of them seconds and memory.
"""

import json

import pyarrow as pa

from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.schema import SCHEMA_VERSION, with_columns
from alignhmr.deployments.metrics import count


def write_block(table: pa.Table, *, output: Output, version: str) -> pa.Table:
    """Writes a block as one part; its summary, as JSON. Nothing of an empty block."""
    if not table.num_rows:
        return pa.table({"part": pa.array([], pa.string())})
    rows = table.num_rows
    table = _in_order(table)
    whole = with_columns(table, package_version=[version] * rows, schema_version=[SCHEMA_VERSION] * rows)
    told = output.write_part(whole)
    count("alignhmr_label_parts")
    return pa.table({"part": pa.array([json.dumps(told)], pa.string())})


def _in_order(table: pa.Table) -> pa.Table:
    """People of one picture beside each other, by index: a captioner's stages may have mixed the rows of a block."""
    uris, people = table.column("uri").to_pylist(), table.column("person_index").to_pylist()
    place = {uri: number for number, uri in reversed(list(enumerate(uris)))}
    order = sorted(
        range(len(uris)), key=lambda row: (place[uris[row]], -1 if people[row] is None else people[row])
    )
    return table if order == list(range(len(uris))) else table.take(pa.array(order, pa.int64()))
