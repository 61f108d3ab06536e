"""The folder of a run: what it accepts and refuses, which parts count, and that a part is written whole and once."""

import os
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from alignhmr.core.errors import InputError, SetupError
from alignhmr.deployments.labeling.books import Books
from alignhmr.deployments.labeling.identity import check_folder
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.resume import begin, check_whole, stand
from alignhmr.deployments.labeling.schema import row_schema, table_from_rows
from alignhmr.deployments.labeling.summaries import add_up, counts_of, summary

IDENTITY = {"config": {"seed": 0, "hypotheses": 20}, "models": {"base": "starter:1"}}


def rows(*indices, code=None, uri="a.jpg", sha=None):
    sha = sha or uri.encode().hex().ljust(64, "0")
    return [{"uri": uri, "image_sha256": sha, "person_index": i, "error_code": code} for i in indices]


def table(*rows_):
    return table_from_rows(rows_, row_schema(2))


@pytest.fixture
def output(tmp_path):
    output = Output.at(str(tmp_path)).of(1)
    output.make_folders()
    output.write_record({"status": "running", "attempt": 1, "identity": IDENTITY})
    return output


@pytest.fixture
def standing(output):
    opened = []

    def take_stock(attempt=1, **options):
        opened.append(books := Books())
        return stand(output, attempt, books, **options), books

    yield take_stock
    for books in opened:
        books.close()


def test_an_empty_or_absent_folder_is_taken(tmp_path):
    for out in (tmp_path, tmp_path / "new" / "deeper"):
        assert check_folder(Output.at(str(out)), IDENTITY, overwrite=False) is None


def test_a_folder_with_other_things_is_refused_and_never_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    output = Output.at(str(tmp_path))
    with pytest.raises(InputError, match="not empty and holds no labelling run; choose another --out"):
        check_folder(output, IDENTITY, overwrite=False)
    assert check_folder(output, IDENTITY, overwrite=True) is None
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_another_run_is_refused_with_what_differs(output):
    other = {"config": {"seed": 7, "hypotheses": 20}, "models": {"base": "starter:1"}}
    with pytest.raises(InputError, match=r"holds another labelling run \(config.seed 0 there, 7 here\)"):
        check_folder(output, other, overwrite=False)
    output.write_part(table(*rows(0)))
    assert check_folder(output, other, overwrite=True) is None
    assert output.parts() == [] and output.record() is None


def test_a_folder_at_which_another_process_works_is_refused(output):
    """A real process; once it is killed, the folder is free."""
    code = (
        "import time\n"
        "from alignhmr.deployments.labeling.output import Output\n"
        f"Output.at({output.location!r}).of(1).beat({{}})\n"
        "print('beating', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "beating\n"
        with pytest.raises(InputError, match=rf"process {worker.pid} on .* is labelling into"):
            check_folder(output, IDENTITY, overwrite=False)
        worker.kill()
    assert check_folder(output, IDENTITY, overwrite=False) is not None
    output.beat({})
    assert check_folder(output, IDENTITY, overwrite=False) is not None, "one's own sign of life is no other's"


def test_another_machine_is_waited_for(output):
    beat = {"attempt": 1, "host": "elsewhere", "pid": 1, "time": time.time()}
    output.write_json("heartbeat.json", beat)
    with pytest.raises(InputError, match="on elsewhere is labelling"):
        output.check_alone()
    output.write_json("heartbeat.json", beat | {"time": time.time() - 1000})
    output.check_alone()


def test_a_damaged_record_is_said(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "fini')
    with pytest.raises(InputError, match=r"run.json isn't JSON"):
        check_folder(Output.at(str(tmp_path)), IDENTITY, overwrite=False)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file; give a folder"):
        Output.at(str(tmp_path / "out"))


def test_a_part_written_twice_is_there_once(output):
    first = output.write_part(table(*rows(0, 1)))
    again = output.write_part(table(*rows(1, 0)))
    other = output.write_part(table(*rows(2)))
    assert first["file"] == again["file"] != other["file"]
    assert output.keep_only({first["file"]}) == 1
    assert output.parts() == [first["file"]]
    with output.open_part(first["file"]) as file:
        assert file.read().num_rows == 2


def test_what_is_there_is_done_and_its_bytes_are_owned(output, standing):
    part = output.write_part(table(*rows(0, 1), *rows(None, code="duplicate", uri="c.jpg", sha="1" * 64)))
    with open(f"{output.path}/rows/x.partial", "w") as half:
        half.write("half")
    found, books = standing()
    assert found.parts == (part["file"],) and found.output.attempt == 2
    assert counts_of(found.total) == counts_of(add_up([part]))
    assert books.seen(["a.jpg", "c.jpg", "d.jpg"]) == [True, True, False]
    sha = rows(0)[0]["image_sha256"]
    assert books.claim([(sha, "later.jpg"), ("1" * 64, "owner.jpg")]) == ["a.jpg", "owner.jpg"]
    begin(found, {"attempt": 2})
    assert os.listdir(f"{output.path}/rows") == [part["file"]], "halves are removed"


def test_what_a_killed_attempt_writes_later_does_not_count(output, standing):
    part = output.write_part(table(*rows(0)))
    found, _ = standing()
    begin(found, {"attempt": 2, "status": "running", "identity": IDENTITY})
    late = output.write_part(table(*rows(0, uri="late.jpg")))  # by a worker of the first attempt
    mine = found.output.write_part(table(*rows(0, uri="late.jpg")))
    third, _ = standing(2)
    assert third.parts == tuple(sorted([part["file"], mine["file"]])) and late["file"] not in third.parts
    begin(third, {"attempt": 3})
    assert output.parts() == list(third.parts)
    assert check_whole(output, third.parts) == {"pictures": 2, "in_two_parts": 0, "labelled_twice": 0}


def test_a_stock_taking_that_is_cut_short_changes_nothing(output, standing):
    output.write_part(table(*rows(None, code="read_failed"), *rows(0, uri="b.jpg")))
    standing(retry=())  # killed before it began: its rewritten part is there, and doesn't count
    assert len(output.parts()) == 2
    found, books = standing()
    assert found.put_back == 0 and books.seen(["a.jpg", "b.jpg"]) == [True, True]
    begin(found, {"attempt": 2})
    assert len(output.parts()) == 1


def test_parts_that_overlap_do_not_both_count(output, standing):
    first = output.write_part(table(*rows(0, uri="x.jpg")))
    second = output.write_part(table(*rows(0, uri="x.jpg"), *rows(0, uri="y.jpg")))
    found, books = standing()
    (kept,) = found.parts
    assert kept == min(first["file"], second["file"])
    assert books.seen(["x.jpg"]) == [True]
    assert check_whole(output, [first["file"], second["file"]])["in_two_parts"] == 1


def test_bytes_that_two_pictures_label_are_found(output):
    names = [
        output.write_part(table(*rows(0, uri="x.jpg", sha="2" * 64)))["file"],
        output.write_part(table(*rows(0, uri="y.jpg", sha="2" * 64)))["file"],
    ]
    assert check_whole(output, names)["labelled_twice"] == 1


@pytest.mark.parametrize(
    ("retry", "back"),
    [
        (("read_failed",), {"f.jpg"}),
        ((), {"f.jpg", "p.jpg"}),
        (("no_person",), {"n.jpg"}),
        (("empty",), set()),
    ],
)
def test_failures_are_put_back_with_all_rows_of_their_picture(output, standing, retry, back):
    half = rows(0, uri="p.jpg") + rows(1, uri="p.jpg", code="recovery_failed")
    failed = rows(None, uri="f.jpg", code="read_failed", sha="3" * 64)
    nobody = rows(None, uri="n.jpg", code="no_person")
    output.write_part(table(*rows(0, 1, uri="g.jpg"), *half, *failed, *nobody))
    found, books = standing(retry=retry)
    names = ["g.jpg", "p.jpg", "f.jpg", "n.jpg"]
    assert books.seen(names) == [name not in back for name in names]
    assert found.put_back == len(back)
    begin(found, {"attempt": 2})
    left = [row["uri"] for name in output.parts() for row in read(output, name)]
    assert sorted(set(left)) == sorted(set(names) - back)
    assert found.total["rows"] == len(left)
    assert books.claim([("3" * 64, "other.jpg")]) == ["other.jpg" if "f.jpg" in back else "f.jpg"]


def read(output, name):
    with output.open_part(name) as file:
        return file.read().to_pylist()


def test_a_part_that_cannot_be_read_is_named(output, standing):
    part = output.write_part(table(*rows(0)))
    with open(f"{output.path}/rows/{part['file']}", "r+b") as file:
        file.truncate(100)
    with pytest.raises(InputError, match=rf"{part['file']} can't be read .*remove it"):
        standing()


def test_a_full_disk_is_said_and_leaves_no_half(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False
    ).returncode:
        pytest.skip("a small disk can't be mounted here")
    try:
        full = Output.at(str(small)).of(1)
        full.make_folders()
        big = table(*({**row, "view_jpeg": os.urandom(100_000)} for row in rows(0)))
        with pytest.raises(SetupError, match=r"no room left in .*; make room and run the same command again"):
            full.write_part(big)
        assert os.listdir(small / "rows") == []
        full.write_part(table(*rows(0)))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_summaries_count_pictures_people_and_errors(output):
    good = rows(0, 1)
    good[0]["pairs"] = [{"winner": 0, "loser": 1, "margin": 1.0}] * 2
    good[1]["abstained"] = "too_few"
    good[1]["caption_error"] = "missing_parts: head"
    for row, expected in zip(good, (50.0, 70.0), strict=True):
        row["scores"], row["expected_error_mm"], row["selected"] = [1.0, 2.0], [999.0, expected], 1
        row["joint_spread_mm"] = [12.0] * 24
    parts = [
        output.write_part(table(*good)),
        output.write_part(table(*rows(2, code="recovery_failed"))),
        output.write_part(table(*rows(None, code="no_person"))),
    ]
    total = add_up(parts)
    assert counts_of(total) == {
        "images": 2, "images_with_people": 1, "rows": 4, "people": 3, "people_labelled": 2,
        "people_with_pairs": 1, "pairs": 2, "abstained": {"too_few": 1},
        "errors": {"no_person": 1, "recovery_failed": 1}, "caption_errors": {"missing_parts": 1},
    }  # fmt: skip
    histograms = ("expected_error_hist", "spread_hist", "margin_hist")
    assert [sum(total[name]) for name in histograms] == [2, 2, 2]
    assert [shown["error_mm"] for shown in total["best"]] == [50.0, 70.0]
    assert [shown["error_mm"] for shown in total["worst"]] == [70.0, 50.0]
    assert set(total["failed"]) == {"no_person", "recovery_failed"}
    assert summary(table())["rows"] == 0
    path = f"{output.path}/rows/{parts[0]['file']}"
    assert pq.read_schema(path).equals(row_schema(2)), "the summary rides in the metadata"


def test_processes_that_read_and_write_load_no_models() -> None:
    """Ray starts them as they are needed, a core each: torch would cost every one of them seconds and memory."""
    names = ("reading", "writing", "captioning", "model_captions", "recovering")
    code = "; ".join([f"import alignhmr.deployments.labeling.{name}" for name in names])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; sys.exit('torch' in sys.modules)"], check=False
    )
    assert done.returncode == 0
