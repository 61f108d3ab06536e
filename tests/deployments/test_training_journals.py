"""What TensorBoard's files and MLflow hear of a run; nobody who listens can stop it."""

import importlib.util
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from alignhmr.core.errors import InputError, SetupError
from alignhmr.deployments.training_journals import Mlflow, Several, TensorBoard, tag_of
from alignhmr.training.workplace import Listener

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
REAL = importlib.util.find_spec("mlflow") is not None


def events(folder: Path) -> Iterator[tuple[int, str, float | bytes]]:
    """Step, tag and value of everything in the event files, in order; purges as tag ``purge``."""
    from tensorboardX.proto import event_pb2

    kind = vars(event_pb2)["Event"]
    for path in sorted(folder.iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):
            [length] = struct.unpack("<Q", data[place : place + 8])
            event = kind.FromString(data[place + 12 : place + 12 + length])
            place += length + 16
            if event.HasField("session_log"):
                yield event.step, "purge", 0.0
            for value in event.summary.value:
                image = value.HasField("image")
                yield event.step, value.tag, value.image.encoded_image_string if image else value.simple_value


def test_tensorboard_holds_losses_pace_figures_and_pictures(tmp_path):
    board = TensorBoard(tmp_path)
    board.started(0, 20)
    board.learned(10, {"loss": 2.5, "joints": 1.5, "learning_rate": 1e-3, "images_per_s": 40.0})
    board.judged(10, {"pa_mpjpe_zero_noise_mm": 70.0}, {"people": PICTURE})
    board.close(finished=True)
    told = list(events(tmp_path))
    for entry in ((10, "loss/total", 2.5), (10, "loss/joints", 1.5), (10, "pace/images_per_s", 40.0)):
        assert entry in told
    assert (10, "held_out/pa_mpjpe_zero_noise_mm", 70.0) in told
    assert ("step/learning_rate", pytest.approx(1e-3)) in [(tag, value) for _, tag, value in told]
    [image] = [value for step, tag, value in told if tag == "people" and step == 10]
    assert isinstance(image, bytes) and image.startswith(b"\x89PNG")


def test_what_a_restart_tells_again_replaces_what_it_told(tmp_path):
    board = TensorBoard(tmp_path)
    board.started(0, 20)
    board.learned(10, {"loss": 2.5})
    board.started(5, 20)
    board.learned(10, {"loss": 2.0})
    board.close(finished=False)
    told = [entry for entry in events(tmp_path) if entry[1] in ("purge", "loss/total")]
    assert told.index((6, "purge", 0.0)) < told.index((10, "loss/total", 2.0))
    assert told.index((10, "loss/total", 2.5)) < told.index((6, "purge", 0.0))


def test_one_that_fails_costs_the_others_nothing(caplog):
    heard: list[tuple] = []

    class Deaf(Listener):
        def learned(self, step, values):
            raise OSError("disk full")

    class Ear(Listener):
        def learned(self, step, values):
            heard.append((step, values))

    both = Several([Deaf(), Ear()])
    both.learned(3, {"loss": 1.0})
    both.started(0, 1)
    both.close(finished=True)
    assert heard == [(3, {"loss": 1.0})] and "disk full" in caplog.text


def test_tags_put_losses_beside_each_other():
    assert [tag_of(name) for name in ("loss", "joints", "grad_norm", "people_per_s")] == [
        "loss/total", "loss/joints", "step/grad_norm", "pace/people_per_s",
    ]  # fmt: skip


class FakeClient:
    """As much of mlflow's client as is used; what it was told is in ``log``."""

    log: list[tuple]
    broken = False

    def __init__(self, tracking_uri: str) -> None:
        if FakeClient.broken:
            raise FakeFailure("connection refused\nat length")
        FakeClient.log.append(("at", tracking_uri))

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return f"experiment {name}"

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        FakeClient.log.append(("run", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="run-1"))

    def update_run(self, run: str, status: str) -> None:
        if run != "run-1":
            raise FakeFailure("no such run")
        FakeClient.log.append((run, status))

    def log_text(self, run: str, text: str, name: str) -> None:
        FakeClient.log.append((run, name, text))

    def log_batch(self, run: str, metrics: list) -> None:
        FakeClient.log += [(run, metric.key, metric.value, metric.step) for metric in metrics]

    def log_image(self, run: str, pixels: np.ndarray, name: str) -> None:
        FakeClient.log.append((run, name, pixels.shape))

    def log_artifact(self, run: str, path: str) -> None:
        FakeClient.log.append((run, Path(path).name))

    def set_terminated(self, run: str, status: str) -> None:
        FakeClient.log.append((run, status))


class FakeFailure(Exception):
    pass


@pytest.fixture
def fake(monkeypatch) -> list[tuple]:
    class Metric(SimpleNamespace):
        def __init__(self, key, value, timestamp, step):
            super().__init__(key=key, value=value, timestamp=timestamp, step=step)

    for name, holds in (
        ("mlflow", {}),
        ("mlflow.entities", {"Metric": Metric}),
        ("mlflow.exceptions", {"MlflowException": FakeFailure}),
        ("mlflow.tracking", {"MlflowClient": FakeClient}),
    ):
        module = ModuleType(name)
        vars(module).update(holds)
        monkeypatch.setitem(sys.modules, name, module)
    FakeClient.log, FakeClient.broken = [], False
    return FakeClient.log


def test_mlflow_is_told_and_a_resumed_run_is_the_same_one(fake, tmp_path):
    card = tmp_path / "base.md"
    card.write_text("# base")
    memory = tmp_path / "unfinished" / "mlflow-run"
    first = Mlflow("http://x", "base-starter", {"seed": 3}, memory)
    first.started(0, 10)
    first.learned(5, {"loss": 2.0})
    again = Mlflow("http://x", "base-starter", {"seed": 3}, memory)
    again.judged(10, {"mpjpe_mean_mm": 90.0}, {"people": PICTURE})
    again.close(finished=True, card=card)
    assert [entry for entry in fake if entry[0] == "run"] == [("run", "experiment alignhmr", "base-starter")]
    for entry in (
        ("run-1", "loss/total", 2.0, 5), ("run-1", "held_out/mpjpe_mean_mm", 90.0, 10), ("run-1", "RUNNING"),
        ("run-1", "pictures/0000010-0.png", (4, 6, 3)), ("run-1", "base.md"), ("run-1", "FINISHED"),
    ):  # fmt: skip
        assert entry in fake
    memory.write_text("run of another store")
    Mlflow("http://x", "base-starter", {}, memory).close(finished=False)
    assert len([entry for entry in fake if entry[0] == "run"]) == 2 and fake[-1] == ("run-1", "FAILED")


def test_an_mlflow_that_does_not_answer_is_told_before_the_run(fake, tmp_path):
    FakeClient.broken = True
    with pytest.raises(InputError, match=r"MLflow at http://x \(connection refused\); see that it runs"):
        Mlflow("http://x", "base", {}, tmp_path / "memory")


@pytest.mark.skipif(REAL, reason="mlflow is installed")
def test_without_mlflow_one_sentence_says_how_to_get_it(tmp_path):
    with pytest.raises(SetupError, match=r"pip install 'alignhmr\[mlflow\]'"):
        Mlflow("file:x", "base", {}, tmp_path / "memory")


@pytest.mark.skipif(not REAL, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_real_store_holds_what_it_was_told(tmp_path):
    store = tmp_path / "store"
    journal = Mlflow(f"file:{store}", "base-starter", {"seed": 3}, tmp_path / "memory")
    journal.learned(5, {"loss": 2.0, "grad_norm": 1.0})
    journal.judged(5, {"mpjpe_mean_mm": 90.0}, {"people": PICTURE})
    again = Mlflow(f"file:{store}", "base-starter", {"seed": 3}, tmp_path / "memory")
    again.close(finished=True)
    files = {path.name: path for path in store.rglob("*") if path.is_file()}
    assert files["total"].read_text().split()[1:] == ["2.0", "5"] and "mpjpe_mean_mm" in files
    assert files["recipe.json"].read_text() == '{\n "seed": 3\n}' and "0000005-0.png" in files
    with pytest.raises(InputError, match="nothing can be written to MLflow"):
        Mlflow("http://127.0.0.1:9", "base", {}, tmp_path / "other")
