"""The report: one file, nothing remote, every text escaped, no section without data."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.deployments.demo import charts
from alignhmr.deployments.demo.inlining import data_uri
from alignhmr.deployments.demo.report import (
    Curve,
    FailedPhoto,
    FourFigures,
    Hero,
    HypothesesCard,
    Job,
    MetricChange,
    NextStep,
    PairCard,
    PairSide,
    PersonCard,
    PhotoCard,
    ReportData,
    Reproducibility,
    Series,
    ServedRequest,
    Step,
    TrainingPart,
    View,
    duration,
    number,
    render_report,
    write_report,
)

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" </style> {{ 7 * 7 }}"
_RANDOM = np.random.default_rng(0)


def picture(width: int = 64, height: int = 48) -> np.ndarray:
    return _RANDOM.integers(0, 256, (height, width, 3), np.uint8)


def person(**changes) -> PersonCard:
    spread = np.linspace(5, 150, 24)
    return dataclasses.replace(
        PersonCard((10, 20, 30), 1.2, 48.0, spread, caption_source="the pose"),
        **changes,
    )


def photo(name: str = "a.jpg", people: int = 1) -> PhotoCard:
    cards = tuple(person(captions={"left arm": "Hangs down."}) for _ in range(people))
    return PhotoCard(picture(), picture(), name, cards)


FIGURES = FourFigures(70.0, 75.0, 66.0, 50.0)
CHANGE = MetricChange(
    "MPJPE",
    "mm",
    "24 joints.",
    20,
    256,
    FIGURES,
    dataclasses.replace(FIGURES, selected=64.0),
)


def full() -> ReportData:
    view = View("Side", picture())
    steps = np.arange(10.0)
    return ReportData(
        created="1 May 2026",
        hero=Hero(picture(), picture(), "street.jpg"),
        totals=(("24", "photos"),),
        jobs=(Job("Label", "24 photos", 12.0, (Step("Decode", 0.5),), ("No VLM.",)), Job("Train", "Done", 90.0)),
        photos=tuple(photo(f"{i}.jpg") for i in range(8)),
        failed=(FailedPhoto("bad.jpg", "unreadable", "Not an image."),),
        hypotheses=(HypothesesCard("Person 1", (view, view), np.arange(5.0), np.arange(50.0, 55), 4),),
        pairs=(PairCard("Person 1", PairSide((view,), 2.0, 40), PairSide((view,), -1.0, 90), 3.0, ("The knee.",)),),
        abstentions={"too close": 2},
        training=TrainingPart("On 12 people.", (Curve("Loss", "Falls.", steps, (Series("train", 1 / (1 + steps)),)),),
                              (CHANGE,), ("Winner loss rises.",)),
        served=ServedRequest("curl http://127.0.0.1:8000", 200, 231.0, '{"people": []}', picture()),
        reproducibility=Reproducibility({"torch": "2.13.0"}, {"body": "abc"}, {"label": 0}, "2 cores", ("BSD-3",)),
        next_steps=(NextStep("alignhmr predict a.jpg", "Your photo."),),
    )  # fmt: skip


_VOID = {"meta", "img", "input", "br", "link", "hr"}
_SVG_EMPTY = {"line", "circle", "path"}


class Page(HTMLParser):
    """Fails at the first tag that is not closed in order; keeps what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in _SVG_EMPTY, tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_well_formed_and_whole():
    page = Page(render_report(full()))
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    for link in page.all("a"):
        assert (link["href"] or "").startswith("#") and (link["href"] or "")[1:] in identities
    for section in (
        "jobs",
        "gallery",
        "hypotheses",
        "pairs",
        "training",
        "served",
        "next",
    ):
        assert section in identities
    assert len(page.all("h1")) == 1 and page.all("html")[0]["lang"] == "en"


def test_nothing_is_remote_and_every_picture_is_inline():
    text = render_report(full())
    page = Page(text)
    assert not page.all("link") and not page.all("iframe")
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "data", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/webp;base64,", "#")), (tag, name, value)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style and "http" not in style[1] and "@import" not in style[1] and "url(" not in style[1]
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script and "http" not in script[1] and "fetch" not in script[1]
    policy = [
        m["content"] or "" for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy and policy[0].startswith("default-src 'none'")


def test_pictures_and_sliders_say_what_they_are():
    page = Page(render_report(full()))
    for image in page.all("img"):
        assert len(image["alt"] or "") > 10
        assert image["width"] and image["height"]
    sliders = page.all("input")
    assert len(sliders) == 1 + 8
    for slider in sliders:
        assert slider["type"] == "range" and slider["aria-label"]
    for drawing in page.all("svg"):
        assert drawing["role"] == "img" and len(drawing["aria-label"] or "") > 20


def _poisoned(value: Any) -> Any:
    """The same data with every text hostile."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(_poisoned(one) for one in value)
    if isinstance(value, dict):
        return {_poisoned(key): _poisoned(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _poisoned(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def test_hostile_text_stays_text():
    clean, page = Page(render_report(full())), Page(render_report(_poisoned(full())))
    assert len(page.all("script")) == len(clean.all("script")) == 1
    assert len(page.all("img")) == len(clean.all("img"))
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert "".join(page.text).count(HOSTILE) > 20


@pytest.mark.parametrize(
    "absent, identity",
    [
        ({"jobs": ()}, "jobs"),
        ({"photos": (), "failed": ()}, "gallery"),
        ({"hypotheses": ()}, "hypotheses"),
        ({"pairs": (), "abstentions": {}}, "pairs"),
        ({"training": None}, "training"),
        ({"served": None}, "served"),
        ({"next_steps": ()}, "next"),
    ],
)
def test_a_section_without_data_is_left_out(absent, identity):
    text = render_report(dataclasses.replace(full(), **absent))
    Page(text)
    assert f'id="{identity}"' not in text and f'href="#{identity}"' not in text


def test_the_emptiest_report_is_still_a_page():
    page = Page(render_report(ReportData(created="now")))
    assert not page.all("section") and not page.all("img") and not page.all("input")
    assert "learned" not in "".join(page.text), "no training, no claim of it"


def test_photos_without_people_and_people_without_words():
    nobody = PhotoCard(picture(), picture(), "empty.jpg")
    silent = PhotoCard(picture(), picture(), "silent.jpg", (person(),))
    text = "".join(Page(render_report(ReportData("now", photos=(nobody, silent)))).text)
    assert "nobody found" in text and "1 person" in text


def test_pairs_without_reasons_and_training_without_curves():
    data = full()
    assert data.served is not None
    bare = dataclasses.replace(
        data,
        pairs=(dataclasses.replace(data.pairs[0], reasons=()),),
        training=TrainingPart(changes=(CHANGE,)),
        served=dataclasses.replace(data.served, picture=None),
    )
    text = "".join(Page(render_report(bare)).text)
    assert "What tells them apart" not in text and "Alarm" not in text
    only_abstentions = dataclasses.replace(data, pairs=())
    assert "No pair was made for" in "".join(Page(render_report(only_abstentions)).text)


def test_jobs_that_took_no_time():
    Page(render_report(ReportData("now", jobs=(Job("Label", "nothing", 0.0),))))


def test_the_file_is_small_enough_and_written_whole(tmp_path: Path):
    noisy = np.kron(picture(120, 90), np.ones((8, 8, 1), np.uint8))  # 960 x 720, harder than a photo
    data = ReportData("now", photos=tuple(PhotoCard(noisy, noisy, f"{i}.jpg") for i in range(24)))
    path = tmp_path / "new" / "report.html"
    write_report(data, path)
    assert path.stat().st_size < 15e6
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]
    Page(path.read_text(encoding="utf-8"))


def test_inlined_pictures_are_scaled_down_never_up():
    import base64
    import io

    from PIL import Image

    def size(pixels, longest):
        return Image.open(io.BytesIO(base64.b64decode(data_uri(pixels, longest).split(",")[1]))).size

    assert size(picture(400, 200), 100) == (100, 50)
    assert size(picture(40, 20), 100) == (40, 20)
    assert data_uri(picture(9, 9)) != data_uri(picture(9, 9))


@pytest.mark.parametrize(
    "after, interval, words",
    [
        (64.0, None, ["fell by 2.0 mm (3.0%)", "may be chance"]),
        (64.0, (-3.0, -1.0), ["fell by 2.0 mm", "−3.0 to −1.0"]),
        (68.0, (1.0, 3.0), ["rose by 2.0 mm", "made it worse"]),
        (65.9, (-1.0, 0.8), ["No clear difference", "−0.1 mm", "includes zero"]),
    ],
)
def test_the_verdict_is_honest(after, interval, words):
    change = dataclasses.replace(
        CHANGE,
        after=dataclasses.replace(FIGURES, selected=after),
        selected_change_interval=interval,
    )
    for word in words:
        assert word in change.verdict()


def test_bad_data_gets_one_clear_sentence():
    card = dataclasses.replace(full().hypotheses[0], selected=9)
    with pytest.raises(InputError, match="number 9 was selected of 5"):
        write_report(ReportData("now", hypotheses=(card,)), Path("never-written.html"))
    wrong = PhotoCard(picture(), picture(32, 48), "a.jpg")
    with pytest.raises(InputError, match="draw the overlay on the photo itself"):
        write_report(ReportData("now", photos=(wrong,)), Path("never-written.html"))
    assert not Path("never-written.html").exists()


def test_durations_and_numbers():
    assert [duration(s) for s in (0.42, 3.14, 42.4, 247.0, 3600)] == [
        "0.42 s", "3.1 s", "42 s", "4 min 07 s", "60 min 00 s",
    ]  # fmt: skip
    assert number(-1.25, "%+.1f") == "−1.2" and number(float("nan"), "%.1f") == "–"


def test_stick_figure_warms_where_hypotheses_differ():
    assert charts.spread_color(0) == charts.spread_color(charts.SURE_MM) == "#2a9d8f"
    assert charts.spread_color(1e9) == "#c73858"
    posed = person(joints_px=np.linspace([500, 100], [530, 400], 24))
    for card in (person(), posed, person(joint_spread_mm=np.full(24, np.nan))):
        figure = str(charts.stick_figure(card))
        places = [float(v) for v in re.findall(r'c[xy]="([-\d.]+)"', figure)]
        assert len(places) == 48 and min(places) >= 0 and max(places) <= 160


def test_line_chart_survives_gaps_flat_lines_and_nothing():
    steps = np.arange(5.0)
    gap = np.array([1.0, np.nan, 2.0, np.inf, 3.0])
    curve = Curve(
        "Loss",
        "",
        steps,
        (Series("a", gap), Series("b", np.ones(5))),
        reference=("log 2", 0.693),
    )
    drawn = str(charts.line_chart(curve))
    assert "nan" not in drawn and "inf" not in drawn and drawn.count("<path") == 2
    assert str(charts.line_chart(Curve("x", "", steps, (Series("a", np.full(5, np.nan)),)))) == ""
    assert str(charts.line_chart(Curve("x", "", np.zeros(0), ()))) == ""
    one = Curve("x", "", np.zeros(1), (Series("a", np.zeros(1)),))
    assert "nan" not in str(charts.line_chart(one))


def test_score_strip_marks_the_selected_one():
    card = full().hypotheses[0]
    drawn = str(charts.score_strip(card))
    assert drawn.count("<circle") == 5 and drawn.count("chosen") == 1
    flat = dataclasses.replace(card, scores=np.zeros(5), expected_error_mm=np.full(5, 50.0))
    assert "nan" not in str(charts.score_strip(flat))
