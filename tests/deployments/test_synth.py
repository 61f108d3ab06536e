"""`alignhmr synth`: whole shards, resumed runs, the same bytes for any number of workers, a disk or a bucket."""

import io
import json

import pytest
from rich.console import Console

from alignhmr.core.errors import InputError, SetupError
from alignhmr.core.synthetic.samples import Maker, make_sample, read_samples
from alignhmr.deployments import synth
from alignhmr.deployments.shard_folder import Shard, plan
from alignhmr.deployments.storage import open_location
from alignhmr.deployments.synth_output import SynthOutput

QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(synth, "SHARD_SAMPLES", 4)


def draw(out, count=10, **options):
    return synth.run("studio", count, out, size_px=64, console=QUIET, **options)


def test_the_plan_covers_every_index_once(tmp_path) -> None:
    assert [(s.start, s.stop) for s in plan(10, 4)] == [(0, 4), (4, 8), (8, 10)]
    assert output(tmp_path).name(Shard(8, 10)) == "samples-0000008-0000009.tar"
    assert plan(4, 4) == [Shard(0, 4)]


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_files(ray_session, tmp_path) -> None:
    one, two = (draw(tmp_path / str(n), workers=n) for n in (1, 2))
    assert one["digest"] == two["digest"] and one["shards"] == two["shards"]
    for name in one["shards"]:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    read = list(read_samples(tmp_path / "2"))
    maker = Maker("studio", "train", 0, size_px=64)
    assert [s.picture.sha256 for s in read] == [
        make_sample(maker, i).sample.picture.sha256 for i in range(10)
    ]
    assert json.loads((tmp_path / "1" / "synth.json").read_text())["digest"] == one["digest"]


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_cut_and_grows(ray_session, tmp_path) -> None:
    first = draw(tmp_path / "a", split="test", format="parquet")
    names = sorted(first["shards"])
    (tmp_path / "a" / names[0]).unlink()
    broken = tmp_path / "a" / names[1]
    broken.write_bytes(broken.read_bytes()[:100])  # a half file, of another program's making
    (tmp_path / "a" / (names[0] + ".partial")).write_bytes(b"half")
    before = (tmp_path / "a" / names[2]).stat().st_mtime_ns
    again = draw(tmp_path / "a", split="test", format="parquet")
    assert again["digest"] == first["digest"] and again["kept"] == 2
    assert (tmp_path / "a" / names[2]).stat().st_mtime_ns == before
    assert not list((tmp_path / "a").glob("*.partial"))
    assert draw(tmp_path / "a", split="test")["kept"] == 10  # nothing left to do
    more = draw(tmp_path / "a", count=12, split="test")
    assert more["kept"] == 8 and len(list(read_samples(tmp_path / "a"))) == 12


@pytest.mark.slow
def test_a_bucket_and_webdataset_work_as_well(ray_session, tmp_path, s3) -> None:
    s3.create_bucket(Bucket="made")
    record = draw("s3://made/people", count=6, format="webdataset")
    filesystem, path = open_location("s3://made/people")
    read = list(read_samples(path, filesystem))
    local = draw(tmp_path / "a", count=6, format="webdataset")
    assert len(read) == 6 and record["shards"] == local["shards"]


def output(tmp_path, **identity) -> SynthOutput:
    return SynthOutput.at(str(tmp_path), {"domain": "wild", "seed": 0} | identity, "webdataset")


def test_other_runs_and_other_files_are_not_written_over(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no made people"):
        output(tmp_path).claim(10, overwrite=False)
    output(tmp_path).claim(10, overwrite=True)
    output(tmp_path).claim(10, overwrite=False)
    with pytest.raises(InputError, match="seed 0 there, 1 here"):
        output(tmp_path, seed=1).claim(10, overwrite=False)
    output(tmp_path).write_record({"status": "finished", "identity": output(tmp_path).identity, "count": 60})
    with pytest.raises(InputError, match="holds 60 pictures of this run, and 10 were asked for"):
        output(tmp_path).claim(10, overwrite=False)
    output(tmp_path).claim(60, overwrite=False)
    shard = tmp_path / "samples-0000000-0000003.tar"
    shard.write_bytes(b"old")
    output(tmp_path, seed=1).claim(10, overwrite=True)
    assert not shard.exists() and (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(InputError, match="is a file"):
        output(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("domain", "options", "words"),
    [
        ("moon", {}, "unknown domain 'moon'"),
        ("wild", {"split": "dev"}, "unknown split 'dev'"),
        ("wild", {"format": "zip"}, "unknown format 'zip'; choose from parquet, webdataset"),
        ("wild", {"count": 0}, "0 samples were asked for"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_ray(tmp_path, domain, options, words) -> None:
    with pytest.raises(InputError, match=words):
        synth.run(domain, options.pop("count", 3), tmp_path / "a", console=QUIET, **options)
    assert not (tmp_path / "a").exists()


def test_an_empty_motion_folder_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no motion"):
        synth.run("wild", 3, tmp_path / "a", motion=tmp_path, console=QUIET)


def test_a_folder_that_cannot_be_written_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="can't be written"):
        output(tmp_path / "file" / "below").claim(10, overwrite=False)
