"""Rows and tables: every value comes back, through Arrow, slices and Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alignhmr.core.language.posecodes import PARTS
from alignhmr.deployments.labeling.schema import (
    hypotheses_of,
    row_schema,
    rows_from_table,
    table_from_rows,
    with_columns,
)


def example(number: int, hypotheses: int = 3) -> dict:
    rng = np.random.default_rng(number)
    row = {
        "image_sha256": f"{number:064x}", "person_index": number, "uri": f"/pictures/{number} ü.jpg",
        "width": 640, "box_px": rng.normal(size=4), "pose_aa": rng.normal(size=(hypotheses, 24, 3)),
        "scores": rng.normal(size=hypotheses), "selected": 1, "seed": 2**63 - 1 - number,
        "captions": {part: f"The {part} is {number}." for part in PARTS},
        "models": {"body": "a", "base": "b"}, "pairs": [{"winner": 2, "loser": 0, "margin": 0.5}],
    }  # fmt: skip
    return row


def same(row: dict, back: dict) -> None:
    for name, value in row.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(back[name], value.astype(np.float32).reshape(-1))
        elif name == "models":
            assert dict(back[name]) == value
        else:
            assert back[name] == value


ERROR = {
    "uri": "/pictures/bad.jpg",
    "error_code": "unreadable",
    "error_stage": "decode",
    "error_message": "no",
}


@pytest.fixture
def rows():
    return [example(0), ERROR, example(1), example(2), ERROR, ERROR, example(3)]


def test_rows_survive_a_table(rows):
    back = rows_from_table(table_from_rows(rows, row_schema(3)))
    for row, again in zip(rows, back, strict=True):
        same(row, again)
        assert all(again[name] is None for name in again.keys() - row.keys())


def test_rows_survive_slices_chunks_and_parquet(rows, tmp_path):
    table = table_from_rows(rows, row_schema(3))
    joined = pa.concat_tables([table.slice(4), table.slice(0, 4)])
    pq.write_table(joined, tmp_path / "rows.parquet", compression="zstd")
    for again in (joined, pq.read_table(tmp_path / "rows.parquet")):
        assert again.schema.equals(row_schema(3))
        for row, back in zip(rows[4:] + rows[:4], rows_from_table(again), strict=True):
            same(row, back)


def test_no_rows_make_an_empty_table():
    table = table_from_rows([], row_schema(20))
    assert table.num_rows == 0 and table.schema.equals(row_schema(20))
    assert rows_from_table(table) == []


def test_the_schema_tells_its_hypotheses_and_its_version():
    schema = row_schema(7)
    assert hypotheses_of(schema) == 7
    assert schema.metadata == {b"alignhmr.schema_version": b"1", b"alignhmr.hypotheses": b"7"}
    assert schema.field("pose_aa").type == pa.list_(pa.float32(), 7 * 72)
    assert schema.field("keypoints_px").type == pa.list_(pa.float32(), 69)


def test_columns_are_replaced_with_their_type_kept(rows):
    table = table_from_rows(rows, row_schema(3))
    changed = with_columns(table, abstained=["too_few"] * 7, captions=[None] * 7)
    assert changed.schema.equals(table.schema)
    assert changed.column("abstained").to_pylist() == ["too_few"] * 7
    assert changed.column("captions").null_count == 7


def test_a_list_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="broadcast"):
        table_from_rows([{"scores": np.zeros(4)}], row_schema(3))
