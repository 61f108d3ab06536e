"""Views from elsewhere: which way the viewer walks, what fits, what shines through."""

import numpy as np
import pytest
import trimesh

from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.views import Frame, hypotheses_view, side_view

SIZE = (120, 160)
RED = (210, 40, 40)


def box(extents, center=(0.0, 0.0, 3.0)) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.box(extents)
    for _ in range(2):
        mesh = mesh.subdivide()
    return np.array(mesh.vertices) + center, np.array(mesh.faces)


def reddish(picture: np.ndarray) -> np.ndarray:
    picture = picture.astype(int)
    return picture[..., 0] > picture[..., 2] + 40


def with_arm() -> tuple[np.ndarray, np.ndarray]:
    """A post with an arm to the camera's right (+x)."""
    post, faces = box((0.3, 1.8, 0.3))
    arm, _ = box((0.8, 0.15, 0.15), (0.5, -0.4, 3.0))
    return np.concatenate([post, arm]), np.concatenate([faces, faces + len(post)])


def arm_side(yaw: float) -> float:
    mask = reddish(side_view(*with_arm(), yaw, SIZE, color=RED))
    columns = np.nonzero(mask)[1]
    post = np.nonzero(mask[-60:].any(0))[0]
    return (columns.min() + columns.max()) / 2 - (post.min() + post.max()) / 2


def test_yaw_walks_the_viewer_around():
    assert arm_side(0.0) > 10, "as the photo's camera saw it"
    assert arm_side(np.pi) < -10, "from behind, the arm is on the other side"
    assert abs(arm_side(np.pi / 2)) < 8, "from the camera's right the arm points at the viewer"


def test_from_above_shows_the_top():
    vertices, faces = box((0.4, 1.8, 0.4))
    from_side = reddish(side_view(vertices, faces, 0.0, SIZE, color=RED))
    from_top = reddish(side_view(vertices, faces, 0.0, SIZE, color=RED, pitch_rad=np.pi / 2))
    (tall, narrow), (deep, wide) = (np.ptp(np.nonzero(mask), axis=1) for mask in (from_side, from_top))
    assert tall > 2.5 * narrow
    assert abs(deep - wide) <= 3


@pytest.mark.parametrize("extents", [(0.5, 1.8, 0.3), (2.0, 0.4, 0.5), (0.3, 0.4, 2.4)])
@pytest.mark.parametrize("yaw", [0.0, 0.8, 1.6, 3.1])
@pytest.mark.parametrize("pitch", [0.0, 0.14, 1.5])
def test_the_body_fits_and_fills_the_picture(extents, yaw, pitch):
    vertices, faces = box(extents, (1.0, -2.0, 9.0))
    mask = reddish(side_view(vertices, faces, yaw, SIZE, color=RED, pitch_rad=pitch))
    assert mask.any()
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not border.any()


def test_there_is_a_shadow_and_the_ground_is_light():
    vertices, faces = box((0.5, 1.8, 0.3))
    picture = side_view(vertices, faces, 0.4, SIZE, color=RED)
    assert picture[:20].mean() > 200
    ground = picture[-45:].mean(-1)
    assert ground.max() > 235 and np.sort(ground[~reddish(picture)[-45:]])[:40].mean() < 215


def test_same_frame_same_scale():
    small, faces = box((0.3, 0.9, 0.3))
    tall, _ = box((0.3, 1.8, 0.3))
    frame = Frame.around([small, tall])
    heights = [
        np.ptp(np.nonzero(reddish(side_view(body, faces, 0.0, SIZE, color=RED, frame=frame)))[0])
        for body in (small, tall)
    ]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.08)


def test_the_selected_is_solid_and_the_others_shine_through():
    chosen, faces = box((0.3, 1.6, 0.3))
    other, _ = box((0.3, 1.6, 0.3), (0.8, 0.0, 3.0))
    frame = Frame.around([chosen, other])
    alone = hypotheses_view([chosen], faces, 0, 0.0, SIZE, color=RED, frame=frame)
    both = hypotheses_view([chosen, other], faces, 0, 0.0, SIZE, color=RED, frame=frame)
    swapped = hypotheses_view([chosen, other], faces, 1, 0.0, SIZE, color=RED, frame=frame)
    assert reddish(alone).sum() == pytest.approx(reddish(both).sum(), rel=0.02)
    assert np.nonzero(reddish(swapped))[1].mean() > np.nonzero(reddish(both))[1].mean() + 10
    changed = np.abs(both.astype(int) - alone).max(-1) > 12
    assert changed.any() and both[changed].min() > 60, "ghosts stay pale"


def test_ghosts_do_not_depend_on_their_order():
    bodies = [box((0.3, 1.6, 0.3), (0.2 * i, 0.0, 3.0 + 0.1 * i))[0] for i in range(4)]
    faces = box((1, 1, 1))[1]
    one = hypotheses_view(bodies, faces, 0, 0.5, SIZE)
    other = hypotheses_view([bodies[0], *bodies[:0:-1]], faces, 0, 0.5, SIZE)
    assert np.abs(one.astype(int) - other).max() <= 1


def test_bad_input_gets_one_clear_sentence():
    vertices, faces = box((1, 1, 1))
    with pytest.raises(InputError, match="hypothesis 3 was selected of 2"):
        hypotheses_view([vertices, vertices], faces, 3, 0.0)
    with pytest.raises(InputError, match="no body to look at"):
        Frame.around([])
