"""Sightings, each seen a little differently: what happens to the picture happens to the keypoints and the truth.

A mirror stands across the camera's axis and a turn is about it, so that both are exact for a camera with
perspective: pixels turn about the principal point, rotations and translation about the optical axis. The square that
is cut out wanders and grows as boxes do, and the truth's crop camera follows from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINT_MIRROR, JOINTS, KEYPOINT_MIRROR, KEYPOINTS
from alignhmr.core.diffusion.condition import CROP_MARGIN, keypoint_box
from alignhmr.core.geometry.cameras import crop_camera_of, project
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.perception.silhouettes import SILHOUETTE_PX
from alignhmr.core.perception.views import from_jpeg
from alignhmr.core.synthetic.observations import Observations, simulate_detection
from alignhmr.core.synthetic.poses import mirror
from alignhmr.training.sightings import Sighting

_MIRRORED = [*JOINT_MIRROR, *(len(JOINTS) + index for index in KEYPOINT_MIRROR)]


@dataclass(frozen=True)
class AugmentationConfig:
    """How far a sighting is changed; ``strength`` 0 shows it as it is."""

    strength: float = 1.0
    mirror: float = 0.5
    turn: float = 0.6
    """Probability of a turn, whose standard deviation is ``turn_rad``."""
    turn_rad: float = 0.35
    scale: float = 0.1
    """Standard deviation of the crop's size, as a logarithm."""
    shift: float = 0.04
    """Standard deviation of the crop's place, in its side."""
    detected_box: float = 0.5
    """Probability that the crop follows the detector's keypoints instead of the true box."""
    erase: float = 0.3
    """Probability that a rectangle of the crop is painted over."""
    grey: float = 0.1
    colour: float = 0.25
    """Standard deviation of brightness, contrast and each channel's gain, as logarithms."""
    blur: float = 0.15
    keypoint_noise: float = 0.006
    """Standard deviation in half crops."""
    keypoint_loss: float = 0.03
    """Probability that a keypoint is not seen."""
    simulated: float = 0.0
    """Probability that the keypoints are a simulated detector's, who errs less than the real one does on made
    pictures."""
    variants: int = 4
    """In how many ways each person is shown where what is seen of them is kept (``looks.py``)."""
    feature_loss: float = 0.1
    """Probability that a channel of kept features is silent."""
    feature_gain: float = 0.2
    """Standard deviation of each channel's gain, as a logarithm."""


AS_IT_IS = AugmentationConfig(strength=0.0)


@dataclass(frozen=True)
class Draws:
    """The chances that a batch of people is changed by: uniform in 0..1, or standard normal."""

    mirror: Float[Tensor, "batch"]
    turn: Float[Tensor, "batch"]
    angle_normal: Float[Tensor, "batch"]
    box: Float[Tensor, "batch"]
    shift_normal: Float[Tensor, "batch 2"]
    scale_normal: Float[Tensor, "batch 1"]
    look: Float[Tensor, "batch 16"]
    """Of light, sensor and what is in the way."""


def draws_of(generator: torch.Generator, of: int) -> Draws:
    """Of a whole batch."""

    def uniform(*size: int) -> Tensor:
        return torch.rand(of, *size, generator=generator)

    def normal(*size: int) -> Tensor:
        return torch.randn(of, *size, generator=generator)

    return Draws(uniform(), uniform(), normal(), uniform(), normal(2), normal(1), uniform(16))


Eyes = Callable[[Sequence[Sighting], Sequence[Callable[[], UInt8[np.ndarray, "side side 3"]]]], Tensor]
"""(people, what cuts each one's crop) -> [images, channels, rows, columns] of ``Condition.crops``."""


def observe(
    sightings: Sequence[Sighting], body: BodyModel, crop_px: int, generator: torch.Generator,
    config: AugmentationConfig | None = None, *, first: int = 0, of: int | None = None,
    draws: Draws | None = None, eyes: Eyes | None = None,
) -> Observations:  # fmt: skip
    """A batch to learn from; the generator alone decides how each is changed.

    The sightings may be the rows from ``first`` on of a batch ``of`` so many, each changed as it would be there.
    With ``draws``, those of the sightings, the generator decides about keypoints alone.
    """
    c = config or AugmentationConfig()
    count = len(sightings)
    of = of or count
    mine = slice(first, first + count)
    if draws is None:
        whole = draws_of(generator, of)
        draws = Draws(**{name: value[mine] for name, value in vars(whole).items()})

    def uniform(*size: int) -> Tensor:
        return torch.rand(of, *size, generator=generator)[mine]

    def normal(*size: int) -> Tensor:
        return torch.randn(of, *size, generator=generator)[mine]

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(getattr(s, name), np.float32) for s in sightings]))

    on = float(c.strength > 0)
    flip = draws.mirror < c.mirror * on
    turned = (draws.turn < c.turn * on).float()
    angle = (draws.angle_normal * c.turn_rad).clamp(-1.0, 1.0) * turned
    center, focal = stacked("center_px"), stacked("focal_px")
    place = _Move(flip, angle, center)

    rotations, betas = axis_angle_to_matrix(stacked("pose_aa")), stacked("betas")
    root_cam = body.kinematics(rotations, betas).joints[:, 0] + stacked("transl_cam_m")
    rotations = torch.where(flip[:, None, None, None], mirror(rotations), rotations)
    rotations = torch.cat([(place.turn @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
    points = body.kinematics(rotations, betas)
    root_cam = place.points(root_cam[:, None])[:, 0]
    transl = root_cam - points.joints[:, 0]

    seen = stacked("keypoints_px")
    detected_box = keypoint_box(seen, stacked("picture_px"))
    box = stacked("box_px")
    follow = (draws.box < c.detected_box * on) & (_overlap(box, detected_box) > 0.5)
    box = torch.where(follow[:, None], detected_box, box)
    side = (box[:, 2:] - box[:, :2]).amax(-1, keepdim=True).clamp_min(1.0) * CROP_MARGIN
    middle = place.pixels(((box[:, :2] + box[:, 2:]) / 2)[:, None])[:, 0]
    middle = middle + (draws.shift_normal * c.shift).clamp(-0.12, 0.12) * side * on
    side = side * (draws.scale_normal * c.scale * on).clamp(-0.25, 0.3).exp()
    crop = torch.cat([middle, side], -1)

    keypoints = torch.cat([place.pixels(seen[..., :2]), seen[..., 2:]], -1)
    keypoints = torch.where(flip[:, None, None], keypoints[:, list(KEYPOINT_MIRROR)], keypoints)
    keypoints[..., :2] += normal(keypoints.shape[1], 2) * (c.keypoint_noise * on * side[:, None] / 2)
    keypoints[..., 2] *= uniform(keypoints.shape[1]) >= c.keypoint_loss * on
    if c.simulated * on:
        true_px = project(points.keypoints + transl[:, None], focal, center)
        keypoints = torch.where(
            (uniform() < c.simulated)[:, None, None],
            _simulated(true_px, 2 * center, generator, mine, of),
            keypoints,
        )
    visible = torch.from_numpy(np.stack([_visible(s) for s in sightings]))
    visible = torch.where(flip[:, None], visible[:, _MIRRORED], visible)
    nothing = np.zeros((len(KEYPOINTS), 3), np.float32)
    detected = [nothing if s.keypoints_3d_m is None else s.keypoints_3d_m for s in sightings]
    depth = torch.from_numpy(np.stack(detected)).float()
    depth = torch.where(flip[:, None, None], depth[:, list(KEYPOINT_MIRROR)], depth)

    looks = draws.look.numpy()
    cuts = [
        partial(_picture, s, bool(flip[i]), float(angle[i]), crop[i].numpy(), crop_px, looks[i], c)
        for i, s in enumerate(sightings)
    ]
    silhouettes = np.stack(
        [_silhouette(s, bool(flip[i]), float(angle[i]), crop[i].numpy()) for i, s in enumerate(sightings)]
    )
    return Observations(
        rotations=rotations,
        betas=betas,
        camera=crop_camera_of(root_cam, crop, focal, center),
        joints_m=points.joints,
        body_keypoints_m=points.keypoints,
        transl_cam_m=transl,
        keypoints_px=keypoints,
        detector_3d_m=place.points(depth),
        crop_px=crop,
        focal_px=focal,
        center_px=center,
        visible=visible,
        silhouettes=torch.from_numpy(silhouettes).float() / 255,
        has_silhouette=torch.tensor([s.mask is not None for s in sightings]),
        has_image=torch.ones(count, dtype=torch.bool),
        crops=(eyes or _as_pictures)(sightings, cuts),
    )


def _as_pictures(
    sightings: Sequence[Sighting], cuts: Sequence[Callable[[], UInt8[np.ndarray, "side side 3"]]]
) -> Float[Tensor, "batch 3 side side"]:
    return torch.from_numpy(np.stack([cut() for cut in cuts])).permute(0, 3, 1, 2).float()


def _simulated(
    true_px: Float[Tensor, "batch keypoints 2"], picture_px: Float[Tensor, "batch 2"], generator: torch.Generator,
    mine: slice, of: int,
) -> Float[Tensor, "batch keypoints 3"]:  # fmt: skip
    """Drawn for the whole batch, so that a row's chances are its own."""
    everyone = [value.new_zeros(of, *value.shape[1:]) for value in (true_px, picture_px)]
    for whole, value in zip(everyone, (true_px, picture_px), strict=True):
        whole[mine] = value
    return simulate_detection(everyone[0], everyone[1], generator)[mine]


def _visible(s: Sighting) -> np.ndarray:
    """Of joints and keypoints; where nobody looked, all."""
    parts = ((s.smpl24_visible, len(JOINTS)), (s.coco23_visible, len(KEYPOINTS)))
    return np.concatenate([np.ones(n, bool) if v is None else np.asarray(v, bool) for v, n in parts])


class _Move:
    """A mirror across the vertical through the principal point, then a turn about the optical axis."""

    def __init__(self, flip: Tensor, angle: Tensor, center_px: Tensor) -> None:
        self._sign = torch.where(flip, -1.0, 1.0)
        self._center = center_px[:, None]
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        rows = [torch.stack(row, -1) for row in ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))]
        self.turn = torch.stack(rows, -2)

    def points(self, cam_m: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        flipped = torch.cat([cam_m[..., :1] * self._sign[:, None, None], cam_m[..., 1:]], -1)
        return flipped @ self.turn.mT

    def pixels(self, px: Float[Tensor, "batch points 2"]) -> Float[Tensor, "batch points 2"]:
        off = px - self._center
        off = torch.cat([off[..., :1] * self._sign[:, None, None], off[..., 1:]], -1)
        return off @ self.turn[:, :2, :2].mT + self._center


def _picture(
    s: Sighting,
    flip: bool,
    angle: float,
    crop: np.ndarray,
    size: int,
    look: np.ndarray,
    c: AugmentationConfig,
) -> np.ndarray:
    """The crop's pixels, out of the kept window."""
    window = from_jpeg(s.crop_jpeg)
    matrix, shrinking = _to_window(s, len(window), flip, angle, crop, size)
    if shrinking > 1.0:  # what bilinear sampling would skip is averaged first
        window = cv2.GaussianBlur(window, (0, 0), 0.35 * shrinking)
    cut = cv2.warpAffine(window, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return _recoloured(cut, look, c) if c.strength > 0 else cut


def _silhouette(s: Sighting, flip: bool, angle: float, crop: np.ndarray) -> np.ndarray:
    if s.mask is None:
        return np.zeros((SILHOUETTE_PX, SILHOUETTE_PX), np.uint8)
    matrix, _ = _to_window(s, len(s.mask), flip, angle, crop, SILHOUETTE_PX)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(s.mask, matrix, (SILHOUETTE_PX, SILHOUETTE_PX), flags=flags)


def _to_window(
    s: Sighting, kept: int, flip: bool, angle: float, crop: np.ndarray, size: int
) -> tuple[np.ndarray, float]:
    """From pixels of the crop to those of the window, ``kept`` wide, and how many of them one is."""
    # crop pixel -> picture as it was moved -> picture as it was -> window; all centres of pixels.
    x, y = np.asarray(s.center_px, np.float64)
    scale = crop[2] / size
    to_moved = np.array([[scale, 0, crop[0] - crop[2] / 2], [0, scale, crop[1] - crop[2] / 2], [0, 0, 1]])
    cos, sin = np.cos(angle), np.sin(angle)
    turn_back = np.array([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y], [0, 0, 1]])
    mirrored = np.array([[-1.0, 0, 2 * x], [0, 1, 0], [0, 0, 1]]) if flip else np.eye(3)
    left_top = np.asarray(s.window_px[:2], np.float64) - s.window_px[2] / 2
    zoom = kept / float(s.window_px[2])
    to_window = np.array([[zoom, 0, -zoom * left_top[0]], [0, zoom, -zoom * left_top[1]], [0, 0, 1]])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return (np.linalg.inv(half) @ to_window @ mirrored @ turn_back @ to_moved @ half)[:2], scale * zoom


def _recoloured(cut: np.ndarray, look: np.ndarray, c: AugmentationConfig) -> np.ndarray:
    """Another light, another sensor, something in the way; ``look`` holds 16 numbers in 0..1."""
    normal = np.sqrt(2) * torch.erfinv(torch.from_numpy(2 * look.clip(0.01, 0.99) - 1)).numpy()
    x = cut.astype(np.float32)
    if look[0] < c.grey:
        x = np.repeat(x.mean(-1, keepdims=True), 3, -1)
    middle = x.mean()
    gain = np.exp(c.colour * (normal[1] * 0.8 + 0.35 * normal[2:5]))
    x = (x - middle) * np.exp(0.8 * c.colour * normal[5]) + middle
    x = x.clip(0, 255) * gain
    if look[6] < 0.3:  # a lens that is not in focus, or one that is too sharp
        soft = cv2.GaussianBlur(x, (0, 0), 0.4 + 1.2 * float(look[7]))
        x = soft if look[6] < c.blur else x + (x - soft) * float(look[8])
    if look[9] < c.erase:
        size = x.shape[0]
        width, height = ((0.1 + 0.3 * look[10:12]) * size).astype(int)
        left, top = (look[12:14] * (size - np.array([width, height]))).astype(int)
        x[top : top + height, left : left + width] = 255 * look[13:16]
    return x.clip(0, 255).astype(np.uint8)


def _overlap(a: Float[Tensor, "batch 4"], b: Float[Tensor, "batch 4"]) -> Float[Tensor, "batch"]:
    """Intersection over union."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    areas = ((box[:, 2:] - box[:, :2]).clamp_min(0).prod(-1) for box in (a, b))
    return shared / (sum(areas) - shared).clamp_min(1e-6)
