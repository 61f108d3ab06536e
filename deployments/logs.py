"""Logs as lines of JSON: when, how bad, who, what, and what it is about (run, stage, row, request)."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

ASKED, RUN = "ALIGNHMR_LOG_JSON", "ALIGNHMR_RUN"
"""Environment variables, which travel to Ray's workers: whether logs are JSON, and the run's id."""
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - nobody changes it


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """What is logged inside, in this thread, is about these: ``stage="people", row=...``."""
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


class JsonLines(logging.Formatter):
    """One object a record. What a logger passes as ``extra`` stands beside the rest."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
        }  # fmt: skip
        if run := os.environ.get(RUN):
            told["run"] = run
        told |= _about.get()
        told |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, ensure_ascii=False)


def configure(stream: TextIO | None = None) -> None:
    """Where JSON was asked for, this process logs so, from INFO on; else nothing changes."""
    if not os.environ.get(ASKED):
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def begin_run(run: str) -> None:
    """From now on this process and the workers of a Ray that it starts or joins work for this run."""
    os.environ[RUN] = run
