"""The dashboard and its metrics: each name in it is one that Ray exports, seen at a node's own endpoint."""

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from alignhmr.deployments.metrics import METRICS

FOLDER = Path(__file__).parents[2] / "deployments" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "alignhmr.json").read_text())
PATIENCE_S = 90


def names() -> set[str]:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    expressions += [
        one["query"]["query"] for one in DASHBOARD["templating"]["list"] if isinstance(one["query"], dict)
    ]
    return {name for text in expressions for name in re.findall(r"ray_[a-z0-9_]+", text)}


def test_our_names_in_the_dashboard_are_defined_and_each_that_is_defined_is_shown() -> None:
    ours = {name for name in names() if name.startswith("ray_alignhmr")}
    assert ours == {metric.exported(name) for name, metric in METRICS.items()}


def test_rays_own_names_in_the_dashboard_are_in_ray() -> None:
    import ray

    root = Path(ray.__file__).parent
    panels = (root / "dashboard/modules/metrics/dashboards/default_dashboard_panels.py").read_text()
    serve = "".join(path.read_text() for path in (root / "serve" / "_private").glob("*.py"))
    for name in names():
        if name.startswith("ray_serve_"):
            plain = re.sub(r"_(total|bucket)$", "", name.removeprefix("ray_"))
            assert f'"{plain}"' in serve, name
        elif not name.startswith("ray_alignhmr"):
            assert name in panels, name


def test_panels_can_be_told_apart_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


def test_what_is_provisioned_is_there() -> None:
    for path in FOLDER.rglob("*.y*ml"):
        assert yaml.safe_load(path.read_text()), path
    [provider] = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/alignhmr.yaml").read_text())[
        "providers"
    ]
    assert (
        provider["type"] == "file" and (FOLDER / "grafana" / Path(provider["options"]["path"]).name).is_dir()
    )


def exported(port: int, wanted: set[str]) -> str:
    """What the node tells Prometheus, once all of these are there; Ray reports every few seconds."""
    until, text = time.monotonic() + PATIENCE_S, ""
    while time.monotonic() < until and not all(re.search(rf"^{name}{{", text, re.M) for name in wanted):
        time.sleep(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
    return text


@pytest.mark.slow
def test_every_metric_of_ours_is_exported(ray_session, tmp_path: Path, monkeypatch) -> None:
    import ray

    from alignhmr.deployments import logs, metrics
    from alignhmr.deployments.training_watch import Gauges

    monkeypatch.setenv(logs.RUN, "run-of-the-test")
    metrics.count_stage(
        {"searched": 3, "people": 4, "recovered": 2, "pairs": 1, "error.no_person": 1, "seconds.people": 0.5,
         "computed.people": 0.25, "read": 3}
    )  # fmt: skip
    metrics.count("alignhmr_label_parts")
    metrics.show("alignhmr_label_todo", 9)
    gauges = Gauges("base-x")
    gauges.started(0, 10)
    gauges.learned(5, {"loss": 0.5})
    gauges.judged(5, {"mpjpe": 80.0}, {})
    port = next(node["MetricsExportPort"] for node in ray.nodes() if node["Alive"])
    wanted = {metric.exported(name) for name, metric in METRICS.items()}
    text = exported(port, wanted)
    for name in wanted:
        assert re.search(rf"^{name}{{", text, re.M), f"{name} isn't exported"
    [pictures] = re.findall(
        r"^ray_alignhmr_label_pictures_total\{[^}]*run-of-the-test[^}]*\} (\S+)", text, re.M
    )
    assert float(pictures) == 3
    assert re.search(r'^ray_alignhmr_label_errors_total\{[^}]*code="no_person"', text, re.M)
    for name in names():
        if name.startswith("ray_node_") and "gpu" not in name and "unexpected" not in name:
            assert re.search(rf"^{name}{{", text, re.M), f"{name} isn't exported by this node"
