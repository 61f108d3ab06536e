import io

import numpy as np
import pytest
import torch
import trimesh

from alignhmr.core.body.meshes import glb, write_obj
from alignhmr.core.errors import InputError


@pytest.fixture(scope="module")
def people(small):
    """Two posed bodies in the camera frame, standing upright 3 m away."""
    upright = torch.eye(3).repeat(2, 24, 1, 1)
    upright[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    betas = torch.zeros(2, 10)
    betas[1, 0] = -1
    vertices = small.vertices(upright, betas).numpy()
    return [vertices[0] + [-0.6, 0, 3], vertices[1] + [0.6, 0, 3]]


def test_glb_holds_the_same_vertices(people, small):
    scene = trimesh.load_scene(io.BytesIO(glb(people, small.faces)), file_type="glb", process=False)
    assert list(scene.geometry) == ["person_1", "person_2"]
    assert set(scene.graph.nodes_geometry) == {"person_1", "person_2"}
    for vertices, mesh in zip(people, scene.geometry.values(), strict=True):
        np.testing.assert_allclose(mesh.vertices, vertices * [1, -1, -1], atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, small.faces)


def test_glb_stands_upright_and_faces_the_viewer(people, small):
    scene = trimesh.load_scene(io.BytesIO(glb(people[:1], small.faces)), file_type="glb", process=False)
    mesh = scene.geometry["person_1"]
    head, feet = mesh.vertices[:, 1].argmax(), mesh.vertices[:, 1].argmin()
    nose = mesh.vertices[mesh.vertices[:, 1] > mesh.vertices[head, 1] - 0.25][:, 2].max()
    assert mesh.vertices[head, 1] - mesh.vertices[feet, 1] > 1.6
    assert nose > mesh.vertices[:, 2].mean()  # towards +z, where the viewer is
    assert mesh.volume > 0  # the half turn kept the faces' outer side outside


def test_glb_has_smooth_normals_names_and_a_note(people, small):
    data = glb(
        people,
        small.faces,
        names=["Ada", "Bo"],
        colors=[(1, 0, 0), (0, 1, 0)],
        about={"body_model": small.name},
    )
    assert data[:4] == b"glTF" and b'"NORMAL"' in data
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)
    assert list(scene.geometry) == ["Ada", "Bo"]
    assert scene.metadata["body_model"] == "open-body-v1"
    assert scene.geometry["Ada"].visual.material.baseColorFactor.tolist() == [255, 0, 0, 255]


def test_glb_of_a_body_in_its_own_frame_is_not_turned(small):
    vertices = small.vertices(torch.eye(3).expand(24, 3, 3), torch.zeros(10)).numpy()
    scene = trimesh.load_scene(
        io.BytesIO(glb([vertices], small.faces, frame="body")), file_type="glb", process=False
    )
    np.testing.assert_allclose(scene.geometry["person_1"].vertices, vertices, atol=1e-6)


def test_same_bodies_same_bytes(people, small):
    assert glb(people, small.faces) == glb(people, small.faces)


def test_obj_holds_the_same_vertices(people, small, tmp_path):
    path = tmp_path / "new" / "people.obj"
    write_obj(path, people, small.faces, names=["Ada", "Bo"], about={"body_model": small.name})
    text = path.read_text()
    assert "# body_model: open-body-v1" in text and "metres" in text
    assert [line for line in text.splitlines() if line.startswith("o ")] == ["o Ada", "o Bo"]
    mesh = trimesh.load_mesh(path, process=False, maintain_order=True)
    np.testing.assert_allclose(mesh.vertices, np.concatenate(people) * [1, -1, -1], atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, np.concatenate([small.faces, small.faces + 1229]))
    assert np.einsum("va,va->v", mesh.vertex_normals, mesh.vertex_normals).mean() == pytest.approx(
        1, abs=1e-3
    )


def test_nobody_is_an_input_error(small, tmp_path):
    with pytest.raises(InputError, match="no body"):
        glb([], small.faces)
    with pytest.raises(InputError, match="no body"):
        write_obj(tmp_path / "none.obj", [], small.faces)
    assert not (tmp_path / "none.obj").exists()
