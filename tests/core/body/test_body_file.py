import dataclasses

import numpy as np
import pytest

from alignhmr.core.body.body_file import BodyFile, read_body_file
from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import CompatibilityError, InputError


@pytest.fixture
def body_path(tmp_path, make_body):
    path = tmp_path / "body.npz"
    make_body().write(path)
    return path


def rewrite(path, **changes):
    """The same file with some arrays replaced, or dropped where the new value is None."""
    content = dict(np.load(path, allow_pickle=True)) | changes
    np.savez(path, **{key: value for key, value in content.items() if value is not None})


def test_what_is_written_is_what_is_read(body_path, make_body):
    body, back = make_body(), read_body_file(body_path)
    for field in dataclasses.fields(BodyFile):
        if field.name != "digest":
            np.testing.assert_array_equal(getattr(body, field.name), getattr(back, field.name))
    assert len(back.digest) == 64


def test_same_body_same_bytes(body_path, make_body, tmp_path):
    make_body().write(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == body_path.read_bytes()


@pytest.mark.parametrize("key", ["weights", "keypoint_regressor", "name", "kintree_table"])
def test_names_what_is_missing(body_path, key):
    rewrite(body_path, **{key: None})
    with pytest.raises(CompatibilityError, match=key):
        BodyModel.load(body_path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("weights", np.ones((80, 52)) / 52, r"weights has shape \(80, 52\), wanted \(80, 24\)"),
        ("shapedirs", np.zeros((80, 3, 300)), r"wanted \(80, 3, 10\)"),
        ("v_template", np.full((80, 3), np.nan), "finite"),
        ("v_template", np.float32(1.0), "v_template has shape"),
        ("f", np.full((4, 3), 80), "faces name vertices outside 0..79"),
        ("f", np.full((4, 3), "a"), "not numbers"),
        ("J_regressor", np.zeros((24, 80)), "must add to 1"),
        ("posedirs", np.zeros((80, 3, 9)), r"posedirs has shape \(80, 3, 9\), wanted \(80, 3, 207\)"),
        ("kintree_table", np.zeros((2, 55), int), "another skeleton"),
        ("keypoint_names", np.array(["nose", "neck"]), "another order"),
    ],
)
def test_names_what_is_wrong(body_path, key, value, says):
    rewrite(body_path, **{key: value})
    with pytest.raises(CompatibilityError, match=says):
        BodyModel.load(body_path)


def test_never_unpickles(body_path):
    rewrite(body_path, v_template=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not a readable"):
        BodyModel.load(body_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_refuses_what_is_no_npz(tmp_path, content):
    path = tmp_path / "body.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable"):
        BodyModel.load(path)


def test_a_single_array_is_no_body(tmp_path):
    np.save(tmp_path / "body.npy", np.zeros(3))
    with pytest.raises(InputError, match="single array"):
        BodyModel.load(tmp_path / "body.npy")


def test_missing_file_and_pickle_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match="no body model file"):
        BodyModel.load(tmp_path / "none.npz")
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"x")
    with pytest.raises(InputError, match="alignhmr body import"):
        BodyModel.load(tmp_path / "SMPL_NEUTRAL.pkl")
    with pytest.raises(InputError, match="not a readable"):
        BodyModel.load(tmp_path)
