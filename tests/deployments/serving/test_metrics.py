"""One page of metrics for all replicas: well-formed, complete, and without what isn't the service's."""

import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alignhmr.deployments.serving import metrics
from alignhmr.deployments.serving.client import Client, RefusedError

PAGE = """\
# HELP ray_alignhmr_requests_total Requests.
# TYPE ray_alignhmr_requests_total counter
ray_alignhmr_requests_total{{replica="{replica}"}} {count}
# HELP ray_object_store_memory Not ours.
# TYPE ray_object_store_memory gauge
ray_object_store_memory 5
"""


def test_a_family_of_several_nodes_stands_together_and_the_rest_is_left_out():
    page = metrics.joined([PAGE.format(replica="a", count=2), PAGE.format(replica="b", count=3)])
    assert page.count("# TYPE") == 1
    [family] = text_string_to_metric_families(page)
    assert {sample.labels["replica"]: sample.value for sample in family.samples} == {"a": 2, "b": 3}


def test_a_node_that_does_not_answer_is_left_out():
    assert metrics._fetched("http://127.0.0.1:9/metrics") is None


def test_what_the_metrics_are_called_is_in_the_readme():
    readme = Path(metrics.__file__).with_name("README.md").read_text()
    named = [meter._name for meter in vars(metrics.Meters()).values()]
    assert len(named) == 7
    for name in named:
        assert f"`{name}`" in readme


@pytest.mark.ray
def test_one_scrape_tells_of_requests_queues_batches_and_scores(service, picture):
    client = Client(service.url)
    for _ in range(3):
        client.recover(picture(people=2))
    with pytest.raises(RefusedError):
        client.recover(picture(), hypotheses=0)
    httpx.get(service.url + "/nowhere/1")

    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"ray_alignhmr_{name}" and labels.items() <= sample.labels.items()
        )

    give_up, families = time.monotonic() + 60, []
    while time.monotonic() < give_up:
        answer = httpx.get(service.url + "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(answer.text))
        if total("requests_total", status="200", route="/v1/recover") >= 3 and total("batch_people_count"):
            break
        time.sleep(1)  # Ray's agents collect every ten seconds
    assert total("requests_total", status="200", route="/v1/recover", code="") == 3
    assert total("requests_total", status="422", code="invalid_options") == 1
    assert total("requests_total", status="404", route="unknown", code="not_found") == 1
    for stage in ("read", "wait", "decode", "find", "recover", "draw", "total"):
        assert total("stage_seconds_count", stage=stage) == 3
    assert total("pictures_total", outcome="people") == 3
    assert total("person_score_count") == total("person_expected_error_mm_count") == 6
    assert total("people_total") == 6
    assert 1 <= total("batch_people_count") <= 6
    assert not any(family.name.startswith("ray_object_store") for family in families)


@pytest.mark.ray
def test_a_drawing_says_in_headers_what_json_says_inside(service, picture):
    headers = {"Accept": "image/png"}
    answer = httpx.post(service.url + "/v1/recover", files={"file": picture()}, headers=headers, timeout=60)
    assert "base=fake:1" in answer.headers["x-models"]
    assert answer.headers["x-request-id"]
    spent = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert float(spent["total"]) >= float(spent["recover"]) >= 0
