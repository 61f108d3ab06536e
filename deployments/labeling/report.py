"""One page about a run, that opens from a disk: counts, pace, cost, how scores are spread, whom to look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from alignhmr.deployments.demo import report as demo_report
from alignhmr.deployments.demo.inlining import data_uri
from alignhmr.deployments.labeling.charts import bars, pace
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.row_pictures import drawn
from alignhmr.deployments.labeling.schema import ERROR_CODES, rows_from_table
from alignhmr.deployments.labeling.summaries import ERROR_EDGES_MM, MARGIN_EDGES, SPREAD_EDGES_MM
from alignhmr.deployments.pages import templates

PAGE = "report.html"
_SHOWN_PX = 224


@dataclass(frozen=True)
class Example:
    """A row to be looked at."""

    uri: str
    person: int | None
    told: str
    picture: str | None
    """A data URI; None where nothing can be shown."""


def write_report(output: Output, record: Mapping[str, Any], total: Mapping[str, Any]) -> None:
    """Writes ``report.html`` beside the rows."""
    text = render(output, record, total)
    output.write(PAGE, lambda file: file.write(text.encode()))


def render(output: Output, record: Mapping[str, Any], total: Mapping[str, Any]) -> str:
    """The page of a run with this record and these summaries."""
    here, demo = Path(__file__).parent, Path(demo_report.__file__).parent
    style = [demo / "page" / "style.css", here / "page" / "labeling.css"]
    page = templates(here / "page", {}).get_template("page.html.j2")
    return page.render(
        record=record,
        counts=record["counts"],
        errors=sorted(record["counts"]["errors"].items(), key=lambda item: -item[1]),
        meanings=ERROR_CODES,
        pace=pace(record["attempts"]),
        histograms=[
            (
                "Expected error of the selected hypothesis, mm",
                bars(total["expected_error_hist"], ERROR_EDGES_MM),
            ),
            ("Spread of the hypotheses, mean over joints, mm", bars(total["spread_hist"], SPREAD_EDGES_MM)),
            ("Margin of preference pairs, in score", bars(total["margin_hist"], MARGIN_EDGES)),
        ],
        best=_examples(output, total["best"]),
        worst=_examples(output, total["worst"]),
        failed=[(code, _examples(output, some)) for code, some in sorted(total["failed"].items())],
        style=Markup("\n".join(file.read_text(encoding="utf-8") for file in style)),
    )


def _examples(output: Output, shown: list[dict[str, Any]]) -> list[Example]:
    return [_example(_row(output, item)) for item in shown]


def _row(output: Output, item: Mapping[str, Any]) -> dict[str, Any]:
    with output.open_part(item["file"]) as file:
        return rows_from_table(file.read().slice(item["row"], 1))[0]


def _example(row: Mapping[str, Any]) -> Example:
    if row["error_code"] is not None:
        told = f"{row['error_stage']}: {row['error_message']}"
    else:
        told = f"expected error {row['expected_error_mm'][row['selected']]:.0f} mm"
    picture = None
    if row["view_jpeg"] is not None:
        picture = data_uri(drawn(row), _SHOWN_PX)
    return Example(row["uri"], row["person_index"], told, picture)
