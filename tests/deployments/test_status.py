"""How far jobs are, from what they leave behind: live, ended, failed, and gone without a word."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from alignhmr.core.errors import InputError
from alignhmr.deployments import status
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.training_watch import Notebook

RECORD = {"status": "running", "attempt": 2, "pictures": {"count": 1000, "todo": 600}}


def labelled(folder: Path, record: dict | None = None, beat: dict | None = None) -> Output:
    output = Output.at(str(folder)).of(2)
    output.make_folders()
    output.write_record(RECORD | (record or {}))
    if beat is not None:
        output.beat(beat)
    return output


def test_a_live_run_tells_pace_and_what_is_left(tmp_path: Path) -> None:
    labelled(tmp_path, beat={"seconds": 100.0, "images": 200})
    [one] = status.statuses(str(tmp_path))
    assert (one.job, one.state, one.done, one.total) == ("label (attempt 2)", "running", 600, 1000)
    assert one.per_s == pytest.approx(2) and one.left_s == pytest.approx(200)


def test_a_run_whose_process_is_gone_says_so(tmp_path: Path) -> None:
    output = labelled(tmp_path)
    assert status.statuses(str(tmp_path))[0].state == "gone", "it never gave a sign of life"
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    import psutil

    born = psutil.Process(child.pid).create_time()
    output.beat({"seconds": 5.0, "images": 10, "pid": child.pid, "born": born})
    assert status.statuses(str(tmp_path))[0].state == "running"
    child.kill()
    child.wait()
    [one] = status.statuses(str(tmp_path))
    assert one.state == "gone" and one.left_s is None and one.done == 410


@pytest.mark.parametrize(("seconds_ago", "state"), [(10, "running"), (300, "gone")])
def test_of_another_machine_the_last_sign_counts(tmp_path: Path, seconds_ago: int, state: str) -> None:
    then = time.time() - seconds_ago
    labelled(tmp_path, beat={"host": "elsewhere", "time": then, "seconds": 5.0, "images": 10})
    assert status.statuses(str(tmp_path))[0].state == state


def test_an_ended_run_tells_its_end(tmp_path: Path) -> None:
    counts = {"images": 1000, "people_labelled": 7, "pairs": 3, "errors": {"no_person": 5, "empty": 1}}
    labelled(tmp_path / "a", {"status": "finished", "counts": counts, "images_per_s": 4.0})
    labelled(
        tmp_path / "b", {"status": "failed", "error": "there is no room left"}, {"images": 5, "seconds": 1.0}
    )
    [finished], [failed] = (status.statuses(str(tmp_path / name)) for name in "ab")
    assert (finished.state, finished.done, finished.said) == (
        "finished",
        1000,
        "7 people, 3 pairs, 6 error rows",
    )
    assert (failed.state, failed.said, failed.left_s) == ("failed", "there is no room left", None)


def test_a_run_in_a_bucket_is_told_too(s3) -> None:
    s3.create_bucket(Bucket="rows")
    output = Output.at("s3://rows/out").of(2)
    output.write_record(RECORD)
    output.beat({"seconds": 10.0, "images": 20})
    assert status.statuses("s3://rows/out")[0].per_s == pytest.approx(2)


def test_a_training_keeps_its_notebook(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path, "base-starter")
    notebook.started(10, 100)
    path = tmp_path / "base-starter.progress.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"step": 30, "time": told["began"] + 10, "values": {"loss": 0.25}}))
    [one] = status.statuses(str(tmp_path))
    assert (one.job, one.state, one.done, one.total) == ("train base-starter", "running", 30, 100)
    assert one.per_s == pytest.approx(2) and one.left_s == pytest.approx(35) and "loss 0.25" in one.said
    notebook.judged(40, {"mpjpe": 80.5}, {})
    assert "mpjpe 80.5" in status.statuses(str(tmp_path))[0].said
    notebook.close(finished=True)
    assert status.statuses(str(tmp_path))[0].state == "finished"


def test_a_training_whose_process_is_gone_says_so(tmp_path: Path) -> None:
    Notebook(tmp_path, "base-dpo").started(0, 10)
    path = tmp_path / "base-dpo.progress.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"born": 1.0}))
    assert status.statuses(str(tmp_path))[0].state == "gone"


def test_a_notebook_is_written_whole_and_not_at_every_step(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path, "base-x")
    notebook.started(0, 10)
    before = os.stat(tmp_path / "base-x.progress.json").st_mtime_ns
    notebook.learned(1, {"loss": 1.0})
    assert os.stat(tmp_path / "base-x.progress.json").st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["base-x.progress.json"]


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither a labelling run nor"):
        status.run([str(tmp_path)])


def test_table_and_json_say_the_same(tmp_path: Path) -> None:
    labelled(tmp_path, beat={"seconds": 100.0, "images": 200})
    table, text = io.StringIO(), io.StringIO()
    status.run([str(tmp_path)], console=Console(file=table, width=200))
    status.run([str(tmp_path)], as_json=True, console=Console(file=text, width=200))
    [one] = json.loads(text.getvalue())
    assert one["state"] == "running" and "600 of 1,000" in table.getvalue()
