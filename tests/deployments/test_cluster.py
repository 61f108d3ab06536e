"""``cluster.yaml`` against Ray's own schema, without an account or a network."""

import copy
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
FILE = Path(__file__).parents[2] / "cluster.yaml"


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
    assert set(prepared["available_node_types"]) == {"head", "cpu", "gpu"}


def test_a_misspelt_key_would_not_pass(config: dict) -> None:
    wrong = copy.deepcopy(config)
    wrong["available_node_types"]["cpu"]["max_wrokers"] = 3
    with pytest.raises(Exception, match="max_wrokers"):
        _validated(wrong)


def test_idle_workers_cost_nothing(config: dict) -> None:
    workers = {name: node for name, node in config["available_node_types"].items() if name != "head"}
    assert all(node["min_workers"] == 0 for node in workers.values())
    assert sum(node["max_workers"] for node in workers.values()) <= config["max_workers"]


def test_what_is_mounted_exists_or_is_built(config: dict) -> None:
    for source in config["file_mounts"].values():
        assert (FILE.parent / source).exists() or source == "./dist", source
