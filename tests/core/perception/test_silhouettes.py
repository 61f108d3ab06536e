"""The detector's silhouette, over the square that the models look at."""

import cv2
import numpy as np
import pytest

from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.perception.silhouettes import silhouette_over
from alignhmr.core.records import Person

BOX = np.array([60.0, 20.0, 160.0, 220.0], np.float32)
PX = 64


def test_who_has_no_mask_has_no_silhouette() -> None:
    person = Person(BOX, 1.0, np.zeros((23, 3)))
    assert silhouette_over(person, SquareCrop((100.0, 100.0), 250.0), PX) is None


@pytest.mark.parametrize("side", [40.0, 90.0, 700.0, 2600.0])
def test_the_detector_s_mask_is_an_area_mean(side) -> None:
    """Against a float64 reference that counts 24 x 24 points in each pixel of the window."""
    random = np.random.default_rng(3)
    blocks = cv2.GaussianBlur((random.random((180, 140)) * 255).astype(np.uint8), (0, 0), 6)
    mask = np.where(blocks > np.median(blocks), np.uint8(255), np.uint8(0))
    box = np.array([20.0, 30.0, 300.0, 380.0], np.float32)
    window = SquareCrop((170.0, 200.0), side)
    found = silhouette_over(Person(BOX, 1.0, np.zeros((23, 3)), mask=mask, mask_box_px=box), window, PX)
    assert found is not None
    steps = (np.arange(PX * 24) + 0.5) / (PX * 24)
    x = (window.center_px[0] + (steps - 0.5) * side - 20) / 280 * 140
    y = (window.center_px[1] + (steps - 0.5) * side - 30) / 350 * 180
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    values = mask[row.clip(0, 179)][:, column.clip(0, 139)].astype(float)
    values[(row < 0) | (row > 179)] = 0
    values[:, (column < 0) | (column > 139)] = 0
    reference = values.reshape(PX, 24, PX, 24).mean((1, 3))
    # Bilinear sampling softens what it enlarges: edges differ, areas don't.
    assert np.abs(found - reference).mean() < (12 if side < 100 else 2.5)
    assert found.mean() == pytest.approx(reference.mean(), rel=0.03)
