"""One person as training meets them: the picture around them, what the detector said of them, and the truth.

A base model that learns from the detector's real answers learns their errors too: which limbs it swaps, what it
makes of hidden ones. Finding keypoints costs a tenth of a second a person, so it is done once (`alignhmr prepare`);
``sighting_shards.py`` keeps what came of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from alignhmr.core.body.skeleton import SHARED_KEYPOINTS
from alignhmr.core.diffusion.condition import person_square_of
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.perception.silhouettes import silhouette_over
from alignhmr.core.perception.views import VIEW_PX
from alignhmr.core.records import Intrinsics, Person
from alignhmr.core.truth.frames import project_px
from alignhmr.core.truth.records import Points, Sample, TrueBody, Truth

CROP_PX = 256
MASK_PX = 64
WINDOW_MARGIN = 1.6
"""Side of the window over the longer side of the box: room for augmentation to turn, shift and shrink."""
JPEG_QUALITY = 92
LEAST_BOX_PX = 24.0
LEAST_VISIBLE_LIMBS = 3
NO_BODY = "no body parameters"
NO_JOINTS = "no joints in 3D"
TOO_SMALL = f"box below {LEAST_BOX_PX:g} px"
HIDDEN = f"fewer than {LEAST_VISIBLE_LIMBS} limb keypoints visible"

_LIMBS = list(SHARED_KEYPOINTS)


@dataclass(frozen=True)
class Sighting:
    """One person in one picture. Frames and units as in ``core/records.py``; pixels are those of the whole picture.

    Where the source of the truth doesn't know a face or foot keypoint, its row of ``coco23_cam_m`` is NaN; the limbs
    (5:17) and ``smpl24_cam_m`` are always known.
    """

    id: str
    """``SAMPLE#INDEX``, the index being that of ``Sample.people``."""
    group: str
    domain: str
    crop_jpeg: bytes
    """The window at ``CROP_PX`` squared, RGB, black outside the picture."""
    window_px: Float[np.ndarray, "3"]
    """Centre x, centre y and side of the upright square around the true box."""
    picture_px: tuple[int, int]
    """Width and height of the whole picture."""
    box_px: Float[np.ndarray, "4"]
    """The true box: x0, y0, x1, y1."""
    focal_px: float
    center_px: tuple[float, float]
    keypoints_px: Float[np.ndarray, "23 3"]
    """The detector's x, y and confidence in 0..1, the true box being given to it."""
    keypoints_3d_m: Float[np.ndarray, "23 3"] | None
    """The detector's own 3D keypoints, hip-centred."""
    score: float
    """The detector's confidence in 0..1."""
    mask: UInt8[np.ndarray, "64 64"] | None
    """The detector's silhouette over the window, 0..255, 0 where it didn't look."""
    true_mask: UInt8[np.ndarray, "64 64"] | None
    """What is visible of the person over the window, 0..255."""
    body: str
    """The body model of the parameters, as in ``TrueBody``."""
    pose_aa: Float[np.ndarray, "24 3"]
    betas: Float[np.ndarray, "10"]
    transl_cam_m: Float[np.ndarray, "3"]
    smpl24_cam_m: Float[np.ndarray, "24 3"]
    coco23_cam_m: Float[np.ndarray, "23 3"]
    smpl24_visible: Bool[np.ndarray, "24"] | None
    coco23_visible: Bool[np.ndarray, "23"] | None
    facts: Mapping[str, str | float | bool]

    @property
    def window(self) -> SquareCrop:
        x, y, side = (float(value) for value in self.window_px)
        return SquareCrop((x, y), side)


def reason_left_out(truth: Truth) -> str | None:
    """Why this person is not learned from, one of the four above; None for whoever is."""
    if not _known(truth.body):
        return NO_BODY
    box, joints, keypoints = truth.box_px, truth.points.get("smpl24"), truth.points.get("coco23")
    if not (_placed(joints, slice(None)) and _placed(keypoints, _LIMBS)):
        return NO_JOINTS
    if not np.isfinite(box).all() or max(box[2] - box[0], box[3] - box[1]) < LEAST_BOX_PX:
        return TOO_SMALL
    assert keypoints is not None
    if keypoints.visible is not None and keypoints.visible[_LIMBS].sum() < LEAST_VISIBLE_LIMBS:
        return HIDDEN
    return None


def sighting_of(sample: Sample, index: int, person: Person) -> Sighting:
    """The person of that index, seen by a detector as ``person``; one whom ``reason_left_out`` lets pass."""
    truth = sample.people[index]
    body, joints, keypoints = truth.body, truth.points["smpl24"], truth.points["coco23"]
    assert isinstance(body, TrueBody) and joints.cam_m is not None and keypoints.cam_m is not None
    window = window_around(truth.box_px)
    return Sighting(
        id=f"{sample.id}#{index}",
        group=sample.group,
        domain=sample.domain,
        crop_jpeg=_jpeg(window.cut(sample.picture.pixels, CROP_PX)),
        window_px=np.array([*window.center_px, window.side_px], np.float32),
        picture_px=sample.picture.size,
        box_px=truth.box_px.astype(np.float32),
        focal_px=float(sample.intrinsics.focal_px),
        center_px=(float(sample.intrinsics.center_px[0]), float(sample.intrinsics.center_px[1])),
        keypoints_px=person.keypoints_px.astype(np.float32),
        keypoints_3d_m=None if person.keypoints_3d_m is None else person.keypoints_3d_m.astype(np.float32),
        score=float(person.score),
        mask=silhouette_over(person, window, MASK_PX),
        true_mask=None if truth.mask is None else _cut_mask(truth.mask, window),
        body=body.body,
        pose_aa=body.pose_aa.astype(np.float32),
        betas=body.betas.astype(np.float32),
        transl_cam_m=body.transl_cam_m.astype(np.float32),
        smpl24_cam_m=joints.cam_m.astype(np.float32),
        coco23_cam_m=keypoints.cam_m.astype(np.float32),
        smpl24_visible=joints.visible,
        coco23_visible=keypoints.visible,
        facts=dict(truth.facts),
    )


def view_of(sighting: Sighting, window: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "view view 3"]:
    """What a model sees of the person (``perception/views.py``), out of the decoded window around them."""
    (x, y), side = person_square_of(sighting.box_px)
    middle = sighting.window.to_crop(np.array([[x, y]]), len(window))[0]
    square = SquareCrop((float(middle[0]), float(middle[1])), side / sighting.window.side_px * len(window))
    return square.cut(window, VIEW_PX)


def window_around(box_px: Float[np.ndarray, "4"]) -> SquareCrop:
    """The upright square around a true box."""
    x0, y0, x1, y1 = (float(value) for value in box_px)
    return SquareCrop(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0) * WINDOW_MARGIN)


def detector_error(sighting: Sighting) -> Float[np.ndarray, "keypoints"]:
    """Distance of the detector's limb keypoints from the true ones over the longer side of the true box.

    Of the limbs that are visible; where nobody looked, of those within the picture. May be empty.
    """
    camera = Intrinsics(sighting.focal_px, sighting.center_px, "given")
    true_px = project_px(sighting.coco23_cam_m[_LIMBS].astype(np.float64), camera)
    if sighting.coco23_visible is not None:
        counted = sighting.coco23_visible[_LIMBS]
    else:
        counted = ((true_px >= 0) & (true_px <= sighting.picture_px)).all(1)
    x0, y0, x1, y1 = sighting.box_px
    off_px = np.linalg.norm(sighting.keypoints_px[_LIMBS, :2] - true_px, axis=1)
    return off_px[counted & np.isfinite(off_px)] / float(max(x1 - x0, y1 - y0))


def _known(body: TrueBody | None) -> bool:
    return body is not None and all(
        bool(np.isfinite(part).all()) for part in (body.pose_aa, body.betas, body.transl_cam_m)
    )


def _placed(points: Points | None, which: slice | list[int]) -> bool:
    return points is not None and points.cam_m is not None and bool(np.isfinite(points.cam_m[which]).all())


def _cut_mask(mask: UInt8[np.ndarray, "height width"], window: SquareCrop) -> UInt8[np.ndarray, "64 64"]:
    return np.ascontiguousarray(window.cut(np.repeat(mask[..., None], 3, 2), MASK_PX)[..., 0])


def _jpeg(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    found, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert found
    return data.tobytes()
