"""What stages ask Ray for: shares of GPUs, memory, custom resources, and engines with several GPUs."""

import importlib.util
from types import SimpleNamespace

import pytest

from alignhmr.core.errors import InputError, SetupError
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.labeling import placing
from alignhmr.deployments.labeling.captioning import make_captioner
from alignhmr.deployments.labeling.config import load_config
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.pipeline import _pool
from alignhmr.deployments.labeling.vllm_captioning import VllmCaptioner

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
MODELS = Models("starter", "starter", "open", "blazepose", "cuda")


def config(**over):
    return load_config("cluster", None, {name.replace("__", "."): value for name, value in over.items()})


def test_only_stages_with_a_use_for_a_gpu_hold_a_share_of_one():
    use = config().resources
    shares = {
        name: placing.gpus_of(MODELS, name, getattr(use, name)) for name in ("people", "recover", "score")
    }
    assert shares == {"people": 0.0, "recover": 0.25, "score": 0.25}
    half = config(resources__recover__num_gpus=0.5, resources__people__num_gpus=0.1).resources
    assert placing.gpus_of(MODELS, "recover", half.recover) == 0.5
    assert placing.gpus_of(MODELS, "people", half.people) == 0.1


def test_memory_and_custom_resources_reach_ray_data():
    stage = config(resources__people={"memory_gib": 2, "custom": {"cpu_node": 0.01}}).resources.people
    asked = _pool(stage, 0.0, 64)
    assert (asked["memory"], asked["resources"]) == (2 * 2**30, {"cpu_node": 0.01})
    assert {"memory", "resources"}.isdisjoint(_pool(config().resources.score, 0.0, 64))


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"resources__people__memory_gib": 1000}, "GiB of memory together"),
        ({"resources__people__custom": {"cpu_node": 1}}, "4 cpu_node slots together, Ray has 0"),
        ({"resources__recover__num_gpus": 3}, "GPU slots together"),
    ],
)
def test_what_can_never_be_placed_is_refused_here_and_awaited_on_a_cluster(monkeypatch, caplog, over, said):
    monkeypatch.setattr(
        placing.ray, "cluster_resources", lambda: {"CPU": 99.0, "GPU": 2.0, "memory": 64.0 * 2**30}
    )
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = config(**over)
    with pytest.raises(SetupError, match=said):
        placing.check_resources(settings, make_captioner(settings, "cuda"), MODELS)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    placing.check_resources(settings, make_captioner(settings, "cuda"), MODELS)
    assert "waiting for the cluster to grow" in caplog.text


def test_what_is_there_is_accepted(monkeypatch):
    have = {"CPU": 99.0, "GPU": 1.0, "memory": 64.0 * 2**30, "cpu_node": 2.0}
    monkeypatch.setattr(placing.ray, "cluster_resources", lambda: have)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = config(resources__people={"memory_gib": 2, "custom": {"cpu_node": 0.01}})
    placing.check_resources(settings, make_captioner(settings, "cuda"), MODELS)


def captioner(device="cuda", **over) -> VllmCaptioner:
    settings = config(captions__engine="vllm:/models/x", **over)
    made = make_captioner(settings, device)
    assert isinstance(made, VllmCaptioner)
    return made


@pytest.mark.parametrize(
    ("over", "each", "held"),
    [
        ({}, 1.0, 1.0),
        ({"resources__caption__num_gpus": 0.5}, 0.5, 0.5),
        ({"resources__caption": {"num_gpus": 0.25, "workers": 4}}, 0.25, 1.0),
        ({"resources__vllm__engine": {"tensor_parallel_size": 4}}, 4.0, 4.0),
        ({"resources__vllm__engine": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}}, 4.0, 4.0),
    ],
)
def test_an_engine_holds_the_gpus_that_its_config_says(over, each, held):
    made = captioner(**over)
    assert (made.gpus_each, made.num_gpus) == (each, held)


@pytest.mark.parametrize(
    "over",
    [
        {"resources__caption__num_gpus": 2.0},
        {"resources__caption__num_gpus": 0.5, "resources__vllm__engine": {"tensor_parallel_size": 2}},
    ],
)
def test_gpus_that_an_engine_can_not_share_are_refused(over):
    with pytest.raises(InputError, match="leave it out"):
        captioner(**over)


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize(
    ("over", "device", "wanted"),
    [
        ({}, "cuda", {"num_cpus": 1.0, "num_gpus": 1.0}),
        ({"resources__caption__num_gpus": 0.5}, "cuda", {"num_cpus": 1.0, "num_gpus": 0.5}),
        ({"resources__caption__num_cpus": 3.0}, "cpu", {"num_cpus": 3.0}),
        (
            {"resources__caption__custom": {"vlm": 1.0}},
            "cuda",
            {"num_cpus": 1.0, "num_gpus": 1.0, "resources": {"vlm": 1.0}},
        ),
    ],
)
def test_ray_places_a_lone_engine_where_its_config_says(over, device, wanted):
    assert _placed(captioner(device, **over)) == wanted


@needs_vllm
@pytest.mark.slow
def test_ray_places_an_engine_of_several_gpus_as_a_group():
    placed = _placed(captioner(resources__vllm__engine={"tensor_parallel_size": 2}))
    ranks, _, group = placed["ray_remote_args_fn"].args
    assert placed["num_gpus"] == 0 and ranks == 2
    assert [(bundle["CPU"], bundle["GPU"]) for bundle in group["bundles"]] == [(1.0, 1.0)] * 2


def _placed(made: VllmCaptioner) -> dict:
    """What Ray's own stage makes of our config."""
    torchvision_shim.install()
    from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStage

    settings = made._engine_config()
    stage = vLLMEngineStage(
        fn_constructor_kwargs={
            "engine_kwargs": settings.engine_kwargs,
            "placement_group_config": settings.placement_group_config,
        },
        map_batches_kwargs={},
    )
    return {name: value for name, value in stage.map_batches_kwargs.items() if name != "accelerator_type"}


def test_a_gpu_of_the_clusters_need_not_be_here(monkeypatch):
    import torch

    from alignhmr.core.errors import AcceleratorError
    from alignhmr.deployments import runtime
    from alignhmr.deployments.labeling.command import _here

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(AcceleratorError):
        runtime.resolve_device("cuda")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert runtime.resolve_device("cuda") == "cuda" and runtime.resolve_device("auto") == "cpu"
    assert _here(MODELS).device == "cpu" and _here(SimpleNamespace(device="cuda")).device == "cuda"
