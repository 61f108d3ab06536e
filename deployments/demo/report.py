"""One HTML file that tells what a demo run did: pictures first, numbers honestly, nothing remote.

`ReportData` is all that the page shows; `write_report` turns it into a file that opens from disk, offline.
A section without data is left out. Every text is escaped, every picture is inlined.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from alignhmr.core.errors import InputError
from alignhmr.deployments.demo import charts
from alignhmr.deployments.demo.inlining import data_uri
from alignhmr.deployments.pages import templates, write_whole

Image = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Hero:
    """The picture that opens the page; both of one size."""

    photo: Image
    overlay: Image
    name: str


@dataclass(frozen=True)
class Step:
    name: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """One of the three jobs, as it ran."""

    name: str
    """"Label", "Train", "Serve"."""
    result: str
    """What went in and what came out: "24 photos, 31 people, 118 pairs"."""
    seconds: float
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PersonCard:
    """One person of a photo."""

    color: tuple[int, int, int]
    """sRGB, as drawn in the overlay."""
    score: float
    """HMR-Scorer's raw score of the selected hypothesis; comparable within one person only."""
    expected_error_mm: float
    joint_spread_mm: Float[np.ndarray, "24"]
    """Over the hypotheses, in SMPL's joint order."""
    joints_px: Float[np.ndarray, "24 2"] | None = None
    """The selected pose in the photo, drawn as the stick figure; a standing figure without it."""
    captions: Mapping[str, str] = field(default_factory=dict)
    """Body part -> sentence."""
    caption_source: str = ""
    """"the pose itself", or the vision-language model's name."""


@dataclass(frozen=True)
class PhotoCard:
    photo: Image
    overlay: Image
    name: str
    people: tuple[PersonCard, ...] = ()


@dataclass(frozen=True)
class FailedPhoto:
    """A picture that gave no answer, and why; it cost no other picture anything."""

    name: str
    code: str
    message: str


@dataclass(frozen=True)
class View:
    label: str
    """"Front", "Side", "From above", "Photo"."""
    image: Image


@dataclass(frozen=True)
class HypothesesCard:
    """All answers for one person, from several sides."""

    title: str
    views: tuple[View, ...]
    scores: Float[np.ndarray, " hyps"]
    expected_error_mm: Float[np.ndarray, " hyps"]
    selected: int


@dataclass(frozen=True)
class PairSide:
    views: tuple[View, ...]
    score: float
    expected_error_mm: float


@dataclass(frozen=True)
class PairCard:
    title: str
    winner: PairSide
    loser: PairSide
    margin: float
    """Winner's score minus loser's."""
    reasons: tuple[str, ...] = ()
    """What tells them apart, in words: "the left knee is bent by 40 degrees more"."""


@dataclass(frozen=True)
class Series:
    name: str
    values: Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Curve:
    """Lines over training steps. Values that are not finite leave a gap."""

    title: str
    explanation: str
    steps: Float[np.ndarray, " points"]
    series: tuple[Series, ...]
    unit: str = ""
    reference: tuple[str, float] | None = None
    """A level worth knowing, such as ("no preference: log 2", 0.693)."""


@dataclass(frozen=True)
class FourFigures:
    """One error metric, told in the four ways that must stand side by side. Lower is better."""

    zero_noise: float
    mean: float
    selected: float
    best_of_m: float


@dataclass(frozen=True)
class MetricChange:
    """A metric before and after training, on the same held-out people."""

    metric: str
    unit: str
    protocol: str
    """Joint set, alignment and where the truth comes from."""
    hypotheses: int
    people: int
    before: FourFigures
    after: FourFigures
    selected_change_interval: tuple[float, float] | None = None
    """95 % interval of after minus before for "selected", paired over people."""

    def verdict(self) -> str:
        """One honest sentence about the selected answer."""
        before, after = self.before.selected, self.after.selected
        change = after - before
        if self.selected_change_interval is None:
            doubt = "No interval was computed, so this may be chance."
        else:
            low, high = (number(end, "%+.1f") for end in self.selected_change_interval)
            if self.selected_change_interval[0] <= 0 <= self.selected_change_interval[1]:
                moved = f"moved by {number(change, '%+.1f')} {self.unit}"
                return (
                    f"No clear difference: the selected answer's {self.metric} {moved},"
                    f" and the 95 % interval, {low} to {high}, includes zero."
                )
            doubt = f"The 95 % interval is {low} to {high} {self.unit}."
        direction = "fell" if change < 0 else "rose"
        judgement = "" if change < 0 else " Training made it worse here."
        size = f"{abs(change):.1f} {self.unit} ({abs(change) / max(before, 1e-9):.1%})"
        return (
            f"The selected answer's {self.metric} {direction} by {size} on {self.people} held-out people."
            f"{judgement} {doubt}"
        )


@dataclass(frozen=True)
class TrainingPart:
    summary: str = ""
    curves: tuple[Curve, ...] = ()
    changes: tuple[MetricChange, ...] = ()
    alarms: tuple[str, ...] = ()
    """What the drift watch had to say; empty when it stayed quiet."""


@dataclass(frozen=True)
class ServedRequest:
    request: str
    """As a command one could type."""
    status: int
    latency_ms: float
    response: str
    """The JSON answer, shortened to what is worth reading."""
    picture: Image | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reproducibility:
    versions: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    machine: str = ""
    sources: tuple[str, ...] = ()
    """Where the photos come from, with their licence."""


@dataclass(frozen=True)
class NextStep:
    command: str
    what: str


@dataclass(frozen=True)
class ReportData:
    created: str
    """Date and time, as it should be read."""
    hero: Hero | None = None
    totals: tuple[tuple[str, str], ...] = ()
    """Figures under the headline: (("24", "photos"), ...)."""
    jobs: tuple[Job, ...] = ()
    photos: tuple[PhotoCard, ...] = ()
    failed: tuple[FailedPhoto, ...] = ()
    hypotheses: tuple[HypothesesCard, ...] = ()
    pairs: tuple[PairCard, ...] = ()
    abstentions: Mapping[str, int] = field(default_factory=dict)
    """Why no pair was made -> for how many people."""
    training: TrainingPart | None = None
    served: ServedRequest | None = None
    reproducibility: Reproducibility = field(default_factory=Reproducibility)
    next_steps: tuple[NextStep, ...] = ()


def write_report(data: ReportData, path: Path) -> None:
    """Writes the page to ``path``; a reader never sees half of one."""
    _check(data)
    write_whole(render_report(data), Path(path))


def render_report(data: ReportData) -> str:
    """The page as text."""
    here = Path(__file__).parent
    filters = {
        "inline": data_uri,
        "duration": duration,
        "number": number,
        "line_chart": charts.line_chart,
        "stick_figure": charts.stick_figure,
        "score_strip": charts.score_strip,
    }
    pages = templates(here / "page", filters)
    # Both are the package's own files: no text of a run enters a script or a style.
    style = Markup((here / "page/style.css").read_text(encoding="utf-8"))
    script = Markup((here / "page/page.js").read_text(encoding="utf-8"))
    return pages.get_template("page.html.j2").render(
        data=data,
        style=style,
        script=script,
        sure_mm=charts.SURE_MM,
        unsure_mm=charts.UNSURE_MM,
    )


def duration(seconds: float) -> str:
    """ "0.42 s", "12.3 s", "4 min 07 s"."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def number(value: float, pattern: str) -> str:
    """Formatted with a true minus sign; a dash where there is no number."""
    return (pattern % value).replace("-", "−") if np.isfinite(value) else "–"


def _check(data: ReportData) -> None:
    for card in data.hypotheses:
        if not 0 <= card.selected < len(card.scores):
            raise InputError(
                f"hypotheses of {card.title!r}: number {card.selected} was selected of {len(card.scores)};"
                " give an index among them"
            )
    for pair in (data.hero, *data.photos):
        if pair is not None and pair.photo.shape[:2] != pair.overlay.shape[:2]:
            raise InputError(
                f"{pair.name!r}: the photo is {pair.photo.shape[1::-1]} pixels and its overlay"
                f" {pair.overlay.shape[1::-1]}; draw the overlay on the photo itself"
            )
