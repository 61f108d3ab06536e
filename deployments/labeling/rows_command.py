"""``alignhmr rows``: what a labelling run wrote, counted, shown, compared and exported."""

import heapq
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from alignhmr.deployments.labeling.disagreement import Disagreement, disagreements_in
from alignhmr.deployments.labeling.exports import write_coco, write_npz
from alignhmr.deployments.labeling.label_set import LabelSet
from alignhmr.deployments.labeling.schema import ERROR_CODES

_EXPORTED = [
    "uri", "image_sha256", "person_index", "error_code", "width", "height", "box_px", "detection_score",
    "keypoints_px", "captions", "selected", "scores", "expected_error_mm", "pose_aa", "betas", "transl_cam_m",
    "focal_px", "center_px", "crop_px", "selected_joints_cam_m", "joint_spread_mm", "hypothesis_keypoints_px",
    "models",
]  # fmt: skip


def count(out: str, *, console: Console | None = None) -> dict[str, Any]:
    """Counts over the rows as they stand, and prints them."""
    console, labels = console or Console(), LabelSet(out)
    codes: Counter[str | None] = Counter()
    pictures = people = 0
    for _, table in labels.tables(["uri", "error_code", "person_index"]):
        pictures += len(set(table.column("uri").to_pylist()))
        people += table.num_rows - table.column("person_index").null_count
        codes.update(table.column("error_code").to_pylist())
    table = Table(title=f"{out}: {labels.record['status']}, {len(labels.parts)} parts", title_justify="left")
    for name in ("rows", "code", "meaning"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    table.add_row(str(codes[None]), "", "good: a person with hypotheses and scores")
    for code, number in sorted(
        ((c, n) for c, n in codes.items() if c is not None), key=lambda item: -item[1]
    ):
        table.add_row(str(number), code, ERROR_CODES.get(code, "not on this version's list"))
    console.print(table)
    console.print(f"{pictures} pictures, {people} people", highlight=False)
    return {"pictures": pictures, "people": people, "good": codes.pop(None, 0), "errors": dict(codes)}


def show(
    out: str,
    wanted: str,
    *,
    person: int | None = None,
    to: Path | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Prints the rows of one picture; with ``to``, writes their pictures there and returns the files."""
    console, labels = console or Console(), LabelSet(out)
    written: list[Path] = []
    for row in labels.find(wanted):
        if person is not None and row["person_index"] != person:
            continue
        console.print(_told(row), markup=False, highlight=False)
        if to is not None and row["view_jpeg"] is not None:
            from alignhmr.deployments.labeling.row_pictures import write_pictures

            files = write_pictures(row, to)
            console.print(f"  pictures: {', '.join(map(str, files))}", markup=False, highlight=False)
            written += files
    return written


def _told(row: dict[str, Any]) -> str:
    lines = [f"{row['uri']} {row['image_sha256'] or ''} person {row['person_index']}"]
    if row["error_code"] is not None:
        lines.append(f"  {row['error_code']} at stage {row['error_stage']}: {row['error_message']}")
        return "\n".join(lines)
    selected = row["selected"]
    lines += [
        f"  picture {row['width']} x {row['height']} px, box {[round(float(x)) for x in row['box_px']]},"
        f" detected with {row['detection_score']:.2f}",
        f"  hypothesis {selected} of {len(row['scores'])} selected, score {row['scores'][selected]:.2f},"
        f" expected error {row['expected_error_mm'][selected]:.0f} mm",
        f"  {len(row['pairs'])} pairs" if row["pairs"] else f"  no pairs: {row['abstained']}",
    ]
    for part, sentence in (row["captions"] or {}).items():
        lines.append(f"  {part}: {sentence or '-'}")
    lines += [f"  {one.part} disagrees: by the pose, {one.pose}" for one in disagreements_in(row)]
    lines.append(
        f"  captions from {row['caption_source']}"
        + (f" ({row['caption_error']})" if row["caption_error"] else "")
    )
    lines += [f"  {name}: {digest}" for name, digest in dict(row["models"]).items()]
    return "\n".join(lines)


def disagreements(
    out: str, *, most: int = 20, console: Console | None = None
) -> list[tuple[dict[str, Any], list[Disagreement]]]:
    """People whose pose isn't as a model said, those in whom most isn't first; prints them."""
    console, labels = console or Console(), LabelSet(out)
    columns = [
        "uri",
        "image_sha256",
        "person_index",
        "error_code",
        "captions",
        "caption_source",
        "selected_joints_cam_m",
    ]
    found: list[tuple[float, int, dict[str, Any], list[Disagreement]]] = []
    judged = number = 0
    for row in labels.rows(columns):
        if row["error_code"] is not None or row["captions"] is None or row["caption_source"] == "pose":
            continue
        judged += 1
        if against := disagreements_in(row):
            number += 1
            item = (sum(1 - one.agreement for one in against), number, row, against)
            (heapq.heappush if len(found) < most else heapq.heappushpop)(found, item)
    if not judged:
        console.print("no caption here was made by a model: those of the pose can't contradict it")
    else:
        console.print(
            f"{number} of {judged} captioned people are contradicted by their pose", highlight=False
        )
    ordered = sorted(found, key=lambda item: -item[0])
    for _, _, row, against in ordered:
        console.print(f"{row['uri']} person {row['person_index']}", markup=False, highlight=False)
        for one in against:
            text = f"  {one.part} ({one.agreement:.2f}): caption {one.caption!r}, pose {one.pose!r}"
            console.print(text, markup=False, highlight=False)
    return [(row, against) for _, _, row, against in ordered]


def export(
    out: str, to: Path, kind: str, *, hypotheses: bool = True, console: Console | None = None
) -> dict[str, int]:
    """Writes the good rows as COCO's JSON or as ``.npz`` files."""
    console, labels = console or Console(), LabelSet(out)
    rows = labels.rows(_EXPORTED)
    told = write_coco(rows, to) if kind == "coco" else write_npz(rows, to, hypotheses=hypotheses)
    console.print(f"{to}: {told['images']} pictures, {told['people']} people", highlight=False)
    return told
