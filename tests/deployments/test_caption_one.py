"""One picture captioned by `transformers`: a real architecture with random weights, whose nonsense has a reason."""

import importlib.util
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from alignhmr.core.errors import CaptionerError
from alignhmr.core.language.captions import REASONS
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.caption_one import OnePicture


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(CaptionerError, match="there is no model folder"):
        OnePicture(tmp_path / "nothing")


@pytest.mark.slow
def test_nonsense_has_a_reason_and_the_same_seed_the_same_nonsense(tmp_path):
    torchvision_shim.install()
    spec = importlib.util.spec_from_file_location("tiny_vlm", Path(__file__).parents[1] / "tiny_vlm.py")
    assert spec is not None and spec.loader is not None
    tiny_vlm = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tiny_vlm
    spec.loader.exec_module(tiny_vlm)
    model = OnePicture(tiny_vlm.make_tiny_vlm(tmp_path / "tiny"))
    buffer = io.BytesIO()
    Image.new("RGB", (96, 120), "gray").save(buffer, "JPEG")
    one, again = (model.caption(buffer.getvalue(), max_tokens=12) for _ in range(2))
    assert one.reason in REASONS and one == again
    (tmp_path / "tiny" / "config.json").write_text("{}")
    with pytest.raises(CaptionerError, match="can't be used"):
        OnePicture(tmp_path / "tiny")
