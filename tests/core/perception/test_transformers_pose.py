"""RT-DETRv2 and ViTPose with tiny random weights: shapes, maps and messages, not accuracy."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import AcceleratorError, CompatibilityError, SetupError
from alignhmr.core.perception.detector import load_detector
from alignhmr.core.perception.transformers_pose import TransformersPose, crop_matrix, peaks
from alignhmr.core.records import Picture
from alignhmr.deployments import torchvision_shim

PICTURE = Picture(np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8), "0" * 64)


def save_detector(folder: Path) -> str:
    from transformers import RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],  # pyright: ignore[reportCallIssue]
    )
    config = RTDetrV2Config(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        decoder_layers=2,
        num_queries=12,
        num_denoising=0,
        id2label={0: "bicycle", 1: "Person"},
    )
    torch.manual_seed(0)
    model = RTDetrV2ForObjectDetection(config)
    # Random logits never reach one half: make the second class, the person, sure of itself.
    for head in model.class_embed:
        torch.nn.init.constant_(head.bias, 2.0)  # pyright: ignore[reportArgumentType]
    model.save_pretrained(folder)
    return str(folder)


def save_pose(folder: Path, points: int) -> str:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(1)
    config = VitPoseConfig(backbone_config=backbone, num_labels=points)  # pyright: ignore[reportCallIssue]
    VitPoseForPoseEstimation(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    torchvision_shim.install()
    base = tmp_path_factory.mktemp("models")
    return save_detector(base / "boxes"), save_pose(base / "coco", 17), save_pose(base / "whole", 133)


@pytest.fixture(scope="module")
def coco(folders: tuple[str, str, str]) -> TransformersPose:
    return TransformersPose.load(folders[0], folders[1], device="cpu", local_files_only=True)


def test_people_have_boxes_in_the_picture_and_joints_in_order(coco: TransformersPose) -> None:
    people = coco.find(PICTURE)
    assert people and [person.score for person in people] == sorted((p.score for p in people), reverse=True)
    for person in people:
        x0, y0, x1, y1 = person.box_px
        assert 0 <= x0 < x1 <= 160 and 0 <= y0 < y1 <= 90
        assert person.keypoints_px.shape == (len(KEYPOINTS), 3) and person.detector == "rtdetr-vitpose"
        assert (person.keypoints_px[17:, 2] == 0).all(), "COCO has no feet"
        assert person.keypoints_3d_m is None and person.mask is None


def test_given_boxes_keep_their_order_and_are_clipped(coco: TransformersPose) -> None:
    boxes = np.array([[10.0, 10, 60, 80], [-20, 0, 300, 90]])
    people = coco.from_boxes(PICTURE, boxes)
    np.testing.assert_allclose(people[0].box_px, boxes[0])
    np.testing.assert_allclose(people[1].box_px, [0, 0, 160, 90])
    assert coco.from_boxes(PICTURE, np.zeros((0, 4))) == []


def test_one_box_or_many_is_the_same(coco: TransformersPose) -> None:
    boxes = np.array([[10.0, 10, 60, 80], [30, 5, 90, 85], [0, 0, 160, 90]])
    together = coco.from_boxes(PICTURE, boxes)
    for box, person in zip(boxes, together, strict=True):
        (alone,) = coco.from_boxes(PICTURE, box[None])
        np.testing.assert_allclose(alone.keypoints_px, person.keypoints_px, atol=2e-3)


def test_whole_body_models_bring_the_feet(folders: tuple[str, str, str]) -> None:
    whole = load_detector(f"rtdetr-vitpose:{folders[0]},{folders[2]}", "cpu")
    (person,) = whole.from_boxes(PICTURE, np.array([[10.0, 10, 60, 80]]))
    assert (person.keypoints_px[17:, :2] != 0).any()


def test_the_digest_follows_the_weights(folders: tuple[str, str, str], coco: TransformersPose) -> None:
    again = TransformersPose.load(folders[0], folders[1], device="cpu")
    other = TransformersPose.load(folders[0], folders[2], device="cpu")
    assert again.digest == coco.digest != other.digest


def test_missing_weights_are_said(folders: tuple[str, str, str], tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no weights of RTDetrV2ForObjectDetection") as error:
        TransformersPose.load(str(tmp_path), folders[1], device="cpu", local_files_only=True)
    assert error.value.code == "model_missing" and "\n" not in str(error.value)


def test_too_few_keypoints_are_refused(folders: tuple[str, str, str], tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="5 keypoints"):
        TransformersPose.load(folders[0], save_pose(tmp_path / "five", 5), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none(folders: tuple[str, str, str]) -> None:
    with pytest.raises(AcceleratorError, match="no GPU"):
        TransformersPose.load(folders[0], folders[1], device="cuda")


@pytest.mark.parametrize("name", ["yolo", "blazepose:x", "rtdetr-vitpose:only-one"])
def test_unknown_detectors_are_told_the_known(name: str) -> None:
    with pytest.raises(SetupError, match="choose one of blazepose, rtdetr-vitpose"):
        load_detector(name)


def test_a_peak_is_found_between_cells() -> None:
    rows, columns = np.mgrid[:64, :48]
    places = np.array([[20.3, 30.7], [5.5, 50.2], [40.0, 12.0]])
    heatmaps = np.stack(
        [0.8 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.0**2)) for x, y in places]
    )
    found, height = peaks(heatmaps)
    np.testing.assert_allclose(found, places, atol=0.05)
    assert ((height > 0.7) & (height <= 0.8)).all()


def test_a_peak_on_the_border_stays_there() -> None:
    heatmap = np.zeros((1, 8, 8))
    heatmap[0, 0, 7] = 1
    assert peaks(heatmap)[0].tolist() == [[7, 0]]


def test_a_crop_keeps_the_aspect_and_holds_the_box() -> None:
    for box in (np.array([10.0, 20, 30, 120]), np.array([10.0, 20, 210, 60])):
        matrix = crop_matrix(box, 192, 256)
        corners = box.reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
        assert (corners > 0).all() and (corners < (192, 256)).all()
        assert matrix[0, 0] / matrix[1, 1] == pytest.approx(1, abs=0.01)
        center = cv2.transform(np.array([[(box[:2] + box[2:]) / 2 - 0.5]]), matrix)[0, 0]
        np.testing.assert_allclose(center, (95.5, 127.5))


def test_reading_heatmaps_agrees_with_transformers(folders: tuple[str, str, str]) -> None:
    """The library's own post-processing, as a reference for peaks and for the way back to the picture."""
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil
    from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

    rows, columns = np.mgrid[:64, :48]
    places = np.random.default_rng(0).uniform(8, 38, (17, 2))
    heatmaps = np.stack([np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) for x, y in places])
    answer = VitPoseEstimatorOutput(heatmaps=torch.tensor(heatmaps[None], dtype=torch.float32))  # type: ignore[arg-type]
    box = np.array([100.0, 50, 300, 350])
    reference = VitPoseImageProcessorPil().post_process_pose_estimation(answer, boxes=[[[100, 50, 200, 300]]])
    inverse = cv2.invertAffineTransform(crop_matrix(box, 192, 256))
    xy = peaks(heatmaps)[0] * (191 / 47, 255 / 63)
    mine = xy @ inverse[:, :2].T + inverse[:, 2] + 0.5
    np.testing.assert_allclose(mine, reference[0][0]["keypoints"].numpy(), atol=0.01)
