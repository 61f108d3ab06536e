"""``alignhmr rows`` and the report, over rows made without Ray: counted, shown, compared, exported."""

import dataclasses
import io
import json
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rich.console import Console

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.language.posecodes import PARTS
from alignhmr.core.language.writing import caption_from_joints
from alignhmr.deployments.labeling import rows_command
from alignhmr.deployments.labeling.config import load_config
from alignhmr.deployments.labeling.costs import add_use, cost, stage_use
from alignhmr.deployments.labeling.disagreement import disagreements_in
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.report import write_report
from alignhmr.deployments.labeling.schema import row_schema, table_from_rows
from alignhmr.deployments.labeling.summaries import add_up, counts_of

HYPS = 3


def standing():
    joints = np.zeros((len(JOINTS), 3), np.float32)
    for index, name in enumerate(JOINTS):
        side, _, part = name.rpartition("_")
        height = {"hip": 0.05, "knee": 0.45, "ankle": 0.85, "foot": 0.9, "neck": -0.5, "head": -0.65, "shoulder": -0.45,
                  "elbow": -0.2, "wrist": 0.05, "hand": 0.1, "collar": -0.45}  # fmt: skip
        joints[index] = {"left": 0.15, "right": -0.15}.get(side, 0.0), height.get(part or name, 0.0), 0
        if part.startswith("spine"):
            joints[index, 1] = -0.1 * int(part[-1])
    return joints


def person(number, index=0, **over):
    rng = np.random.default_rng(number * 10 + index)
    view = rng.integers(0, 255, (256, 256, 3), np.uint8)
    joints = standing()
    return {
        "uri": f"/photos/{number}.jpg", "image_sha256": f"{number + 1:064x}", "person_index": index, "width": 640,
        "height": 480, "box_px": [100, 50, 300, 400], "detection_score": 0.9,
        "keypoints_px": np.column_stack([rng.uniform(100, 300, (23, 2)), np.linspace(0, 1, 23)]),
        "view_jpeg": cv2.imencode(".jpg", view)[1].tobytes(), "captions": caption_from_joints(joints),
        "caption_source": "vlm:some", "focal_px": 800.0, "center_px": [320, 240], "intrinsics_source": "default",
        "crop_px": [200, 225, 440], "pose_aa": rng.normal(size=HYPS * 72), "betas": rng.normal(size=HYPS * 10),
        "transl_cam_m": rng.normal(size=HYPS * 3), "scores": [0.1, 0.9, 0.5],
        "expected_error_mm": [90.0, 50.0 + number, 70.0],
        "hypothesis_keypoints_px": rng.uniform(100, 300, HYPS * len(KEYPOINTS) * 2), "selected": 1,
        "selected_joints_cam_m": joints, "joint_spread_mm": np.full(24, 20.0), "seed": 5,
        "pairs": [{"winner": 1, "loser": 0, "margin": 0.8}], "models": {"body": "open:1", "base": "b:2"}, **over,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A finished run of five pictures."""
    output = Output.at(str(tmp_path / "out")).of(1)
    output.make_folders()
    wrong = dict.fromkeys(PARTS, "Not visible.") | {
        "left_arm": "The left arm is raised above the head, the elbow straight.",
        "right_leg": "The right knee is fully bent.",
    }
    good = [person(0), person(0, 1), person(1, captions=wrong), person(2, caption_source="pose")]
    bad = [
        {"uri": "/photos/3.jpg", "error_code": "not_an_image", "error_stage": "decode", "error_message": "<b>html</b>"},
        {"uri": "/photos/4.jpg", "image_sha256": "f" * 64, "error_code": "no_person", "error_stage": "people",
         "error_message": "nobody was found"},
    ]  # fmt: skip
    parts = [output.write_part(table_from_rows(rows, row_schema(HYPS))) for rows in (good[:2], good[2:], bad)]
    total = add_up(parts)
    stages = stage_use(
        {"people": (2.0, 0.0), "score": (1.0, 0.5)}, {"people": 15.0}, 10.0, {"people": (1.0, 0.0)}
    )
    settings = load_config("laptop", None, {"prices.gpu_hour": 2.0, "prices.cpu_hour": 0.1})
    record = {
        "status": "finished", "attempt": 1, "source": "photos", "finished": "2026-01-01T00:00:00+00:00",
        "counts": counts_of(total), "checked": {"lost": 0, "in_two_parts": 0, "labelled_twice": 0},
        "identity": {"models": {"base": "b:2"}, "package_version": "0", "schema_version": 1}, "config_digest": "d",
        "versions": {"python": "3"}, "stages": stages, "images_per_s": 0.5,
        "cost": cost(settings.prices, stages, 10.0, 5),
        "attempts": [{"seconds": 10.0, "timeline": [[0.0, 0], [2.0, 1], [5.0, 3], [10.0, 5]]}],
        "parts": [part["file"] for part in parts],
    }  # fmt: skip
    output.write_record(record)
    return SimpleNamespace(out=output.location, output=output, record=record, total=total)


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_rows_are_counted_by_code(run, console):
    told = rows_command.count(run.out, console=console)
    assert told == {"pictures": 5, "people": 4, "good": 4, "errors": {"not_an_image": 1, "no_person": 1}}
    assert "nobody was found" in console.file.getvalue()


def test_a_row_is_shown_with_its_pictures(run, console, tmp_path):
    files = rows_command.show(run.out, "0.jpg", to=tmp_path / "shown", console=console)
    said = console.file.getvalue()
    assert (
        "person 0" in said and "person 1" in said and "hypothesis 1 of 3 selected" in said and "b:2" in said
    )
    assert len(files) == 4
    drawn, view = cv2.imread(str(files[1])), cv2.imread(str(files[0]))
    assert (
        drawn is not None
        and view is not None
        and drawn.shape == view.shape == (256, 256, 3)
        and (drawn != view).any(axis=2).mean() > 0.02
    )
    assert rows_command.show(run.out, f"{1:064x}"[:64], person=1, console=console) == []
    rows_command.show(run.out, "3.jpg", to=tmp_path / "shown", console=console)
    assert "not_an_image at stage decode" in console.file.getvalue()


def test_a_row_that_is_not_there_or_not_one_is_said(run, console, tmp_path):
    with pytest.raises(InputError, match=r"no row of .* has 'zebra'"):
        rows_command.show(run.out, "zebra", console=console)
    with pytest.raises(InputError, match="'photos' means 5 pictures"):
        rows_command.show(run.out, "photos", console=console)
    with pytest.raises(InputError, match="holds no labelling run"):
        rows_command.count(str(tmp_path), console=console)


def test_captions_that_contradict_the_pose_are_listed(run, console):
    ((row, against),) = rows_command.disagreements(run.out, console=console)
    assert row["uri"] == "/photos/1.jpg"
    assert {one.part for one in against} == {"left_arm", "right_leg"}
    assert "1 of 3 captioned people" in console.file.getvalue()


def test_a_pose_does_not_contradict_itself_and_vague_words_contradict_nobody():
    row = {"selected_joints_cam_m": standing().reshape(-1), "caption_source": "vlm:test"}
    pose = caption_from_joints(standing())

    def said(captions: dict[str, str]) -> list[str]:
        return [one.part for one in disagreements_in({**row, "captions": captions})]

    assert said(pose) == [] and said(dict.fromkeys(PARTS, "It is relaxed.")) == []
    assert said({"left_leg": "The left leg is not visible."}) == []
    assert said({**pose, "torso": "The torso is horizontal."}) == ["torso"]
    assert disagreements_in({**row, "caption_source": "pose", "captions": {"torso": "Horizontal."}}) == []


def test_coco_json_is_whole_and_keeps_the_places(run, console, tmp_path):
    told = rows_command.export(run.out, tmp_path / "people.json", "coco", console=console)
    assert told == {"images": 3, "people": 4}
    coco = json.loads((tmp_path / "people.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [
        "/photos/0.jpg",
        "/photos/1.jpg",
        "/photos/2.jpg",
    ]
    assert [one["image_id"] for one in coco["annotations"]] == [1, 1, 2, 3]
    first, row = coco["annotations"][0], person(0)
    assert first["bbox"] == [100, 50, 200, 350] and first["area"] == 70_000
    assert len(first["keypoints"]) == 51 and first["num_keypoints"] == sum(
        row["keypoints_px"][:17, 2] >= 0.05
    )
    assert first["keypoints"][:3] == [0, 0, 0], "a point that wasn't seen has no place"
    np.testing.assert_allclose(first["smpl"]["pose_aa"], row["pose_aa"].reshape(3, 72)[1], atol=1e-5)
    names = coco["categories"][0]["keypoints"]
    assert len(names) == 17 and all(
        1 <= end <= 17 for bone in coco["categories"][0]["skeleton"] for end in bone
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "people.json"]


@pytest.mark.parametrize("hypotheses", [True, False])
def test_npz_files_hold_the_numbers(run, console, tmp_path, hypotheses):
    told = rows_command.export(run.out, tmp_path / "npz", "npz", hypotheses=hypotheses, console=console)
    assert told == {"images": 3, "people": 4}
    with np.load(tmp_path / "npz" / f"{1:064x}.npz", allow_pickle=False) as arrays:
        assert arrays["person_index"].tolist() == [0, 1] and arrays["selected"].tolist() == [1, 1]
        wanted = np.stack([person(0, index)["pose_aa"].reshape(HYPS, 24, 3) for index in (0, 1)])
        found = arrays["pose_aa"]
        np.testing.assert_allclose(found, wanted if hypotheses else wanted[:, 1], atol=1e-6)
        assert arrays["keypoints_px"].shape == (2, 23, 3) and str(arrays["uri"]) == "/photos/0.jpg"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_report_opens_alone_and_tells_counts_cost_and_examples(run):
    write_report(run.output, run.record, run.total)
    with run.output.filesystem.open_input_stream(f"{run.output.path}/report.html") as file:
        text = file.read().decode()
    page = Page(text)
    links = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href")]
    assert links and all(link.startswith(("data:", "#")) for link in links), "nothing from elsewhere"
    assert "4 people labelled" in page.text and "0 lost" in page.text and "not_an_image" in page.text
    assert "<b>html</b>" in page.text, "what a run says is shown, not run"
    assert f"{run.record['cost']['per_1000_images']}" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 8, "four best and four worst"
    assert sum(tag == "rect" for tag, _ in page.tags) == 90 and "polyline" in {tag for tag, _ in page.tags}


def test_a_report_of_nobody_is_a_page_too(run):
    output = dataclasses.replace(run.output, path=run.output.path)
    nobody = add_up([])
    write_report(output, run.record | {"counts": counts_of(nobody), "attempts": []}, nobody)


def test_costs_follow_the_price_table():
    held, one = {"people": (4.0, 0.0), "score": (1.0, 0.5)}, {"people": (1.0, 0.0), "score": (1.0, 0.5)}
    use = stage_use(held, {"people": 100.0, "score": 9000.0}, 3600.0, one)
    assert use["people"] == {
        "busy_s": 100.0,
        "cpu_s": 14400.0,
        "accelerator_s": 0.0,
        "accelerator_busy_s": 0.0,
    }
    assert use["score"]["accelerator_s"] == 4500.0, "a pool that grew held more than its first worker"
    prices = load_config(
        overrides={"prices.cpu_hour": 0.1, "prices.gpu_hour": 2.0, "prices.hour": 1.0}
    ).prices
    told = cost(prices, use, 3600.0, 2000)
    assert told["by_stage"] == {"people": 0.4, "score": 2.75}
    assert (told["total"], told["per_1000_images"]) == (4.15, 2.075)
    assert add_use([{"stages": use}, {"stages": use}])["people"]["cpu_s"] == 28800.0
    assert cost(prices, {}, 0.0, 0)["per_1000_images"] is None
