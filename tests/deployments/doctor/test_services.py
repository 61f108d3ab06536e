"""An S3 on loopback that works, refuses or is elsewhere in time; a task on a real Ray."""

import time
from types import SimpleNamespace

import pytest

from alignhmr.core.errors import InputError
from alignhmr.deployments.doctor import services


def test_a_bucket_that_works_is_listed_read_written_and_left_as_it_was(s3) -> None:
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="in/a.jpg", Body=b"x" * 10)
    found = list(services.s3("s3://photos/in"))
    assert [one.state for one in found] == ["ok"] * 4
    assert "can be read (10 bytes" in found[1].said and found[-1].name == "clock"
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="photos")["Contents"]] == ["in/a.jpg"]


def test_an_empty_prefix_is_fine_for_an_out(s3) -> None:
    s3.create_bucket(Bucket="photos")
    found = list(services.s3("s3://photos/out"))
    assert [one.state for one in found] == ["ok"] * 3 and "is empty" in found[0].said


def test_a_bucket_that_is_not_there_fails(s3) -> None:
    [found] = services.s3("s3://nowhere-at-all/x")
    assert found.state == "fail" and "nowhere-at-all" in found.said and found.mend


def test_a_server_that_is_not_there_fails(s3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("alignhmr.deployments.storage.ATTEMPTS", 1)
    [found] = services.s3("s3://photos")
    assert found.state == "fail" and "can't be listed" in found.said


def test_a_source_that_can_only_be_read_is_warned_of(s3, monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly:
        def open_output_stream(self, path: str):
            raise OSError("AWS Error ACCESS_DENIED during PutObject operation")

    s3.create_bucket(Bucket="photos")
    monkeypatch.setattr(services, "open_location", lambda location: (ReadOnly(), "photos"))
    found = list(services.s3("s3://photos"))
    assert [one.state for one in found] == ["ok", "warn", "ok"] and "s3:PutObject" in found[1].mend


@pytest.mark.parametrize(("off_s", "state"), [(0, "ok"), (120, "warn"), (-3600, "fail")])
def test_a_clock_that_is_off_is_seen_from_the_server(s3, monkeypatch, off_s: float, state: str) -> None:
    s3.create_bucket(Bucket="photos")
    monkeypatch.setattr(services, "time", SimpleNamespace(time=lambda: time.time() + off_s))
    assert list(services.s3("s3://photos"))[-1].state == state


def test_another_kind_of_location_is_refused() -> None:
    with pytest.raises(InputError, match="write s3://BUCKET/PREFIX"):
        list(services.s3("/photos"))


def test_a_task_runs_on_the_ray_that_is_there_and_leaves_it_running(ray_session) -> None:
    import ray

    found = services.ray_works()
    assert found.state == "ok" and "already running: 1 nodes" in found.said
    assert ray.is_initialized()


def test_a_ray_that_does_not_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from alignhmr.core.errors import SetupError
    from alignhmr.deployments import runtime

    def refuse(**_: object) -> None:
        raise SetupError("no Ray cluster answers at RAY_ADDRESS=x; correct the address")

    monkeypatch.setattr(runtime, "start_ray", refuse)
    found = services.ray_works()
    assert (found.state, found.mend) == ("fail", "correct the address")
