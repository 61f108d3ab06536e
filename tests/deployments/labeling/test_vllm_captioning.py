"""Captions by vLLM, with a tiny random model made on the spot: refusals without an engine, and a real one."""

import importlib.util
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.core.errors import CaptionerError
from alignhmr.core.language.captions import REASONS, SCHEMA, answer_of, asked
from alignhmr.core.language.facts import PARTS
from alignhmr.core.language.shown import Shown
from alignhmr.core.language.starter_vlm import starter_tokenizer
from alignhmr.core.language.vlm_folder import ABOUT
from alignhmr.deployments.labeling.captioning import make_captioner
from alignhmr.deployments.labeling.vllm_captioning import VllmCaptioner
from alignhmr.deployments.labeling.vlm_sizes import QWEN3_VL

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture
def copy(tiny_vlm, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_vlm, tmp_path / "copy"))


def captioner(small_config, model, device: str = "cpu", **over) -> VllmCaptioner:
    made = make_captioner(small_config(captions__engine=f"vllm:{model}", **over), device)
    assert isinstance(made, VllmCaptioner)
    return made


def check(small_config, folder):
    return captioner(small_config, folder).check()


@pytest.mark.parametrize("name", QWEN3_VL)
def test_a_size_stands_for_its_model_and_how_many_gpus_share_it(small_config, name):
    size = QWEN3_VL[name]
    one = captioner(small_config, name, "cuda", resources__caption__workers=2)
    assert one.model == size.hub and one.source == f"vlm:{size.hub.removeprefix('Qwen/')}"
    settings = one.engine_settings()
    assert settings["tensor_parallel_size"] == size.gpus and one.num_gpus == 2 * size.gpus
    assert settings["max_num_seqs"] == size.max_num_seqs
    assert settings["distributed_executor_backend"] == ("ray" if size.gpus > 1 else "uni")
    assert one.shown == Shown(False, 448), "who wasn't taught by us is shown people as they are"


def test_what_is_said_of_the_engine_goes_before_its_size(small_config):
    own = {"tensor_parallel_size": 4, "max_num_seqs": 8, "quantization": "fp8"}
    one = captioner(small_config, "qwen3-vl-32b", "cuda", resources__vllm__engine=own)
    assert one.engine_settings().items() >= own.items()


def test_a_cpu_has_no_sizes_and_its_engine_no_process_of_its_own(small_config, tiny_vlm):
    for model in (tiny_vlm, "qwen3-vl-2b"):
        one = captioner(small_config, model, resources__vllm__max_num_seqs=5, resources__vllm__kv_cache_gib=3)
        settings = one.engine_settings()
        assert settings["dtype"] == "float32" and settings["max_num_seqs"] == 5 and one.num_gpus == 0
        assert "tensor_parallel_size" not in settings
        assert one.variables()["VLLM_CPU_KVCACHE_SPACE"] == "3"
        assert one.variables()["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    on_gpu = captioner(small_config, tiny_vlm, "cuda")
    assert on_gpu.num_gpus == 1 and not on_gpu.variables().keys() & {"VLLM_CPU_KVCACHE_SPACE"}


def test_a_folder_of_ours_says_how_people_are_shown(small_config, copy):
    assert captioner(small_config, copy).shown == Shown(False, 448)
    info = CheckpointInfo("captioner", {"drawn": True, "picture_px": 56}, "open-body", "0" * 64)
    (copy / ABOUT).write_text(json.dumps(asdict(info)))
    assert captioner(small_config, copy).shown == Shown(True, 56)
    told = captioner(small_config, copy, captions__drawn=False, captions__max_side_px=224)
    assert told.shown == Shown(False, 224), "unless it is told otherwise"


def test_an_answer_is_constrained_unless_it_is_not_to_be(small_config, tiny_vlm):
    def asks(**over) -> dict:
        return captioner(small_config, tiny_vlm, **over).ask({"jpeg": b"a picture", "row": b""})

    sampling = asks(captions__max_tokens=99)["sampling_params"]
    assert json.loads(sampling["structured_outputs"]["json"]) == SCHEMA
    assert sampling["max_tokens"] == 99 and sampling["temperature"] == 0
    assert "structured_outputs" not in asks(captions__constrained=False)["sampling_params"]


def test_the_engines_grammar_takes_the_starters_answers_token_by_token():
    """With the grammar that vLLM makes of the schema; a constraint that the model's own tokens break would cost it
    what it learned."""
    xgrammar = pytest.importorskip("xgrammar")
    tokenizer, rng = starter_tokenizer(), np.random.default_rng(0)
    known = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    grammar = xgrammar.GrammarCompiler(known).compile_json_schema(json.dumps(SCHEMA))
    facts = [fact for part in PARTS for fact in asked(part)]
    for unseen in ((), ("left_arm",), PARTS):
        answer = answer_of({fact.name: str(rng.choice(fact.scale.names)) for fact in facts}, unseen)
        matcher = xgrammar.GrammarMatcher(grammar)
        for token in [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]:
            assert matcher.accept_token(token), tokenizer.decode([token])
        assert matcher.is_terminated()
    other = answer_of({}).replace('"nod":"unknown"', '"nod":"perhaps"')
    matcher = xgrammar.GrammarMatcher(grammar)
    assert not all(matcher.accept_token(token) for token in tokenizer(other)["input_ids"])


@needs_vllm
def test_a_model_is_named_by_its_content(tiny_vlm, copy, small_config):
    digest = check(small_config, tiny_vlm)["captioner"]
    assert digest.startswith("tiny-qwen2-vl:")
    assert check(small_config, copy)["captioner"].partition(":")[2] == digest.partition(":")[2]
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert check(small_config, copy)["captioner"].partition(":")[2] != digest.partition(":")[2]


@needs_vllm
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
def test_a_real_engine_answers_and_nonsense_is_a_caption_error(tiny_vlm, run_label, picture, tmp_path):
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", 20, number=number, size=(80 + number, 120))
    picture(tmp_path / "in" / "nobody.png", 0)
    (tmp_path / "in" / "broken.jpg").write_bytes(
        b"not a picture: vLLM's preparation would end the job over it"
    )

    rows, _ = run_label(
        tmp_path / "in", tmp_path / "out", captions__engine=f"vllm:{tiny_vlm}", captions__constrained=False,
        captions__max_tokens=16, resources__vllm__max_model_len=1024,
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
def test_constrained_even_random_weights_say_something_of_each_part(tiny_vlm, run_label, picture, tmp_path):
    picture(tmp_path / "in" / "a.png", 20, size=(80, 120))
    # Left its choice, a model that knows nothing answers with spaces without end; and its texts are as long as may be.
    engine = {"structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}}
    [row], _ = run_label(
        tmp_path / "in", tmp_path / "out", captions__engine=f"vllm:{tiny_vlm}", captions__max_tokens=3800,
        resources__vllm__max_model_len=4096, resources__vllm__engine=engine,
    )  # fmt: skip
    assert row["error_code"] is None and row["caption_source"] == "vlm:tiny-qwen2-vl"
    assert set(row["captions"]) == set(PARTS)
    assert (row["caption_error"] or "contradiction").startswith("contradiction")


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
