"""The folder of a run: what it accepts, what it refuses, and that a part is written whole and once."""

import pyarrow.parquet as pq
import pytest

from alignhmr.core.errors import InputError
from alignhmr.deployments.labeling.output import Output, add_up
from alignhmr.deployments.labeling.schema import row_schema, table_from_rows

IDENTITY = {"config": {"seed": 0, "hypotheses": 20}, "models": {"base": "starter:1"}}


def rows(*indices, code=None):
    return [
        {"uri": "a.jpg", "image_sha256": "0" * 64, "person_index": i, "error_code": code} for i in indices
    ]


def table(*rows_):
    return table_from_rows(rows_, row_schema(2))


def test_an_empty_or_absent_folder_is_taken(tmp_path):
    for out in (tmp_path, tmp_path / "new" / "deeper"):
        assert Output.at(str(out)).claim(IDENTITY) is None
        assert (out / "rows").is_dir()


def test_a_folder_with_other_things_is_refused_and_never_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    output = Output.at(str(tmp_path))
    with pytest.raises(InputError, match="not empty and holds no labelling run; choose another --out"):
        output.claim(IDENTITY)
    assert output.claim(IDENTITY, overwrite=True) is None
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_another_run_is_refused_with_what_differs(tmp_path):
    output = Output.at(str(tmp_path))
    output.claim(IDENTITY)
    output.write_record({"status": "finished", "identity": IDENTITY})
    other = {"config": {"seed": 7, "hypotheses": 20}, "models": {"base": "starter:1"}}
    with pytest.raises(InputError, match=r"holds another labelling run \(config.seed 0 there, 7 here\)"):
        output.claim(other)
    assert output.claim(other, overwrite=True) is None


def test_the_same_run_is_told_finished_or_started_over(tmp_path):
    output = Output.at(str(tmp_path))
    output.claim(IDENTITY)
    output.write_part(table(*rows(0)))
    output.write_record({"status": "running", "identity": IDENTITY})
    assert output.claim(IDENTITY) is None
    assert list((tmp_path / "rows").iterdir()) == [], "an unfinished run starts over"
    output.write_part(table(*rows(0)))
    finished = {"status": "finished", "identity": IDENTITY}
    output.write_record(finished)
    assert output.claim(IDENTITY) == finished
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_a_damaged_record_is_said(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "fini')
    with pytest.raises(InputError, match=r"run.json isn't JSON"):
        Output.at(str(tmp_path)).claim(IDENTITY)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file; give a folder"):
        Output.at(str(tmp_path / "out"))


def test_a_part_written_twice_is_there_once(tmp_path):
    output = Output.at(str(tmp_path))
    output.claim(IDENTITY)
    first = output.write_part(table(*rows(0, 1)))
    again = output.write_part(table(*rows(1, 0)))
    other = output.write_part(table(*rows(2)))
    assert first["file"] == again["file"] != other["file"]
    assert output.keep_only({first["file"]}) == 1
    (path,) = (tmp_path / "rows").iterdir()
    assert path.name == first["file"] and pq.read_table(path).num_rows == 2


def test_summaries_count_pictures_people_and_errors(tmp_path):
    output = Output.at(str(tmp_path))
    output.claim(IDENTITY)
    good = rows(0, 1)
    good[0]["pairs"] = [{"winner": 0, "loser": 1, "margin": 1.0}] * 2
    good[1]["abstained"] = "too_few"
    good[1]["caption_error"] = "missing_parts: head"
    parts = [
        output.write_part(table(*good)),
        output.write_part(table(*rows(2, code="recovery_failed"))),
        output.write_part(table(*rows(None, code="no_person"))),
    ]
    assert add_up(parts) == {
        "images": 2, "images_with_people": 1, "rows": 4, "people": 3, "people_labelled": 2,
        "people_with_pairs": 1, "pairs": 2, "abstained": {"too_few": 1},
        "errors": {"no_person": 1, "recovery_failed": 1}, "caption_errors": {"missing_parts": 1},
    }  # fmt: skip
