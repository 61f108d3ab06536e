"""predict around a fake recoverer with the real body: files, isolation of bad photos, clear refusals."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import ImageError, InputError, NoImagesError, NoPersonError, SetupError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.perception.detector import own_threads
from alignhmr.core.records import Hypotheses, Intrinsics, Person, Picture, Recovery
from alignhmr.core.recovery import Recoverer
from alignhmr.deployments import predict
from alignhmr.deployments.predict_files import FORMATS

UNSEEN = 255
"""A person of this box height has too few keypoints for the fake."""


@dataclass
class FakeDetector:
    name: str = "fake"
    digest: str = "0" * 64

    def find(self, picture: Picture) -> list[Person]:
        """As many people as the first pixel's red says; green makes the last one unseen."""
        people, unseen, broken = (int(value) for value in picture.pixels[0, 0])
        if broken:
            raise SetupError("the fake detector is broken")
        boxes = [[10.0 * i, 0.0, 10.0 * i + 9, 40.0] for i in range(people)]
        boxes_px = np.array(boxes).reshape(-1, 4)
        if unseen:
            boxes_px[-1, 3] = UNSEEN
        return self.from_boxes(picture, boxes_px)

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        keypoints = np.zeros((len(KEYPOINTS), 3), np.float32)
        return [Person(np.asarray(box, np.float32), 0.9, keypoints, detector=self.name) for box in boxes_px]


class FakeRecoverer:
    """Random poses three metres away, decided by the request's seed alone."""

    def __init__(self) -> None:
        self.body = BodyModel.load("open", "small")
        self.models = {"body": "open:1", "detector": "fake:0"}
        self.detector = FakeDetector()

    def find(self, picture: Picture) -> list[Person]:
        return self.detector.find(picture)

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        return self.detector.from_boxes(picture, boxes_px)

    def recover_batch(self, requests) -> list[Recovery]:
        return [self._recover(request) for request in requests]

    def _recover(self, request) -> Recovery:
        if request.person.box_px[3] == UNSEEN:
            raise InputError("fewer than 3 keypoints were seen")
        draw, count = np.random.default_rng(request.seed), request.hypotheses
        pose_aa = draw.normal(0, 0.2, (count, 24, 3)).astype(np.float32)
        pose_aa[:, 0] = [np.pi, 0, 0]
        betas = draw.normal(0, 0.5, (count, 10)).astype(np.float32)
        transl = np.tile(np.array([0, 0, 3], np.float32), (count, 1))
        points = self.body.kinematics(
            axis_angle_to_matrix(torch.from_numpy(pose_aa)), torch.from_numpy(betas)
        )
        hypotheses = Hypotheses(
            pose_aa, betas, transl, points.joints.numpy() + transl[:, None], points.keypoints.numpy(),
            np.zeros((count, len(KEYPOINTS), 2), np.float32), np.arange(count, dtype=np.float32),
            np.full(count, 50, np.float32),
        )  # fmt: skip
        spread = np.linspace(0, 90, 24, dtype=np.float32)
        return Recovery(
            request.person, request.intrinsics, np.zeros(3, np.float32), hypotheses, count - 1, spread,
            request.seed, self.models,
        )  # fmt: skip

    def vertices(self, recovery: Recovery, index=None, *, body=None) -> np.ndarray:
        return Recoverer.vertices(self, recovery, index, body=body)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def recoverer() -> FakeRecoverer:
    return FakeRecoverer()


@pytest.fixture
def run(recoverer, monkeypatch):
    """predict.run with the fake in place of the models' files."""
    monkeypatch.setattr(predict.Recoverer, "load", lambda **_: recoverer)

    def call(photos, out, **options):
        return predict.run(list(photos), out, **({"resolution": "small", "hypotheses": 3} | options))

    return call


def photo(
    folder: Path, name: str = "street.png", *, people: int = 1, unseen: int = 0, broken: int = 0
) -> Path:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    pixels[0, 0] = people, unseen, broken
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return path


@pytest.mark.parametrize(("asked", "threads"), [({}, own_threads()), ({"threads": 3}, 3)])
def test_people_are_found_on_the_machines_threads(recoverer, monkeypatch, tmp_path, asked, threads):
    given = {}
    monkeypatch.setattr(predict.Recoverer, "load", lambda **options: given.update(options) or recoverer)
    predict.run([photo(tmp_path)], tmp_path / "out", resolution="small", hypotheses=3, **asked)
    assert given["threads"] == threads


def test_what_is_said_and_put_right_reaches_the_recovery(run, tmp_path, recoverer, monkeypatch):
    asked = []
    recover = recoverer.recover_batch
    monkeypatch.setattr(
        recoverer, "recover_batch", lambda requests: asked.extend(requests) or recover(requests)
    )
    rows = [[10.0 + i, 20.0 + i, 1.0] for i in range(len(KEYPOINTS))]
    points = tmp_path / "points.json"
    points.write_text(json.dumps({"people": [{"keypoints_px": rows, "box_px": [1, 2, 40, 44]}]}))
    text = "the left arm is raised"
    [result] = run([photo(tmp_path)], tmp_path / "out", text=text, keypoints=points)
    [request] = asked
    assert request.prompt.text == text and request.prompt.given_keypoints
    assert request.person.box_px.tolist() == [1, 2, 40, 44]
    np.testing.assert_allclose(request.person.keypoints_px, rows)
    asked.clear()
    run([photo(tmp_path)], tmp_path / "out", refine=True)
    run([photo(tmp_path)], tmp_path / "out")
    assert asked[0].prompt.text == "" and asked[1].prompt is None
    assert (
        json.loads(result.files[0].read_text())["people"][0]["refinement"] is None
    )  # the fake refines nothing


def test_json_and_overlay_by_default(run, tmp_path, recoverer):
    [result] = run([photo(tmp_path, people=3)], tmp_path / "out")
    assert [file.name for file in result.files] == ["street.json", "street_overlay.png"]
    answer = json.loads(result.files[0].read_text())
    assert len(answer["people"]) == 3 and answer["picture"]["width_px"] == 64
    assert answer["body_model"] == {"name": recoverer.body.name, "digest": recoverer.body.digest}
    assert answer["models"]["detector"] == "fake:0"
    assert len(answer["joint_names"]) == 24 and "metres" in answer["conventions"]["camera_frame"]
    drawn = np.asarray(Image.open(result.files[1]))
    assert drawn.shape == (48, 64, 3) and len(np.unique(drawn)) > 20


def test_json_holds_the_same_body(run, tmp_path, recoverer):
    """Posing the body model with the written numbers gives the written joints, in metres and in pixels."""
    [result] = run([photo(tmp_path)], tmp_path / "out", focal_px=70.0)
    answer = json.loads(result.files[0].read_text())
    assert answer["intrinsics"] == {"focal_px": 70.0, "center_px": [32.0, 24.0], "source": "given"}
    [person] = answer["people"]
    rotations = axis_angle_to_matrix(torch.tensor(person["pose_aa"]))
    joints = recoverer.body.kinematics(rotations, torch.tensor(person["betas"])).joints.numpy()
    joints = joints + np.array(person["transl_cam_m"])
    np.testing.assert_allclose(joints, person["joints_cam_m"], atol=1e-5)
    pixels = joints[:, :2] / joints[:, 2:] * 70.0 + [32, 24]
    np.testing.assert_allclose(pixels, person["joints_px"], atol=2e-3)
    assert person["selected"] == 2 and person["score"] == 2.0 and person["expected_error_mm"] == 50.0
    assert person["joint_spread_mm"][-1] == 90.0


def test_all_formats(run, tmp_path):
    import trimesh

    [result] = run([photo(tmp_path, people=2)], tmp_path / "out", formats=FORMATS)
    names = [file.name for file in result.files]
    assert names == [
        "street.json", "street_overlay.png", "street.glb", "street.obj", "street_hypotheses.npz",
        "street_person1.bvh", "street_person2.bvh",
    ]  # fmt: skip
    assert all(file.stat().st_size > 1000 for file in result.files)
    scene = trimesh.load(result.files[2])
    assert isinstance(scene, trimesh.Scene) and len(scene.geometry) == 2
    assert "Frames: 1" in result.files[5].read_text()
    told = json.loads(result.files[0].read_text())["people"]
    with np.load(result.files[4]) as every:
        assert every["pose_aa"].shape[0] == 2 and every["pose_aa"].shape[2:] == (24, 3)
        for person, scores, selected, pose in zip(
            told, every["scores"], every["selected"], every["pose_aa"], strict=True
        ):
            assert person["hypothesis_scores"] == pytest.approx(scores.tolist(), abs=1e-6)
            assert selected == person["selected"] == scores.argmax()
            assert np.allclose(person["pose_aa"], pose[selected], atol=1e-6)


def test_same_seed_same_files(run, tmp_path):
    path = photo(tmp_path, people=2)
    one, two, other = (
        run([path], tmp_path / name, seed=seed)[0] for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert [file.read_bytes() for file in one.files] == [file.read_bytes() for file in two.files]
    assert one.files[0].read_bytes() != other.files[0].read_bytes()


def test_one_bad_photo_costs_no_other(run, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    photos = [
        tmp_path / "missing.jpg",
        photo(tmp_path, "good.png"),
        tmp_path / "broken.jpg",
        photo(tmp_path, "empty.png", people=0),
        photo(tmp_path, "two.png", people=2),
    ]
    results = run(photos, tmp_path / "out")
    assert [result.error is None for result in results] == [False, True, False, False, True]
    assert isinstance(results[2].error, ImageError) and isinstance(results[3].error, NoPersonError)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("good.png: 1 person, expected error 50 mm") and "good.json" in lines[1]
    assert lines[3].startswith("empty.png: nobody was found")


def test_a_person_who_cannot_be_recovered_costs_no_other(run, tmp_path, capsys):
    [result] = run([photo(tmp_path, people=3, unseen=1)], tmp_path / "out")
    assert len(result.recoveries) == 2
    assert json.loads(result.files[0].read_text())["left_out"] == ["fewer than 3 keypoints were seen"]
    assert "2 people, 1 left out" in capsys.readouterr().out
    with pytest.raises(NoPersonError, match="1 found, but none could be recovered: fewer than 3"):
        run([photo(tmp_path, people=1, unseen=1)], tmp_path / "out")


def test_when_all_fail_the_run_fails_as_they_did(run, tmp_path):
    with pytest.raises(NoPersonError, match="nobody was found"):
        run([photo(tmp_path, people=0)], tmp_path / "out")
    with pytest.raises(NoPersonError, match=r"none of 2 photos gave an answer; the first, a\.png"):
        run([photo(tmp_path, name, people=0) for name in ("a.png", "b.png")], tmp_path / "out")
    with pytest.raises(InputError, match="none of 2 photos"):
        run([photo(tmp_path, people=0), tmp_path / "missing.jpg"], tmp_path / "out")


def test_a_broken_machine_stops_the_run(run, tmp_path):
    with pytest.raises(SetupError, match="broken"):
        run([photo(tmp_path, "a.png", broken=1), photo(tmp_path, "b.png")], tmp_path / "out")


def test_boxes_stand_in_for_the_detector(run, tmp_path):
    [result] = run([photo(tmp_path, people=0)], tmp_path / "out", boxes=[(1, 2, 30, 40)])
    [person] = json.loads(result.files[0].read_text())["people"]
    assert person["box_px"] == [1, 2, 30, 40]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"formats": ["fbx"]}, "format 'fbx' is unknown; choose from json, overlay, glb, obj, npz, bvh"),
        ({"formats": []}, "no output format"),
        ({"boxes": [(0, 0, 0, 5)]}, "x1 > x0"),
        ({"boxes": [(0, 0, 5)]}, "is not x0, y0, x1, y1"),
        ({"boxes": [(0, 0, float("nan"), 5)]}, "is not x0, y0, x1, y1"),
    ],
)
def test_bad_options_get_one_clear_sentence(run, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        run([photo(tmp_path)], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nothing_to_do_and_nowhere_to_write(run, tmp_path):
    with pytest.raises(InputError, match="no photo was given"):
        run([], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoImagesError):
        run([tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="can't be made"):
        run([photo(tmp_path)], tmp_path / "file" / "out")
    two = [photo(tmp_path, "a.png"), photo(tmp_path, "b.png")]
    with pytest.raises(InputError, match="boxes were given with 2 photos"):
        run(two, tmp_path / "out", boxes=[(0, 0, 5, 5)])


def test_a_folder_stands_for_its_pictures_and_names_stay_apart(run, tmp_path):
    folder = tmp_path / "in"
    for name in ("a/one.png", "b/one.png", "b/one.jpg", "two.png"):
        photo(folder, name)
    results = run([folder / "a", folder / "b", folder / "two.png"], tmp_path / "out")
    stems = sorted(file.name for result in results for file in result.files if file.suffix == ".json")
    assert stems == ["one_jpg.json", "one_png.json", "one_png_2.json", "two.json"]


def test_large_pictures_are_drawn_smaller_with_the_same_view():
    pixels = np.zeros((1500, 4096, 3), np.uint8)
    smaller, camera = predict.reduced(pixels, Intrinsics(4000.0, (2048.0, 750.0), "exif"))
    assert smaller.shape == (750, 2048, 3)
    assert camera == Intrinsics(2000.0, (1024.0, 375.0), "exif")
    same, kept = predict.reduced(pixels[:100, :100], Intrinsics(9.0, (5.0, 5.0), "default"))
    assert same.shape == (100, 100, 3) and kept.focal_px == 9.0


def test_summary_of_markup_like_names_is_plain(run, tmp_path, capsys):
    run([photo(tmp_path, "[red]a.png")], tmp_path / "out")
    assert capsys.readouterr().out.startswith("[red]a.png: 1 person")
