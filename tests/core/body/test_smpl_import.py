"""A miniature of SMPL's own pickle, and pickles that try to run something."""

import builtins
import collections
import os
import pickle
import pickletools
import subprocess
import sys
import types

import numpy as np
import pytest
import scipy.sparse
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, PARENTS
from alignhmr.core.body.smpl_import import SMPL_VERTICES, import_smpl, read_smpl_pickle
from alignhmr.core.errors import CompatibilityError, InputError

PROTOCOLS = [0, 1, 2, 4, 5]


@pytest.fixture
def chumpy(monkeypatch):
    """Classes that pickle under chumpy's names, with the state chumpy's have."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}

    class Ch:
        def __init__(self, **state):
            self.__dict__.update(state, _dirty_vars=set(), _itr=None, _depends_on_deps={})

    class Select(Ch):
        pass

    for kind, module in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering")):
        kind.__module__, kind.__qualname__ = module, kind.__name__
        setattr(modules[module], kind.__name__, kind)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return types.SimpleNamespace(Ch=Ch, Select=Select)


def smpl_content(chumpy, verts: int = 30, seed: int = 0) -> dict:
    """What SMPL's pickle holds, under its keys and in its kinds of array."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(size=(verts, 24)) ** 8
    regressor = np.zeros((24, verts))
    regressor[np.arange(24), rng.permutation(verts)[:24]] = 1
    shapedirs = 0.02 * rng.normal(size=(verts, 3, 12))
    chosen = np.arange(shapedirs.size).reshape(shapedirs.shape)[:, :, :10]
    return {
        "v_template": chumpy.Ch(x=rng.normal(size=(verts, 3))),
        "shapedirs": chumpy.Select(
            a=chumpy.Ch(x=shapedirs), idxs=chosen.ravel(), preferred_shape=(verts, 3, 10)
        ),
        "posedirs": 0.01 * rng.normal(size=(verts, 3, 207)),
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "J_regressor_prior": scipy.sparse.csr_matrix(regressor),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)], dtype=np.uint32),
        "f": rng.integers(0, verts, size=(20, 3)).astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def expected(content: dict) -> dict[str, np.ndarray]:
    selected = content["shapedirs"]
    return {
        "v_template": content["v_template"].x,
        "shapedirs": selected.a.x.ravel()[selected.idxs].reshape(selected.preferred_shape),
        "J_regressor": content["J_regressor"].toarray(),
    } | {key: content[key] for key in ("posedirs", "weights", "kintree_table", "f")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_every_array_without_chumpy(chumpy, tmp_path, protocol, monkeypatch):
    content = smpl_content(chumpy)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)
    arrays = read_smpl_pickle(path)
    for key, array in expected(content).items():
        np.testing.assert_array_equal(arrays[key], array, err_msg=key)


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize(
    ("now", "then"),
    [
        (b"numpy._core.multiarray", b"numpy.core.multiarray"),
        (b"scipy.sparse._csc", b"scipy.sparse.csc"),
        (b"scipy.sparse._csr", b"scipy.sparse.csr"),
        (b"ccopyreg", b"ccopy_reg"),
        (b"c__builtin__", b"cbuiltins"),
    ],
)
def test_knows_the_names_of_older_releases(chumpy, tmp_path, protocol, now, then):
    content = smpl_content(chumpy)
    data = pickle.dumps(content, protocol=protocol)
    path = tmp_path / "old.pkl"
    path.write_bytes(data.replace(now, then))
    np.testing.assert_array_equal(read_smpl_pickle(path)["J_regressor"], expected(content)["J_regressor"])


def test_reads_a_python_2_string_pickle(tmp_path):
    """Python 2 wrote an array's bytes as a str, which latin1 alone gives back unchanged."""
    values = np.array([1.5, -2.25, 1e300])
    octets = values.tobytes()
    data = b"\x80\x02}(" + b"".join(
        b"U" + bytes([len(key)]) + key
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03"
        b"U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89U" + bytes([len(octets)]) + octets + b"tb"
        for key in (b"v_template", b"shapedirs", b"posedirs", b"J_regressor", b"weights", b"kintree_table", b"f")
    ) + b"u."  # fmt: skip
    path = tmp_path / "python2.pkl"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_smpl_pickle(path)["weights"], values)


class Runs:
    """An object whose pickle calls `function(*arguments)` when it is read."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def by_name(module: str, name: str) -> bytes:
    """A pickle that asks for module.name and calls it on the string 'x', whether or not it exists here."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n(S'x'\ntR."


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("nested", [False, True])
def test_runs_nothing(chumpy, tmp_path, protocol, nested, monkeypatch):
    marker = tmp_path / "was-run"
    attack = Runs(os.system, f"touch {marker}")
    content = smpl_content(chumpy)
    if nested:
        content["v_template"] = chumpy.Ch(x=np.array([[attack]], dtype=object))
    else:
        content["pose_training_info"] = attack
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(InputError, match=r"asks for (posix|nt)\.system"):
        import_smpl(path, tmp_path / "out.npz")
    assert not marker.exists() and not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (builtins.eval, "eval"),
        (builtins.exec, "exec"),
        (builtins.getattr, "getattr"),
        (builtins.__import__, "__import__"),
        (subprocess.Popen, "Popen"),
        (np.load, "load"),
        (np.fromfile, "fromfile"),
        (np.memmap, "memmap"),
        (np.vectorize, "vectorize"),
        (collections.OrderedDict, "OrderedDict"),
        (pickle.loads, "loads"),
    ],
)
def test_refuses_every_other_name(tmp_path, protocol, function, name):
    path = tmp_path / "attack.pkl"
    path.write_bytes(pickle.dumps(Runs(function, "1"), protocol=protocol))
    with pytest.raises(InputError, match=rf"asks for \S*{name}"):
        read_smpl_pickle(path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "core.multiarray.os.system"),
        ("numpy.core.multiarray", "os.system"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.f2py", "compile"),
        ("numpy.core.multiarray", "fromfile"),
        ("chumpy.ch", "ChLambda"),
        ("chumpy.ch", "Ch.__init__"),
        ("scipy.sparse", "load_npz"),
        ("copyreg", "__newobj__"),
        ("builtins", "object.__subclasses__"),
        ("alignhmr.core.body.smpl_import", "_encode"),
    ],
)
def test_names_match_whole(tmp_path, module, name):
    path = tmp_path / "attack.pkl"
    path.write_bytes(by_name(module, name))
    with pytest.raises(InputError, match="refused: it asks for"):
        read_smpl_pickle(path)
    # Protocol 4 takes names from the stack and follows dots in them.
    encoded = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)]
    path.write_bytes(b"\x80\x04" + encoded[0] + encoded[1] + b"\x93.")
    with pytest.raises(InputError, match="refused: it asks for"):
        read_smpl_pickle(path)


def test_stand_ins_can_t_be_turned_into_something_else(chumpy, tmp_path):
    path = tmp_path / "attack.pkl"
    for data in (
        b"ccopyreg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",  # another class
        b"ccopyreg\n_reconstructor\n(S'os'\nc__builtin__\nobject\nNtR.",  # no class
        b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nobject\n(I0\nS'b'\ntR.",  # no array
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",  # another codec
        b"Pid\n.",  # a persistent id
        b"\x82\x01.",  # an extension code
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match="not a readable SMPL pickle"):
            read_smpl_pickle(path)


@pytest.mark.parametrize("content", [b"", b"\x80", b"garbage", b"PK\x03\x04", b"\x80\x02]q\x00."])
def test_says_that_a_file_is_no_smpl(tmp_path, content):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(content)
    with pytest.raises((InputError, CompatibilityError), match=r"SMPL_NEUTRAL\.pkl"):
        read_smpl_pickle(path)


def test_says_what_is_missing(chumpy, tmp_path):
    content = smpl_content(chumpy)
    del content["weights"], content["f"]
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(CompatibilityError, match="lacks weights, f"):
        read_smpl_pickle(path)
    with pytest.raises(InputError, match="no file"):
        read_smpl_pickle(tmp_path / "none.pkl")


def test_sparse_indices_are_checked(chumpy, tmp_path):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    for key, value in (("indices", 10_000), ("indices", -1), ("indptr", 10_000)):
        content = smpl_content(chumpy)
        getattr(content["J_regressor"], key)[-1] = value
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match="unreadable J_regressor"):
            read_smpl_pickle(path)


@pytest.mark.parametrize("key", ["v_template", "weights"])
def test_only_numbers_count_as_arrays(chumpy, tmp_path, key):
    content = smpl_content(chumpy) | {key: np.array([{"a": 1}], dtype=object)}
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=f"unreadable {key}.*no plain number"):
        read_smpl_pickle(path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("kintree_table", np.zeros((2, 52), np.uint32), "52 joints, wanted SMPL's 24"),
        ("kintree_table", np.zeros((2, 24), np.uint32), "in another way"),
        ("v_template", np.zeros((778, 3)), "778 vertices, wanted SMPL's 6890"),
    ],
)
def test_refuses_another_model(chumpy, tmp_path, key, value, says):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(smpl_content(chumpy) | {key: value}))
    with pytest.raises(CompatibilityError, match=says):
        import_smpl(path, tmp_path / "out.npz")


def test_imported_body_runs_like_any_other(chumpy, tmp_path, make_pose):
    content = smpl_content(chumpy, verts=SMPL_VERTICES)
    path, out = tmp_path / "SMPL_NEUTRAL.pkl", tmp_path / "sub" / "smpl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    body = BodyModel.load(import_smpl(path, out))
    assert body.name == "smpl-neutral"
    assert "SMPL_NEUTRAL.pkl" in body._body.source and "not for redistribution" in body.licence
    rotations, betas = make_pose(2)
    vertices, points = body.vertices(rotations, betas), body.kinematics(rotations, betas)
    # Vertex numbers of smplx's table, spelled out: a table of another model would pass unseen otherwise.
    for keypoint, vertex in (("nose", 332), ("left_ear", 583), ("right_eye", 6260), ("right_heel", 6787)):
        assert torch.allclose(points.keypoints[:, KEYPOINTS.index(keypoint)], vertices[:, vertex], atol=1e-5)
    regressor = torch.tensor(content["J_regressor"].toarray()).float()
    knee = regressor[JOINTS.index("left_knee")] @ vertices
    assert torch.allclose(points.keypoints[:, KEYPOINTS.index("left_knee")], knee, atol=1e-5)


def test_pickles_of_the_tests_say_what_they_claim():
    """The hand-written bytes really are pickles that reach find_class."""
    opcodes = [code.name for code, _, _ in pickletools.genops(by_name("os", "system"))]
    assert opcodes == ["GLOBAL", "MARK", "STRING", "TUPLE", "REDUCE", "STOP"]
