"""``cluster.yaml`` against Ray's own schema and scheduler, without an account or a network."""

import copy
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from alignhmr.deployments.labeling import placing
from alignhmr.deployments.labeling.captioning import make_captioner
from alignhmr.deployments.labeling.config import LabelConfig, load_config
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.presets import preset_names

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
FILE = Path(__file__).parents[2] / "cluster.yaml"
VERSION = tomllib.loads((FILE.parent / "pyproject.toml").read_text())["project"]["version"]
NOT_IN_THE_REPOSITORY = {"./dist": "make wheel", "./models": "mkdir -p models"}


@pytest.fixture(scope="module")
def config() -> dict:
    return yaml.safe_load(FILE.read_text())


def _validated(config: dict) -> dict:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))  # fills the defaults in; raw validation would miss them
    validate_config(prepared)
    return prepared


def test_ray_accepts_it(config: dict) -> None:
    prepared = _validated(config)
    assert set(prepared["available_node_types"]) == {
        "head", "cpu-spot", "cpu-on-demand", "gpu-spot", "gpu-on-demand",
    }  # fmt: skip


def test_a_misspelt_key_would_not_pass(config: dict) -> None:
    wrong = copy.deepcopy(config)
    wrong["available_node_types"]["cpu-spot"]["max_wrokers"] = 3
    with pytest.raises(Exception, match="max_wrokers"):
        _validated(wrong)


def test_idle_workers_cost_nothing(config: dict) -> None:
    workers = {name: node for name, node in config["available_node_types"].items() if name != "head"}
    assert all(node["min_workers"] == 0 for node in workers.values())
    assert sum(node["max_workers"] for node in workers.values()) <= config["max_workers"]
    assert 0 < config["idle_timeout_minutes"] <= 15


def test_what_is_mounted_exists_or_the_file_says_how_to_make_it(config: dict) -> None:
    for source in config["file_mounts"].values():
        if source in NOT_IN_THE_REPOSITORY:
            assert NOT_IN_THE_REPOSITORY[source] in FILE.read_text()
        else:
            assert (FILE.parent / source).exists(), source


def test_the_wheel_is_this_versions(config: dict) -> None:
    assert re.findall(r"alignhmr-([\w.]+)-py3", " ".join(config["setup_commands"])) == [VERSION]
    assert "constraints.txt" in " ".join(config["setup_commands"])


def test_machines_have_roles_and_no_keys(config: dict) -> None:
    for name, node in config["available_node_types"].items():
        wanted = "alignhmr-head" if name == "head" else "alignhmr-worker"
        assert node["node_config"]["IamInstanceProfile"] == {"Name": wanted}
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
        [disk] = node["node_config"]["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"] is True
    text = FILE.read_text()
    assert not re.search(r"AKIA|aws_access_key|aws_secret|\.aws\b|\.pem\b", text, re.I)


def test_the_dashboard_and_the_job_api_listen_on_loopback_and_only_ssh_comes_in(config: dict) -> None:
    [start] = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in start
    for rule in config["provider"]["security_group"]["IpPermissions"]:
        assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
        assert all(not one["CidrIp"].endswith("/0") for one in rule["IpRanges"])


def _launched(config: dict, wanted: dict[str, float], failed: dict[str, float]) -> dict[str, int]:
    """What the autoscaler that ``ray up`` starts would launch for one worker like this; ``failed`` are node types that
    weren't to be had, with how far they have recovered."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.autoscaler_pb2 import NodeState, NodeStatus  # pyright: ignore[reportAttributeAccessIssue]
    from ray.core.generated.instance_manager_pb2 import Instance  # pyright: ignore[reportAttributeAccessIssue]

    kinds = AutoscalingConfig(_validated(config), skip_content_hash=True).get_node_type_configs()
    assert kinds is not None
    from ray.autoscaler.v2.schema import AutoscalerInstance

    head = AutoscalerInstance(
        im_instance=Instance(instance_type="head", status=Instance.RAY_RUNNING, instance_id="1", node_id="h"),
        ray_node=NodeState(
            ray_node_type_name="head", available_resources={}, total_resources={}, node_id=b"h",
            status=NodeStatus.RUNNING, dynamic_labels={},
        ),
        cloud_instance_id="c-1",
    )  # fmt: skip
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=kinds,
            max_num_nodes=config["max_workers"],
            resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(wanted)]),
            current_instances=[head],
            recoverable_resource_availabilities=failed,
        )
    )
    return {request.instance_type: request.count for request in reply.to_launch}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_spot_comes_first_and_on_demand_where_there_is_none(config: dict, kind: str) -> None:
    wanted = {"CPU": 16.0} | ({"GPU": 1.0} if kind == "gpu" else {})
    assert _launched(config, wanted, {}) == {f"{kind}-spot": 1}
    assert _launched(config, wanted, {f"{kind}-spot": 0.0}) == {f"{kind}-on-demand": 1}
    assert _launched(config, wanted, {f"{kind}-spot": 1.0}) == {f"{kind}-spot": 1}


def test_work_for_cpus_starts_no_machine_with_a_gpu(config: dict) -> None:
    assert _launched(config, {"CPU": 1.0}, {}) == {"cpu-spot": 1}
    assert _launched(config, {"CPU": 1.0, "cpu_node": 0.01}, {"cpu-spot": 0.0}) == {"cpu-on-demand": 1}


def _fits(config: dict, wanted: dict[str, float]) -> bool:
    return any(
        all(node["resources"].get(name, 0) >= amount for name, amount in wanted.items())
        for node in config["available_node_types"].values()
    )


def _asked(settings: LabelConfig, device: str) -> dict[str, dict[str, float]]:
    """What one worker of each stage asks of a node."""
    models = Models("starter", "starter", "open", settings.detector, device)
    captioner = make_captioner(settings, device)
    use, found = settings.resources, {}
    for name, (cpus, gpus) in placing.a_worker(settings, captioner, models).items():
        found[name] = {"CPU": cpus, "GPU": gpus}
        stage = getattr(use, name, None)
        if stage is not None:
            beside = placing.asked(stage)
            found[name] |= {"memory": beside.get("memory", 0)} | beside.get("resources", {})
    engines = use.caption.workers  # of the captioner all together are told
    found["caption"] = {name: amount / engines for name, amount in found["caption"].items()}
    return found


@pytest.mark.parametrize("preset", preset_names("alignhmr.deployments.labeling"))
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("engine", ["pose", "vllm:/models/some"])
def test_each_worker_of_each_labelling_preset_fits_on_some_machine(
    config: dict, preset: str, device: str, engine: str
) -> None:
    asked = _asked(load_config(preset, None, {"captions.engine": engine}), device)
    assert len(asked) == 6
    for stage, wanted in asked.items():
        assert _fits(config, wanted), f"{stage} of {preset} asks for {wanted}"
    if device == "cuda" and engine != "pose":
        assert asked["caption"]["GPU"] == 1


def test_a_worker_that_no_machine_can_hold_would_be_found(config: dict) -> None:
    over = {"resources.people.custom": {"tpu": 1.0}}
    assert not _fits(config, _asked(load_config("cluster", None, over), "cpu")["people"])
    over = {"resources.people.custom": {"cpu_node": 0.01}, "resources.people.memory_gib": 4}
    assert _fits(config, _asked(load_config("cluster", None, over), "cpu")["people"])


def test_workers_of_training_and_replicas_fit_too(config: dict) -> None:
    from alignhmr.training.run import worker_resources

    for device in ("cpu", "cuda"):
        assert _fits(config, worker_resources(device))
    assert worker_resources("cuda")["GPU"] == 1


def test_training_waits_for_a_cluster_that_grows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from alignhmr.core.errors import SetupError
    from alignhmr.training import run

    monkeypatch.setattr(run.ray, "cluster_resources", lambda: {"CPU": 0.0})
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SetupError, match="Ray has 0 CPUs"):
        run.check_room(2, "cpu", {"pairs": 4})
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    run.check_room(2, "cuda", {"pairs": 4})
    assert "waiting for the cluster to grow" in caplog.text
