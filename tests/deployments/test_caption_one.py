"""People in photos captioned by `transformers`: a real architecture whose random weights' nonsense has a reason."""

import io
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.core.errors import CaptionerError, ImageError, InputError, NoPersonError
from alignhmr.core.language.captions import AGAIN, REASONS
from alignhmr.core.language.shown import Shown
from alignhmr.core.language.vlm_folder import ABOUT
from alignhmr.core.perception.assets import fetch
from alignhmr.core.perception.video import frames
from alignhmr.deployments import cli
from alignhmr.deployments.caption_one import OnePicture

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def taught(tiny_vlm, tmp_path_factory) -> Path:
    """The same model, but it says that it learned from drawn people."""
    folder = Path(shutil.copytree(tiny_vlm, tmp_path_factory.mktemp("taught") / "captioner"))
    info = CheckpointInfo("captioner", {"drawn": True, "picture_px": 56}, "open-body", "0" * 64)
    (folder / ABOUT).write_text(json.dumps(asdict(info)))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A frame of a video with one person in it, a picture of nobody, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    frame = next(frames(fetch("pose2sim") / "single" / "cam01.mp4", start=50, limit=1))
    cv2.imwrite(str(folder / "walker.jpg"), frame[..., ::-1])
    Image.new("RGB", (300, 200), "gray").save(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes((folder / "walker.jpg").read_bytes()[:4000])
    return folder


def caption(*words: object):
    """`alignhmr caption` with few tokens, on the CPU."""
    given = ["caption", *map(str, words), "--device", "cpu", "--max-tokens", "12"]
    return RUNNER.invoke(cli.app, given, env={"COLUMNS": "200"})


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(CaptionerError, match="there is no model folder"):
        OnePicture(tmp_path / "nothing")


def test_nonsense_has_a_reason_and_the_same_seed_the_same_nonsense(tiny_vlm):
    model = OnePicture(tiny_vlm)
    buffer = io.BytesIO()
    Image.new("RGB", (96, 120), "gray").save(buffer, "JPEG")
    one, again, other = (model.caption(buffer.getvalue(), max_tokens=12, seed=seed) for seed in (0, 0, 1))
    assert one.reason in REASONS and one == again
    assert one.reason in AGAIN and other != one, "it was asked again, by sampling"
    first = [model.caption(buffer.getvalue(), max_tokens=12, tries=1, seed=seed) for seed in (0, 1)]
    assert first[0] == first[1], "what is asked for first hangs on no seed"


def test_people_are_shown_as_the_model_learned_to_see_them(tiny_vlm, taught):
    assert OnePicture(taught).shown == Shown(True, 56)
    assert OnePicture(tiny_vlm).shown == Shown(False, 448)


def test_what_can_not_be_used_costs_itself_alone(taught, photos, tmp_path):
    names = ("nobody.png", "walker.jpg", "broken.jpg", "missing.jpg")
    kept = tmp_path / "kept"
    done = caption(*(photos / name for name in names), "--model", taught, "--json", "--keep", kept)
    assert done.exit_code == 0, done.output
    [told] = json.loads(done.stdout)
    assert (told["photo"], told["person"]) == ("walker.jpg", 0)
    assert told["reason"] in REASONS and told["detail"]
    for words in ("nobody was found in", "broken.jpg: ", "missing.jpg can't be read: No such file"):
        assert words in done.stderr
    assert [path.name for path in kept.iterdir()] == ["1-walker-0.jpg"]
    with Image.open(kept / "1-walker-0.jpg") as shown:
        assert shown.size == (56, 56)
        pixels = np.asarray(shown).astype(int)
    assert (np.ptp(pixels, axis=-1) > 120).any(), "no such colour is in the frame, but in what is drawn"


def test_text_says_who_and_what_was_wrong(tiny_vlm, photos, tmp_path):
    done = caption(photos / "walker.jpg", "--model", tiny_vlm, "--keep", tmp_path)
    assert done.exit_code == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "walker.jpg person 0"
    assert lines[-1].split()[0] in REASONS
    with Image.open(tmp_path / "0-walker-0.jpg") as shown:
        assert shown.height == 448 > shown.width, (
            "as they are, by a model that nobody says how to show people to"
        )


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nobody.png", NoPersonError, "give a photo with a person in it"),
        ("broken.jpg", ImageError, ""),
        ("missing.jpg", InputError, "can't be read"),
    ],
)
def test_where_nothing_is_left_the_reason_is_the_error(tiny_vlm, photos, name, error, words):
    done = caption(photos / name, "--model", tiny_vlm)
    assert isinstance(done.exception, error) and words in str(done.exception)
    assert done.stdout == done.stderr == ""


def test_a_model_that_is_none_is_told_before_anybody_is_looked_for(photos, tmp_path):
    done = caption(photos / "walker.jpg", "--model", tmp_path / "none")
    assert isinstance(done.exception, CaptionerError) and "there is no model folder" in str(done.exception)
