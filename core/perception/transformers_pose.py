"""The detector for GPUs: RT-DETRv2 finds the boxes, ViTPose the keypoints, both through `transformers`.

Pictures are prepared here, not by the models' image processors: those need torchvision, and there is little to
it. RT-DETRv2 takes the whole picture squeezed to a square, in 0..1; ViTPose takes each box, 1.25 times as large
and at its own aspect, normalised as ImageNet was.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import AcceleratorError, CompatibilityError, SetupError
from alignhmr.core.records import Person, Picture

DETECTOR, POSE = "PekingU/rtdetr_v2_r50vd", "usyd-community/vitpose-base-simple"
DETECTOR_INPUT = 640
"""Side of the square that the published RT-DETRv2 models were trained on."""
MIN_SCORE = 0.5
PADDING = 1.25
"""Of ViTPose's training crops, as is the blur of its heatmaps' peaks."""
BLUR = 11
IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BATCH = 32
COCO = 17


@dataclass(frozen=True)
class TransformersPose:
    """Two models as a `Detector`."""

    detector: Any
    pose: Any
    device: torch.device
    digest: str
    name: str = "rtdetr-vitpose"

    @classmethod
    def load(
        cls,
        detector: str = DETECTOR,
        pose: str = POSE,
        *,
        device: str = "auto",
        local_files_only: bool = False,
    ) -> "TransformersPose":
        """The two models, by folder or by name on the model hub.

        Raises SetupError where one can't be had, AcceleratorError where there is no such device, and
        CompatibilityError where the pose model has other keypoints than COCO's.
        """
        chosen = _device(device)
        try:
            from transformers import RTDetrV2ForObjectDetection, VitPoseForPoseEstimation
        except (ImportError, RuntimeError) as error:
            raise SetupError(
                f"transformers can't load RT-DETRv2 and ViTPose here ({_first_line(error)}); install the torchvision "
                "that belongs to this torch, or remove torchvision"
            ) from error
        boxes = _pretrained(RTDetrV2ForObjectDetection, detector, local_files_only)
        points = _pretrained(VitPoseForPoseEstimation, pose, local_files_only)
        count = points.config.num_labels
        if count < COCO:
            raise CompatibilityError(f"{pose} has {count} keypoints, wanted COCO's 17, or its 133 with feet")
        digest = hashlib.sha256((_digest(boxes) + _digest(points)).encode()).hexdigest()
        return cls(boxes.to(chosen).eval(), points.to(chosen).eval(), chosen, digest)

    @torch.inference_mode()
    def find(self, picture: Picture) -> list[Person]:
        """Everyone whom RT-DETRv2 is sure of, most confident first."""
        size = DETECTOR_INPUT, DETECTOR_INPUT
        pixels = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_LINEAR)
        image = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None].float() / 255
        answer = self.detector(pixel_values=image)
        scores = answer.logits[0].sigmoid()[:, self._person_class()].double().cpu().numpy()
        center, extent = np.split(answer.pred_boxes[0].double().cpu().numpy(), 2, axis=1)
        boxes = np.concatenate([center - extent / 2, center + extent / 2], axis=1) * [
            *picture.size,
            *picture.size,
        ]
        boxes = _clip(boxes, picture.size)
        solid = np.all(boxes[:, 2:] - boxes[:, :2] >= 1, axis=1)
        order = [
            index
            for index in np.argsort(-scores, kind="stable")
            if scores[index] >= MIN_SCORE and solid[index]
        ]
        return self._people(picture, boxes[order], scores[order])

    @torch.inference_mode()
    def from_boxes(self, picture: Picture, boxes_px: Float[np.ndarray, "people 4"]) -> list[Person]:
        """One person for each given box, scored by the mean confidence of the limbs."""
        return self._people(
            picture, _clip(np.asarray(boxes_px, np.float64).reshape(-1, 4), picture.size), None
        )

    def _person_class(self) -> int:
        labels = self.detector.config.id2label
        return next((int(index) for index, label in labels.items() if str(label).lower() == "person"), 0)

    def _people(self, picture: Picture, boxes: np.ndarray, scores: np.ndarray | None) -> list[Person]:
        keypoints = self._keypoints(picture.pixels, boxes)
        certain = keypoints[:, 5:COCO, 2].mean(axis=1) if scores is None else scores
        return [
            Person(box.astype(np.float32), float(score), points.astype(np.float32), detector=self.name)
            for box, score, points in zip(boxes, certain, keypoints, strict=True)
        ]

    def _keypoints(self, pixels: np.ndarray, boxes: np.ndarray) -> Float[np.ndarray, "people keypoints 3"]:
        found = np.zeros((len(boxes), len(KEYPOINTS), 3))
        rows, columns = self.pose.config.backbone_config.image_size
        for start in range(0, len(boxes), BATCH):
            some = boxes[start : start + BATCH]
            maps = [crop_matrix(box, columns, rows) for box in some]
            crops = np.stack([cv2.warpAffine(pixels, matrix, (columns, rows)) for matrix in maps])
            normal = ((crops / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2)
            image = torch.from_numpy(normal.astype(np.float32)).to(self.device)
            experts = {}
            if self.pose.config.backbone_config.num_experts > 1:
                # ViTPose++ has a head of experts for each training set; the first is COCO's.
                experts["dataset_index"] = torch.zeros(len(some), dtype=torch.long, device=self.device)
            heatmaps = self.pose(pixel_values=image, **experts).heatmaps.float().cpu().numpy()
            for row, (heatmap, matrix) in enumerate(zip(heatmaps, maps, strict=True), start=start):
                # COCO-WholeBody goes on with the six points of the feet, in the order of KEYPOINTS.
                count = len(KEYPOINTS) if len(heatmap) >= len(KEYPOINTS) else COCO
                xy, confidence = peaks(heatmap[:count])
                scale = np.array(
                    [(columns - 1) / (heatmap.shape[2] - 1), (rows - 1) / (heatmap.shape[1] - 1)]
                )
                inverse = cv2.invertAffineTransform(matrix)
                # Crops and heatmaps count from pixel centres, keypoints from the picture's corner.
                found[row, :count, :2] = (xy * scale) @ inverse[:, :2].T + inverse[:, 2] + 0.5
                found[row, :count, 2] = confidence
                found[row, count:, :2] = found[row, [15, 15, 15, 16, 16, 16], :2] if count == COCO else 0
        inside = (found[..., :2] >= 0).all(-1) & (found[..., :2] <= (pixels.shape[1], pixels.shape[0])).all(
            -1
        )
        found[~inside, 2] = 0
        return found


def crop_matrix(box_px: Float[np.ndarray, "4"], columns: int, rows: int) -> Float[np.ndarray, "2 3"]:
    """Picture to crop, both counted from pixel centres: the box with ViTPose's padding, at the crop's aspect."""
    (x0, y0, x1, y1), aspect = box_px.tolist(), columns / rows
    width = max(x1 - x0, (y1 - y0) * aspect, 1.0) * PADDING
    scale = (columns - 1) / width
    # Both axes run from the first to the last pixel's centre, so that their scales differ by a hair.
    scale_y = (rows - 1) / (width / aspect)
    x, y = (x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5
    return np.array([[scale, 0, (columns - 1) / 2 - scale * x], [0, scale_y, (rows - 1) / 2 - scale_y * y]])


def peaks(
    heatmaps: Float[np.ndarray, "points rows columns"],
) -> tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, "points"]]:
    """The heatmaps' maxima, finer than a cell, and their heights in 0..1.

    One Newton step on the logarithm of the blurred map, where a Gaussian peak is a parabola (Zhang et al. 2020,
    "Distribution-aware coordinate representation", eq. 8).
    """
    count, rows, columns = heatmaps.shape
    places, heights = np.zeros((count, 2)), np.zeros(count)
    for index, heatmap in enumerate(heatmaps):
        row, column = divmod(int(heatmap.argmax()), columns)
        places[index], heights[index] = (column, row), heatmap[row, column]
        if not (0 < row < rows - 1 and 0 < column < columns - 1):
            continue
        blurred = cv2.GaussianBlur(heatmap.astype(np.float64), (BLUR, BLUR), 0)
        near = np.log(np.clip(blurred[row - 1 : row + 2, column - 1 : column + 2], 1e-3, 50))
        slope = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
        across = (near[2, 2] - near[2, 0] - near[0, 2] + near[0, 0]) / 4
        curve_x, curve_y = (near[1, 2] + near[1, 0], near[2, 1] + near[0, 1]) - 2 * near[1, 1]
        determinant = curve_x * curve_y - across**2
        if curve_x < 0 and determinant > 1e-12:
            step = -np.array([curve_y * slope[0] - across * slope[1], curve_x * slope[1] - across * slope[0]])
            places[index] += np.clip(step / determinant, -1, 1)
    return places, np.clip(heights, 0, 1)


def _pretrained(kind: Any, source: str, local_files_only: bool) -> Any:
    # The hub's client tells of each retry on its own; what is said in the end is enough.
    retries = logging.getLogger("huggingface_hub")
    level = retries.level
    retries.setLevel(logging.ERROR)
    try:
        return kind.from_pretrained(source, local_files_only=local_files_only, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise SetupError(
            f"no weights of {kind.__name__} under {source!r} ({_first_line(error)}); download the model and name its "
            "folder, or use the detector 'blazepose'",
            code="model_missing",
        ) from error
    finally:
        retries.setLevel(level)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise AcceleratorError(f"device {name!r} was asked for and torch sees no GPU; use 'auto' or 'cpu'")
    return torch.device(name)


def _digest(model: torch.nn.Module) -> str:
    """SHA-256 over names and values: the same for a folder, a cache and a shard layout."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy() if value.numel() else b"")
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _clip(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.clip(boxes, 0, [*size, *size]).astype(np.float64)
