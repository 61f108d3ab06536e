"""Views: the square that the models look at, at one size, there and back through a row."""

import numpy as np
import pytest
import torch

from alignhmr.core.diffusion.condition import person_square
from alignhmr.core.errors import InputError
from alignhmr.core.perception.views import VIEW_PX, from_jpeg, shrunk, to_jpeg, view_of, with_views
from alignhmr.core.records import Person, Picture


def picture() -> Picture:
    """Red grows to the right, green downwards: a pixel tells where it was."""
    x, y = np.meshgrid(np.arange(200), np.arange(150))
    return Picture(np.stack([x, y, np.full_like(x, 128)], -1).astype(np.uint8), "0" * 64)


def test_a_view_shows_the_square_around_the_box() -> None:
    box = np.array([60.0, 40, 100, 120])
    x, y, side = person_square(torch.from_numpy(box)).tolist()
    view = view_of(picture(), box).astype(float)
    assert view.shape == (VIEW_PX, VIEW_PX, 3)
    places = (np.arange(VIEW_PX) + 0.5) / VIEW_PX * side - side / 2
    # A picture's pixel i covers i..i+1, so its middle shows i at i + 0.5.
    np.testing.assert_allclose(view[128, :, 0], x + places - 0.5, atol=1.01)
    np.testing.assert_allclose(view[:, 128, 1], y + places - 0.5, atol=1.01)


def test_black_outside_the_picture() -> None:
    view = view_of(picture(), np.array([-50.0, -50, 20, 20]))
    assert view[:100, :100].max() == 0 and view[-20:, -20:, 2].min() == 128


def test_everyone_gets_their_own() -> None:
    boxes = [np.array([10.0, 10, 50, 60], np.float32), np.array([80.0, 20, 180, 140], np.float32)]
    people = [Person(box, 1.0, np.zeros((23, 3), np.float32)) for box in boxes]
    seen = with_views(picture(), people)
    for person, box in zip(seen, boxes, strict=True):
        np.testing.assert_array_equal(person.view, view_of(picture(), box))


@pytest.mark.parametrize("side", [64, 128, 256, 384])
def test_another_size_shows_the_same(side: int) -> None:
    view = view_of(picture(), np.array([60.0, 40, 100, 120]))
    small = shrunk(view, side)
    assert small.shape == (side, side, 3)
    np.testing.assert_allclose(small.mean((0, 1)), view.mean((0, 1)), atol=1.0)
    quarter, whole = side // 4, VIEW_PX // 4
    np.testing.assert_allclose(small[:quarter].mean((0, 1)), view[:whole].mean((0, 1)), atol=1.5)


def test_a_view_survives_its_row_but_for_what_jpeg_loses() -> None:
    view = view_of(picture(), np.array([60.0, 40, 100, 120]))
    data = to_jpeg(view)
    assert len(data) < 40_000 and np.abs(from_jpeg(data).astype(int) - view).mean() < 3
    with pytest.raises(InputError, match="label the picture again"):
        from_jpeg(data[:100][::-1])
