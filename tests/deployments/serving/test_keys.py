"""Keys: kept as hashes, known by them, taken back while a service runs, and no more than was granted."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments import cli
from alignhmr.deployments.serving import admission, keys
from alignhmr.deployments.serving.admission import Admission, Allowance
from alignhmr.deployments.serving.keys import KeyRecord, add_key, holder, read_keys, remove_key

NOON = datetime(2026, 5, 6, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path) -> str:
    return str(tmp_path / "keys.json")


def asking(**headers: str) -> Any:
    """A request with those headers."""
    return SimpleNamespace(headers={name.replace("_", "-"): value for name, value in headers.items()})


def record(**values) -> KeyRecord:
    return KeyRecord(name="ann", sha256="0" * 64, **values)


def test_a_key_is_known_by_its_hash_and_stands_nowhere(file):
    ann, bob = add_key(file, "ann"), add_key(file, "bob", rate_per_s=2, pictures_per_day=50)
    text = Path(file).read_text()
    assert ann not in text and bob not in text
    assert ann.startswith("ahk_") and len(ann) > 40 and ann != bob
    known = read_keys(file)
    assert [key.name for key in known] == ["ann", "bob"]
    assert (known[1].rate_per_s, known[1].pictures_per_day) == (2, 50)
    found = holder(bob, known)
    assert found is not None and found.name == "bob"
    for other in ("", "ahk_", bob[:-1], bob + "x", bob.upper(), known[1].sha256, "schlüssel"):
        assert holder(other, known) is None


def test_a_key_is_compared_with_all_in_constant_time(file, monkeypatch):
    first = add_key(file, "ann")
    add_key(file, "bob")
    compared = []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b))
    holder(first, read_keys(file))
    assert len(compared) == 2, "finding the first one must not be quicker"


def test_a_key_is_taken_back(file):
    key = add_key(file, "ann")
    remove_key(file, "ann")
    assert holder(key, read_keys(file)) is None
    with pytest.raises(InputError, match="no key named 'ann'"):
        remove_key(file, "ann")


def test_keys_lie_on_s3(s3):
    s3.create_bucket(Bucket="ops")
    key = add_key("s3://ops/keys.json", "ann")
    found = holder(key, read_keys("s3://ops/keys.json"))
    assert found is not None and found.name == "ann"


def test_a_key_file_that_is_none_is_refused_by_name(file):
    with pytest.raises(InputError, match="alignhmr keys add"):
        read_keys(file)
    for text in ("", "{}", '{"keys": [{"name": "a"}]}', '{"keys": [], "more": 1}', '{"keys": 5}'):
        Path(file).write_text(text)
        with pytest.raises(InputError, match="key file"):
            read_keys(file)
    add = {"name": "a", "sha256": "0" * 64}
    Path(file).write_text(json.dumps({"keys": [add, add]}))
    with pytest.raises(InputError, match="twice"):
        read_keys(file)


def test_a_wrong_wish_makes_no_key(file):
    add_key(file, "ann")
    with pytest.raises(InputError, match="named 'ann'"):
        add_key(file, "ann")
    with pytest.raises(InputError, match="name"):
        add_key(file, "a b")
    with pytest.raises(InputError, match="rate_per_s"):
        add_key(file, "bob", rate_per_s=0)
    assert [key.name for key in read_keys(file)] == ["ann"]


def test_a_rate_lets_through_what_it_says_and_tells_when_to_come_back():
    allowance = Allowance(record(rate_per_s=4.0))
    for _ in range(4):
        allowance.ask(100.0)
    with pytest.raises(ServiceError) as caught:
        allowance.ask(100.0)
    assert (caught.value.code, caught.value.retry_after_s) == ("rate_limited", 0.25)
    allowance.ask(100.25)
    with pytest.raises(ServiceError):
        allowance.ask(100.3)
    asked = sum(_granted(allowance, 200 + i / 100) for i in range(1000))
    assert 40 <= asked <= 44, "4 a second for 10 s, and a second's worth saved up"


def _granted(allowance: Allowance, now_s: float) -> bool:
    try:
        allowance.ask(now_s)
    except ServiceError:
        return False
    return True


def test_a_quota_counts_pictures_of_a_day():
    allowance = Allowance(record(pictures_per_day=10))
    allowance.charge(6, NOON)
    with pytest.raises(ServiceError) as caught:
        allowance.charge(5, NOON)
    assert (caught.value.code, caught.value.retry_after_s) == ("quota_exceeded", 12 * 3600)
    allowance.charge(4, NOON)
    allowance.charge(10, NOON.replace(day=7))


def test_replicas_share_what_a_key_has():
    several = [Allowance(record(rate_per_s=10.0, pictures_per_day=30), shares=3) for _ in range(3)]
    for each in several:
        each.charge(10, NOON)
        with pytest.raises(ServiceError):
            each.charge(1, NOON)
    assert sum(_granted(each, 5.0) for each in several for _ in range(10)) <= 10


def test_who_has_no_key_is_refused_before_anything_is_read(file):
    key = add_key(file, "ann")
    door = Admission(file)
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer {key}"},
        {"x_api_key": key},
    ):
        admitted = door.admit(asking(**headers))
        assert admitted is not None and admitted.key.name == "ann"
    for headers in ({}, {"authorization": key}, {"authorization": "Bearer nonsense"}, {"x_api_key": ""}):
        with pytest.raises(InputError) as caught:
            door.admit(asking(**headers))
        assert caught.value.code == "unauthorized"
    assert Admission(None).admit(asking()) is None, "without a file the service is open"
    with pytest.raises(InputError, match="can't be read"):
        Admission(file + ".none")


def test_a_service_notices_changed_keys_and_goes_on_counting(file, monkeypatch):
    monkeypatch.setattr(admission, "REFRESH_S", 0.0)
    bob = add_key(file, "bob", rate_per_s=1)
    door = Admission(file)

    async def ask(key: str) -> str:
        try:
            door.admit(asking(x_api_key=key))
        except (InputError, ServiceError) as error:
            return error.code
        finally:
            if door._refreshing is not None:
                await door._refreshing
        return "admitted"

    async def story() -> None:
        assert await ask(bob) == "admitted"
        ann = add_key(file, "ann")
        assert await ask(ann) == "unauthorized", "the file is looked at meanwhile"
        assert await ask(ann) == "admitted"
        assert await ask(bob) == "rate_limited", "his second isn't over"
        remove_key(file, "ann")
        await ask(ann)
        assert await ask(ann) == "unauthorized"
        Path(file).write_text("broken")
        await ask(bob)
        assert await ask(bob) == "rate_limited", "still known"

    asyncio.run(story())


def test_the_command_makes_lists_and_removes_keys(file):
    runner = CliRunner()
    made = runner.invoke(cli.app, ["keys", "add", file, "ann", "--rate", "5", "--quota", "1000"])
    assert made.exit_code == 0
    found = holder(made.stdout.strip(), read_keys(file))
    assert found is not None and found.name == "ann"
    assert runner.invoke(cli.app, ["keys", "list", file]).stdout == "ann\t5 requests/s\t1000 pictures/day\n"
    assert runner.invoke(cli.app, ["keys", "remove", file, "ann"]).exit_code == 0
    assert runner.invoke(cli.app, ["keys", "list", file]).stdout == ""
