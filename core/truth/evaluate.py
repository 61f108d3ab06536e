"""Samples and predictions in, one row of errors for each person out; who was missed and who can't be judged.

*Missed* is a person whom the truth knows and the system didn't answer: errors in mm, degrees and pixels are
means over answered people and say nothing of them, which is why the missed share stands beside; shares
within a threshold (3DPCK, PCK) count every point of a missed person as wrong.
Truth may be of the picture alone (COCO): such a person has 2D errors and no others.
*Not judged* is a person of whom the truth knows, or the picture shows, too few points of the joint set: this depends
on the benchmark alone, and such a person counts nowhere but in the record's ``not_judged``.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from alignhmr.core.body.joint_sets import POINT_SETS, JointSet, joint_set
from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.metrics.angles import local_angle_deg, mpjae_deg
from alignhmr.core.metrics.hypotheses import spread_mm, truth_ranks
from alignhmr.core.metrics.image import box_size_px, error_px, share_within
from alignhmr.core.metrics.positions import aligned_errors_mm, pa_pve_mm, pve_mm, root_errors_mm
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.predictions import SystemInfo, body_key, hypotheses_of, same_body
from alignhmr.core.truth.records import Points, Prediction, Sample, Truth

MIN_POINTS = 6
"""Fewest known points of the joint set: a similarity has 7 degrees of freedom, and 3 points fit nearly anything."""
MIN_VISIBLE = 3
"""Fewest points of the joint set that the picture must show, where the truth says which it shows: of someone who
is behind others or outside but for an elbow, no picture can tell the pose."""
PCK_3D_MM = 150.0
"""MPI-INF-3DHP's threshold for 3DPCK, about half a head."""
PCK_2D: tuple[float, ...] = (0.05, 0.1)
"""Shares of the box's longer side, as in HMR 2.0's tables."""


@dataclass(frozen=True)
class PersonErrors:
    """One judged person. Arrays over points follow the joint set and are of the selected hypothesis."""

    key: str
    """``sample#person``."""
    group: str
    domain: str
    facts: Mapping[str, str | float | bool]
    visible: np.ndarray
    """[points] 1, 0, or NaN where nobody looked."""
    missed: bool = False
    selected: int = 0
    per_hypothesis: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Metric -> [hyps]: mpjpe_mm, pa_mpjpe_mm, pve_mm, pa_pve_mm, mpjae_deg, local_angle_deg."""
    per_point: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Metric -> [points]: mpjpe_mm, pa_mpjpe_mm, error_px, spread_mm, truth_rank."""
    single: Mapping[str, float] = field(default_factory=dict)
    """Metric -> value of the selected hypothesis: shares within thresholds, 2D errors."""
    scores: np.ndarray | None = None
    expected_mm: np.ndarray | None = None


class Evaluation:
    """Collects one system's errors over one benchmark."""

    def __init__(self, system: SystemInfo, joints: str = "limbs12", bodies: Sequence[BodyModel] = ()) -> None:
        self.system, self.joints = system, joint_set(joints)
        self.bodies = {body_key(body): body for body in bodies}
        """What vertices are computed with, for truth and prediction of one body model."""
        self.people: list[PersonErrors] = []
        self.not_judged: Counter[str] = Counter()
        self.samples = 0
        self.hypotheses = 1
        self.true_bodies: set[str] = set()
        self._digests: list[bytes] = []
        self._pictures: list[str] = []
        self._says_pixels: bool | None = None

    def add(self, sample: Sample, predictions: Sequence[Prediction]) -> list[PersonErrors]:
        """Judges everyone of the sample; InputError where predictions don't answer the question at all."""
        self.samples += 1
        self._pictures.append(f"{sample.id}:{sample.picture.sha256}")
        answers = {prediction.person: prediction for prediction in predictions}
        rows = []
        for index, truth in enumerate(sample.people):
            self._digests.append(_digest(sample, index, self.joints.points))
            reason = self._reason_not_to_judge(truth)
            if reason:
                self.not_judged[reason] += 1
                continue
            if truth.body is not None:
                self.true_bodies.add(truth.body.body)
            rows.append(self._judge(sample, index, truth, answers.get(index)))
        self.people += rows
        return rows

    @property
    def data_digest(self) -> str:
        """SHA-256 over ids, cameras, boxes and true points, whatever their order."""
        return hashlib.sha256(b"".join(sorted(self._digests))).hexdigest()

    @property
    def pictures_digest(self) -> str:
        """SHA-256 over the pictures: the same people before other backgrounds are another question."""
        return hashlib.sha256("\n".join(sorted(self._pictures)).encode()).hexdigest()

    def _reason_not_to_judge(self, truth: Truth) -> str:
        points, name = truth.points.get(self.joints.points), self.joints.name
        if points is None:
            return f"the truth has no points of {self.joints.points}"
        if (
            not self._known_in_space(points)
            and self._known(points.px)[list(self.joints.indices)].sum() < MIN_POINTS
        ):
            return f"the truth knows fewer than {MIN_POINTS} points of {name}, or not their root"
        if points.visible is not None and points.visible[list(self.joints.indices)].sum() < MIN_VISIBLE:
            return f"the picture shows fewer than {MIN_VISIBLE} points of {name}"
        return ""

    def _known_in_space(self, points: Points) -> bool:
        """Whether errors in mm can be taken: enough points, and the root."""
        known = self._known(points.cam_m)
        return bool(
            known[list(self.joints.indices)].sum() >= MIN_POINTS and known[list(self.joints.root)].all()
        )

    def _known(self, coordinates: np.ndarray | None) -> np.ndarray:
        """[points of the set], true where all coordinates are known; false everywhere without any."""
        if coordinates is None:
            return np.zeros(len(POINT_SETS[self.joints.points]), bool)
        return np.asarray(np.isfinite(coordinates).all(axis=-1))

    def _judge(self, sample: Sample, index: int, truth: Truth, prediction: Prediction | None) -> PersonErrors:
        points, chosen = truth.points[self.joints.points], list(self.joints.indices)
        visible = np.full(len(chosen), np.nan)
        if points.visible is not None:
            visible = points.visible[chosen].astype(np.float64)
        about = (f"{sample.id}#{index}", sample.group, sample.domain, truth.facts, visible)
        if prediction is None:
            shares = {"pck3d_150mm": 0.0} if self._known_in_space(points) else {}
            shares |= {f"pck_{share:g}": 0.0 for share in PCK_2D}
            return PersonErrors(*about, missed=True, single=shares)
        self._check_answer(prediction, points)
        per_hypothesis, per_point, single = {}, {}, {}
        if self._known_in_space(points):
            per_hypothesis, per_point = _in_space(prediction, points, self.joints)
            per_hypothesis |= _of_bodies(prediction, truth, self.bodies)
            near = share_within(torch.from_numpy(per_point["mpjpe_mm"]), PCK_3D_MM)
            single["pck3d_150mm"] = float(near)
        off_px = _in_picture(prediction, truth, self.joints, sample.intrinsics)
        if off_px is None and not per_hypothesis:
            raise InputError(
                f"the truth of {sample.id} is in pixels alone, and {self.system.name} says nothing in pixels; give it"
                f" points_px.{self.joints.points}"
            )
        if off_px is not None:
            per_point["error_px"] = off_px.numpy()
            size = box_size_px(torch.from_numpy(np.asarray(truth.box_px, np.float64)))
            single["error_px"] = float(off_px.nanmean())
            single["error_box_pct"] = float(100 * off_px.nanmean() / size)
            single |= {f"pck_{share:g}": float(share_within(off_px, share * size)) for share in PCK_2D}
        return PersonErrors(
            *about, False, prediction.selected, per_hypothesis, per_point, single,
            prediction.scores, prediction.expected_error_mm,
        )  # fmt: skip

    def _check_answer(self, prediction: Prediction, points: Points) -> None:
        name, who = self.joints.points, f"person {prediction.person} of {prediction.sample_id}"
        if name not in prediction.points_m:
            raise InputError(
                f"{self.system.name} answers {', '.join(prediction.points_m)}, not {name}, over which"
                f" {self.joints.name} is taken; choose another joint set with --joints (limbs12 suits every system)"
            )
        hyps = hypotheses_of(prediction)
        if any(not person.missed for person in self.people) and hyps != self.hypotheses:
            raise InputError(f"{who} has {hyps} hypotheses, others have {self.hypotheses}; give all as many")
        self.hypotheses = hyps
        if not 0 <= prediction.selected < hyps:
            raise InputError(f"{who} selects hypothesis {prediction.selected} of {hyps}")
        # A point left out would be a point without error: what the truth knows must be answered.
        needed = sorted({*self.joints.indices, *self.joints.root})
        wanted = (self._known(points.cam_m) | self._known(points.px))[needed]
        open_points = wanted & ~np.isfinite(prediction.points_m[name][:, needed]).all((0, -1))
        if open_points.any():
            first = POINT_SETS[name][needed[int(np.flatnonzero(open_points)[0])]]
            raise InputError(
                f"{self.system.name} doesn't answer the {first} of {who}, which {self.joints.name} asks for; choose"
                " another joint set with --joints, or leave the person out (who then counts as missed)"
            )
        self._check_pixels(prediction, wanted, needed, who)

    def _check_pixels(self, prediction: Prediction, wanted: np.ndarray, needed: list[int], who: str) -> None:
        """Pixels are for everyone or for nobody, and whole: one left out would be one without error, too."""
        name = self.joints.points
        says = name in prediction.points_px
        if self._says_pixels not in (None, says):
            raise InputError(
                f"{self.system.name} gives pixels of some people and not of {who}; give points_px.{name} of all or of"
                " nobody, or leave the person out (who then counts as missed)"
                if not says
                else f"{self.system.name} gives pixels of {who} and not of people before; give points_px.{name} of"
                " all or of nobody"
            )
        self._says_pixels = says
        if not says:
            return
        open_points = wanted & ~np.isfinite(prediction.points_px[name][:, needed]).all((0, -1))
        if open_points.any():
            first = POINT_SETS[name][needed[int(np.flatnonzero(open_points)[0])]]
            raise InputError(
                f"{self.system.name} gives no pixel for the {first} of {who}; give pixels of every point of"
                f" {self.joints.name}, or no points_px.{name} at all"
            )


def _in_space(
    prediction: Prediction, points: Points, joints: JointSet
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Position errors over the joint set: means of each hypothesis, and points of the selected one."""
    chosen = list(joints.indices)
    predicted = torch.from_numpy(np.asarray(prediction.points_m[joints.points], np.float64))
    true_m = np.asarray(points.cam_m, np.float64)
    true = torch.from_numpy(true_m).expand_as(predicted)
    rooted = root_errors_mm(predicted, true, joints.root)[:, chosen]
    aligned = aligned_errors_mm(predicted[:, chosen], true[:, chosen])
    # Unknown points must not reach what is computed over hypotheses: their root is known, their own rank is NaN.
    spread = spread_mm(predicted.numpy(), joints.root)[chosen]
    ranks = truth_ranks(predicted.numpy(), true_m, joints.root)[chosen]
    selected = prediction.selected
    return (
        {"mpjpe_mm": rooted.nanmean(-1).numpy(), "pa_mpjpe_mm": aligned.nanmean(-1).numpy()},
        {
            "mpjpe_mm": rooted[selected].numpy(),
            "pa_mpjpe_mm": aligned[selected].numpy(),
            "spread_mm": spread,
            "truth_rank": ranks,
        },
    )


def _of_bodies(
    prediction: Prediction, truth: Truth, bodies: Mapping[str, BodyModel]
) -> dict[str, np.ndarray]:
    """Vertex and angle errors, where both sides are parameters of one body model."""
    if (
        truth.body is None
        or prediction.pose_aa is None
        or prediction.betas is None
        or prediction.body is None
    ):
        return {}
    if not same_body(truth.body.body, prediction.body):
        return {}
    predicted, true = (_rotations(pose) for pose in (prediction.pose_aa, truth.body.pose_aa[None]))
    both = (predicted, true.expand_as(predicted))
    found = {"mpjae_deg": mpjae_deg(*both).numpy(), "local_angle_deg": local_angle_deg(*both).numpy()}
    body = next((body for key, body in bodies.items() if same_body(key, prediction.body)), None)
    if body is None:
        return found
    betas = torch.from_numpy(np.concatenate([prediction.betas, truth.body.betas[None]]).astype(np.float32))
    rotations = torch.cat([predicted, true]).float()
    with torch.no_grad():
        vertices = body.vertices(rotations, betas)
        roots = body.kinematics(rotations, betas).joints[:, 0]
    meshes = (vertices[:-1], vertices[-1:].expand_as(vertices[:-1]))
    return found | {
        "pve_mm": pve_mm(*meshes, roots[:-1], roots[-1:].expand_as(roots[:-1])).numpy(),
        "pa_pve_mm": pa_pve_mm(*meshes).numpy(),
    }


def _in_picture(prediction: Prediction, truth: Truth, joints: JointSet, camera: Intrinsics) -> Tensor | None:
    """Pixels between the selected answer and the truth; None where the system says nothing in pixels."""
    if joints.points not in prediction.points_px:
        return None
    points, chosen = truth.points[joints.points], list(joints.indices)
    true_px = points.px
    if true_px is None:
        assert points.cam_m is not None
        depth = np.maximum(points.cam_m[:, 2:], 0.05)
        true_px = points.cam_m[:, :2] / depth * camera.focal_px + np.array(camera.center_px)
    predicted_px = prediction.points_px[joints.points][prediction.selected]
    pair = (np.asarray(pixels, np.float64)[chosen] for pixels in (predicted_px, true_px))
    off = error_px(*map(torch.from_numpy, pair))
    return off if off.isfinite().any() else None


def _rotations(pose_aa: np.ndarray) -> Tensor:
    return axis_angle_to_matrix(torch.from_numpy(np.asarray(pose_aa, np.float64)))


def _digest(sample: Sample, index: int, points: str) -> bytes:
    """Of one person's truth, to 0.1 mm and 0.01 px: another machine's last bits are no other data."""
    truth = sample.people[index]
    known = truth.points.get(points)
    content = hashlib.sha256(f"{sample.id}#{index}/{sample.group}/{points}".encode())

    def add(values: object, decimals: int) -> None:
        if values is None:
            content.update(b"none")
        else:
            rounded = np.round(np.asarray(values, np.float64), decimals) + 0.0  # no -0
            content.update(rounded.tobytes())

    add(sample.intrinsics.focal_px, 1)
    add(truth.box_px, 1)
    if known is not None:
        add(known.cam_m, 4)
        add(known.px, 2)
        add(known.visible, 0)
    if truth.body is not None:
        content.update(truth.body.body.encode())
        add(truth.body.pose_aa, 4)
        add(truth.body.betas, 4)
    return content.digest()
