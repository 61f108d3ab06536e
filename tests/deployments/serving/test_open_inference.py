"""The Open Inference Protocol: as its own public client speaks it, and byte by byte where that client does no wrong."""

import base64
import json
import struct

import httpx
import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.deployments.serving import open_inference
from alignhmr.deployments.serving.client import Client
from alignhmr.deployments.serving.intake import Limits
from alignhmr.deployments.serving.open_inference import HEADER_LENGTH, MODEL, OUTPUTS

LIMITS = Limits(max_images=3, max_image_bytes=100)


def body_of(*images: bytes, shape=None, size=None, parameters=None, **more) -> tuple[bytes, str]:
    """A binary request, and the length of its JSON part."""
    tail = b"".join(struct.pack("<I", len(image)) + image for image in images)
    one = {
        "name": "image",
        "shape": shape or [len(images)],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(tail) if size is None else size},
    }
    head = json.dumps({"inputs": [one], "parameters": parameters or {}, **more}).encode()
    return head + tail, str(len(head))


def test_pictures_come_raw_or_as_base64_and_options_as_parameters():
    asked = {"hypotheses": 4, "seed": 7, "refine": True, "focal_px": 500.5, "boxes": "[[0, 0, 5, 5]]"}
    binary = open_inference.parse(*body_of(b"one", parameters=asked, id="mine"), LIMITS)
    assert (binary.query.images, binary.id) == ([b"one"], "mine")
    options = binary.query.options
    assert (options.hypotheses, options.seed, options.refine, options.focal_px) == (4, 7, True, 500.5)
    assert options.boxes == [[0, 0, 5, 5]]
    assert binary.outputs == tuple((name, False) for name in OUTPUTS)
    one = {"name": "image", "shape": [2, 1], "datatype": "BYTES", "data": ["b25l", "dHdv"]}
    wanted = [{"name": "betas", "parameters": {"binary_data": True}}, {"name": "score"}]
    text = json.dumps({"inputs": [one], "outputs": wanted}).encode()
    plain = open_inference.parse(text, None, LIMITS)
    assert plain.query.images == [b"one", b"two"]
    assert plain.outputs == (("betas", True), ("score", False))


@pytest.mark.parametrize(
    ("body", "length", "word"),
    [
        (b"", None, "JSON"),
        (b"{}", None, "inputs"),
        (b"{}", "3", HEADER_LENGTH),
        (b"{}", "-1", HEADER_LENGTH),
        (*body_of(b"one", shape=[2]), "2 pictures"),
        (*body_of(b"one", size=3), "binary_data_size"),
        (*body_of(b"one", size="all"), "binary_data_size"),
        (*body_of(b"one", outputs=[{"name": "mood"}]), "mood"),
        (*body_of(b"one", parameters={"colour": "red"}), "colour"),
        (*body_of(b"one", parameters={"hypotheses": 0}), "hypotheses"),
        (*body_of(b"x" * 101), "101 bytes"),
        (*body_of(*[b"x"] * 4), "more than 3"),
        (*body_of(b""), "empty"),
        (*body_of(), "holds no picture"),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(body, length, word):
    with pytest.raises(InputError, match=word):
        open_inference.parse(body, length, LIMITS)


def test_a_binary_tensor_that_is_cut_short_is_refused():
    whole, length = body_of(b"picture")
    for cut in range(1, 11):
        head = whole[: int(length)].replace(b'"binary_data_size": 11', b'"binary_data_size": %d' % (11 - cut))
        with pytest.raises(InputError, match="ends within" if cut < 11 else "holds no"):
            open_inference.parse(head + whole[int(length) : -cut], str(len(head)), LIMITS)


@pytest.fixture(scope="module")
def triton(service):
    from tritonclient.http import InferenceServerClient

    client = InferenceServerClient(service.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.mark.ray
def test_a_public_client_finds_server_and_model(triton):
    assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready(MODEL)
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    told = triton.get_model_metadata(MODEL)
    assert [one["name"] for one in told["inputs"]] == ["image"]
    assert told["inputs"][0]["datatype"] == "BYTES"
    assert len(told["outputs"]) == len(OUTPUTS)


@pytest.mark.ray
@pytest.mark.parametrize("binary", [True, False])
def test_a_public_client_has_the_answer_of_v1(service, triton, picture, binary):
    from tritonclient.http import InferInput, InferRequestedOutput

    data = [picture(people=2), b"no picture", picture(people=1, size=(80, 60))]
    expected = Client(service.url).recover(data, seed=5, hypotheses=4)
    given = InferInput("image", [3], "BYTES")
    if binary:
        given.set_data_from_numpy(np.array(data, object))
    else:
        text = [base64.b64encode(one).decode() for one in data]
        given.set_data_from_numpy(np.array(text, object), binary_data=False)
    wanted = [InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]
    answer = triton.infer(
        MODEL, [given], outputs=wanted, request_id="r1", parameters={"seed": 5, "hypotheses": 4}
    )
    people = [person for seen in expected.pictures for person in seen.people]
    assert len(people) == 3
    np.testing.assert_array_equal(answer.as_numpy("image_index"), [0, 0, 2])
    codes = [code.decode() if isinstance(code, bytes) else code for code in answer.as_numpy("error_code")]
    assert codes == ["", "not_an_image", ""]
    for name in ("pose_aa", "betas", "transl_cam_m", "joints_cam_m", "joints_px", "box_px", "score"):
        told = answer.as_numpy(name)
        assert told.dtype == np.float32
        np.testing.assert_allclose(told, [getattr(person, name) for person in people], atol=6e-3)
    response = answer.get_response()
    assert response["id"] == "r1"
    assert response["parameters"]["model_base"] == "fake:1"
    assert response["parameters"]["body_model"] == "fake-body"
    assert response["parameters"]["total_ms"] > 0


@pytest.mark.ray
def test_a_public_client_understands_refusals(triton, picture):
    from tritonclient.http import InferInput
    from tritonclient.utils import InferenceServerException

    given = InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"no picture"], object))
    with pytest.raises(InferenceServerException, match="begins with"):
        triton.infer(MODEL, [given])
    given.set_data_from_numpy(np.array([picture()], object))
    with pytest.raises(InferenceServerException, match="hypotheses"):
        triton.infer(MODEL, [given], parameters={"hypotheses": 0})
    with pytest.raises(InferenceServerException, match=r"openapi\.json"):
        triton.infer("another", [given])


@pytest.mark.ray
def test_a_picture_with_nobody_has_tensors_of_no_rows(service, picture):
    body, length = body_of(picture(people=0))
    url = f"{service.url}/v2/models/{MODEL}/infer"
    answer = httpx.post(url, content=body, headers={HEADER_LENGTH: length}, timeout=60).json()
    shapes = {output["name"]: output["shape"] for output in answer["outputs"]}
    assert shapes["pose_aa"] == [0, 24, 3]
    assert shapes["error_code"] == [1]
