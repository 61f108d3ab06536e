"""The picture that a model is given of a person: with what surrounds them, or as they were drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from alignhmr.core.language.vlm_folder import Shown
from alignhmr.core.records import Person, Picture
from alignhmr.deployments.shown import shown_jpeg


@pytest.fixture
def picture() -> Picture:
    rng = np.random.default_rng(0)
    return Picture(pixels=rng.integers(0, 255, (200, 300, 3), np.uint8), sha256="0" * 64)


def person(box=(100.0, 50.0, 160.0, 150.0)) -> Person:
    points = np.zeros((23, 3))
    points[11], points[13] = (130, 100, 1), (130, 140, 1)
    return Person(np.array(box), 1.0, points)


def opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


def test_a_drawn_person_is_a_square_of_the_wished_side(picture):
    plain, drawn = (opened(shown_jpeg(picture, person(), Shown(drawn, 112))) for drawn in (False, True))
    assert drawn.size == (112, 112) and max(plain.size) <= 112 and plain.width < plain.height
    assert np.asarray(drawn).mean() < np.asarray(plain).mean(), "its surroundings are darkened"


def test_fine_lines_keep_their_colour(picture):
    pixels = np.asarray(opened(shown_jpeg(picture, person(), Shown(True, 112)))).astype(int)
    leg = pixels[75, 56]  # between hip and knee: a green that nothing else of a darkened picture reaches
    assert leg[1] > 180 and leg[0] < 90
