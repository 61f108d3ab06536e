from pathlib import Path

import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.frames import Frame, box_around, choose, pinhole, project_px
from alignhmr.core.truth.records import Points, Truth


def frame(image: Path, box: tuple[float, ...] = (5, 5, 30, 40), **more) -> Frame:
    people = [Truth(np.array(box, np.float32), {"coco23": Points(px=np.zeros((23, 2), np.float32))})]
    return Frame(image.stem, "g", "made", image, more.pop("intrinsics", None), people, **more)


def test_a_frame_reads_its_picture_and_cuts_boxes_to_it(tmp_path: Path, write_picture) -> None:
    sample = frame(write_picture(tmp_path / "a.png"), (-10, 5, 200, 40)).read()
    assert sample.picture.size == (64, 48) and len(sample.picture.sha256) == 64
    assert sample.people[0].box_px.tolist() == [0, 5, 64, 40]
    assert sample.intrinsics.source == "default"
    given = Intrinsics(50.0, (32.0, 24.0), "given")
    assert frame(tmp_path / "a.png", intrinsics=given).read().intrinsics == given


def test_a_picture_on_its_side_is_turned_clockwise(tmp_path: Path) -> None:
    import cv2

    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = 255  # top left
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    turned = frame(tmp_path / "a.png", quarter_turns=1).read().picture
    assert turned.size == (48, 64)
    assert turned.pixels[:32, 24:].min() == 255 and turned.pixels[:32, :24].max() == 0  # top right


def test_a_missing_or_broken_picture_has_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"made names the picture .*a\.jpg.*unpack the pictures"):
        frame(tmp_path / "a.jpg").read()
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"b\.jpg: not an image"):
        frame(tmp_path / "b.jpg").read()


def test_a_choice_is_even_and_repeatable_and_in_order() -> None:
    frames = [frame(Path(f"{index:03d}.png")) for index in range(100)]
    assert list(choose(frames, None, 0)) == frames
    assert list(choose(frames, 200, 0)) == frames
    some = [f.id for f in choose(frames, 10, 1)]
    assert (
        some
        == sorted(some)
        == [f.id for f in choose(iter(frames), 10, 1)]
        != [f.id for f in choose(frames, 10, 2)]
    )
    counts = np.zeros(100)
    for seed in range(400):
        for chosen in choose(frames, 10, seed):
            counts[int(chosen.id)] += 1
    firsts = sum(chosen.id == "000" for seed in range(400) for chosen in choose(frames[:2], 1, seed))
    assert 150 < firsts < 250
    # Binomial with mean 40 and standard deviation 6.
    assert counts.min() > 15 and counts.max() < 70
    assert abs(counts[:50].sum() - 2000) < 150


def test_projection_and_boxes() -> None:
    camera = pinhole(np.array([[100.0, 0, 32], [0, 110, 24], [0, 0, 1]]))
    assert camera == Intrinsics(105.0, (32.0, 24.0), "given")
    px = project_px(np.array([[0.0, 0, 2], [1, -1, 5], [0, 0, -1]]), camera)
    np.testing.assert_allclose(px[:2], [[32, 24], [53, 3]])
    assert np.isnan(px[2]).all()
    assert box_around(np.array([[10.0, 10], [30, 50], [np.nan, np.nan]])).tolist() == [6, 6, 34, 54]
