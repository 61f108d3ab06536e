"""Spans of a labelling run that was asked for them, in a Ray of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("fault_driver.py")


def test_nothing_is_written_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from alignhmr.deployments import tracing

    monkeypatch.delenv(tracing.ASKED, raising=False)
    tracing.start()


@pytest.mark.ray
@pytest.mark.slow
def test_a_traced_run_labels_all_and_leaves_spans_of_its_stages(picture, tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "photos" / f"{number}.png", 20, number=number)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"ALIGNHMR_TRACES": str(tmp_path / "spans"), "ALIGNHMR_RUN": "r1"}
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path / "photos"), str(tmp_path / "out")],
        capture_output=True, text=True, env=environment, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["checked"]["lost"] == 0 and record["counts"]["people_labelled"] == 6
    spans = [
        json.loads(line)
        for path in (tmp_path / "spans").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert any("Ledger.claim" in span["name"] for span in spans)
    assert {span["resource"]["attributes"]["service.name"] for span in spans} == {"alignhmr"}
    assert {span["resource"]["attributes"]["alignhmr.run"] for span in spans} == {"r1"}
