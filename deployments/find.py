"""What `alignhmr find` does: search labelled people by words.

People are ranked by two witnesses: how near their pose lies to the query in the text-pose space, and how probable the
posecodes read out of the query are for their joints. Where none can be read from the query, the space ranks alone.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyarrow import fs as arrow_fs
from rich.console import Console
from rich.table import Table

from alignhmr.core.checkpoints import load_checkpoint, resolve
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.language.facts import FACTS, MOST
from alignhmr.core.language.matching import matched, told_evidence
from alignhmr.core.language.posecodes import posecodes
from alignhmr.core.language.reading import read
from alignhmr.core.language.text_pose import TextPose
from alignhmr.deployments.storage import open_location

_COLUMNS = (
    "uri",
    "person_index",
    "image_sha256",
    "error_code",
    "pose_aa",
    "selected",
    "selected_joints_cam_m",
    "models",
)
_BATCH = 4096
_ANY = np.ones((len(FACTS), MOST))
"""How common a category is: of one query it is the same for everyone, and changes no rank."""


@dataclass(frozen=True)
class Found:
    """One person, and how well they match."""

    rank: int
    uri: str
    person_index: int
    image_sha256: str
    score: float
    """Of the two below (``matching.matched``); comparable within one search only."""
    similarity: float
    """Cosine of query and pose, -1..1."""
    codes: float
    """Mean probability of the query's posecodes, 0..1; 0 where none was read."""


def run(
    query: str, location: str | Path, *, top: int = 10, model: str | Path = "starter", as_json: bool = False,
    console: Console | None = None,
) -> list[Found]:  # fmt: skip
    """Prints and returns the people of a labelled set who match the words best, best first."""
    query = query.strip()
    if not query:
        raise InputError("the query is empty; say what to look for, such as 'kneeling, right arm raised'")
    if top < 1:
        raise InputError(f"top is {top}; give 1 or more")
    space, info = load_checkpoint(resolve(model, "text-pose"), "text-pose")
    assert isinstance(space, TextPose)
    told = read(query).codes
    found = list(_searched(space, info.body_digest, query, told, location))
    found.sort(key=lambda person: (-person.score, person.uri, person.person_index))
    found = [Found(**{**asdict(person), "rank": rank}) for rank, person in enumerate(found[:top], start=1)]
    if as_json:
        print(json.dumps([asdict(person) for person in found]))
        return found
    console = console or Console()
    understood = ", ".join(f"{name} {category}".replace("_", " ") for name, category in told.items())
    console.print(
        f"read as: {understood or 'no posecode; ranked by the text-pose space alone'}", highlight=False
    )
    console.print(_table(found))
    return found


def _searched(
    space: TextPose, body_digest: str, query: str, told: dict[str, str], location: str | Path
) -> Iterator[Found]:
    place = space.place_of_text([query])[0]
    people = 0
    for rows in _people(location):
        people += len(rows)
        bodies = {dict(row["models"] or {}).get("body", "") for row in rows}
        wrong = [body for body in bodies if not body_digest.startswith(body.rpartition(":")[2])]
        if wrong:
            raise CompatibilityError(
                f"the rows in {location} were made with body {wrong[0]}, the text-pose space with {body_digest[:16]};"
                " train one with that body (`alignhmr train text-pose --body`) and give it as --model"
            )
        poses = torch.from_numpy(np.stack([_selected(row) for row in rows]))
        with torch.no_grad():
            similarity = (space.place_of_pose(axis_angle_to_matrix(poses)) @ place).numpy()
        joints = np.stack([row["selected_joints_cam_m"].reshape(-1, 3) for row in rows])
        codes = posecodes(joints)
        evidence = told_evidence(told, codes, _ANY)
        score = matched(evidence, similarity)
        # The geometric mean of the told categories' probabilities, so that one that is plainly wrong counts.
        probable = np.exp(evidence / np.sqrt(len(told))) if told else np.zeros(len(rows))
        for row, *numbers in zip(rows, score, similarity, probable, strict=True):
            yield Found(0, row["uri"], row["person_index"], row["image_sha256"], *map(float, numbers))
    if not people:
        raise InputError(f"nobody is in the rows of {location}; label pictures first (`alignhmr label`)")


def _selected(row: dict[str, Any]) -> np.ndarray:
    return row["pose_aa"].reshape(-1, 24, 3)[row["selected"]].astype(np.float32)


def _people(location: str | Path) -> Iterator[list[dict[str, Any]]]:
    """Good rows of a labelled set, a part of it at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from alignhmr.deployments.labeling.schema import rows_from_table

    filesystem, folder = open_location(location)
    for path in _files(filesystem, folder, location):
        with filesystem.open_input_file(path) as file:
            part = pq.ParquetFile(file)
            missing = [name for name in _COLUMNS if name not in part.schema_arrow.names]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r}; give a folder that `alignhmr label` wrote"
                )
            for batch in part.iter_batches(_BATCH, columns=list(_COLUMNS)):
                rows = rows_from_table(pa.Table.from_batches([batch]))
                good = [row for row in rows if row["error_code"] is None and row["pose_aa"] is not None]
                if good:
                    yield good


def _files(filesystem: arrow_fs.FileSystem, folder: str, location: str | Path) -> Sequence[str]:
    rows = f"{folder}/rows"
    if filesystem.get_file_info(rows).type == arrow_fs.FileType.Directory:
        folder = rows
    if filesystem.get_file_info(folder).type != arrow_fs.FileType.Directory:
        raise InputError(f"there is no folder {location}; give what `alignhmr label` wrote with --out")
    listed = filesystem.get_file_info(arrow_fs.FileSelector(folder))
    return sorted(entry.path for entry in listed if entry.path.endswith(".parquet"))


def _table(found: Sequence[Found]) -> Table:
    table = Table()
    table.add_column("", justify="right")
    table.add_column("picture", overflow="fold")
    for title in ("person", "score", "space", "posecodes"):
        table.add_column(title, justify="right")
    for person in found:
        numbers = (person.score, person.similarity, person.codes)
        shown = [f"{number:.2f}" for number in numbers]
        table.add_row(str(person.rank), person.uri, str(person.person_index), *shown)
    return table
