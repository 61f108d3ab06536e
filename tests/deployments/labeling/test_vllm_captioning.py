"""Captions by vLLM, with a tiny random model made on the spot: refusals without an engine, and a real one."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from alignhmr.core.errors import CaptionerError
from alignhmr.core.language.captions import REASONS
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.labeling.captioning import make_captioner

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    # By path: the tests are not a package that can be imported from everywhere.
    torchvision_shim.install()
    spec = importlib.util.spec_from_file_location("tiny_vlm", Path(__file__).parents[2] / "tiny_vlm.py")
    assert spec is not None and spec.loader is not None
    tiny_vlm = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tiny_vlm
    spec.loader.exec_module(tiny_vlm)
    return tiny_vlm.make_tiny_vlm(tmp_path_factory.mktemp("models") / "tiny-qwen2-vl")


@pytest.fixture
def copy(model, tmp_path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def check(small_config, folder):
    return make_captioner(small_config(captions__engine=f"vllm:{folder}"), "cpu").check()


@needs_vllm
@pytest.mark.slow
def test_a_model_is_named_by_its_content(model, copy, small_config):
    digest = check(small_config, model)["captioner"]
    assert digest.startswith("tiny-qwen2-vl:")
    assert check(small_config, copy)["captioner"].partition(":")[2] == digest.partition(":")[2]
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert check(small_config, copy)["captioner"].partition(":")[2] != digest.partition(":")[2]


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda f: shutil.rmtree(f), "there is no such folder"),
        (lambda f: (f / "config.json").unlink(), "config.json can't be read"),
        (lambda f: (f / "config.json").write_text("{}"), "names no architecture"),
        (lambda f: (f / "config.json").write_text("{"), "config.json can't be read"),
        (lambda f: (f / "model.safetensors").unlink(), r"has no .safetensors weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 100), "is not a safetensors file"),
        (lambda f: cut(f / "model.safetensors"), "model.safetensors is cut short"),
        (lambda f: [(f / n).unlink() for n in ("tokenizer.json", "tokenizer_config.json")], "no tokenizer"),
    ],
)
def test_a_model_that_cannot_work_is_said_before_the_engine_starts(copy, small_config, spoil, match):
    spoil(copy)
    with pytest.raises(CaptionerError, match=match) as caught:
        check(small_config, copy)
    assert "--captioner pose" in str(caught.value) and "\n" not in str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@needs_vllm
@pytest.mark.vllm
@pytest.mark.ray
@pytest.mark.slow
def test_a_real_engine_answers_and_nonsense_is_a_caption_error(model, run_label, picture, tmp_path):
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", 20, number=number, size=(80 + number, 120))
    picture(tmp_path / "in" / "nobody.png", 0)
    (tmp_path / "in" / "broken.jpg").write_bytes(
        b"not a picture: vLLM's preparation would end the job over it"
    )

    rows, _ = run_label(
        tmp_path / "in", tmp_path / "out", captions__engine=f"vllm:{model}", captions__max_tokens=16,
        resources__vllm__max_model_len=1024,
    )  # fmt: skip
    codes = {row["uri"].rpartition("/")[2]: row["error_code"] for row in rows}
    assert codes == {
        "0.png": None,
        "1.png": None,
        "2.png": None,
        "nobody.png": "no_person",
        "broken.jpg": "not_an_image",
    }
    for row in rows:
        if row["error_code"] is None:
            assert row["caption_source"] == "vlm:tiny-qwen2-vl"
            reason = row["caption_error"].partition(":")[0]
            assert reason in REASONS, "the engine ran, and its answer was read"
            assert row["captions"] is None and row["scores"] is not None
        else:
            assert row["caption_source"] is None and row["caption_error"] is None


@needs_vllm
@pytest.mark.vllm
@pytest.mark.ray
@pytest.mark.slow
def test_an_engine_that_does_not_start_ends_the_run_with_its_reason(copy, run_label, picture, tmp_path):
    picture(tmp_path / "in" / "a.png", 20)
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(
        config.replace("Qwen2VLForConditionalGeneration", "NobodyKnowsThisModel")
    )
    with pytest.raises(CaptionerError, match=r"doesn't start: .*NobodyKnowsThisModel"):
        run_label(tmp_path / "in", tmp_path / "out", captions__engine=f"vllm:{copy}")
    assert list((tmp_path / "out" / "rows").iterdir()) == []
