"""Between the records of ``core`` and the rows of a run: a ``Recovery`` to columns, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.errors import CompatibilityError
from alignhmr.core.records import Hypotheses, Intrinsics, Person, PreferencePair, Recovery

if TYPE_CHECKING:
    from alignhmr.core.body.model import BodyModel

_J, _K = len(JOINTS), len(KEYPOINTS)


def person_columns(person: Person) -> dict[str, Any]:
    """What the detector said and what is to be seen, less the silhouette: rows don't keep it."""
    from alignhmr.core.perception.views import to_jpeg

    return {
        "box_px": person.box_px,
        "detection_score": float(person.score),
        "keypoints_px": person.keypoints_px,
        "keypoints_3d_m": person.keypoints_3d_m,
        "view_jpeg": None if person.view is None else to_jpeg(person.view),
    }


def person_of(row: Mapping[str, Any], detector: str = "") -> Person:
    """Inverse of ``person_columns``."""
    from alignhmr.core.perception.views import from_jpeg

    points_3d, view = row["keypoints_3d_m"], row["view_jpeg"]
    return Person(
        box_px=_array(row["box_px"], 4),
        score=float(row["detection_score"]),
        keypoints_px=_array(row["keypoints_px"], _K, 3),
        keypoints_3d_m=None if points_3d is None else _array(points_3d, _K, 3),
        detector=detector,
        view=None if view is None else from_jpeg(view),
    )


def intrinsics_of(row: Mapping[str, Any]) -> Intrinsics:
    x, y = (float(value) for value in row["center_px"])
    return Intrinsics(float(row["focal_px"]), (x, y), row["intrinsics_source"])


def recovery_columns(recovery: Recovery) -> dict[str, Any]:
    """The columns of one recovered person, less the caption, the pairs and the picture's own."""
    hyps = recovery.hypotheses
    return {
        **person_columns(recovery.person),
        "focal_px": float(recovery.intrinsics.focal_px),
        "center_px": np.asarray(recovery.intrinsics.center_px),
        "intrinsics_source": recovery.intrinsics.source,
        "crop_px": recovery.crop_px,
        "pose_aa": hyps.pose_aa,
        "betas": hyps.betas,
        "transl_cam_m": hyps.transl_cam_m,
        "scores": hyps.scores,
        "expected_error_mm": hyps.expected_error_mm,
        "hypothesis_keypoints_px": hyps.keypoints_px,
        "selected": int(recovery.selected),
        "selected_joints_cam_m": hyps.joints_cam_m[recovery.selected],
        "joint_spread_mm": recovery.joint_spread_mm,
        "error_interval_mm": recovery.error_interval_mm,
        "joint_error_mm": recovery.joint_error_mm,
        "seed": int(recovery.seed),
        "models": dict(recovery.models),
    }


def recovery_of(row: Mapping[str, Any], body: "BodyModel") -> Recovery:
    """The ``Recovery`` that a good row was made of; its joints are computed anew with the row's body model.

    Raises CompatibilityError for another body: betas of one body model mean nothing to another.
    """
    m = len(row["scores"])
    models = dict(row["models"])
    pose_aa, betas = _array(row["pose_aa"], m, _J, 3), _array(row["betas"], m, 10)
    transl_cam_m = _array(row["transl_cam_m"], m, 3)
    wanted, got = models.get("body", "none"), f"{body.name}:{body.digest[:16]}"
    if wanted != got:
        raise CompatibilityError(
            f"the row was made with body model {wanted}, the one given is {got}; load the row's own"
        )
    joints_m, keypoints_m = _posed(body, pose_aa, betas)
    hyps = Hypotheses(
        pose_aa=pose_aa,
        betas=betas,
        transl_cam_m=transl_cam_m,
        joints_cam_m=joints_m + transl_cam_m[:, None],
        keypoints_cam_m=keypoints_m + transl_cam_m[:, None],
        keypoints_px=_array(row["hypothesis_keypoints_px"], m, _K, 2),
        scores=_array(row["scores"], m),
        expected_error_mm=_array(row["expected_error_mm"], m),
    )
    return Recovery(
        person=person_of(row),
        intrinsics=intrinsics_of(row),
        crop_px=_array(row["crop_px"], 3),
        hypotheses=hyps,
        selected=int(row["selected"]),
        joint_spread_mm=_array(row["joint_spread_mm"], _J),
        seed=int(row["seed"]),
        models=models,
        error_interval_mm=None if row["error_interval_mm"] is None else _array(row["error_interval_mm"], 2),
        joint_error_mm=None if row["joint_error_mm"] is None else _array(row["joint_error_mm"], _J, 3),
    )


def pairs_of(row: Mapping[str, Any]) -> list[PreferencePair]:
    """The row's pairs; none where the miner abstained."""
    return [PreferencePair(p["winner"], p["loser"], p["margin"]) for p in row["pairs"] or ()]


def _posed(body: "BodyModel", pose_aa: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import torch

    from alignhmr.core.geometry.rotations import axis_angle_to_matrix

    with torch.no_grad():
        points = body.kinematics(axis_angle_to_matrix(torch.tensor(pose_aa)), torch.tensor(betas))
    return points.joints.cpu().numpy(), points.keypoints.cpu().numpy()


def _array(values: Any, *shape: int) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(shape)
