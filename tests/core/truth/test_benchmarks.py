from pathlib import Path

import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.truth import benchmarks
from alignhmr.core.truth.benchmarks import DATA_SETS, MADE, MADE_COUNT, open_benchmark


@pytest.mark.parametrize(
    "name", ["", "nonsense", "WILD", "3dpw", "pose2sim4:x", "s4dpw:/data", "/no/such/folder"]
)
def test_an_unknown_name_lists_what_there_is(name: str) -> None:
    with pytest.raises(InputError) as error:
        open_benchmark(name)
    for known in (*MADE, *DATA_SETS, "pose2sim4", "alignhmr synth"):
        assert known in str(error.value)


@pytest.mark.parametrize("name", [name for name in DATA_SETS if name != "coco"])
def test_every_data_set_says_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"write {name}:PATH"):
        open_benchmark(f"{name}:")
    with pytest.raises(InputError, match=str(tmp_path)):
        open_benchmark(f"{name}:{tmp_path}")
    with pytest.raises(InputError, match="'no-such-split'"):
        open_benchmark(f"{name}/no-such-split:{tmp_path}")


@pytest.mark.parametrize("count", [0, -3])
def test_senseless_counts_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"{count} samples were asked for"):
        open_benchmark("wild", count=count)


def test_made_people_are_asked_for_by_domain_count_and_seed(monkeypatch) -> None:
    from alignhmr.core.synthetic import samples

    asked = []

    def fake(*arguments: object):
        asked.append(arguments)
        return iter(())

    monkeypatch.setattr(samples, "make_benchmark_samples", fake)
    assert list(open_benchmark("wild", count=7, seed=3)) == []
    assert list(open_benchmark("target")) == []
    assert asked == [("wild", 7, 3), ("target", MADE_COUNT, 0)]


def test_a_folder_of_made_people_is_read(tmp_path: Path, monkeypatch) -> None:
    from alignhmr.core.synthetic import shards

    monkeypatch.setattr(shards, "read_samples", lambda folder: iter([f"{folder.name}-{n}" for n in range(5)]))
    folder = tmp_path / "made"
    folder.mkdir()
    assert list(open_benchmark(str(folder))) == [f"made-{n}" for n in range(5)]
    assert list(open_benchmark(str(folder), count=2)) == ["made-0", "made-1"]


def test_a_folder_of_something_else_has_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no samples"):
        list(open_benchmark(str(tmp_path)))


def test_a_choice_reads_only_the_chosen_pictures(tmp_path: Path, write_picture, monkeypatch) -> None:
    from alignhmr.core.truth.frames import Frame
    from alignhmr.core.truth.records import Points, Truth

    person = Truth(np.array([1, 1, 9, 9], np.float32), {"coco23": Points()})
    write_picture(tmp_path / "5.png")
    frames = [Frame(str(n), "g", "made", tmp_path / f"{n}.png", None, [person]) for n in range(10)]
    monkeypatch.setattr(benchmarks, "_data_set", lambda *_: iter(frames))
    for seed in range(100):
        (chosen,) = [f.id for f in benchmarks.choose(frames, 1, seed)]
        if chosen == "5":  # the only picture that is there
            assert [s.id for s in open_benchmark("3dpw:x", count=1, seed=seed)] == ["5"]
            return
    raise AssertionError("100 seeds never chose the sixth of ten")
