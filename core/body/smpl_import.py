"""A user's own SMPL_NEUTRAL.pkl, read without running anything in it and kept as a .npz body file.

The published files are Python 2 pickles with chumpy arrays inside. Unpickling runs whatever a pickle names,
and chumpy doesn't import on Python 3.11. So this unpickler knows a short table of names, and each stands for
something passive that keeps the state of an array until it is checked and turned into one: numpy, scipy and
chumpy themselves are never called by the pickle. A name outside the table ends the import with that name in
the message.
"""

import hashlib
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from alignhmr.core.body.body_file import BETAS, BodyFile
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, PARENTS
from alignhmr.core.errors import CompatibilityError, InputError

SMPL_VERTICES = 6890
LICENCE = "SMPL body licence: see the terms the model file was downloaded under; not for redistribution"
_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_VERTEX_KEYPOINTS = {
    "nose": "nose", "left_eye": "leye", "right_eye": "reye", "left_ear": "lear", "right_ear": "rear",
    "left_big_toe": "LBigToe", "left_small_toe": "LSmallToe", "left_heel": "LHeel",
    "right_big_toe": "RBigToe", "right_small_toe": "RSmallToe", "right_heel": "RHeel",
}  # fmt: skip
"""Our name of each keypoint that SMPL marks by one vertex, and smplx's name of that vertex."""


class _Inert:
    """Stands for a class of another library: takes its pickled state, and does nothing with it."""

    arguments: tuple
    state: Any = None

    def __new__(cls, *arguments: object) -> Self:
        inert = super().__new__(cls)
        inert.arguments = arguments
        return inert

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Dtype(_Inert):
    """numpy.dtype, which would let a pickle change it after an array was made with it."""

    def real(self) -> np.dtype:
        spec = str(self.arguments[0])
        if not re.fullmatch("[<>=|]?[biuf][1248]", spec):
            raise TypeError(f"an array of {spec!r}, which is no plain number")
        return np.dtype(spec).newbyteorder(self.state[1] if self.state else "=")


class _Array(_Inert):
    """numpy.ndarray as its parts: version, shape, dtype, whether by columns, bytes."""

    def dense(self) -> np.ndarray:
        _, shape, dtype, by_column, data = self.state
        if isinstance(data, str):  # Python 2 wrote bytes as a string
            data = data.encode("latin1")
        return np.frombuffer(data, dtype.real()).reshape(shape, order="F" if by_column else "C")


class _ChumpyArray(_Inert):
    """chumpy.Ch: an array under the name x."""

    def dense(self) -> np.ndarray:
        return _dense(self.state["x"])


class _ChumpySelect(_Inert):
    """chumpy's slice of another array."""

    def dense(self) -> np.ndarray:
        picked = _dense(self.state["a"]).ravel()[_dense(self.state["idxs"])]
        shape = self.state.get("preferred_shape")
        return picked if shape is None else picked.reshape(shape)


class _ByColumn(_Inert):
    """scipy's compressed matrix, filled in by numpy: scipy's own code trusts the indices it is given."""

    by_column = True

    def dense(self) -> np.ndarray:
        rows, columns = (int(_dense(size)) for size in self.state["_shape"])
        lines, across = (columns, rows) if self.by_column else (rows, columns)
        starts, places = _dense(self.state["indptr"]), _dense(self.state["indices"])
        if starts.shape != (lines + 1,) or (np.diff(starts) < 0).any() or (places < 0).any():
            raise ValueError("a sparse matrix whose indices don't add up")
        matrix = np.zeros((lines, across))
        np.add.at(matrix, (np.repeat(np.arange(lines), np.diff(starts)), places), _dense(self.state["data"]))
        return matrix.T if self.by_column else matrix


class _ByRow(_ByColumn):
    by_column = False


def _dense(value: object) -> np.ndarray:
    if isinstance(value, _Array | _ChumpyArray | _ChumpySelect | _ByColumn):
        return value.dense()
    return np.asarray(value)


def _new_inert(kind: object, *_: object) -> _Inert:
    """How numpy and copyreg make an object whose state follows; here, of stand-ins alone."""
    if not (isinstance(kind, type) and issubclass(kind, _Inert)):
        raise TypeError("an object that is no array")
    return kind()


def _filled(shape: object, dtype: object, by_column: bool, data: object) -> _Array:
    array = _Array()
    array.state = (1, shape, dtype, by_column, data)
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into the pickles of Python 2. Other codecs have no business here."""
    if encoding not in ("latin1", "latin-1"):
        raise TypeError(f"bytes in the encoding {encoding!r}")
    return str(text).encode("latin1")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("chumpy", "Ch"): _ChumpyArray,
    ("chumpy.ch", "Ch"): _ChumpyArray,
    ("chumpy.reordering", "Select"): _ChumpySelect,
    ("_codecs", "encode"): _encode,
}
"""Everything a pickle may name, in the spelling of every release that wrote one."""

for _package in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    _KNOWN[_package + ".multiarray", "_reconstruct"] = _new_inert
    _KNOWN[_package + ".multiarray", "scalar"] = lambda dtype, data: _filled((), dtype, False, data)
    _KNOWN[_package + ".numeric", "_frombuffer"] = lambda data, dtype, shape, order: _filled(
        shape, dtype, order == "F", data
    )
for _module in ("scipy.sparse", "scipy.sparse.csc", "scipy.sparse._csc"):
    _KNOWN[_module, "csc_matrix"] = _KNOWN[_module, "csc_array"] = _ByColumn
for _module in ("scipy.sparse", "scipy.sparse.csr", "scipy.sparse._csr"):
    _KNOWN[_module, "csr_matrix"] = _KNOWN[_module, "csr_array"] = _ByRow
for _module in ("copy_reg", "copyreg"):  # Python 2 and Python 3
    _KNOWN[_module, "_reconstructor"] = _new_inert
for _module in ("__builtin__", "builtins"):
    _KNOWN[_module, "object"] = object
    _KNOWN[_module, "set"] = set  # chumpy's list of what changed


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        # The pair is matched whole, and never looked up as an attribute: numpy reaches os and eval.
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise InputError(
                f"{self._path} was refused: it asks for {module}.{name}, and a body model or a data set needs "
                "numpy arrays, sparse matrices and chumpy arrays only. Nothing of it was run. Download the file "
                "again from its publisher, and don't open this one with pickle."
            ) from None


def read_array_pickle(path: Path, what: str) -> dict[str, Any]:
    """The dict of a pickle whose arrays are inert until `plain` turns them into numpy; nothing in it is run.

    `what` says what was expected, for the sentence of the InputError.
    """
    try:
        content = _ArrayUnpickler(Path(path).read_bytes(), Path(path)).load()
    except OSError as missing:
        raise InputError(
            f"{path} can't be read ({missing.strerror or missing}); give the path of {what}"
        ) from missing
    except InputError:
        raise
    except Exception as broken:  # a malformed pickle can raise nearly anything
        raise InputError(
            f"{path} is not {what} that can be read ({type(broken).__name__}: {broken}); "
            "download the file again from its publisher"
        ) from broken
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__} and not the dict of {what}; get the file anew"
        )
    return content


def plain(value: object) -> Any:
    """What an inert value of such a pickle stands for: arrays as numpy, inside dicts and lists as well."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return _dense(value) if isinstance(value, _Inert) else value


def read_smpl_pickle(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an SMPL-format pickle that a body needs, as plain numpy.

    InputError if the file can't be read or names anything but arrays; CompatibilityError if arrays are missing.
    """
    try:
        content = _ArrayUnpickler(path.read_bytes(), path).load()
    except FileNotFoundError as missing:
        raise InputError(f"There is no file {path}. Give the path of SMPL_NEUTRAL.pkl.") from missing
    except InputError:
        raise
    except Exception as broken:  # a malformed pickle can raise nearly anything
        raise InputError(
            f"{path} is not a readable SMPL pickle ({type(broken).__name__}: {broken}). "
            "Download the file again from its publisher."
        ) from broken
    if not isinstance(content, dict):
        raise CompatibilityError(f"{path} holds a {type(content).__name__} and not SMPL's dict of arrays.")
    absent = [key for key in _NEEDED if key not in content]
    if absent:
        raise CompatibilityError(f"{path} is not an SMPL model: it lacks {', '.join(absent)}.")
    arrays = {}
    for key in _NEEDED:
        try:
            arrays[key] = _dense(content[key])
        except Exception as broken:
            raise InputError(
                f"{path} has an unreadable {key} ({type(broken).__name__}: {broken})."
            ) from broken
        if arrays[key].dtype.kind not in "fiu":
            raise InputError(f"{path} has a {key} of {arrays[key].dtype} and not of numbers.")
    return arrays


def _keypoint_regressor(joint_regressor: np.ndarray) -> np.ndarray:
    """Rows [23, 6890]: SMPL's own joints for the limbs, single vertices of the skin for the face and feet."""
    from smplx.vertex_ids import vertex_ids

    rows = np.zeros((len(KEYPOINTS), joint_regressor.shape[1]))
    for row, keypoint in zip(rows, KEYPOINTS, strict=True):
        if keypoint in _VERTEX_KEYPOINTS:
            row[vertex_ids["smplh"][_VERTEX_KEYPOINTS[keypoint]]] = 1
        else:
            row[:] = joint_regressor[JOINTS.index(keypoint)]
    return rows


def import_smpl(path: Path, out: Path, name: str | None = None) -> Path:
    """Convert SMPL_NEUTRAL.pkl to a body file at `out`, which `BodyModel.load(out)` takes; returns `out`.

    `name` is what records made with this body will say; by default the file's own ("smpl-neutral"). Raises
    InputError for what is no such pickle, CompatibilityError for another model than SMPL.
    """
    path, out = Path(path), Path(out)
    arrays = read_smpl_pickle(path)
    joints, verts = arrays["kintree_table"].shape[-1], len(np.atleast_1d(arrays["v_template"]))
    if joints != len(JOINTS):
        raise CompatibilityError(
            f"{path} has {joints} joints, wanted SMPL's {len(JOINTS)}. SMPL-H, SMPL-X and MANO files are other "
            "models; download the SMPL one."
        )
    # The root's parent is stored as 2**32 - 1.
    if arrays["kintree_table"][0, 1:].astype(np.int64).tolist() != list(PARENTS[1:]):
        raise CompatibilityError(f"{path} connects its 24 joints in another way than SMPL.")
    if verts != SMPL_VERTICES:
        raise CompatibilityError(
            f"{path} has {verts} vertices, wanted SMPL's {SMPL_VERTICES}: the vertices of nose, eyes and toes are "
            "known for that mesh only."
        )
    if arrays["shapedirs"].ndim != 3 or arrays["shapedirs"].shape[2] < BETAS:
        raise CompatibilityError(
            f"{path} has shapedirs of shape {arrays['shapedirs'].shape}, wanted {BETAS} betas."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    BodyFile(
        name=name or path.stem.lower().replace("_", "-"),
        resolution="full",
        licence=LICENCE,
        source=f"{path.name}, SHA-256 {digest}",
        v_template=arrays["v_template"].astype(np.float32),
        shapedirs=arrays["shapedirs"][:, :, :BETAS].astype(np.float32),
        J_regressor=arrays["J_regressor"].astype(np.float32),
        weights=arrays["weights"].astype(np.float32),
        f=arrays["f"].astype(np.uint32),
        keypoint_regressor=_keypoint_regressor(arrays["J_regressor"]).astype(np.float32),
        posedirs=arrays["posedirs"].astype(np.float32),
    ).write(out)
    return out
