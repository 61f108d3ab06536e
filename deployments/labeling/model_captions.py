"""What the two model captioners share: the question put to a model, and its answer put into the row.

``ray.data.llm`` moves rows as dictionaries and guesses their types. A row of ours therefore rides along as
one opaque value, and is taken out again as it was. Rows without a person are marked as failed before the
first stage of the processor: its stages let such rows pass untouched.
"""

import base64
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from alignhmr.core.language.captions import PROMPT, parse
from alignhmr.deployments.labeling.failures import failure
from alignhmr.deployments.labeling.schema import with_columns

SKIPPED = "skipped: no person to describe"
_NO_PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
"""Keeps the columns of skipped rows of the same type as those of the others; no model sees it."""

Columns = dict[str, Any]


def caption_with(
    people: Dataset,
    processor: Callable[[Dataset], Dataset],
    source: str,
    *,
    answer: str,
    required: bool = False,
) -> Dataset:
    """The people with captions: packed, sent through the processor, unpacked.

    ``answer`` is the processor's output column that holds the model's text. Where captions are ``required``, a person
    without a whole one becomes an error row.
    """
    light = {"batch_format": "pyarrow", "num_cpus": 0.1}
    packed = people.map_batches(pack, **light)
    answered = processor(packed).select_columns(["row", answer, "__inference_error__"])
    return answered.map_batches(partial(unpack, source=source, answer=answer, required=required), **light)


def pack(table: pa.Table) -> pa.Table:
    """Each row as one value ``row``, beside the picture of the person (null where there is none)."""
    crops = table.column("crop_jpeg").combine_chunks()
    bare = with_columns(table, crop_jpeg=[None] * table.num_rows).combine_chunks()
    rows = [_to_bytes(bare.slice(index, 1)) for index in range(bare.num_rows)]
    return pa.table({"row": pa.array(rows, pa.large_binary()), "jpeg": crops.cast(pa.large_binary())})


def unpack(table: pa.Table, source: str, answer: str, required: bool = False) -> pa.Table:
    """The rows as they were, with what the model said."""
    rows = pa.concat_tables([_from_bytes(row) for row in table.column("row").to_pylist()])
    sentences, sources, problems = [], [], []
    for text, trouble in zip(
        table.column(answer).to_pylist(), table.column("__inference_error__").to_pylist(), strict=True
    ):
        if trouble == SKIPPED:
            caption, made_by, problem = None, None, None
        elif trouble:
            caption, made_by, problem = None, source, f"engine: {' '.join(trouble.split())[:200]}"
        else:
            parsed = parse(text)
            caption, made_by, problem = parsed.sentences or None, source, parsed.problem
        sentences.append(caption)
        sources.append(made_by)
        problems.append(problem)
    rows = with_columns(rows, captions=sentences, caption_source=sources, caption_error=problems)
    return _insist(rows, problems) if required else rows


def _insist(rows: pa.Table, problems: list[str | None]) -> pa.Table:
    names = ("error_code", "error_stage", "error_message")
    told = [
        failure(
            "caption", "captioner_refused" if problem.startswith("refused") else "caption_failed", problem
        )
        if problem
        else dict(zip(names, known, strict=True))
        for problem, *known in zip(problems, *(rows.column(name).to_pylist() for name in names), strict=True)
    ]
    return with_columns(rows, **{name: [columns[name] for columns in told] for name in names})


def as_it_is(table: pa.Table) -> pa.Table:
    """The ending of captioners that have done their work before."""
    return table


def question(jpeg: bytes | None) -> list[dict[str, Any]]:
    """The messages for one person. Only a JPEG that this program encoded itself goes to a model."""
    url = _NO_PICTURE if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": PROMPT}]
    return [{"role": "user", "content": content}]


def skip_mark(jpeg: bytes | None) -> str:
    """Value of ``__inference_error__`` before the first stage."""
    return SKIPPED if jpeg is None else ""


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_bytes(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
