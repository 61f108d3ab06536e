"""``alignhmr predict --server`` against a real service: the files are those of ``alignhmr predict``."""

import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from ray import serve
from typer.testing import CliRunner

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError, NoPersonError, ServiceError
from alignhmr.deployments import predict, predict_remote
from alignhmr.deployments.cli import app
from alignhmr.deployments.serving.build import ServeSettings, assemble

pytestmark = pytest.mark.ray
FORMATS = ("json", "overlay", "glb", "npz", "bvh")


@pytest.fixture(scope="module")
def url(service, fake) -> Iterator[str]:
    """The shipped models, with people made up."""
    serve.run(
        assemble(fake.starter, ServeSettings(cpus_per_replica=0)), name="starter", route_prefix="/starter"
    )
    yield service.url + "/starter"
    serve.delete("starter")


@pytest.fixture
def photo(fake, tmp_path):
    def make(people: int, name: str = "street.png") -> Path:
        pixels = np.random.default_rng(people).integers(60, 200, (200, 240, 3), np.uint8)
        pixels[0, 0] = fake.instructions(people)
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def local(fake, monkeypatch):
    recoverer = fake.starter()
    monkeypatch.setattr(predict.Recoverer, "load", lambda **_: recoverer)

    def call(*arguments, **options):
        return predict.run(*arguments, resolution="small", **options)

    return call


@pytest.mark.parametrize("options", [{"seed": 5}, {"refine": True}, {"focal_px": 300.0, "hypotheses": 9}])
def test_a_service_gives_the_files_that_this_process_gives(url, photo, local, tmp_path, options):
    photos = [photo(2)]
    (here,) = local(photos, tmp_path / "here", formats=FORMATS, **options)
    (there,) = predict_remote.run(photos, tmp_path / "there", url, formats=FORMATS, **options)
    assert [file.name for file in here.files] == [file.name for file in there.files]
    for one, other in zip(here.files, there.files, strict=True):
        if one.suffix in (".png", ".bvh"):
            assert one.read_bytes() == other.read_bytes(), one.name
        elif one.suffix == ".json":
            ours, theirs = (json.loads(file.read_text()) for file in (one, other))
            assert ours["body_model"].pop("digest").startswith(theirs["body_model"].pop("digest"))
            for mine, others in zip(ours["people"], theirs["people"], strict=True):
                np.testing.assert_allclose(mine.pop("joints_px"), others.pop("joints_px"), atol=2e-3)
            assert ours == theirs
        elif one.suffix == ".npz":
            with np.load(one) as ours, np.load(other) as theirs:
                assert set(ours) == set(theirs)
                for name in ours:
                    assert ours[name].shape == theirs[name].shape
                    atol = 5e-3 if name == "expected_error_mm" else 6e-4 if name == "keypoints_px" else 1e-6
                    np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=atol, err_msg=name)
        else:
            ours, theirs = (trimesh.load_scene(file) for file in (one, other))
            assert list(ours.geometry) == list(theirs.geometry) == ["person_1", "person_2"]
            for name, mesh in ours.geometry.items():
                np.testing.assert_array_equal(mesh.vertices, theirs.geometry[name].vertices)
                assert (
                    mesh.visual.material.baseColorFactor
                    == theirs.geometry[name].visual.material.baseColorFactor
                ).all()


def test_words_boxes_and_keypoints_reach_the_service(url, photo, local, tmp_path):
    rows = [[20.0 + 3 * index, 30.0 + 5 * index, 1.0] for index in range(len(KEYPOINTS))]
    (tmp_path / "points.json").write_text(json.dumps(rows))
    for options in (
        {"keypoints": tmp_path / "points.json"},
        {"text": "the left arm is raised straight up", "boxes": [(0, 0, 120, 200)]},
    ):
        told = []
        for name, run in (("here", local), ("there", partial(predict_remote.run, url=url))):
            (result,) = run([photo(2)], tmp_path / name, formats=["json"], hypotheses=4, **options)
            (person,) = json.loads(result.files[0].read_text())["people"]
            told.append(person)
        np.testing.assert_allclose(told[0].pop("joints_px"), told[1].pop("joints_px"), atol=2e-3)
        assert told[0] == told[1]
        assert told[0]["refinement"] is not None


def test_a_photo_that_can_not_be_used_costs_no_other(url, photo, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    photos = [tmp_path / "gone.jpg", photo(1, "one.png"), tmp_path / "broken.jpg", photo(0, "empty.png")]
    results = predict_remote.run(photos, tmp_path / "out", url)
    assert [result.error is None for result in results] == [False, True, False, False]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("one.png: 1 person, expected error")
    assert "nobody was found" in lines[3]
    with pytest.raises(NoPersonError, match="nobody was found"):
        predict_remote.run([photo(0)], tmp_path / "out", url)


def test_what_a_service_can_not_do_is_said(url, photo, tmp_path):
    with pytest.raises(InputError, match="no obj"):
        predict_remote.run([photo(1)], tmp_path / "out", url, formats=["obj"])
    with pytest.raises(InputError, match="hypotheses"):
        predict_remote.run([photo(1)], tmp_path / "out", url, hypotheses=500)
    with pytest.raises(ServiceError, match="does not answer"):
        predict_remote.run([photo(1)], tmp_path / "out", "http://127.0.0.1:9")


def test_the_command_asks_the_service(url, photo, tmp_path):
    asked = CliRunner().invoke(app, ["predict", str(photo(1)), "-o", str(tmp_path / "out"), "--server", url])
    assert asked.exit_code == 0, asked.output
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["street.json", "street_overlay.png"]
    drawn = Image.open(io.BytesIO((tmp_path / "out" / "street_overlay.png").read_bytes()))
    assert drawn.size == (240, 200)
    arguments = ["predict", str(photo(1)), "-o", str(tmp_path), "--server", url, "--base", "starter"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "settled by the service" in refused.output.replace("\n", " ")
