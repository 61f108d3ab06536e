"""``alignhmr plan`` from files: prices, rates that ship and those of a run, the table and its JSON."""

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from alignhmr.core.errors import InputError
from alignhmr.deployments.planning.command import run
from alignhmr.deployments.planning.prices import load_prices
from alignhmr.deployments.planning.rates import load_rates, rates_of, shipped_rates

PRICES = {
    "currency": "EUR", "source": "invented", "head": {"hour": 0.2},
    "machines": {"spot": {"cpus": 16, "memory_gib": 64, "hour": 0.3, "most": 400, "lost_per_hour": 0.05}},
    "storage": {"gib_month": 0.02, "get_1000": 0.0004, "put_1000": 0.005},
}  # fmt: skip
RECORD = {
    "status": "finished", "source": "photos", "device": "cpu", "counts": {"images": 200}, "parts": ["part-a.parquet"],
    "versions": {"platform": "somewhere"}, "identity": {"package_version": "0.1.0"},
    "stages": {
        "read": {"busy_s": 4.0, "cpu_s": 9, "accelerator_s": 0, "accelerator_busy_s": 0, "computed_s": 1.0},
        "people": {"busy_s": 90.0, "cpu_s": 99, "accelerator_s": 0, "accelerator_busy_s": 0, "computed_s": 60.0},
        "score": {"busy_s": 10.0, "cpu_s": 99, "accelerator_s": 5, "accelerator_busy_s": 2.5, "computed_s": 9.0},
        "write": {"busy_s": 0.0, "cpu_s": 3, "accelerator_s": 0, "accelerator_busy_s": 0},
    },
    "config": {"resources": {
        "images_per_block": 64, "read": {"num_cpus": 0.5}, "people": {"num_cpus": 2.0, "memory_gib": 1.5},
        "score": {"num_cpus": 1.0}, "caption": {"num_cpus": 1.0}, "recover": {"num_cpus": 1.0},
    }},
}  # fmt: skip


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(yaml.safe_dump(PRICES))
    return path


def said(**options) -> tuple[dict, str]:
    text = io.StringIO()
    told = run(console=Console(file=text, width=140), **options)
    return told, text.getvalue()


def test_the_table_says_what_the_numbers_say(prices: Path) -> None:
    told, text = said(images=1_000_000, prices=prices)
    [pool] = told["pools"]
    assert f"{pool['machines']['spot']} x spot" in text and "bottleneck: people" in text
    assert f"{told['cost']:,.2f} EUR" in text and "invented" in text
    for words in shipped_rates().measured.values():
        assert words in text, "a rate says where it comes from"


def test_json_is_one_object_that_says_the_same(prices: Path) -> None:
    told, text = said(images=10**9, prices=prices, as_json=True)
    read = json.loads(text)
    assert read["cost"] == told["cost"] and read["runs"] > 1
    assert any(note.startswith("one run would have blocks of") for note in read["notes"])


def test_shipped_rates_name_command_machine_and_commit() -> None:
    measured = shipped_rates().measured
    assert {"command", "machine", "commit"} <= measured.keys()
    assert shipped_rates().stages.keys() == {"read", "people", "recover", "score"}


def test_rates_of_a_run_count_cpu_seconds_where_a_cpu_computes_and_all_where_it_waits() -> None:
    known = rates_of(RECORD, 200 * 50_000)
    people, read, score = (known.stages[name] for name in ("people", "read", "score"))
    assert (people.worker_s, people.cpus, people.gpus, people.memory_gib) == (0.3, 2.0, 0, 1.5)
    assert (read.worker_s, read.cpus) == (0.02, 0.5)
    assert (score.worker_s, score.gpus) == (0.05, 0.25)
    assert known.row_bytes == 50_000 and known.images_per_block == 64 and "write" not in known.stages
    assert known.driver == shipped_rates().driver


def test_the_folder_of_a_run_is_taken_with_what_it_wrote(tmp_path: Path, prices: Path) -> None:
    (tmp_path / "rows" / "rows").mkdir(parents=True)
    (tmp_path / "rows" / "run.json").write_text(json.dumps(RECORD))
    (tmp_path / "rows" / "rows" / "part-a.parquet").write_bytes(b"x" * 2000)
    for given in (tmp_path / "rows", tmp_path / "rows" / "run.json"):
        assert load_rates(given).row_bytes == 10
    # Its scoring was on a GPU, which no machine of the file has.
    with pytest.raises(InputError, match="stages score need a GPU"):
        run(10, prices, rates=tmp_path / "rows")


def test_a_run_that_has_not_ended_has_no_rates() -> None:
    with pytest.raises(InputError, match="is 'running'"):
        rates_of(RECORD | {"status": "running"}, 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"machines": {}}, "machines: dictionary should have at least 1 item"),
        ({"machines": {"a": {"cpus": 4, "memory_gib": 1, "hour": -1}}}, "machines.a.hour"),
        ({"machines": {"a": {"cpus": 4, "memory_gib": 1, "hour": 1, "gpu": 1}}}, "machines.a.gpu: extra"),
        ({"currency": None}, "currency"),
    ],
)
def test_a_wrong_price_file_is_told_in_a_sentence(tmp_path: Path, change: dict, match: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(PRICES | change))
    with pytest.raises(InputError, match=match) as caught:
        load_prices(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        load_prices(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"holds no run\.json"):
        load_rates(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        load_rates(tmp_path / "absent.yaml")
    (tmp_path / "odd.yaml").write_text("stages: 3")
    with pytest.raises(InputError, match="isn't a file of rates"):
        load_rates(tmp_path / "odd.yaml")


@pytest.mark.parametrize("words", ["--images x", "--images 0.5", "--images 5 --deadline 3w"])
def test_wrong_words_are_usage_errors(words: str, prices: Path) -> None:
    from typer.testing import CliRunner

    from alignhmr.deployments import cli

    images = [] if "--images" in words else ["--images", "5"]
    result = CliRunner().invoke(cli.app, ["plan", "--prices", str(prices), *images, *words.split()])
    assert result.exit_code == 2


def test_the_example_in_the_guide_is_a_price_file(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "deployments" / "README.md").read_text()
    [example] = [text for text in re.findall(r"```yaml\n(.*?)```", guide, re.S) if "machines:" in text]
    (tmp_path / "prices.yaml").write_text(example)
    assert set(load_prices(tmp_path / "prices.yaml").machines) == {"cpu-spot", "cpu", "gpu"}
    told, _ = said(images=10**6, prices=tmp_path / "prices.yaml")
    assert told["cost"] > 0
