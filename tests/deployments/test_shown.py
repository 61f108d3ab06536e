"""The picture that a model is given of a person: with what surrounds them, or as they were drawn."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alignhmr.core.language.shown import Shown
from alignhmr.core.perception.drawings import drawn_person
from alignhmr.core.perception.views import with_views
from alignhmr.core.records import Person, Picture
from alignhmr.deployments.shown import crop_jpeg, shown_jpeg


@pytest.fixture
def picture() -> Picture:
    rng = np.random.default_rng(0)
    return Picture(pixels=rng.integers(0, 255, (200, 300, 3), np.uint8), sha256="0" * 64)


def person(box=(100.0, 50.0, 160.0, 150.0)) -> Person:
    points = np.zeros((23, 3))
    points[11], points[13] = (130, 100, 1), (130, 140, 1)
    return Person(np.array(box, float), 1.0, points)


def opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


def test_a_drawn_person_is_a_square_of_the_wished_side(picture):
    plain, drawn = (opened(shown_jpeg(picture, person(), Shown(drawn, 112))) for drawn in (False, True))
    assert drawn.size == (112, 112) and max(plain.size) <= 112 and plain.width < plain.height
    assert np.asarray(drawn).mean() < np.asarray(plain).mean(), "its surroundings are darkened"


@pytest.mark.parametrize("side", [56, 112])
def test_fine_lines_keep_their_colour(picture, side):
    [seen] = with_views(picture, [person()])
    drawn = drawn_person(seen, side).astype(int)
    pixels = np.asarray(opened(shown_jpeg(picture, seen, Shown(True, side)))).astype(int)
    leg = drawn[..., 1] - drawn[..., 0] > 120  # the only green of a darkened picture
    assert leg.sum() > side / 4
    # Where four pixels share a colour, as JPEG has it by default, it is off by 11 and 30.
    assert np.abs(pixels - drawn)[leg].mean() < 5


@pytest.mark.parametrize("box", [(100, 50, 160, 150), (-400, -90, 20, 10), (250, 0, 900, 700), (5, 5, 6, 6)])
@pytest.mark.parametrize("side", [56, 112, 448])
def test_wherever_they_stand_a_drawn_person_is_a_square(picture, box, side):
    assert opened(shown_jpeg(picture, person(box), Shown(True, side))).size == (side, side)


def test_a_view_that_is_there_is_the_one_that_is_drawn_in(picture):
    white = replace(person(), view=np.full((256, 256, 3), 255, np.uint8))
    pixels = np.asarray(opened(shown_jpeg(picture, white, Shown(True, 112))))
    assert np.ptp(pixels[:20]) <= 2 and pixels[:20].mean() == pytest.approx(0.45 * 255, abs=2)


@given(
    st.tuples(*[st.floats(-500, 1500)] * 4),
    st.sampled_from([(1, 1), (3, 700), (640, 480), (5000, 20)]),
    st.sampled_from([56, 448]),
)
def test_a_crop_is_always_a_small_whole_jpeg(box, size, side):
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    with opened(crop_jpeg(pixels, np.array(box), side)) as image:
        image.load()
        assert image.format == "JPEG"
        assert 28 <= min(image.size) and max(image.size) <= max(side, 28)


def test_a_crop_shows_the_person_with_a_margin():
    pixels = np.zeros((400, 400, 3), np.uint8)
    pixels[100:300, 150:250] = 255
    with opened(crop_jpeg(pixels, np.array([150, 100, 250, 300]), 1000)) as image:
        assert image.size == (150, 250)
        grey = np.asarray(image.convert("L"))
    assert grey[125, 75] > 250 and grey[10, 75] < 5 and grey[125, 10] < 5
