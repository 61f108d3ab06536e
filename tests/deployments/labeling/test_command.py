"""A run as the command line starts it: what is refused first, what is recorded, what a second run says."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from alignhmr.core.errors import (
    AcceleratorError,
    AssetError,
    CaptionerError,
    InputError,
    NoImagesError,
    NoPersonError,
)
from alignhmr.deployments.labeling import command
from alignhmr.deployments.labeling.sources import list_pictures


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100)


@pytest.fixture
def photos(picture, tmp_path):
    folder = tmp_path / "photos"
    for number in range(5):
        picture(folder / f"{number}.png", 20 * (number % 3), number=number)
    (folder / "broken.jpg").write_bytes(b"no")
    return folder


@pytest.mark.ray
def test_a_run_that_labels_nobody_says_so_and_keeps_its_rows(
    ray_session, picture, tmp_path, fake_models, small_config, console
):
    picture(tmp_path / "in" / "nobody.png", 0)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no")
    for _ in range(2):  # the second time it is done already
        with pytest.raises(NoPersonError, match=r"nobody to label in 2 pictures \(.*1 no_person.*\)"):
            command.label_pictures(
                list_pictures(tmp_path / "in"),
                small_config(),
                fake_models,
                str(tmp_path / "out"),
                console=console,
            )
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "finished" and record["counts"]["rows"] == 2


@pytest.mark.ray
def test_a_run_records_itself_and_is_not_done_twice(
    ray_session, photos, tmp_path, fake_models, small_config, console
):
    out = tmp_path / "out"

    def run(**over):
        return command.label_pictures(
            list_pictures(photos), small_config(**over), fake_models, str(out), console=console
        )

    record = run()
    assert record == json.loads((out / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["counts"] == record["counts"] | {"images": 6, "images_with_people": 3, "people": 4}
    assert record["counts"]["errors"] == {"no_person": 2, "not_an_image": 1}
    assert record["identity"]["models"] == fake_models.load_recoverer().models
    assert record["pictures"]["count"] == 6 and record["config"]["hypotheses"] == 6
    assert record["busy_seconds"].keys() == {"read", "people", "recover", "score"}
    assert record["checked"] == {"pictures": 6, "in_two_parts": 0, "labelled_twice": 0, "lost": 0}
    assert record["images_per_s"] > 0 and record["versions"]["ray"]
    assert sorted(path.name for path in (out / "rows").iterdir()) == record["parts"]

    before = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    assert run() == record
    assert run(resources__images_per_block=3) == record, "how it is done is no other run"
    assert {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()} == before
    shown = console.file.getvalue()
    assert "already holds this run" in shown and "nothing to do" in shown and "no_person" in shown

    with pytest.raises(InputError, match=r"config.seed 0 there, 1 here"):
        run(seed=1)


def test_a_model_that_cannot_load_stops_the_run_before_its_first_row(
    photos, tmp_path, fake_models, small_config, console
):
    broken = dataclasses.replace(fake_models, broken=AssetError("weights.bin is missing; put it there"))
    with pytest.raises(AssetError, match="put it there"):
        command.label_pictures(
            list_pictures(photos), small_config(), broken, str(tmp_path / "out"), console=console
        )
    assert not (tmp_path / "out").exists()


def test_models_that_answer_with_nonsense_stop_the_run(fake_models, monkeypatch):
    from alignhmr.core.errors import SetupError
    from alignhmr.deployments.labeling.trial import try_models

    class Diverged(type(fake_models)):
        def load_recoverer(self, *, whole=False):
            recoverer = super().load_recoverer(whole=whole)
            answer = recoverer.recover_batch

            def diverged(requests):
                recoveries = answer(requests)
                for recovery in recoveries:
                    recovery.hypotheses.scores[:] = float("nan")
                return recoveries

            recoverer.recover_batch = diverged
            return recoverer

    with pytest.raises(SetupError, match=r"scores that aren't finite; use other checkpoints"):
        try_models(Diverged())


@pytest.mark.parametrize(
    ("options", "kind", "match"),
    [
        ({"source": "empty"}, NoImagesError, "holds no pictures"),
        ({"source": "absent"}, InputError, "doesn't exist"),
        ({"preset": "phone"}, InputError, "preset 'phone' is unknown"),
        ({"config": "absent.yaml"}, InputError, "absent.yaml' can't be read"),
        ({"hypotheses": 0}, InputError, "hypotheses is 0"),
        ({"captioner": "gpt"}, InputError, "captions.engine is 'gpt'"),
        ({"device": "quantum"}, InputError, "device"),
    ],
)
def test_bad_options_get_one_clear_sentence(options, kind, match, photos, tmp_path, monkeypatch, console):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind, match=match) as caught:
        command.run(options.pop("source", photos), tmp_path / "out", console=console, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_is_said(photos, tmp_path, console):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(AcceleratorError, match="--device cpu"):
        command.run(photos, tmp_path / "out", device="cuda", console=console)


def test_a_missing_vlm_is_said_before_the_first_row(photos, tmp_path, fake_models, small_config, console):
    config = small_config(captions__engine=f"vllm:{tmp_path}/no-such-model")
    with pytest.raises(CaptionerError, match=r"use --captioner pose"):
        command.label_pictures(
            list_pictures(photos), config, fake_models, str(tmp_path / "out"), console=console
        )
    assert not (tmp_path / "out").exists()
