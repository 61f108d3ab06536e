"""One HTML page over the benchmarks of a run: figures first, then where the errors lie, then the worst answers.

It shares the style of the demo's page, asks nobody for anything, and escapes every text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from alignhmr.core.truth.results import FOUR, Result
from alignhmr.deployments.demo import report as demo_report
from alignhmr.deployments.demo.inlining import data_uri
from alignhmr.deployments.evaluation import charts, tables
from alignhmr.deployments.evaluation.pictures import PREDICTED_RGB, TRUE_RGB, Case
from alignhmr.deployments.pages import templates, write_whole


@dataclass(frozen=True)
class Chapter:
    """One benchmark of the page."""

    result: Result
    cases: tuple[Case, ...]


def write_report(chapters: Sequence[Chapter], path: Path) -> None:
    """Writes the page to ``path``; a reader never sees half of one."""
    write_whole(render_report(chapters), path)


def render_report(chapters: Sequence[Chapter]) -> str:
    """The page as text."""
    here, demo = Path(__file__).parent, Path(demo_report.__file__).parent
    filters = {
        "inline": data_uri,
        "label": tables.label,
        "figure_name": tables.figure_name,
        "joint_bars": charts.joint_bars,
        "calibration_dots": charts.calibration_dots,
    }
    pages = templates(here / "page", filters)
    style = [folder / "page" / name for folder, name in ((demo, "style.css"), (here, "evaluation.css"))]
    return pages.get_template("page.html.j2").render(
        chapters=chapters,
        # The package's own files: no text of a run enters a style.
        style=Markup("\n".join(file.read_text(encoding="utf-8") for file in style)),
        value=tables.value,
        broken_down=tables.broken_down,
        of_many=tables.of_many,
        four=FOUR,
        true_rgb=TRUE_RGB,
        predicted_rgb=PREDICTED_RGB,
    )
