"""The default detector: BlazePose, from a photo to everyone in it, on a CPU."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import BOX_PAD
from alignhmr.core.geometry.crops import crop_around_box
from alignhmr.core.perception import assets
from alignhmr.core.perception.blazepose_landmarks import INPUT, PoseLandmarks, Skeleton
from alignhmr.core.perception.blazepose_search import SURE, Search, around, merge
from alignhmr.core.perception.blazepose_ssd import HIPS, PoseSsd, Pyramid, box_overlap
from alignhmr.core.records import Person, Picture

BLAZEPOSE: tuple[int | None, ...] = (
    0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28, 31, None, 29, 32, None, 30,
)  # fmt: skip
"""BlazePose's landmark for each of `KEYPOINTS`; it has no small toes, and its foot index is the big toe."""
assert len(BLAZEPOSE) == len(KEYPOINTS)


@dataclass(frozen=True)
class BlazePose:
    """MediaPipe's two networks as a `Detector`. Not safe to share between threads."""

    ssd: PoseSsd
    landmarks: PoseLandmarks
    digest: str
    name: str = "blazepose"

    @classmethod
    def load(cls, *, threads: int = 1) -> "BlazePose":
        """The networks of the `blazepose` asset, fetched where they are missing."""
        folder = assets.fetch("blazepose")
        detection, landmark = folder / "pose_detection.tflite", folder / "pose_landmark_full.tflite"
        digest = hashlib.sha256(detection.read_bytes() + landmark.read_bytes()).hexdigest()
        return cls(PoseSsd(detection, threads=threads), PoseLandmarks(landmark, threads=threads), digest)

    def find(self, picture: Picture) -> list[Person]:
        """Everyone in the picture, most confident first."""
        skeletons = Search(self.ssd, self.landmarks, picture.pixels).run()
        people = [self._person(picture, skeleton) for skeleton in skeletons]
        return sorted(people, key=lambda person: -person.score)

    def from_boxes(self, picture: Picture, boxes_px: Float[np.ndarray, "people 4"]) -> list[Person]:
        """One person for each given box, however unlikely: the score says."""
        boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
        pyramid = Pyramid(picture.pixels)
        return [self._person(picture, self._in_box(picture, pyramid, box), box) for box in boxes]

    def _in_box(self, picture: Picture, pyramid: Pyramid, box: np.ndarray) -> Skeleton:
        """The likeliest skeleton of a box: upright in it, or as the detector sees the body turned."""
        regions = [crop_around_box(box)]
        x0, y0, x1, y1 = box.tolist()
        window = around(box.reshape(2, 2).mean(0), 1.5 * max(x1 - x0, y1 - y0), *picture.size)
        if window is not None:
            seen = merge(self.ssd.look(pyramid, window, SURE))
            middle = np.abs(seen.points_px[:, HIPS] - box.reshape(2, 2).mean(0))
            regions += seen.take((middle < (x1 - x0) / 4 + (y1 - y0) / 4).all(1)).regions()[:2]
        skeletons = [self.landmarks.settle(picture.pixels, region, least=0.0) for region in regions]
        return max(skeletons, key=lambda skeleton: skeleton.presence * _fit(skeleton, box))

    def _person(self, picture: Picture, skeleton: Skeleton, box_px: np.ndarray | None = None) -> Person:
        keypoints = to_keypoints(skeleton, picture.size)
        box = keypoint_box(keypoints, picture.size) if box_px is None else _clip(box_px, picture.size)
        mask, mask_box = upright_mask(skeleton, picture.size)
        limbs = keypoints[5:17, 2]
        return Person(
            box_px=box.astype(np.float32),
            score=float(skeleton.presence * limbs.mean()),
            keypoints_px=keypoints.astype(np.float32),
            keypoints_3d_m=world_keypoints(skeleton).astype(np.float32),
            mask=mask,
            mask_box_px=mask_box.astype(np.float32),
            detector=self.name,
        )


def to_keypoints(skeleton: Skeleton, size: tuple[int, int]) -> Float[np.ndarray, "keypoints 3"]:
    """BlazePose's points as `KEYPOINTS`; confidence 0 for those it lacks and those outside the picture."""
    keypoints = np.zeros((len(KEYPOINTS), 3))
    for row, landmark in enumerate(BLAZEPOSE):
        if landmark is not None:
            keypoints[row] = *skeleton.points_px[landmark], skeleton.confidence[landmark]
    for toe, big_toe in ((18, 17), (21, 20)):
        keypoints[toe, :2] = keypoints[big_toe, :2]
    inside = (keypoints[:, :2] >= 0).all(1) & (keypoints[:, :2] <= size).all(1)
    keypoints[~inside, 2] = 0
    return keypoints


def world_keypoints(skeleton: Skeleton) -> Float[np.ndarray, "keypoints 3"]:
    """BlazePose's metric points as `KEYPOINTS`, about the middle of the hips."""
    world = np.stack(
        [
            skeleton.world_m[31 if mark is None and row < 20 else 32 if mark is None else mark]
            for row, mark in enumerate(BLAZEPOSE)
        ]
    )
    return world - world[[11, 12]].mean(0)


def keypoint_box(keypoints: np.ndarray, size: tuple[int, int], min_confidence: float = 0.3) -> np.ndarray:
    seen = keypoints[keypoints[:, 2] >= min_confidence, :2]
    if len(seen) < 2:
        seen = keypoints[:, :2]
    low, high = seen.min(0), seen.max(0)
    pad = BOX_PAD * (high - low).max()
    return _clip(np.concatenate([low - pad, high + pad]), size)


def upright_mask(skeleton: Skeleton, size: tuple[int, int]) -> tuple[UInt8[np.ndarray, "h w"], np.ndarray]:
    """The silhouette turned upright, over the part of the region that lies in the picture."""
    corners = skeleton.roi.corners_px()
    box = _clip(np.concatenate([np.floor(corners.min(0)), np.ceil(corners.max(0))]), size)
    scale = INPUT / skeleton.roi.side_px
    width, height = (max(round(float(length) * scale), 1) for length in (box[2] - box[0], box[3] - box[1]))
    # mask pixel -> picture -> region, as one affine map; half pixels as in SquareCrop.cut
    to_region = skeleton.roi.matrix(INPUT)
    steps = np.array([(box[2] - box[0]) / width, (box[3] - box[1]) / height])
    linear = to_region[:, :2] * steps
    offset = to_region[:, :2] @ (box[:2] + steps / 2) + to_region[:, 2] - 0.5
    matrix = np.concatenate([linear, offset[:, None]], axis=1)
    mask = cv2.warpAffine(
        skeleton.mask, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return mask, box


def _fit(skeleton: Skeleton, box_px: np.ndarray) -> float:
    """How well the skeleton fills the box: intersection over union."""
    own = np.concatenate([skeleton.points_px.min(0), skeleton.points_px.max(0)])
    return float(box_overlap(box_px, own[None])[0])


def _clip(box_px: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.clip(box_px, 0, [*size, *size]).astype(np.float64)
