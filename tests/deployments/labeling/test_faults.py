"""A run whose workers, driver and nodes are killed at random times ends with the rows of one that was left alone.

Real processes: a Ray of several nodes on this host, the driver as a process of its own, SIGKILL. More of the same,
counted, is done by ``tests/benchmarks/label_faults.py``.
"""

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def chaos():
    path = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
    spec = importlib.util.spec_from_file_location("chaos", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module
    spec.loader.exec_module(module)
    with module.Chaos() as chaos:
        yield chaos


@pytest.fixture(scope="module")
def photos(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(60):
        picture(folder / f"{number:03}.png", 20 * (number % 3), number=number)
    (folder / "copy.png").write_bytes((folder / "001.png").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def undisturbed_out(chaos, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    chaos.finish(chaos.start(photos, out))
    return out


@pytest.fixture(scope="module")
def undisturbed(undisturbed_out, rows_of):
    return rows_of(undisturbed_out)


def whole(out, rows_of, same_rows, undisturbed):
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["checked"] == {"pictures": 62, "in_two_parts": 0, "labelled_twice": 0, "lost": 0}
    same_rows(undisturbed, rows_of(out))
    return record


def test_killed_workers_cost_no_row(chaos, photos, undisturbed, rows_of, same_rows, tmp_path):
    driver = chaos.start(photos, tmp_path, slow_s=0.2)
    killed = [chaos.kill_worker(random.Random(seed), driver) for seed in range(3)]
    chaos.finish(driver)
    assert any(killed), "somebody was there to be killed"
    whole(tmp_path, rows_of, same_rows, undisturbed)


def test_a_killed_driver_goes_on_where_it_stood(chaos, photos, undisturbed, rows_of, same_rows, tmp_path):
    there: set[str] = set()
    for seed in range(2):
        driver = chaos.start(photos, tmp_path, slow_s=0.2)
        chaos.wait_for_parts(tmp_path, driver, more_than=len(there))
        chaos.sleep(random.Random(seed).uniform(0, 1))
        driver.kill()
        driver.wait()
        there |= {path.name for path in (tmp_path / "rows").glob("part-*.parquet")}
    chaos.finish(chaos.start(photos, tmp_path))
    record = whole(tmp_path, rows_of, same_rows, undisturbed)
    assert record["attempt"] == 3 and len(record["attempts"]) == 3
    # A part that a dying worker wrote after the next attempt took stock doesn't count; the others do.
    assert len(there - set(record["parts"])) <= 4, "work that was finished isn't done again"


def test_a_killed_node_costs_no_row(chaos, photos, undisturbed, rows_of, same_rows, tmp_path):
    driver = chaos.start(photos, tmp_path, slow_s=0.2)
    chaos.wait_for_parts(tmp_path, driver, more_than=1)
    chaos.kill_node(random.Random(0), driver)
    chaos.finish(driver)
    whole(tmp_path, rows_of, same_rows, undisturbed)


def test_a_second_driver_is_refused_while_the_first_one_works(chaos, photos, tmp_path):
    first = chaos.start(photos, tmp_path, slow_s=0.5)
    chaos.wait_for_parts(tmp_path, first, more_than=0)
    second = chaos.start(photos, tmp_path)
    assert second.wait(300) != 0 and f"process {first.pid}" in second.said()
    first.kill()
    first.wait()


_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=$SIZE none "$OUT"
"$PYTHON" "$DRIVER" "$PHOTOS" "$OUT"; echo "first $?"
mount -o remount,size=256m "$OUT"
"$PYTHON" "$DRIVER" "$PHOTOS" "$OUT"; echo "second $?"
cp -r "$OUT/." "$KEPT"
"""


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="this machine lets nobody mount a disk of their own",
)
def test_a_full_disk_ends_the_run_with_a_sentence_and_room_lets_it_go_on(
    photos, undisturbed, undisturbed_out, rows_of, same_rows, tmp_path
):
    size = sum(path.stat().st_size for path in undisturbed_out.rglob("*") if path.is_file())
    out, kept = tmp_path / "out", tmp_path / "kept"
    out.mkdir()
    kept.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
        "SIZE": str(size // 2), "OUT": str(out), "KEPT": str(kept), "PHOTOS": str(photos),
        "PYTHON": sys.executable, "DRIVER": str(Path(__file__).with_name("fault_driver.py")),
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", _ON_A_SMALL_DISK], env=environment, capture_output=True, text=True
    )
    assert "first 0" not in done.stdout and "second 0" in done.stdout, done.stderr[-3000:]
    assert f"there is no room left in '{out}'" in done.stderr, done.stderr[-3000:]
    assert not list(kept.rglob("*.partial")), "what was half written is removed"
    record = whole(kept, rows_of, same_rows, undisturbed)
    assert record["attempt"] == 2
