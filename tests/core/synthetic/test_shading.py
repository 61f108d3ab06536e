"""Normals, colour curves and a palette that colour-blind viewers can tell apart."""

import itertools

import numpy as np
import pytest
import trimesh

from alignhmr.core.synthetic.rasterizer import rasterize
from alignhmr.core.synthetic.shading import (
    PALETTE,
    palette_color,
    shade,
    to_linear,
    to_srgb,
    vertex_normals,
)


def test_normals_of_a_sphere_point_outwards():
    sphere = trimesh.creation.icosphere(4, 1.0)
    vertices = np.array(sphere.vertices)
    normals = vertex_normals(vertices + [3.0, 1.0, 2.0], np.array(sphere.faces))
    assert np.einsum("vc,vc->v", normals, vertices).min() > 0.999


def test_normals_turn_with_the_body_and_unused_vertices_get_none():
    vertices = np.random.default_rng(0).normal(size=(5, 3))
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    turn = trimesh.transformations.euler_matrix(0.3, 1.0, -0.4)[:3, :3]
    turned = vertex_normals(vertices @ turn.T, faces)
    np.testing.assert_allclose(turned, vertex_normals(vertices, faces) @ turn.T, atol=1e-12)
    assert not turned[4].any()


def test_colour_curves_are_inverse():
    values = np.arange(256)[:, None].repeat(3, 1)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-9)


_DEFICIENCIES = {
    # Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}  # fmt: skip


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(linear, 0, 1) @ to_xyz.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


@pytest.mark.parametrize("sight", _DEFICIENCIES)
def test_people_of_one_photo_stay_apart(sight):
    """CIE76: 2.3 is just noticeable; people who stand side by side should be far beyond it."""
    lab = _lab(to_linear(np.array(PALETTE)) @ np.array(_DEFICIENCIES[sight]).T)
    distance = {
        (a, b): float(np.linalg.norm(lab[a] - lab[b]))
        for a, b in itertools.combinations(range(len(PALETTE)), 2)
    }
    assert min(distance.values()) > 14, min(distance.items(), key=lambda pair: pair[1])
    first_four = {pair: d for pair, d in distance.items() if max(pair) < 4}
    assert min(first_four.values()) > 20, first_four


def test_palette_goes_round():
    assert palette_color(0) == palette_color(len(PALETTE)) == PALETTE[0]


def test_coverage_is_the_share_of_samples_and_light_stays_in_range():
    sphere = trimesh.creation.icosphere(4, 0.5)
    vertices, faces = np.array(sphere.vertices) + [0, 0, 2.0], np.array(sphere.faces)
    raster = rasterize(vertices, faces, 120.0, (40.0, 40.0), (80, 80))
    colors = np.repeat(to_linear(np.array([PALETTE[6]])), len(faces), 0)
    rgba = shade(raster, vertices, vertex_normals(vertices, faces), faces, colors, 2)
    np.testing.assert_allclose(rgba[..., 3], raster.mask.reshape(40, 2, 40, 2).mean((1, 3)), atol=1e-6)
    lit = rgba[..., :3][rgba[..., 3] == 1]
    assert lit.min() > 0.04, "no part of a body is black"
    assert lit.max() < 1.0, "a pale body keeps its modelling"
    upper_left, lower_right = rgba[14, 14, :3].mean(), rgba[25, 25, :3].mean()
    assert upper_left > 1.3 * lower_right, "the key light comes from the upper left"
