"""``alignhmr eval`` around a made benchmark and a predictions file: what it writes, compares, exports and refuses."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.records import Intrinsics, Picture
from alignhmr.core.truth.predictions import SystemInfo, read_predictions, write_predictions
from alignhmr.core.truth.records import Points, Prediction, Sample, Truth
from alignhmr.core.truth.results import Result
from alignhmr.deployments.cli import app
from alignhmr.deployments.evaluation import export
from alignhmr.deployments.evaluation.command import Options, run, run_compare

CAMERA = Intrinsics(400.0, (160.0, 120.0), "given")
INFO = SystemInfo("other <b>system</b>", "1", "given", "given")


def _samples(pictures: int = 10) -> list[Sample]:
    generator = np.random.default_rng(0)
    made = []
    for number in range(pictures):
        cam_m = generator.normal(size=(23, 3)) * [0.3, 0.6, 0.2] + [0, 0, 4]
        px = cam_m[:, :2] / cam_m[:, 2:] * CAMERA.focal_px + np.array(CAMERA.center_px)
        truth = Truth(
            np.concatenate([px.min(0), px.max(0)]), {"coco23": Points(cam_m, px, generator.random(23) < 0.7)},
            facts={"clothing": "<i>loose</i>" if number % 2 else "tight", "occlusion": number / 10},
        )  # fmt: skip
        picture = Picture(generator.integers(0, 255, (240, 320, 3), dtype=np.uint8), f"{number:064d}")
        made.append(Sample(f"frame{number}", f"clip{number // 2}", "made", picture, CAMERA, [truth]))
    return made


def _open(name: str, *, count: int | None, seed: int) -> Iterator[Sample]:
    if name == "broken":
        return _breaking()
    if name not in ("tiny", "small"):
        raise InputError(f"unknown benchmark {name!r}; choose tiny or small")
    return iter(_samples()[: count or (10 if name == "tiny" else 6)])


def _breaking() -> Iterator[Sample]:
    yield _samples()[0]
    raise InputError("the picture frame1.jpg is missing; unpack it")


def _predictions(noise_m: float, hyps: int = 1, skip: tuple[str, ...] = ()) -> list[Prediction]:
    generator = np.random.default_rng(1)
    predictions = []
    for sample in _samples():
        true = sample.people[0].points["coco23"].cam_m
        assert true is not None
        noisy = true + noise_m * generator.normal(size=(hyps, *true.shape))
        px = noisy[..., :2] / noisy[..., 2:] * CAMERA.focal_px + np.array(CAMERA.center_px)
        if sample.id not in skip:
            predictions.append(
                Prediction(
                    sample.id, 0, {"coco23": noisy}, {"coco23": px},
                    scores=None if hyps == 1 else generator.normal(size=hyps),
                    expected_error_mm=None if hyps == 1 else np.full(hyps, 50.0), selected=hyps - 1,
                )
            )  # fmt: skip
    return predictions


@pytest.fixture
def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_predictions(tmp_path / "other.parquet", INFO, _predictions(0.03, hyps=4, skip=("frame3",)))
    return tmp_path / "other.parquet"


def _run(file: Path, out: Path, quiet: Console, *benchmarks: str, **options) -> list[Result]:
    chosen = Options(predictions=file, **options)
    return run(benchmarks or ("tiny",), out, chosen, console=quiet, open_samples=_open)


def test_it_writes_record_predictions_table_and_page(file: Path, tmp_path: Path, quiet: Console) -> None:
    out = tmp_path / "out"
    [result] = _run(file, out, quiet)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "report.html", "table.md", "tiny/predictions.parquet", "tiny/record.json"
    ]  # fmt: skip
    record = json.loads((out / "tiny/record.json").read_text())
    assert record["answers"]["missed"] == 1
    assert record["system"]["name"] == INFO.name
    assert record["made_by"]["version"]
    assert Result.read(out / "tiny/record.json").figures == record["figures"]
    kept = read_predictions(out / "tiny/predictions.parquet")
    assert (len(kept.predictions), kept.hypotheses, kept.info) == (9, 4, INFO)
    selected = f"{result.figures['pa_mpjpe_mm']['selected']['value']:.1f}"
    for name in ("table.md", "report.html"):
        text = (out / name).read_text()
        assert selected in text
        assert "best of 4 (oracle)" in text


def test_the_page_is_whole_self_contained_and_escaped(file: Path, tmp_path: Path, quiet: Console) -> None:
    _run(file, tmp_path / "out", quiet, "tiny", "small")
    page = (tmp_path / "out/report.html").read_text()
    assert "other &lt;b&gt;system" in page and "<b>system" not in page and "<i>loose" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "{{" not in page and "{%" not in page
    # Five clips with an answer, one of each, three views; one person was missed; two benchmarks, of 10 and of 6.
    assert page.count("data:image/webp") == (5 * 3 + 1) + (3 * 3 + 1)


def test_one_answer_is_said_to_be_one(tmp_path: Path, quiet: Console) -> None:
    write_predictions(tmp_path / "one.parquet", INFO, _predictions(0.05))
    _run(tmp_path / "one.parquet", tmp_path / "out", quiet)
    assert "One answer a person: the four figures are one." in (tmp_path / "out/table.md").read_text()
    assert "its four figures are one" in (tmp_path / "out/report.html").read_text()


def test_a_benchmark_of_the_picture_alone_makes_a_page_beside_a_whole_one(
    file: Path, tmp_path: Path, quiet: Console
) -> None:
    def open_flat(name: str, *, count: int | None, seed: int) -> Iterator[Sample]:
        for sample in _open("tiny", count=count, seed=seed):
            points = replace(sample.people[0].points["coco23"], cam_m=None) if name == "flat" else None
            people = [replace(sample.people[0], points={"coco23": points})] if points else sample.people
            yield replace(sample, people=people)

    run(["tiny", "flat"], tmp_path / "out", Options(predictions=file), console=quiet, open_samples=open_flat)
    page = (tmp_path / "out/report.html").read_text()
    assert "The truth is of the picture alone" in page
    assert "No truth in space: 2D errors alone." in (tmp_path / "out/table.md").read_text()


def test_a_broken_benchmark_costs_only_itself(file: Path, tmp_path: Path, quiet: Console) -> None:
    with pytest.raises(InputError, match=r"frame1\.jpg is missing"):
        _run(file, tmp_path / "out", quiet, "broken", "tiny")
    assert (tmp_path / "out/tiny/record.json").exists()
    assert "## tiny" in (tmp_path / "out/table.md").read_text()


def test_a_run_that_failed_leaves_the_folder_usable(file: Path, tmp_path: Path, quiet: Console) -> None:
    with pytest.raises(InputError, match=r"frame1\.jpg is missing"):
        _run(file, tmp_path / "out", quiet, "broken")
    _run(file, tmp_path / "out", quiet, "tiny")
    assert (tmp_path / "out" / "tiny" / "record.json").is_file()


def test_the_bias_of_a_truth_stands_where_its_figures_do(file: Path, tmp_path: Path, quiet: Console) -> None:
    run(
        ["pose2sim4"], tmp_path / "out", Options(predictions=file), console=quiet,
        open_samples=lambda name, *, count, seed: iter(_samples()),
    )  # fmt: skip
    for page in ("table.md", "report.html", "pose2sim4/record.json"):
        assert "place a limb 35 mm apart" in (tmp_path / "out" / page).read_text(), page
    said = io.StringIO()
    run_compare(tmp_path / "out", tmp_path / "out", console=Console(file=said, width=400))
    assert "place a limb 35 mm apart" in said.getvalue()


def test_what_is_refused_before_any_work(file: Path, tmp_path: Path, quiet: Console) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="unknown benchmark 'mars'"):
        _run(file, out, quiet, "mars")
    with pytest.raises(InputError, match="name each once"):
        _run(file, out, quiet, "tiny", "tiny")
    with pytest.raises(InputError, match="unknown joint set 'limbs13'"):
        _run(file, out, quiet, joints="limbs13")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        _run(tmp_path / "nothing.parquet", out, quiet)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no evaluation"):
        _run(file, tmp_path / "full", quiet)
    with pytest.raises(InputError, match="is a file; give a folder"):
        _run(file, file, quiet)


def test_compare_takes_folders_and_files_and_says_who_is_better(tmp_path: Path, quiet: Console) -> None:
    for name, noise in (("good", 0.01), ("bad", 0.08)):
        info = replace(INFO, name=name)
        write_predictions(tmp_path / f"{name}.parquet", info, _predictions(noise))
        _run(tmp_path / f"{name}.parquet", tmp_path / name, quiet, "tiny", "small")
    console = Console(record=True, width=300, file=io.StringIO())
    both = run_compare(tmp_path / "good", tmp_path / "bad", console=console)
    assert [comparison.benchmark for comparison in both] == ["small", "tiny"]
    text = console.export_text()
    assert "good 1 is better by" in text
    assert "3 clips are too few" in text  # of small
    [one] = run_compare(tmp_path / "good/tiny", tmp_path / "bad/tiny/record.json", console=quiet)
    assert one.differences[0].better == 0
    with pytest.raises(CompatibilityError, match="different people"):
        run_compare(tmp_path / "good/tiny", tmp_path / "bad/small", console=quiet)
    with pytest.raises(InputError, match=r"holds no record\.json"):
        run_compare(tmp_path / "good", tmp_path, console=quiet)


def test_export_holds_what_a_system_may_know_and_nothing_else(tmp_path: Path, quiet: Console) -> None:
    export.run(["tiny"], tmp_path / "out", count=3, open_samples=_open, console=quiet)
    rows = pq.read_table(tmp_path / "out/tiny/people.parquet").to_pylist()
    assert [(row["sample_id"], row["person"]) for row in rows] == [(f"frame{i}", 0) for i in range(3)]
    assert rows[1].keys() == {
        "sample_id", "person", "picture", "width", "height", "box_px", "focal_px", "center_px"
    }  # fmt: skip
    sample = _samples()[1]
    with Image.open(tmp_path / "out/tiny" / rows[1]["picture"]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), sample.picture.pixels)
    np.testing.assert_allclose(rows[1]["box_px"], sample.people[0].box_px, rtol=1e-6)
    with pytest.raises(InputError, match="is not empty"):
        export.run(["tiny"], tmp_path / "out", open_samples=_open, console=quiet)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["eval"], "name at least one"),
        (["eval", "wild"], "give a folder"),
        (["eval", "wild", "-o", "x", "--system", "magic"], "magic"),
        (["eval", "wild", "-o", "x", "--boxes", "guessed"], "guessed"),
    ],
)
def test_a_wrong_command_line_is_said_to_be_so(arguments: list[str], sentence: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert sentence in done.output


def test_parameters_of_a_body_that_does_not_ship_ask_for_its_file(tmp_path: Path, quiet: Console) -> None:
    pose, betas = np.zeros((1, 24, 3)), np.zeros((1, 10))
    predictions = [replace(p, pose_aa=pose, betas=betas, points_px={}) for p in _predictions(0.05)]
    write_predictions(tmp_path / "p.parquet", replace(INFO, body="smpl:0"), predictions)
    table = pq.read_table(tmp_path / "p.parquet").drop_columns(["points_m.coco23"])
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(InputError, match="name its file with --body"):
        _run(tmp_path / "p.parquet", tmp_path / "out", quiet)
