"""`alignhmr find`: who is found by words, what is refused, and what a script gets."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo, save_checkpoint
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.language.matching import SPACE
from alignhmr.core.language.text_pose import TextPose, TextPoseConfig
from alignhmr.deployments.find import run
from alignhmr.deployments.labeling.schema import row_schema, table_from_rows

MODEL = TextPoseConfig("words16", 16, 4, 16, 2, 8, 16, 1, 12, 16, 16, 1)
BODY = BodyModel.load()
FACING = np.array([np.pi, 0, 0])  # the camera
KNEES = {4: (1.57, 0.0, 0.0), 5: (1.57, 0.0, 0.0)}
POSES: dict[str, dict[int, tuple[float, float, float]]] = {
    "t_pose.jpg": {},
    "kneeling.jpg": KNEES,
    "kneeling_right_up.jpg": {**KNEES, 17: (0, 0, -0.8)},
    "kneeling_left_up.jpg": {**KNEES, 16: (0, 0, 0.8)},
    "bowing.jpg": {12: (0.7, 0, 0)},
}


def row(uri: str, turned: dict[int, tuple[float, float, float]], body: str) -> dict:
    pose = np.zeros((24, 3), np.float32)
    pose[0] = FACING
    for joint, value in turned.items():
        pose[joint] = value
    rotations = axis_angle_to_matrix(torch.from_numpy(pose))[None]
    joints = BODY.kinematics(rotations, torch.zeros(1, 10)).joints[0].numpy()
    other = np.full((24, 3), 0.3, np.float32)
    return {
        "uri": uri, "person_index": 0, "image_sha256": uri, "pose_aa": np.stack([other, pose]), "selected": 1,
        "selected_joints_cam_m": joints + [0, 0, 4], "models": {"body": body},
    }  # fmt: skip


@pytest.fixture
def labelled(tmp_path: Path):
    def write(body: str = f"{BODY.name}:{BODY.digest[:16]}", rows: list[dict] | None = None) -> Path:
        people = [row(uri, turned, body) for uri, turned in POSES.items()] if rows is None else rows
        failed = {"uri": "nobody.jpg", "image_sha256": "x", "error_code": "no_person"}
        (tmp_path / "rows").mkdir(exist_ok=True)
        table = table_from_rows([*people[:2], failed, *people[2:]], row_schema(2))
        pq.write_table(table, tmp_path / "rows" / "part-0.parquet")
        return tmp_path

    return write


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    space = TextPose(MODEL)
    space.rest_joints.copy_(BODY.joint_template)
    path = tmp_path_factory.mktemp("model") / "text-pose.safetensors"
    save_checkpoint(path, space, CheckpointInfo("text-pose", vars(MODEL), BODY.name, BODY.digest))
    return path


@pytest.mark.parametrize(
    ("query", "first"),
    [("kneeling, right arm raised", "kneeling_right_up.jpg"), ("kneeling, left arm raised", "kneeling_left_up.jpg"),
     ("standing with the head bowed", "bowing.jpg")],
)  # fmt: skip
def test_who_was_described_comes_first(labelled, model, query, first):
    console = Console(file=io.StringIO(), width=200)
    found = run(query, labelled(), model=model, console=console)
    assert found[0].uri == first and [person.rank for person in found] == [1, 2, 3, 4, 5]
    assert "read as: " in console.file.getvalue() and first in console.file.getvalue()  # type: ignore[attr-defined]


def test_scripts_get_json_and_no_more_than_they_asked_for(labelled, model, capsys):
    run("kneeling", labelled(), top=2, model=model, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 2 and {person["uri"] for person in found} <= {
        uri for uri in POSES if "kneeling" in uri
    }
    assert found[0]["score"] >= found[1]["score"]
    # One posecode was read: its logarithm is the evidence.
    for person in found:
        expected = np.log(person["codes"]) + SPACE * person["similarity"]
        assert person["score"] == pytest.approx(expected, abs=1e-4) and 0 < person["codes"] <= 1


def test_words_without_a_posecode_are_ranked_by_the_space(labelled, model):
    console = Console(file=io.StringIO(), width=200)
    found = run("serene", labelled(), model=model, console=console)
    assert all(person.codes == 0 for person in found) and len(found) == len(POSES)
    assert "no posecode" in console.file.getvalue()  # type: ignore[attr-defined]


def test_rows_of_another_body_are_refused(labelled, model):
    with pytest.raises(CompatibilityError, match=r"smpl:0123.*train text-pose --body"):
        run("kneeling", labelled("smpl:0123456789abcdef"), model=model)


def test_what_is_no_search_is_refused(labelled, model, tmp_path):
    with pytest.raises(InputError, match="query is empty"):
        run("  ", labelled(), model=model)
    with pytest.raises(InputError, match="there is no folder"):
        run("kneeling", tmp_path / "nothing", model=model)
    with pytest.raises(InputError, match="nobody is in the rows"):
        run("kneeling", labelled(rows=[]), model=model)
    pq.write_table(table_from_rows([], row_schema(2)).select(["uri"]), tmp_path / "rows" / "part-0.parquet")
    with pytest.raises(InputError, match="has no column"):
        run("kneeling", tmp_path, model=model)
