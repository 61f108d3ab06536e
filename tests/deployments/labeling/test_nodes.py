"""A run over nodes with different resources: stages sit where their config says, and a node that is lost on the way,
and replaced by another, changes no row."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CPU, GPU = {"resources": {"cpu_node": 1}}, {"num_gpus": 1}
TOLD = {
    "resources.people": {"custom": {"cpu_node": 0.01}},
    "resources.recover.num_gpus": 0.25,
    "resources.score.num_gpus": 0.25,
}  # the fakes compute on CPUs; a GPU is a resource to Ray like any other


@pytest.fixture(scope="module")
def chaos():
    path = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
    spec = importlib.util.spec_from_file_location("chaos", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module
    spec.loader.exec_module(module)
    with module.Chaos(1, [CPU, GPU]) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def photos(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(40):
        picture(folder / f"{number:03}.png", 20 * (number % 3), number=number)
    return folder


def test_stages_sit_where_their_config_says_and_a_lost_node_changes_no_row(
    chaos, photos, rows_of, same_rows, tmp_path
):
    plain, placed, notes = (tmp_path / name for name in ("plain", "placed", "notes"))
    notes.mkdir()
    chaos.finish(chaos.start(photos, plain))
    cpu, gpu = chaos.others
    driver = chaos.start(photos, placed, slow_s=0.3, told={"config": TOLD, "notes": str(notes)})
    chaos.wait_for_parts(placed, driver, more_than=1)
    second = chaos.replace(cpu, **CPU)
    chaos.finish(driver)
    where = {
        what: {path.name.split()[1] for path in notes.glob(f"{what} *")} for what in ("detector", "recoverer")
    }
    assert where["detector"] == {cpu.node_id, second.node_id}, "people are found where there is no GPU"
    assert where["recoverer"] == {gpu.node_id}
    record = json.loads((placed / "run.json").read_text())
    assert record["checked"] == {"pictures": 40, "in_two_parts": 0, "labelled_twice": 0, "lost": 0}
    assert record["stages"]["recover"]["accelerator_busy_s"] > 0
    same_rows(rows_of(plain), rows_of(placed))
