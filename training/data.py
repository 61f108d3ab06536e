"""Label rows as tensors: people with their evidence, and which of their hypotheses are preferred.

Rows are read by column name from the Parquet files of `alignhmr label`. Bodies go in as the packed vectors that the
denoiser diffuses; a row made by another body model or another base model is refused.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import Condition, make_condition
from alignhmr.core.diffusion.encoder import Encoded, concatenate
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.diffusion.parameters import BodyParameters, pack
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.geometry.cameras import crop_camera_of
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.perception.silhouettes import SILHOUETTE_PX
from alignhmr.core.perception.views import from_jpeg, shrunk
from alignhmr.core.records import drawn
from alignhmr.core.scoring.evidence import Evidence
from alignhmr.core.scoring.preference import Abstention, group_advantages
from alignhmr.training.preference import Objective

log = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.2
"""Of the pictures; they judge and are not learned from."""

_COLUMNS = (
    "image_sha256", "error_code", "abstained", "models", "pairs", "keypoints_px", "keypoints_3d_m", "crop_px",
    "view_jpeg", "focal_px", "center_px", "pose_aa", "betas", "transl_cam_m", "scores", "expected_error_mm", "vetoes",
)  # fmt: skip


@dataclass(frozen=True)
class People:
    """Evidence of people in photos; no truth."""

    image_sha256: np.ndarray
    """Of each person's picture, as text."""
    keypoints_px: Float[Tensor, "people keypoints 3"]
    detector_3d_m: Float[Tensor, "people keypoints 3"]
    has_detector_3d: Float[Tensor, "people"]
    crop_px: Float[Tensor, "people 3"]
    focal_px: Float[Tensor, "people"]
    center_px: Float[Tensor, "people 2"]
    view_jpeg: np.ndarray
    """What the models see of each, as kept in the row; None where nothing was."""

    def __len__(self) -> int:
        return len(self.image_sha256)

    def take(self, index: np.ndarray) -> "People":
        return People(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def condition(self, side_px: int | None = None) -> Condition:
        """What a model is told that sees crops of this size; none for one that sees no pixels."""
        seen = np.array([view is not None for view in self.view_jpeg], bool)
        if side_px is None or not seen.any():
            return make_condition(self.keypoints_px, self.crop_px, self.focal_px, self.center_px)
        crops = np.stack([shrunk(from_jpeg(view), side_px) for view in self.view_jpeg[seen]])
        return make_condition(
            self.keypoints_px, self.crop_px, self.focal_px, self.center_px,
            torch.from_numpy(crops).permute(0, 3, 1, 2).float(), torch.from_numpy(seen),
        )  # fmt: skip

    def evidence(self, side_px: int | None = None) -> Evidence:
        """What a scorer is shown that sees crops of this size."""
        silhouettes = torch.zeros(len(self), SILHOUETTE_PX, SILHOUETTE_PX)
        return Evidence.observed(
            self.condition(side_px), self.crop_px, self.detector_3d_m, self.has_detector_3d > 0, silhouettes,
            torch.zeros(len(self), dtype=torch.bool),
        )  # fmt: skip

    @torch.no_grad()
    def encoded(self, model: BaseModel, device: str | torch.device = "cpu") -> Encoded:
        """What the model's encoder makes of them; a few at a time, since pictures are large."""
        side_px = model.config.crop_px if model.sees_pixels else None
        parts = []
        for start in range(0, len(self), 64):
            index = np.arange(start, min(start + 64, len(self)))
            parts.append(model.encode(self.take(index).condition(side_px).to(device)))
        return concatenate(parts)


@dataclass(frozen=True)
class Preferred:
    """Bodies of one person as packed vectors, best first, and whose they are: pairs, or groups of all draws."""

    person: Int[np.ndarray, "rows"]
    bodies: Float[Tensor, "rows bodies params"]
    advantage: Float[Tensor, "rows bodies"]
    """As ``preference.PreferenceBatch``."""

    def __len__(self) -> int:
        return len(self.person)

    @property
    def winner(self) -> Float[Tensor, "rows params"]:
        return self.bodies[:, 0]

    @property
    def loser(self) -> Float[Tensor, "rows params"]:
        return self.bodies[:, -1]


@dataclass(frozen=True)
class Labels:
    """What a labelling run found."""

    people: People
    preferred: Preferred
    counts: dict[str, int]
    """Rows, and how many prefer nothing and why: ``abstained:...``, ``error:...``; ``broken files``."""

    def part(self, keep: np.ndarray) -> "Labels":
        """Only the people where ``keep`` is true, with what is preferred of theirs."""
        place = np.cumsum(keep) - 1
        mine = np.flatnonzero(keep[self.preferred.person])
        preferred = Preferred(
            place[self.preferred.person[mine]], self.preferred.bodies[mine], self.preferred.advantage[mine]
        )
        return Labels(self.people.take(np.flatnonzero(keep)), preferred, self.counts)


def read_labels(
    source: str | Path, body: BodyModel, base_digest: str, *, objective: Objective = "dpo",
    filesystem: pafs.FileSystem | None = None,
) -> Labels:  # fmt: skip
    """All rows under a folder, with pairs, or groups where the objective is ``group``.

    A file that can't be read is skipped with a warning, unless none can.

    Raises InputError when there is nothing to learn from, CompatibilityError when a row was made by another
    body model or another base than those with these digests.
    """
    filesystem = filesystem or pafs.LocalFileSystem()
    people: list[dict[str, Any]] = []
    found: list[_Found] = []
    counts: Counter[str] = Counter()
    preferred_in = _group if objective == "group" else _pairs
    for table in _tables(str(source), filesystem, counts):
        _collect(table, body, base_digest, people, found, counts, preferred_in)
    if not found:
        what = "groups" if objective == "group" else "preference pairs"
        raise InputError(f"there are no {what} in {source}: {_reasons(counts)}")
    sizes = sorted({len(one.advantage) for one in found})
    if len(sizes) > 1:
        raise InputError(
            f"the groups in {source} are of {sizes[0]} to {sizes[-1]} draws; align to rows that were labelled with"
            " one number of --hypotheses"
        )
    return Labels(_people(people), _pack(found, people, body), dict(counts))


def split(labels: Labels, held_out_share: float = HELD_OUT_SHARE) -> tuple[Labels, Labels]:
    """(training, held-out), by the digest of the picture alone: people of one picture stay together, and a
    picture stays on its side when others are added. Neighbouring frames of a video are other pictures."""
    place = np.array([int(digest[:12], 16) / 16**12 for digest in labels.people.image_sha256])
    held_out = place < held_out_share
    if held_out.all() or not held_out.any():
        # Few pictures, and one side is empty: the one with the lowest digest is held out, if it isn't alone.
        held_out = (place == place.min()) & (place.min() < place.max())
    training = labels.part(~held_out)
    if not len(training.preferred):
        raise InputError(
            f"all {len(labels.preferred)} preferences are of the pictures held out to judge by; label more pictures"
        )
    return training, labels.part(held_out)


def _tables(source: str, filesystem: pafs.FileSystem, counts: Counter[str]) -> Iterator[pa.Table]:
    try:
        found = filesystem.get_file_info(pafs.FileSelector(source, recursive=True))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"there is no folder {source}; give the --out folder of `alignhmr label`") from error
    paths = sorted(info.path for info in found if info.is_file and _is_rows(info.path, source))
    if not paths:
        raise InputError(f"no Parquet files in {source}; give the --out folder of `alignhmr label`")
    broken = 0
    for path in paths:
        try:
            names = pq.read_schema(path, filesystem=filesystem).names
            missing = [name for name in _COLUMNS if name not in names]
            if missing:
                raise CompatibilityError(
                    f"{path} lacks the column {missing[0]!r}; it was not written by this version of"
                    " `alignhmr label`"
                )
            yield pq.read_table(path, filesystem=filesystem, columns=list(_COLUMNS))
        except (pa.ArrowException, OSError) as error:
            broken += 1
            log.warning("skipped %s: not a whole Parquet file (%s)", path, str(error).splitlines()[0])
    if broken:
        counts["broken files"] = broken
    if broken == len(paths):
        raise InputError(f"none of the {broken} Parquet files in {source} can be read; label anew")


def _is_rows(path: str, source: str) -> bool:
    inside = path.removeprefix(source).strip("/").split("/")
    return path.endswith(".parquet") and not any(part.startswith(("_", ".")) for part in inside)


def _collect(
    table: pa.Table, body: BodyModel, base_digest: str, people: list[dict[str, Any]], found: list["_Found"],
    counts: Counter[str], preferred_in: Callable[[dict[str, Any]], list[tuple[list[int], list[float]]] | str],
) -> None:  # fmt: skip
    for row in range(table.num_rows):
        cell = {name: table.column(name)[row] for name in table.column_names}
        counts["rows"] += 1
        if (code := cell["error_code"].as_py()) is not None:
            counts[f"error:{code}"] += 1
            continue
        models = dict(cell["models"].as_py() or {})
        _check(models, "body", body.digest, f"body model {body.name}")
        _check(models, "base", base_digest, "base model")
        has_3d = cell["keypoints_3d_m"].is_valid
        person = {
            "image_sha256": cell["image_sha256"].as_py(),
            "keypoints_px": _numbers(cell["keypoints_px"], -1, 3),
            "has_detector_3d": np.float32(has_3d),
            "crop_px": _numbers(cell["crop_px"], 3),
            "focal_px": np.float32(cell["focal_px"].as_py()),
            "center_px": _numbers(cell["center_px"], 2),
            "view_jpeg": cell["view_jpeg"].as_py(),
        }
        person["detector_3d_m"] = (
            _numbers(cell["keypoints_3d_m"], -1, 3) if has_3d else np.zeros_like(person["keypoints_px"])
        )
        index = len(people)
        people.append(person)
        preferred = preferred_in(cell)
        if isinstance(preferred, str):
            counts[f"abstained:{preferred}"] += 1
            continue
        counts["pairs"] += len(preferred)
        pose, betas = _numbers(cell["pose_aa"], -1, 72), _numbers(cell["betas"], -1, 10)
        hypotheses = np.concatenate([pose, betas, _numbers(cell["transl_cam_m"], -1, 3)], 1)
        found += [_Found(index, hypotheses[which], advantage) for which, advantage in preferred]


class _Found(NamedTuple):
    """What one row prefers over what."""

    person: int
    hypotheses: Float[np.ndarray, "bodies 85"]
    """Pose, betas and translation, best first."""
    advantage: list[float]


def _pairs(cell: dict[str, Any]) -> list[tuple[list[int], list[float]]] | str:
    """Those of the row, or why there are none."""
    pairs = cell["pairs"].as_py()
    if not pairs:
        return cell["abstained"].as_py() or "no reason given"
    return [([pair["winner"], pair["loser"]], [1.0, -1.0]) for pair in pairs]


def _group(cell: dict[str, Any]) -> list[tuple[list[int], list[float]]] | str:
    """All draws of the row, best first, or why nothing is made of them."""
    against = cell["vetoes"].as_py()
    vetoed = {} if against is None else {"any": np.array([reason is not None for reason in against])}
    scores, expected_mm = _numbers(cell["scores"], -1), _numbers(cell["expected_error_mm"], -1)
    among = drawn(len(scores))
    advantage = group_advantages(scores, expected_mm, vetoed=vetoed, among=among)
    if isinstance(advantage, Abstention):
        return advantage.reason
    order = np.argsort(-advantage, kind="stable")
    order = order[among[order]]
    return [(order.tolist(), advantage[order].tolist())]


def _check(models: dict[str, str], name: str, digest: str, wanted: str) -> None:
    said = models.get(name, "")
    other = said.rpartition(":")[2]
    if not other or not digest.startswith(other):
        raise CompatibilityError(
            f"the rows were labelled with {name} {said or 'of unknown name'}, but the {wanted} being trained"
            f" has digest {digest[:16]}; label with the model that you train, or train the one that labelled"
        )


def _numbers(cell: Any, *shape: int) -> np.ndarray:
    return cell.values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape)


def _people(rows: list[dict[str, Any]]) -> People:
    stacked = {
        field.name: torch.from_numpy(np.stack([row[field.name] for row in rows]))
        for field in fields(People)
        if field.name not in ("image_sha256", "view_jpeg")
    }
    views = np.empty(len(rows), object)
    views[:] = [row["view_jpeg"] for row in rows]
    return People(image_sha256=np.array([row["image_sha256"] for row in rows]), view_jpeg=views, **stacked)


@torch.no_grad()
def _pack(found: list[_Found], people: list[dict[str, Any]], body: BodyModel) -> Preferred:
    person = np.array([one.person for one in found])
    numbers = torch.from_numpy(np.stack([one.hypotheses for one in found]))
    bodies = numbers.shape[1]
    crop, focal, center = (
        torch.from_numpy(np.stack([people[index][name] for index in person])).repeat_interleave(bodies, 0)
        for name in ("crop_px", "focal_px", "center_px")
    )
    numbers = numbers.flatten(0, 1)
    rotations = axis_angle_to_matrix(numbers[:, :72].unflatten(-1, (24, 3)))
    betas, transl = numbers[:, 72:82], numbers[:, 82:]
    # The crop camera places the root joint; transl is added to a body whose root rests elsewhere.
    root = body.kinematics(rotations, betas).joints[:, 0]
    packed = pack(BodyParameters(rotations, betas, crop_camera_of(transl + root, crop, focal, center)))
    advantage = torch.tensor([one.advantage for one in found], dtype=torch.float32)
    return Preferred(person, packed.unflatten(0, (-1, bodies)), advantage)


def _reasons(counts: Counter[str]) -> str:
    told = [f"{name} {count}" for name, count in sorted(counts.items()) if name not in ("rows", "pairs")]
    advice = "label more pictures, with more hypotheses, or with a smaller margin"
    return f"{counts['rows']} rows ({', '.join(told) or 'none of them usable'}); {advice}"
