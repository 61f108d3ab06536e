"""``alignhmr demo``: label, train and serve in a row on real video frames, and a report of what came of it."""

import datetime
import importlib.util
import json
import logging
import shutil
import time
import webbrowser
from pathlib import Path
from typing import Any

import cv2
import pyarrow.parquet as pq
from rich.console import Console

from alignhmr.core.body.model import BodyModel
from alignhmr.core.language.vlm_folder import resolve_vlm
from alignhmr.core.perception.images import decode
from alignhmr.deployments.cli_options import invocation
from alignhmr.deployments.demo import pictures
from alignhmr.deployments.demo.outcome import (
    job_of_labelling,
    job_of_serving,
    job_of_training,
    reproducibility,
    training_part,
)
from alignhmr.deployments.demo.photos import BROKEN, EMPTY, SOURCES, write_photos
from alignhmr.deployments.demo.report import (
    FailedPhoto,
    Hero,
    NextStep,
    ReportData,
    ServedRequest,
    write_report,
)

log = logging.getLogger(__name__)

STEPS = 80
_SHOWN = ("box_px", "pose_aa", "betas", "transl_cam_m", "joints_cam_m", "score", "expected_error_mm")
SHOWN_PHOTOS = 9
MARKER = "alignhmr-demo.json"


def run(out: Path, *, frames: int = 96, open_report: bool = False, console: Console | None = None) -> Path:
    """Writes ``out/report.html`` and returns its path; photos, rows and the aligned model stay beside it."""
    console = console or Console(stderr=True)
    out = Path(out).absolute()
    _claim(out)
    started = time.perf_counter()
    console.rule("[bold]photos")
    with console.status("fetching demo videos and cutting frames"):
        photos = write_photos(out / "photos", frames)
    console.print(
        f"{len(photos)} frames of {len(SOURCES)} sets of videos, one broken file, one picture of nobody"
    )

    console.rule("[bold]label")
    labelled, label_s = _timed(_label, out, console)
    console.rule("[bold]train")
    aligned, train_s = _timed(_train, out, console)
    console.rule("[bold]serve")
    served, serve_s = _timed(_serve, out, photos, aligned, console)

    console.rule("[bold]report")
    with console.status("drawing"):
        data = _report(out, photos, labelled, aligned, served, (label_s, train_s, serve_s))
        path = out / "report.html"
        write_report(data, path)
    console.print(f"\n[bold green]{path}[/]  ({time.perf_counter() - started:.0f} s in all)")
    console.print(f"Next, your own photos:  {invocation()} predict photo.jpg -o out")
    if open_report:
        webbrowser.open(path.as_uri())
    return path


def _claim(out: Path) -> None:
    """Makes the folder ours: an earlier demo's is emptied, anything else is left alone."""
    from alignhmr.core.errors import InputError

    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise InputError(f"{out} is not empty and holds no demo; choose another --out")
        for name in ("photos", "rows", "model", "report.html"):
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text(json.dumps({"started": _now()}) + "\n")


def _label(out: Path, console: Console) -> dict[str, Any]:
    from alignhmr.deployments.labeling.command import run as label

    # The vision-language model that ships, where vLLM is installed: else the pose speaks for itself.
    there = importlib.util.find_spec("vllm") is not None and resolve_vlm("starter").is_dir()
    captioner = "vllm:starter" if there else None
    return label(out / "photos", out / "rows", captioner=captioner, console=console)


def _train(out: Path, console: Console) -> dict[str, Any]:
    from alignhmr.deployments.training_jobs import run_dpo

    return run_dpo(str(out / "rows"), out / "model", steps=STEPS, console=console)


def _serve(out: Path, photos: list[Path], aligned: dict[str, Any], console: Console) -> dict[str, Any]:
    """Starts the service with the aligned model, asks it twice, stops it; the second answer is warm."""
    from alignhmr.deployments.serving.client import Client
    from alignhmr.deployments.serving.command import start

    with console.status("starting the service"):
        service = start(port=0, base=aligned["checkpoint"], replicas=1)
    try:
        client, photo = Client(service.url, retries=5), photos[len(photos) // 12]
        client.recover(photo)
        began = time.perf_counter()
        answer = client.recover(photo)
        latency_ms = 1000 * (time.perf_counter() - began)
        overlay = decode(client.overlay(photo)).pixels
    finally:
        service.stop()
    console.print(f"{service.url}: people {len(answer.pictures[0].people)}, {latency_ms:.0f} ms")
    return {
        "answer": answer,
        "latency_ms": latency_ms,
        "overlay": overlay,
        "photo": photo,
        "url": service.url,
    }


def _report(
    out: Path, photos: list[Path], labelled: dict[str, Any], aligned: dict[str, Any], served: dict[str, Any],
    seconds: tuple[float, float, float],
) -> ReportData:  # fmt: skip
    body = BodyModel.load("open", "small")
    fine = BodyModel.load("open", "full")
    rows = pq.read_table(out / "rows" / "rows").to_pylist()
    by_photo = pictures.people_by_photo(rows, body)
    paths = {path.name: path for path in photos}
    shown = _spread([name for name in sorted(by_photo) if name in paths], SHOWN_PHOTOS)
    cards = tuple(pictures.photo_card(paths[name], by_photo[name], fine) for name in shown)
    everyone = [(name, person) for name in sorted(by_photo) for person in by_photo[name] if name in paths]
    paired = sorted(
        (p for p in everyone if p[1].pairs and pictures.clearly_seen(p[1])),
        key=lambda p: -p[1].pairs[0].margin,
    )
    # Where the hypotheses part most, among people who are clearly there: a doubtful detection would only puzzle.
    clear = [p for p in everyone if pictures.clearly_seen(p[1])]
    unsure = sorted(clear, key=lambda p: -float(p[1].recovery.joint_spread_mm.mean()))
    counts = labelled["counts"]
    hero = max(cards, key=lambda card: len(card.people), default=None)
    return ReportData(
        created=_now(),
        hero=Hero(hero.photo, hero.overlay, hero.name) if hero else None,
        totals=(
            (str(counts["images"]), "pictures"), (str(counts["people_labelled"]), "people"),
            (str(counts["people_labelled"] * labelled["config"]["hypotheses"]), "hypotheses"),
            (str(counts["pairs"]), "preference pairs"),
        ),
        jobs=(
            job_of_labelling(labelled, seconds[0]), job_of_training(aligned, seconds[1]),
            job_of_serving(served["answer"], served["latency_ms"], seconds[2]),
        ),
        photos=cards,
        failed=tuple(
            FailedPhoto(Path(row["uri"]).name, row["error_code"], row["error_message"] or "")
            for row in rows if row["error_code"] is not None and Path(row["uri"]).name in (BROKEN, EMPTY)
        ),
        hypotheses=tuple(
            pictures.hypotheses_card(name, person, paths[name], body) for name, person in _distinct(unsure, 2)
        ),
        pairs=tuple(pictures.pair_card(name, person, paths[name], fine) for name, person in _distinct(paired, 3)),
        abstentions=counts["abstained"],
        training=training_part(aligned),
        served=_served(served),
        reproducibility=reproducibility(labelled, aligned, SOURCES),
        next_steps=_next_steps(out),
    )  # fmt: skip


def _next_steps(out: Path) -> tuple[NextStep, ...]:
    steps = (
        ("predict photo.jpg -o out --format json,overlay,glb", "your own photo, without Ray"),
        ("label photos/ --out rows", "a folder or an s3:// prefix of your own"),
        ("train dpo --data rows --out better", "align the model to what was mined from it"),
        (f"serve --base {out / 'model' / 'base-dpo.safetensors'}", "serve the model of this demo"),
    )
    return tuple(NextStep(f"{invocation()} {words}", why) for words, why in steps)


def _served(served: dict[str, Any]) -> ServedRequest:
    picture = served["answer"].pictures[0]
    person = picture.people[0].model_dump(mode="json") if picture.people else {}
    short = {
        "request_id": served["answer"].request_id,
        "pictures": [
            {"width_px": picture.width_px, "height_px": picture.height_px, "people": [
                {key: _shortened(person[key]) for key in _SHOWN if key in person}
            ]},
        ],
        "models": served["answer"].models,
        "timings_ms": served["answer"].timings_ms.model_dump(mode="json"),
    }  # fmt: skip
    overlay = served["overlay"]
    scale = min(1.0, pictures.SIDE_PX / max(overlay.shape[:2]))
    small = cv2.resize(overlay, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    request = f"curl -F file=@{served['photo'].name} {served['url']}/v1/recover"
    notes = (f"{len(picture.people)} people; the second request, with models warm", "numbers shortened here")
    return ServedRequest(request, 200, served["latency_ms"], json.dumps(short, indent=1), small, notes)


def _shortened(value: Any) -> Any:
    """Three numbers at most of a list, rounded, so that an answer can be read."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, list):
        return [_shortened(item) for item in value[:3]] + (
            [f"... {len(value) - 3} more"] if len(value) > 3 else []
        )
    return value


def _spread(names: list[str], count: int) -> list[str]:
    """``count`` names at even distances, the outdoor walker's first."""
    names = sorted(names, key=lambda name: (not name.startswith("walk"), name))
    return [names[i * len(names) // count] for i in range(min(count, len(names)))] if names else []


def _distinct(people: list, count: int) -> list:
    """The first of each video, so that the cards don't show one moment again and again."""
    seen: dict[str, Any] = {}
    for name, person in people:
        seen.setdefault(name.rpartition("-")[0], (name, person))
    return list(seen.values())[:count]


def _timed(work, *arguments) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(*arguments), time.perf_counter() - began


def _now() -> str:
    return datetime.datetime.now().astimezone().strftime("%d %B %Y, %H:%M")
