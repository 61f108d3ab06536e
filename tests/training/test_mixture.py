"""The stream depends on seed and number alone, keeps to its weights, and reads each file once an epoch."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.training import mixture
from alignhmr.training.mixture import CYCLE, Mixture
from alignhmr.training.sighting_shards import shard_bytes


@pytest.fixture(scope="session")
def folders(sightings, tmp_path_factory) -> Path:
    """``a``: 7 files of 5, 6, ... 11 people (56); ``b``: 2 of 3 (6); ``c``: one of nobody."""
    root = tmp_path_factory.mktemp("people")
    write(root / "a", sightings(56, name="a"), [5, 6, 7, 8, 9, 10, 11])
    write(root / "b", sightings(6, seed=1, name="b"), [3, 3])
    write(root / "c", [], [0])
    return root


def write(folder: Path, rows: list, counts: list[int], **identity: str) -> None:
    folder.mkdir()
    start = 0
    for count in counts:
        data = shard_bytes(rows[start : start + count], {"source": folder.name, **identity})
        (folder / f"people-{start:04d}-{start + count:04d}.parquet").write_bytes(data)
        start += count


def ids(rows: list) -> list[str]:
    return [row.id for row in rows]


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files as they are read."""
    seen: list[str] = []
    read = mixture.read_shard

    def noted(filesystem, path):
        seen.append(path.rpartition("/people/")[2] or path)
        return read(filesystem, path)

    monkeypatch.setattr(mixture, "read_shard", noted)
    return seen


def test_a_batch_depends_on_seed_and_number_alone(folders) -> None:
    parts = [(folders / "a", 3.0), (folders / "b", 1.0)]
    ordered = Mixture(parts, seed=4)
    forward = [ids(ordered.rows(k, 10)) for k in range(30)]
    assert [ids(Mixture(parts, seed=4).rows(k, 10)) for k in (29, 3, 17)] == [forward[k] for k in (29, 3, 17)]
    assert ids(ordered.rows(0, 300)) == list(itertools.chain(*forward))  # the stream, however it is cut
    assert [ids(Mixture(parts, seed=5).rows(k, 10)) for k in range(30)] != forward
    far = Mixture(parts, seed=4).rows(10**9, 4)
    assert ids(far) == ids(ordered.rows(10**9, 4)) and len(far) == 4


def test_workers_share_a_batch_without_gap_or_overlap(folders) -> None:
    parts = [(folders / "a", 0.5), (folders / "b", 0.5)]
    whole = Mixture(parts, seed=1)
    for world in (2, 3, 4):
        workers = [Mixture(parts, seed=1) for _ in range(world)]
        for k in (0, 1, 7):
            shares = [worker.rows(k, 12, rank, world) for rank, worker in enumerate(workers)]
            assert list(itertools.chain(*map(ids, shares))) == ids(whole.rows(k, 12))
    with pytest.raises(InputError, match="batch of 10 people can't be shared evenly by 4 workers"):
        whole.rows(0, 10, 0, 4)


def test_weights_hold_over_a_cycle_whatever_the_sizes(folders) -> None:
    mix = Mixture([(folders / "a", 3), (folders / "b", 1)], block_shards=7)
    for start in (0, CYCLE):
        domains = Counter(mix._at(number).domain for number in range(start, start + CYCLE))
        assert domains == {"a": CYCLE * 3 // 4, "b": CYCLE // 4}
    # Not in turns: runs of one source as long as chance makes them.
    row = "".join(mix._at(number).domain for number in range(400))
    assert "aaaaaaa" in row and "bb" in row
    rare = Mixture([(folders / "a", 1.0), (folders / "b", 1e-9)], block_shards=7)
    assert Counter(rare._at(number).domain for number in range(CYCLE))["b"] == 1


@pytest.mark.parametrize("block", [1, 3, 50])
def test_everyone_comes_once_an_epoch_in_another_order(folders, block) -> None:
    mix = Mixture([(folders / "a", 1)], block_shards=block)
    epochs = [ids(mix.rows(k, 56)) for k in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 56
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != sorted(epochs[0])


def test_two_names_for_one_folder_are_two_orders(folders) -> None:
    mix = Mixture([(folders / "a", 1), (folders / "a", 1)])
    first, second = ([source.at(position).id for position in range(56)] for source in mix.sources)
    assert set(first) == set(second) and first != second


def test_each_file_is_read_once_an_epoch_and_few_are_held(folders, reads) -> None:
    """Beside another source that comes seldom and must not lose its own."""
    mix = Mixture([(folders / "a", 0.98), (folders / "b", 0.02)], block_shards=2)
    source_a, source_b = mix.sources
    number = 0
    while source_a_rows(reads) < 14:
        mix._at(number)
        assert len(source_a._held) <= 2 and len(source_b._held) <= 2
        number += 1
    # 98 of 100 rows are a's: 2 epochs of 56 rows, less what the last block holds.
    assert number > 1.98 * 56 - 22
    counts = Counter(reads)
    assert all(count <= 2 for count in counts.values())
    assert sum(count for name, count in counts.items() if "/b/" in name) <= 2
    a = [name for name in reads if "/a/" in name]
    assert all(name != after for name, after in itertools.pairwise(a))


def source_a_rows(reads: list[str]) -> int:
    return sum("/a/" in name for name in reads)


def test_a_source_that_fits_is_read_once_for_all(folders, reads) -> None:
    mix = Mixture([(folders / "b", 1)], block_shards=2)
    for k in range(20):
        mix.rows(k, 5)
    assert len(reads) == 2


def test_batches_are_the_rows_from_any_start(folders) -> None:
    mix = Mixture([(folders / "a", 2), (folders / "b", 1)], seed=2)
    stream = mix.batches(6, start=5, rank=1, world=2, ahead=3)
    assert [ids(next(stream)) for _ in range(4)] == [ids(mix.rows(k, 6, 1, 2)) for k in range(5, 9)]
    stream.close()  # type: ignore[attr-defined]


def test_the_digest_follows_the_files_and_not_their_place(folders, sightings, tmp_path) -> None:
    def digest(*parts: Path) -> str:
        return Mixture([(part, 1.0) for part in parts]).digest

    first = digest(folders / "a", folders / "b")
    (tmp_path / "moved").mkdir()
    (folders / "a").rename(tmp_path / "moved" / "a")
    try:
        assert digest(tmp_path / "moved" / "a", folders / "b") == first
    finally:
        (tmp_path / "moved" / "a").rename(folders / "a")
    assert digest(folders / "b", folders / "a") != first != digest(folders / "a")
    write(tmp_path / "b", sightings(6, seed=1, name="b"), [3, 3], split="test")
    assert digest(tmp_path / "b") != digest(folders / "b")


def test_what_cannot_be_mixed_is_refused(folders, sightings, tmp_path) -> None:
    def refused(kind: type[Exception], words: str, *parts: tuple[Path, float]) -> None:
        with pytest.raises(kind, match=words):
            Mixture(parts)

    refused(InputError, "nothing to mix")
    for weight in (0, -1, float("nan"), float("inf")):
        refused(InputError, "weights are numbers above 0", (folders / "a", 1), (folders / "b", weight))
    refused(InputError, "nowhere holds no prepared people", (folders / "nowhere", 1))
    refused(InputError, "nobody is in the 1 files of .*c; prepare more", (folders / "c", 1))
    refused(InputError, "65 sources were given", *[(folders / "b", 1.0)] * 65)
    write(tmp_path / "smpl", sightings(2, body="smpl:neutral"), [2])
    refused(
        CompatibilityError, "body model open-body-v1:0 and .*smpl/people-0000-0002.parquet of smpl:neutral",
        (folders / "a", 1), (tmp_path / "smpl", 1),
    )  # fmt: skip
    write(tmp_path / "other", sightings(2, body="open-body-v1:1"), [2])
    assert Mixture([(folders / "a", 1), (tmp_path / "other", 1)]).body == "open-body-v1:0"  # two resolutions
    whole = (folders / "b" / "people-0000-0003.parquet").read_bytes()
    write(tmp_path / "broken", sightings(4), [2, 2])
    (tmp_path / "broken" / "people-0002-0004.parquet").write_bytes(whole[:1000])
    refused(InputError, "broken/people-0002-0004.parquet can't be read", (tmp_path / "broken", 1))


def test_a_shard_that_breaks_meanwhile_is_named_where_its_rows_are_asked_for(sightings, tmp_path) -> None:
    write(tmp_path / "a", sightings(4), [4])
    mix = Mixture([(tmp_path / "a", 1)])
    path = tmp_path / "a" / "people-0000-0004.parquet"
    write(tmp_path / "b", sightings(3), [3])
    path.write_bytes((tmp_path / "b" / "people-0000-0003.parquet").read_bytes())
    stream = mix.batches(2)
    with pytest.raises(InputError, match="had 4 people when training began and has 3 now"):
        next(stream)
    path.unlink()
    with pytest.raises(InputError, match=r"people-0000-0004\.parquet can't be read"):
        mix.rows(0, 2)


def test_hidden_and_other_files_are_passed_by(sightings, tmp_path) -> None:
    write(tmp_path / "a", sightings(4), [4])
    before = Mixture([(tmp_path / "a", 1)]).digest
    for name in ("_old", ".cache"):
        write(tmp_path / "a" / name, sightings(2), [2])
    (tmp_path / "a" / "prepare.json").write_text("{}")
    assert Mixture([(tmp_path / "a", 1)]).digest == before
    write(tmp_path / "a" / "more", sightings(2), [2])
    assert sum(source.rows for source in Mixture([(tmp_path / "a", 1)]).sources) == 6


def test_another_place_is_opened_by_its_opener(folders) -> None:
    asked: list[str] = []

    def opener(location: str):
        asked.append(location)
        return mixture.local_folder(str(folders / location.removeprefix("s3://bucket/")))

    opened: Callable = opener
    mix = Mixture([("s3://bucket/a", 1)], open_location=opened)
    assert asked == ["s3://bucket/a"] and len(mix.rows(0, 3)) == 3
