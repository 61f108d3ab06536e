"""What a run remembers on a disk: names once, bytes owned once, a plan that is read from anywhere in it."""

import os
import signal
import subprocess
import sys

import pytest

from alignhmr.deployments.labeling.books import Books
from alignhmr.deployments.labeling.plan import Plan, write_plan
from alignhmr.deployments.labeling.sources import Entry


@pytest.fixture
def books():
    books = Books()
    yield books
    books.close()


def test_a_name_is_new_once(books):
    assert books.see(["a", "b", "a"]) == [True, True, False]
    assert books.see(["b", "c"]) == [False, True]
    assert books.seen(["a", "x"]) == [True, False]
    assert len(books) == 3


def test_names_are_seen_together_or_not_at_all(books):
    assert books.see_together(["a", "b"])
    assert not books.see_together(["c", "b"]) and not books.see_together(["d", "d"])
    assert books.seen(["a", "b", "c", "d"]) == [True, True, False, False]
    assert books.count_new(["a", "c"]) == 1 and len(books) == 3
    assert books.give([("aa" * 32, "x"), ("bb" * 32, "y")]) == 2
    assert books.give([("aa" * 32, "z"), ("cc" * 32, "z")]) == 1
    assert books.claim([("aa" * 32, "q")]) == ["x"]


def test_bytes_belong_to_the_first_that_asked_for_ever(books):
    one, two = "aa" * 32, "bb" * 32
    assert books.claim([(one, "x"), (two, "y"), (one, "z")]) == ["x", "y", "x"]
    assert books.claim([(one, "z"), (one, "x")]) == ["x", "x"]


def test_books_outlive_a_process_that_is_killed_while_it_writes(tmp_path):
    code = (
        "import os, sys\n"
        "from alignhmr.deployments.labeling.books import Books\n"
        f"books = Books({str(tmp_path / 'b.sqlite')!r}, lasting=True)\n"
        "n = 0\n"
        "while True:\n"
        "    books.see(f'{i}' for i in range(n, n + 100)); n += 100\n"
        "    print(n, flush=True)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    done = 0
    while done < 2000:
        done = int(worker.stdout.readline())
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    books = Books(tmp_path / "b.sqlite")
    assert all(books.seen(str(n) for n in range(done)))
    assert len(books) % 100 == 0, "a transaction is there whole or not at all"
    books.close()


def test_a_plan_holds_what_is_left_once(books, tmp_path):
    books.see(["n3", "n4"])
    entries = [Entry(f"n{n}", "file", n, 2 * n) for n in range(11)] + [Entry("n0"), Entry("n3")]
    planned = write_plan(iter(entries), books, tmp_path / "plan", 4)
    assert (planned.listed, planned.todo, planned.batches) == (11, 9, 3)
    assert list(planned.blocks()) == [(0, 1), (1, 2), (2, 3)]
    plan = Plan(tmp_path / "plan")
    rows = plan.read(1, 3).to_pylist()
    assert [row["uri"] for row in rows] == ["n6", "n7", "n8", "n9", "n10"]
    assert rows[0] == {"uri": "n6", "file": "file", "at": 6, "size": 12}
    again = write_plan(iter(entries), books, tmp_path / "again", 4)
    assert (again.listed, again.todo, again.batches, list(again.blocks())) == (11, 0, 0, [])
    assert again.digest == planned.digest
    assert write_plan(iter(entries[1:]), books, tmp_path / "third", 4).digest != planned.digest
