"""Several checkpoints in one service: by name, and a candidate on trial, promoted and rolled back while it serves."""

import time
from collections.abc import Iterator

import pytest
from ray import serve

from alignhmr.deployments.serving import promote
from alignhmr.deployments.serving.build import assemble
from alignhmr.deployments.serving.canary import ComparisonStore
from alignhmr.deployments.serving.client import Client, RefusedError
from alignhmr.deployments.serving.settings import CanarySettings, Pool, ServeSettings

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("trial"))


@pytest.fixture(scope="module")
def client(service, fake, trial) -> Iterator[Client]:
    pool = Pool(cpus_per_replica=0)
    settings = ServeSettings(
        perception=pool, recovery=pool, checkpoints={"new": "starter", "old": "starter"},
        canary=CanarySettings(checkpoint="new", share=0.5, location=trial),
    )  # fmt: skip
    application = assemble(fake.FakeRecoverer, settings, further=fake.FakeRecoverer)
    serve.run(application, name="many", route_prefix="/many")
    yield Client(service.url + "/many", retries=5)
    serve.delete("many")


def bases(client: Client, pictures: list[bytes]) -> list[str]:
    """Who answered each."""
    return [client.recover(data).models["base"].removeprefix("fake:") for data in pictures]


@pytest.fixture(scope="module")
def pictures(picture) -> list[bytes]:
    return [picture(people=1, size=(64 + index, 48)) for index in range(24)]


def test_who_is_named_answers(client, picture):
    assert client.models().checkpoints == ["new", "old"]
    two = picture(people=2)
    for name in ("new", "old", "new"):
        answer = client.recover(two, checkpoint=name, seed=3)
        assert answer.models["base"] == f"fake:{name}"
        assert len(answer.pictures[0].people) == 2
    with pytest.raises(RefusedError, match="choose from new, old") as caught:
        client.recover(two, checkpoint="newest")
    assert (caught.value.status, caught.value.code) == (422, "invalid_options")


def test_a_candidate_has_its_share_is_compared_promoted_and_rolled_back(client, pictures, trial, capsys):
    first = bases(client, pictures)
    assert set(first) == {"1", "new"} and 4 <= first.count("new") <= 20
    assert bases(client, pictures) == first, "a picture is always the same one's"
    store, give_up = ComparisonStore(trial), time.monotonic() + 30
    while len(store.rows("new")) < 2 * first.count("new"):
        assert time.monotonic() < give_up, store.rows("new")
        time.sleep(0.2)
    rows = store.rows("new")
    assert {(row.candidate, row.incumbent) for row in rows} == {("fake:new", "fake:1")}
    # A fake's errors depend on the picture alone.
    assert all(row.candidate_mm == row.incumbent_mm for row in rows)

    promote.run(trial, "new", rollback=False, force=False, at_least=5)
    assert f"{len(rows)} people" in capsys.readouterr().out
    _until(lambda: set(bases(client, pictures[:6])) == {"new"})
    promote.run(trial, "new", rollback=True, force=False)
    _until(lambda: set(bases(client, pictures)) == {"1"})
    assert client.recover(pictures[0], checkpoint="new").models["base"] == "fake:new", (
        "by name it still answers"
    )


def _until(holds) -> None:
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.2)
