"""A body model as one .npz file: what is in it, how it is checked, how it is read and written.

The arrays have SMPL's own names and shapes. Beside them stand the keypoint regressor and the names that every
record made with this body carries. Nothing in the file is pickled, so reading one never runs code.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, PARENTS
from alignhmr.core.errors import CompatibilityError, InputError

BETAS = 10
_SHAPES = {
    "v_template": "V 3",
    "shapedirs": f"V 3 {BETAS}",
    "J_regressor": f"{len(JOINTS)} V",
    "weights": f"V {len(JOINTS)}",
    "f": "F 3",
    "keypoint_regressor": f"{len(KEYPOINTS)} V",
    "posedirs": f"V 3 {9 * (len(JOINTS) - 1)}",
}
_LABELS = ("name", "licence", "source", "resolution")
_FILE_ORDER = (
    "v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f", "keypoint_regressor",
    "joint_names", "keypoint_names", "name", "resolution", "licence", "source", "posedirs",
)  # fmt: skip
"""Fixed, as the digest of the bytes names the body in every record."""

_HOW = "Make one with `alignhmr body import SMPL_NEUTRAL.pkl --out FILE.npz`, or use `open`."


@dataclass(frozen=True)
class BodyFile:
    """Everything a body model is made of: V vertices in metres, x to the body's left, y up, z forward."""

    name: str
    """Travels with every betas and every result, as betas of two body models must not be mixed."""
    resolution: str
    licence: str
    source: str
    v_template: np.ndarray
    shapedirs: np.ndarray
    J_regressor: np.ndarray
    weights: np.ndarray
    f: np.ndarray
    keypoint_regressor: np.ndarray
    posedirs: np.ndarray | None = None
    """Pose blend shapes [V, 3, 207]; None where the body has none."""
    digest: str = field(default="", compare=False)
    """SHA-256 of the file's bytes; empty before the body is written."""

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise CompatibilityError(f"The body model {self.name!r} can't be used: {problem} {_HOW}")

    def _problem(self) -> str:
        """What is wrong, as one sentence; empty if nothing is."""
        sizes = {
            "V": len(np.atleast_1d(self.v_template)),
            "F": len(np.atleast_1d(self.f)),
        }
        for key, pattern in _SHAPES.items():
            array = getattr(self, key)
            if array is None:
                continue
            wanted = tuple(sizes[axis] if axis in sizes else int(axis) for axis in pattern.split())
            if array.shape != wanted:
                return f"{key} has shape {array.shape}, wanted {wanted}."
            if array.dtype.kind not in "fiu":
                return f"{key} holds {array.dtype} and not numbers."
            if not np.isfinite(array).all():
                return f"{key} holds numbers that aren't finite."
        if self.f.size == 0 or self.f.min() < 0 or self.f.max() >= sizes["V"]:
            return f"its faces name vertices outside 0..{sizes['V'] - 1}."
        for key in ("weights", "J_regressor", "keypoint_regressor"):
            off = float(np.abs(getattr(self, key).sum(axis=1, dtype=np.float64) - 1).max())
            if off > 1e-3:
                return f"each row of {key} must add to 1, and one is off by {off:.2g}."
        return ""

    def write(self, path: Path) -> None:
        """Save as a compressed .npz; the same arrays give the same bytes."""
        content = {key: getattr(self, key) for key in (*_SHAPES, *_LABELS) if getattr(self, key) is not None}
        content["kintree_table"] = np.array([PARENTS, range(len(JOINTS))], np.int64)
        content["joint_names"], content["keypoint_names"] = np.array(JOINTS), np.array(KEYPOINTS)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:  # given a name, numpy would append .npz to it
            ordered = {key: np.asarray(content[key]) for key in _FILE_ORDER if key in content}
            np.savez_compressed(stream, **ordered)  # pyright: ignore[reportArgumentType]


def read_body_file(path: Path) -> BodyFile:
    """The body in a .npz file.

    InputError if there is no such file or it isn't one; CompatibilityError if it lacks something or its
    skeleton is another one.
    """
    if path.suffix == ".pkl":
        raise InputError(f"{path} is a pickle, and unpickling can run code. {_HOW}")
    try:
        data = path.read_bytes()
        archive = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{path} holds a single array and not a body model. {_HOW}")
        content = dict(archive)
    except FileNotFoundError as missing:
        raise InputError(f"There is no body model file {path}. {_HOW}") from missing
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as unreadable:
        raise InputError(f"{path} is not a readable .npz body model. {_HOW}") from unreadable
    wanted = set(_FILE_ORDER) - {"posedirs"}
    absent = sorted(wanted - content.keys())
    if absent:
        raise CompatibilityError(f"The body model {path} lacks {', '.join(absent)}. {_HOW}")
    parents = content["kintree_table"]
    if parents.shape != (2, len(JOINTS)) or parents[0, 1:].tolist() != list(PARENTS[1:]):
        raise CompatibilityError(f"The body model {path} has another skeleton than SMPL's 24 joints. {_HOW}")
    if content["keypoint_names"].tolist() != list(KEYPOINTS):
        raise CompatibilityError(
            f"The body model {path} lists its keypoints in another order, starting with "
            f"{content['keypoint_names'].ravel()[:3].tolist()}, wanted {list(KEYPOINTS[:3])}. {_HOW}"
        )
    labels = {label: str(content[label]) for label in _LABELS}
    arrays = {key: content.get(key) for key in _SHAPES}
    return BodyFile(**labels, **arrays, digest=hashlib.sha256(data).hexdigest())  # pyright: ignore[reportArgumentType]
