"""From label rows to what the report shows: overlays, hypotheses from all sides, winners beside losers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Picture, PreferencePair, Recovery
from alignhmr.core.synthetic.overlay import overlay
from alignhmr.core.synthetic.shading import palette_color
from alignhmr.core.synthetic.views import Frame, hypotheses_view, side_view
from alignhmr.deployments.demo.report import HypothesesCard, PairCard, PairSide, PersonCard, PhotoCard, View
from alignhmr.deployments.labeling.rows import pairs_of, recovery_of

SIDE_PX = 720
"""Longer side of the report's photos."""
_VIEW = (300, 400)
_SIDES = (("Front", 0.0, 0.12), ("Side", np.pi / 2, 0.12), ("From above", 0.0, 1.1))
_LIMB_ENDS = ("left_wrist", "right_wrist", "left_ankle", "right_ankle", "head")


@dataclass(frozen=True)
class LabelledPerson:
    row: Mapping[str, Any]
    recovery: Recovery
    pairs: list[PreferencePair]


def people_by_photo(rows: list[Mapping[str, Any]], body: BodyModel) -> dict[str, list[LabelledPerson]]:
    """Good rows by the photo's file name, each with its recovery."""
    photos: dict[str, list[LabelledPerson]] = {}
    for row in rows:
        if row["error_code"] is None:
            person = LabelledPerson(row, recovery_of(row, body), pairs_of(row))
            photos.setdefault(Path(row["uri"]).name, []).append(person)
    return {name: sorted(people, key=lambda p: p.row["person_index"]) for name, people in photos.items()}


def clearly_seen(person: LabelledPerson) -> bool:
    """Whether most of the limbs were seen with confidence, at a size that shows something."""
    limbs = person.recovery.person.keypoints_px[5:17, 2]
    return bool(np.median(limbs) > 0.8 and person.recovery.crop_px[2] > 250)


def meshes(recovery: Recovery, body: BodyModel, indices: list[int] | None = None) -> list[np.ndarray]:
    """Vertices in the camera frame, metres, of some hypotheses (all by default)."""
    hyps = recovery.hypotheses
    chosen = list(range(len(hyps))) if indices is None else indices
    with torch.no_grad():
        rotations = axis_angle_to_matrix(torch.from_numpy(hyps.pose_aa[chosen]))
        vertices = body.vertices(rotations, torch.from_numpy(hyps.betas[chosen])).numpy()
    return list(vertices + hyps.transl_cam_m[chosen][:, None])


def photo_card(path: Path, people: list[LabelledPerson], body: BodyModel) -> PhotoCard:
    picture = decode(path.read_bytes())
    bodies = [meshes(p.recovery, body, [p.recovery.selected])[0] for p in people]
    colors = [palette_color(i) for i in range(len(people))]
    intrinsics = people[0].recovery.intrinsics if people else None
    drawn = (
        overlay(picture.pixels, bodies, body.faces, intrinsics, colors=colors)
        if intrinsics
        else picture.pixels
    )
    photo, scale = _small(picture.pixels)
    cards = tuple(_person_card(p, color, scale) for p, color in zip(people, colors, strict=True))
    return PhotoCard(photo, _small(drawn)[0], path.name, cards)


def hypotheses_card(name: str, person: LabelledPerson, path: Path, body: BodyModel) -> HypothesesCard:
    recovery = person.recovery
    bodies = _roots_together(meshes(recovery, body), recovery)
    frame = Frame.around(bodies)
    views = [View("Photo", _crop(decode(path.read_bytes()), recovery))]
    views += [
        View(
            label,
            hypotheses_view(bodies, body.faces, recovery.selected, yaw, _VIEW, pitch_rad=pitch, frame=frame),
        )
        for label, yaw, pitch in _SIDES
    ]
    hyps = recovery.hypotheses
    return HypothesesCard(name, tuple(views), hyps.scores, hyps.expected_error_mm, recovery.selected)


def pair_card(name: str, person: LabelledPerson, path: Path, body: BodyModel) -> PairCard:
    recovery, pair = person.recovery, person.pairs[0]
    picture = decode(path.read_bytes())
    bodies = meshes(recovery, body, [pair.winner, pair.loser])
    frame = Frame.around(_roots_together(bodies, recovery, [pair.winner, pair.loser]))

    def side(vertices: np.ndarray, index: int) -> PairSide:
        laid = overlay(picture.pixels, [vertices], body.faces, recovery.intrinsics, colors=[palette_color(0)])
        centred = _roots_together([vertices], recovery, [index])[0]
        views = (
            View("On the photo", _crop(Picture(laid, picture.sha256), recovery)),
            View("Side", side_view(centred, body.faces, np.pi / 2, _VIEW, frame=frame)),
        )
        hyps = recovery.hypotheses
        return PairSide(views, float(hyps.scores[index]), float(hyps.expected_error_mm[index]))

    winner, loser = side(bodies[0], pair.winner), side(bodies[1], pair.loser)
    return PairCard(name, winner, loser, pair.margin, tuple(_differences(recovery, pair)))


def _person_card(person: LabelledPerson, color: tuple[int, int, int], scale: float) -> PersonCard:
    recovery, row = person.recovery, person.row
    hyps, chosen = recovery.hypotheses, recovery.selected
    xyz = hyps.joints_cam_m[chosen]
    pixels = xyz[:, :2] / xyz[:, 2:] * recovery.intrinsics.focal_px + np.array(recovery.intrinsics.center_px)
    captions = {part.replace("_", " "): text for part, text in (row["captions"] or {}).items() if text}
    source = row["caption_source"] or ""
    return PersonCard(
        color=color,
        score=float(hyps.scores[chosen]),
        expected_error_mm=float(hyps.expected_error_mm[chosen]),
        joint_spread_mm=recovery.joint_spread_mm,
        joints_px=pixels * scale,
        captions=captions,
        caption_source="the pose itself"
        if source == "pose"
        else source.replace("vlm:", "the vision-language model "),
    )


def _differences(recovery: Recovery, pair: PreferencePair) -> list[str]:
    """What tells winner and loser apart: fit to the keypoints, and the limb ends that differ most in depth."""
    hyps, seen = recovery.hypotheses, recovery.person.keypoints_px
    weight = seen[:, 2] / max(float(seen[:, 2].sum()), 1e-6)
    off = [
        (np.linalg.norm(hyps.keypoints_px[i] - seen[:, :2], axis=-1) * weight).sum()
        for i in (pair.winner, pair.loser)
    ]
    sentences = [
        f"mean distance to the detected keypoints: {off[0]:.0f} px for the winner, {off[1]:.0f} px for the loser"
    ]
    joints = hyps.joints_cam_m - hyps.joints_cam_m[:, :1]
    apart = {
        name: joints[pair.winner, JOINTS.index(name)] - joints[pair.loser, JOINTS.index(name)]
        for name in _LIMB_ENDS
    }
    for name, vector in sorted(apart.items(), key=lambda item: -np.linalg.norm(item[1]))[:2]:
        depth_cm = 100 * vector[2]
        way = "farther from" if depth_cm > 0 else "nearer to"
        sentences.append(
            f"the winner's {name.replace('_', ' ')} is {100 * np.linalg.norm(vector):.0f} cm from the loser's,"
            f" {abs(depth_cm):.0f} cm {way} the camera"
        )
    return sentences


def _roots_together(
    bodies: list[np.ndarray], recovery: Recovery, indices: list[int] | None = None
) -> list[np.ndarray]:
    roots = recovery.hypotheses.joints_cam_m[:, 0]
    chosen = range(len(roots)) if indices is None else indices
    return [body - roots[i] for body, i in zip(bodies, chosen, strict=True)]


def _small(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    scale = min(1.0, SIDE_PX / max(pixels.shape[:2]))
    if scale == 1.0:
        return pixels, 1.0
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), scale


def _crop(picture: Picture, recovery: Recovery) -> np.ndarray:
    """The person's surroundings at the size of a view, with the view's shape."""
    x, y, side = recovery.crop_px
    width, height = side * 1.05 * _VIEW[0] / _VIEW[1], side * 1.05
    matrix = np.array([[_VIEW[0] / width, 0, 0], [0, _VIEW[1] / height, 0]], np.float64)
    matrix[:, 2] = [_VIEW[0] / 2 - matrix[0, 0] * x, _VIEW[1] / 2 - matrix[1, 1] * y]
    pixels = picture.pixels
    factor = int(height / _VIEW[1])
    if factor >= 2:  # average first: bilinear sampling alone would skip pixels
        pixels = cv2.resize(pixels, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        matrix[:, :2] *= factor
    return cv2.warpAffine(pixels, matrix, _VIEW, flags=cv2.INTER_LINEAR, borderValue=(32, 32, 32))
