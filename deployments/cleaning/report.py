"""One page: what was kept and why, how labels were judged, and examples of each decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from alignhmr.core.perception.views import from_jpeg
from alignhmr.core.records import Intrinsics
from alignhmr.core.scoring.cleaning import Cleaned
from alignhmr.core.synthetic.overlay import draw_keypoints
from alignhmr.core.truth.frames import project_px
from alignhmr.deployments.cleaning.rating import RatedLabel
from alignhmr.deployments.demo import report as demo_report
from alignhmr.deployments.demo.inlining import data_uri
from alignhmr.deployments.pages import templates, write_whole
from alignhmr.training.sightings import Sighting

_SHOWN_PX = 224
_BARS = 24


@dataclass(frozen=True)
class Example:
    """Someone of whom a decision was made."""

    decision: str
    sighting: Sighting
    label: RatedLabel

    def pictures(self) -> list[tuple[str, UInt8[np.ndarray, "height width 3"]]]:
        """The label on the picture, and for a replaced one what took its place."""
        shown = [("label", self._drawn(self.sighting.coco23_cam_m))]
        if self.decision == "relabel":
            shown.append(("model", self._drawn(self.label.own["coco23_cam_m"])))
        return shown

    def _drawn(self, points_m: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
        s = self.sighting
        window = cv2.resize(from_jpeg(s.crop_jpeg), (_SHOWN_PX, _SHOWN_PX), interpolation=cv2.INTER_AREA)
        pixels = project_px(points_m.astype(np.float64), Intrinsics(s.focal_px, s.center_px, "given"))
        return draw_keypoints(window, s.window.to_crop(pixels, _SHOWN_PX))


def write_report(
    record: dict[str, Any], cleaned: Cleaned, labels: Sequence[RatedLabel], examples: Sequence[Example], path: Path
) -> None:  # fmt: skip
    """Writes the page; a reader never sees half of one."""
    here, demo = Path(__file__).parent, Path(demo_report.__file__).parent
    page = templates(here / "page", {"inline": data_uri}).get_template("page.html.j2")
    by_decision = {
        decision: sorted(
            (example for example in examples if example.decision == decision),
            key=lambda example: example.label.judged_mm,
        )
        for decision in ("keep", "relabel", "drop")
    }
    style = [demo / "page" / "style.css", here / "page" / "cleaning.css"]
    write_whole(
        page.render(
            record=record, threshold_mm=cleaned.threshold_mm, bars=_bars(labels, cleaned), by_decision=by_decision,
            style=Markup("\n".join(file.read_text(encoding="utf-8") for file in style)),
        ),
        path,
    )  # fmt: skip


def _bars(labels: Sequence[RatedLabel], cleaned: Cleaned) -> list[dict[str, Any]]:
    """A histogram of how wrong labels seem; the last bar holds all beyond."""
    judged = np.array([label.judged_mm for label in labels])
    end = float(np.quantile(judged, 0.98))
    edges = np.linspace(0, max(end, 1.0), _BARS + 1)
    counts = np.histogram(judged.clip(max=edges[-1]), edges)[0]
    tallest = max(int(counts.max()), 1)
    return [
        {
            "from": float(low), "to": float(high), "count": int(count), "height": 100 * int(count) / tallest,
            "kept": float(low + high) / 2 <= cleaned.threshold_mm,
        }
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]  # fmt: skip
