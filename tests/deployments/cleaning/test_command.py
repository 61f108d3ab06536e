"""`alignhmr clean`: labels that contradict the picture go, the rest can be learned from, and what is wrong is told."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo, save_checkpoint
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.scoring.cleaning import CleaningRule
from alignhmr.core.scoring.confidence import fit_error_confidence
from alignhmr.core.scoring.scorer import HMRScorer, ScorerConfig
from alignhmr.deployments.cleaning.command import run_clean
from alignhmr.training.mixture import Mixture
from alignhmr.training.sightings import Sighting

DRIFTED = (1, 4, 7)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def models(body, tmp_path_factory) -> Path:
    """An untrained pair of which nothing is asked but that the picture decides: the scorer expects the same of all."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = BaseModelConfig("none", width=24, encoder_blocks=1, denoiser_width=24, denoiser_blocks=1)
    save_checkpoint(
        folder / "base.safetensors",
        BaseModel(config),
        CheckpointInfo("base", vars(config), body.name, body.digest),
    )
    sizes = ScorerConfig("none", token_width=8, heads=2, hops=[1], width=16, blocks=1)
    scorer = HMRScorer(sizes)
    with torch.no_grad():
        scorer.head.weight.zero_()
    rng = np.random.default_rng(0)
    told = np.full(400, 70.0) + rng.normal(size=400)
    confidence = fit_error_confidence(told, 110 * rng.gamma(30.0, 1 / 30.0, 400), data="made up")
    info = CheckpointInfo("scorer", vars(sizes), body.name, body.digest)
    save_checkpoint(folder / "mute.safetensors", scorer, info)
    save_checkpoint(folder / "scorer.safetensors", scorer, replace(info, confidence=confidence.to_dict()))
    return folder


def drifted(sighting: Sighting) -> Sighting:
    """The label stands half a metre beside the person, as after a camera has moved."""
    off = np.array([0.5, 0.0, 0.0], np.float32)
    return replace(
        sighting,
        **{name: getattr(sighting, name) + off for name in ("transl_cam_m", "smpl24_cam_m", "coco23_cam_m")},
    )


@pytest.fixture(scope="module")
def labels(body, prepared_people, tmp_path_factory) -> Path:
    people = prepared_people.seen_people(body, 10)
    people = [drifted(person) if index in DRIFTED else person for index, person in enumerate(people)]
    folder = tmp_path_factory.mktemp("labels") / "people"
    return prepared_people.write_people(folder, people, domain="wild", split="train")


@pytest.fixture
def clean(models, labels, tmp_path) -> Callable[..., dict]:
    def run(**changes) -> dict:
        given = {
            "base": models / "base.safetensors", "scorer": models / "scorer.safetensors", "hypotheses": 3,
            "rule": CleaningRule(150.0, 0.9), "workers": 1, **changes,
        }  # fmt: skip
        return run_clean(str(given.pop("data", labels)), given.pop("out", tmp_path / "out"), **given)

    return run


@pytest.mark.timeout(300)
def test_what_contradicts_the_picture_goes_and_the_rest_can_be_learned_from(clean, ray_session, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    record = clean(console=console, relabel=False)
    wrong = {f"made-{index:04d}#0" for index in DRIFTED}
    manifest = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert {row["id"] for row in manifest if row["decision"] == "drop"} == wrong
    assert all(row["off_mm"] > 300 for row in manifest if row["id"] in wrong)
    assert (record["kept"], record["dropped"], record["relabelled"]) == (7, 3, 0)
    left = Mixture([(tmp_path / "out" / "people", 1.0)]).rows(0, 7)
    assert {sighting.id for sighting in left} == {row["id"] for row in manifest if row["decision"] == "keep"}
    assert json.loads((tmp_path / "out" / "clean.json").read_text()) == record
    page = (tmp_path / "out" / "report.html").read_text()
    assert "7 of 10 labels kept" in page and "data:image/webp" in page and "Dropped" in page
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "7 of 10 labels kept" in said and "3 dropped" in said


@pytest.mark.timeout(300)
def test_a_bad_label_is_replaced_by_a_better_answer(clean, ray_session, tmp_path, labels):
    """The model's translation is fitted to the keypoints, so that its answers stand where the person is."""
    record = clean(rule=CleaningRule(400.0, 0.9))
    manifest = {row["id"]: row for row in pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()}
    replaced = [row["id"] for row in manifest.values() if row["decision"] == "relabel"]
    assert record["relabelled"] == len(replaced)
    before = {sighting.id: sighting for sighting in Mixture([(labels, 1.0)]).rows(0, 10)}
    for sighting in Mixture([(tmp_path / "out" / "people", 1.0)]).rows(
        0, record["kept"] + record["relabelled"]
    ):
        if sighting.id in replaced:
            assert sighting.facts["relabelled"] is True
            assert not np.array_equal(sighting.pose_aa, before[sighting.id].pose_aa)
            assert manifest[sighting.id]["own_judged_mm"] < 0.75 * manifest[sighting.id]["judged_mm"]
        else:
            np.testing.assert_array_equal(sighting.pose_aa, before[sighting.id].pose_aa)


def test_what_can_not_be_done_is_told_first(clean, models, tmp_path, prepared_people, body):
    with pytest.raises(InputError, match="was never calibrated"):
        clean(scorer=models / "mute.safetensors")
    with pytest.raises(InputError, match="nowhere holds no prepared people"):
        clean(data="nowhere")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        clean()
    others = [
        replace(person, body="another:0123456789abcdef") for person in prepared_people.seen_people(body, 2)
    ]
    folder = prepared_people.write_people(tmp_path / "others", others, domain="wild")
    with pytest.raises(CompatibilityError, match="body model"):
        clean(data=folder, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="would be written over"):
        clean(data=folder, out=tmp_path, overwrite=True)
    with pytest.raises(InputError, match="would be written over"):
        clean(data=folder, out=folder, overwrite=True)


@pytest.mark.timeout(300)
def test_what_is_wrong_with_one_row_costs_that_row(clean, ray_session, tmp_path, prepared_people, body):
    """A view that is no picture, a pose that is no number, a body at the camera; and another run's files go."""
    people = prepared_people.seen_people(body, 6)
    at_camera = {
        name: getattr(people[2], name) - people[2].smpl24_cam_m[0]
        for name in ("transl_cam_m", "smpl24_cam_m", "coco23_cam_m")
    }
    people[0] = replace(people[0], crop_jpeg=b"nothing")
    people[1] = replace(people[1], pose_aa=np.full((24, 3), np.nan, np.float32))
    people[2] = replace(people[2], **at_camera)
    folder = prepared_people.write_people(tmp_path / "odd", people, domain="wild", split="train")
    left_there = tmp_path / "out" / "people" / "people-9.parquet"
    left_there.parent.mkdir(parents=True)
    left_there.touch()
    record = clean(data=folder, overwrite=True, relabel=False)
    manifest = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    rows = {row["id"]: row for row in manifest}
    found = [rows[person.id]["decision"] for person in people]
    assert found == ["not_judged", "not_judged", "drop", *["keep"] * 3] and record["not_judged"] == 2
    assert "not finite" in rows[people[1].id]["reason"] and rows[people[0].id]["reason"]
    assert not left_there.exists()
