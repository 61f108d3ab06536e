"""Lines of JSON that say what they are about, in this process and in Ray's workers."""

import io
import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from alignhmr.deployments import logs


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch):
    """What is logged by the logger of this test, as objects."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    logger = logging.getLogger("alignhmr.test")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    logger.setLevel(logging.INFO)
    return logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_what_and_what_it_is_about(lines, monkeypatch) -> None:
    logger, told = lines
    monkeypatch.setenv(logs.RUN, "r1")
    with logs.about(stage="people"):
        with logs.about(row="a.jpg"):
            logger.warning("%d of %s\nfailed", 3, "é", extra={"code": "no_person"})
        logger.info("after")
    logger.info("outside")
    first, second, third = told()
    assert first["message"] == "3 of é\nfailed" and first["level"] == "warning"
    assert first["logger"] == "alignhmr.test" and first["time"].endswith("+00:00")
    ids = ("run", "stage", "row", "code")
    assert [first.get(name) for name in ids] == ["r1", "people", "a.jpg", "no_person"]
    assert [second.get(name) for name in ids] == ["r1", "people", None, None]
    assert [third.get(name) for name in ids] == ["r1", None, None, None]


def test_an_error_brings_its_traceback_in_the_same_line(lines) -> None:
    logger, told = lines
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("it failed")
    [line] = told()
    assert "ValueError: odd" in line["error"]


def test_threads_speak_for_themselves(lines) -> None:
    logger, told = lines

    def other() -> None:
        with logs.about(row="theirs"):
            logger.info("there")

    with logs.about(row="mine"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        logger.info("here")
    assert {line["message"]: line["row"] for line in told()} == {"there": "theirs", "here": "mine"}


def test_nothing_changes_where_nobody_asked(monkeypatch) -> None:
    monkeypatch.delenv(logs.ASKED, raising=False)
    before = list(logging.getLogger().handlers)
    logs.configure()
    assert logging.getLogger().handlers == before


def test_the_command_logs_json_where_it_is_asked_to() -> None:
    code = (
        "import logging, sys\nfrom alignhmr.deployments import assets_command, cli\n"
        "assets_command.run = lambda *_: logging.getLogger('x').info('hello')\n"
        "sys.argv = ['alignhmr', *sys.argv[1:]]\ncli.main()\n"
    )
    for words, variables in ((["--log-json", "assets"], {}), (["assets"], {logs.ASKED: "1"})):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            env={**os.environ, **variables},
        )
        assert json.loads(done.stderr.strip())["message"] == "hello"


def test_the_runs_id_and_the_wish_travel_to_workers(monkeypatch) -> None:
    from alignhmr.deployments import runtime

    monkeypatch.setenv(logs.ASKED, "1")
    logs.begin_run("r7")
    monkeypatch.setenv(logs.RUN, "r7")  # taken back after the test
    variables = runtime.worker_environment()["env_vars"]
    assert (variables[logs.ASKED], variables[logs.RUN]) == ("1", "r7")
