"""`alignhmr train base|scorer|captioner`: what is refused before anything, when a run goes on, all of it on Ray."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import file_digest, load_checkpoint, read_info, resolve
from alignhmr.core.errors import AcceleratorError, CaptionerError, CompatibilityError, InputError, SetupError
from alignhmr.core.language.shown import Shown
from alignhmr.core.language.vlm_folder import load_vlm, read_folder_info, shown_to, weights_digest
from alignhmr.deployments import model_training
from alignhmr.deployments.model_training import Launch, parse_part, run_base, run_captioner, run_scorer
from alignhmr.training import fit

SIZES = {
    "image": "none",
    "crop_px": 32,
    "width": 24,
    "encoder_blocks": 1,
    "denoiser_width": 24,
    "denoiser_blocks": 1,
}
TINY = {
    "model": SIZES, "loop": {"steps": 8, "report_every": 2, "warmup_steps": 1}, "batch_size": 4, "sightings": 4,
    "evaluation": {"every": 4, "people": 5, "hypotheses": 2}, "save_every": 4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(monkeypatch, clips) -> None:
    monkeypatch.setattr(fit, "fetch", lambda name: clips)
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


@pytest.fixture(scope="module")
def folders(prepared_people, tmp_path_factory) -> Path:
    root, body = tmp_path_factory.mktemp("prepared"), BodyModel.load()
    people = prepared_people.seen_people
    prepared_people.write_people(root / "wild", people(body, 6), domain="wild", split="train")
    prepared_people.write_people(root / "test", people(body, 5, seed=2), domain="wild", split="test")
    return root


@pytest.fixture
def train(folders, tmp_path) -> Callable[..., dict]:
    """The command on the tiny preset; ``out`` is a folder of the test's."""

    def run(**options) -> dict:
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"base": TINY | options.pop("recipe", {})}))
        data, held_out = [str(folders / "wild")], str(folders / "test")
        given = {
            "data": data,
            "held_out": held_out,
            "config": tmp_path / "tiny.yaml",
            "device": "cpu",
            **options,
        }
        more = {name: given.pop(name) for name in ("init", "console") if name in given}
        return run_base(Launch(given.pop("preset", "starter"), tmp_path / "out", **given), **more)

    return run


class Stopped(Exception):
    pass


@pytest.fixture
def no_ray(monkeypatch, tmp_path) -> None:
    """The command is stopped where Ray would begin, as if something had been committed."""

    def stop() -> None:
        [unfinished] = (tmp_path / "out").glob("*.unfinished")
        committed = unfinished / "run" / "checkpoint"
        committed.mkdir(parents=True, exist_ok=True)
        (committed / "state.safetensors").touch()
        raise Stopped

    monkeypatch.setattr(model_training, "start_ray", stop)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("people", ("people", 1.0)),
        ("people=3", ("people", 3.0)),
        ("s3://bucket/a=b/people=0.5", ("s3://bucket/a=b/people", 0.5)),
        ("split=train/people", ("split=train/people", 1.0)),
        ("people=-1", ("people", -1.0)),
    ],
)
def test_a_folder_and_its_weight(text, part):
    assert parse_part(text) == part


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"minutes": 0.0}, InputError, "minutes is 0"),
        ({"workers": 0}, InputError, "0 workers were asked for"),
        ({"workers": 3}, InputError, "4 prepared people of a step can't be shared evenly by 3 workers"),
        ({"preset": "huge"}, InputError, "choose one of"),
        ({"device": "gpu"}, InputError, "auto, cpu, cuda or cuda:N"),
        ({"device": "cuda"}, AcceleratorError, "--device cpu"),
        ({"data": ["nowhere"]}, InputError, "nowhere holds no prepared people"),
        ({"data": ["x=nan"]}, InputError, "weights are numbers above 0"),
        ({"data": ["http://x"]}, InputError, "only local paths, file:// and s3://"),
        ({"held_out": "nowhere"}, InputError, "nowhere holds no prepared people"),
        ({"init": "nobody"}, InputError, "nobody"),
        ({"init": "none.safetensors"}, InputError, r"no checkpoint at .*/none\.safetensors"),
        ({"resume": True}, InputError, "no unfinished run in .*; start without --resume"),
        ({"recipe": {"model": {**SIZES, "width": 0}}}, InputError, "base.model.width"),
    ],
)
def test_what_can_not_be_done_is_told_before_anything_is_written(
    options, error, words, train, no_ray, tmp_path
):
    with pytest.raises(error, match=words):
        train(**options)
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_is_neither_lost_nor_mixed_with_another(train, folders, no_ray, tmp_path):
    with pytest.raises(Stopped):
        train(minutes=3.0)
    folder = tmp_path / "out" / "base-starter.unfinished"
    plan = json.loads((folder / "plan.json").read_text())
    assert (
        plan["minutes"] == 3.0 and plan["plan"]["seed"] == 0 and plan["plan"]["recipe"]["loop"]["steps"] == 8
    )
    first = file_digest(folder / "first.safetensors")
    assert load_checkpoint(folder / "first.safetensors", "base")[1].kind == "base"
    with pytest.raises(InputError, match=r"hasn't ended; go on with --resume, begin anew with --overwrite"):
        train()
    with pytest.raises(CompatibilityError, match="began with another seed"):
        train(resume=True, seed=1)
    with pytest.raises(CompatibilityError, match="began with another recipe"):
        train(resume=True, recipe={"batch_size": 8})
    with pytest.raises(CompatibilityError, match="another data, mixture"):
        train(resume=True, data=[f"{folders / 'wild'}=2"] * 2)
    assert file_digest(folder / "first.safetensors") == first
    with pytest.raises(Stopped):
        train(resume=True)
    with pytest.raises(Stopped):
        train(overwrite=True, seed=1)
    assert json.loads((folder / "plan.json").read_text())["plan"]["seed"] == 1
    assert file_digest(folder / "first.safetensors") != first


def test_a_run_that_kept_nothing_is_not_in_the_way_of_another(train, monkeypatch, tmp_path):
    def refuse() -> None:
        raise SetupError("no Ray here")

    monkeypatch.setattr(model_training, "start_ray", refuse)
    for _ in range(2):
        with pytest.raises(SetupError, match="no Ray here"):
            train()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_whole_command(train, folders, ray_session, s3, tmp_path):
    """People in S3, judges on disk, first weights of one's own; files, table and what it answers."""
    s3.create_bucket(Bucket="people")
    for path in (folders / "wild").iterdir():
        s3.upload_file(str(path), "people", f"wild/{path.name}")
    console = Console(file=io.StringIO(), width=160)
    started = train(data=["s3://people/wild=2"], console=console, seed=4)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir() if "last" not in path.name) == [
        "base-starter.md", "base-starter.safetensors", "tensorboard",
    ]  # fmt: skip
    info = read_info(Path(started["checkpoint"]))
    assert started["sha256"] == file_digest(out / "base-starter.safetensors") and started["steps"] == 8
    assert info.recipe["seed"] == 4 and info.recipe["preset"] == "starter"
    assert [source["weight"] for source in info.recipe["data"]] == [2.0]
    assert info.metrics["people"] == 5 and info.metrics == started["metrics"]
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "6 of s3://people/wild",
        "judged by 5 held-out people",
        "1 x cpu",
        "PA-MPJPE",
        "everything",
    ):
        assert words in shown
    # The file that came of it is what another run can begin with.
    again = train(init=str(out / "base-starter.safetensors"), console=console)
    assert read_info(Path(again["checkpoint"])).recipe["init"] == f"base-starter:{started['sha256']}"
    assert len(list((out / "tensorboard").iterdir())) == 2


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scorer_by_two_workers(folders, ray_session, prepared_people, tmp_path, monkeypatch):
    """On pictures, beside a base that is one's own and named as it is here, where workers aren't."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(resolve("starter", "base"), "own.safetensors")
    recipe = {
        "model": {"token_width": 8, "heads": 2, "hops": [2], "width": 16, "blocks": 1},
        "loop": {"steps": 6, "report_every": 2, "warmup_steps": 1}, "batch_size": 2, "sightings": 4, "own": 3,
        "perturbed": 1, "evaluation": {"every": 4, "people": 5, "hypotheses": 3}, "save_every": 4,
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"scorer": recipe}))
    console = Console(file=io.StringIO(), width=160)
    launch = Launch(
        "starter", tmp_path / "out", [str(folders / "wild")], str(folders / "test"), 2, "cpu",
        config=tmp_path / "tiny.yaml",
    )  # fmt: skip
    made = run_scorer(launch, base="own.safetensors", console=console)
    info = read_info(Path(made["checkpoint"]))
    assert info.kind == "scorer" and info.config["image"] == "blazepose" and made["steps"] == 6
    assert info.recipe["base"].startswith("own:") and info.recipe["judged_by"]["people"] == 5
    assert -1 <= info.metrics["srcc_group"] <= 1
    assert "srcc_group" in console.file.getvalue()  # type: ignore[attr-defined]
    assert (tmp_path / "out" / "scorer-starter.md").exists()


CAPTIONER = {
    "model": {
        "picture_px": 56, "vision_width": 32, "vision_blocks": 1, "vision_feed": 2, "width": 32, "blocks": 1,
        "feed_forward": 64,
    },
    "loop": {"steps": 6, "report_every": 2, "warmup_steps": 1}, "batch_size": 2, "sightings": 4,
    "evaluation": {"every": 4, "people": 5, "hypotheses": 1}, "save_every": 4,
}  # fmt: skip


@pytest.fixture
def teach(folders, tmp_path) -> Callable[..., dict]:
    """`alignhmr train captioner` on a tiny model; ``out`` is a folder of the test's."""

    def run(*, recipe: dict | None = None, init: str | None = None, console=None, **options) -> dict:
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"captioner": CAPTIONER | (recipe or {})}))
        given = {
            "data": [str(folders / "wild")], "held_out": str(folders / "test"), "device": "cpu",
            "config": tmp_path / "tiny.yaml", "out": tmp_path / "out", **options,
        }  # fmt: skip
        return run_captioner(Launch("starter", **given), init=init, console=console)

    return run


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"init": "none"}, CaptionerError, "there is no model folder .*none"),
        ({"workers": 4, "recipe": {"sightings": 6}}, InputError, "can't be shared evenly by 4 workers"),
        ({"recipe": {"model": CAPTIONER["model"] | {"picture_px": 60}}}, InputError, "captioner.model.picture_px"),
        ({"recipe": {"precision": "int4"}}, InputError, "captioner.precision"),
        ({"resume": True}, InputError, "no unfinished run in .*; start without --resume"),
    ],
)  # fmt: skip
def test_a_captioner_that_can_not_be_taught_is_told_before_anything_is_written(
    options, error, words, teach, no_ray, tmp_path
):
    with pytest.raises(error, match=words):
        teach(**options)
    assert not (tmp_path / "out").exists()


def test_an_unfinished_captioner_began_with_a_folder_and_goes_on_only_as_it_began(teach, no_ray, tmp_path):
    with pytest.raises(Stopped):
        teach(seed=2)
    first = tmp_path / "out" / "captioner-starter.unfinished" / "first"
    model, _ = load_vlm(first)
    begun = weights_digest(first)
    assert model.config.text_config.hidden_size == 32 and read_folder_info(first).kind == "captioner"
    assert json.loads((first / "config.json").read_text())["dtype"] == "float32", "as exact as it learns"
    with pytest.raises(InputError, match=r"hasn't ended; go on with --resume, begin anew with --overwrite"):
        teach()
    with pytest.raises(CompatibilityError, match="began with another seed"):
        teach(resume=True, seed=3)
    with pytest.raises(CompatibilityError, match="began with another recipe"):
        teach(resume=True, seed=2, recipe={"texts": True})
    with pytest.raises(Stopped):
        teach(resume=True, seed=2)
    assert weights_digest(first) == begun
    with pytest.raises(Stopped):
        teach(overwrite=True, seed=3)
    assert weights_digest(first) != begun


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_captioner_is_taught_by_two_workers_and_then_tuned(teach, ray_session, tmp_path):
    console = Console(file=io.StringIO(), width=160)
    made = teach(workers=2, seed=4, console=console)
    out = tmp_path / "out"
    folder = out / "captioner-starter"
    assert {path.name for path in out.iterdir()} == {"captioner-starter", "tensorboard"}
    assert made["checkpoint"] == str(folder) and made["sha256"] == weights_digest(folder)
    info = read_folder_info(folder)
    assert (made["steps"], made["step"], made["metrics"]) == (6, 6, info.metrics)
    assert set(info.metrics) == {"macro_f1", "majority_macro_f1", "valid_json"}
    assert info.recipe["seed"] == 4 and info.recipe["judged_by"]["people"] == 5
    model, _ = load_vlm(folder)
    assert model.config.text_config.hidden_size == 32 and shown_to(folder) == Shown(True, 56)
    card = (folder / "README.md").read_text()
    assert made["sha256"] in card and "preset starter, seed 4" in card
    told = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("judged by 5 held-out people; 2 x cpu", "macro_f1", str(folder / "README.md")):
        assert words in told
    # What came of it can be tuned, and is then another.
    again = teach(
        out=tmp_path / "tuned", init=str(folder), recipe={"rank": 2, "texts": True}, console=console
    )
    assert read_folder_info(Path(again["checkpoint"])).recipe["init"] == f"captioner-starter:{made['sha256']}"
    assert again["sha256"] != made["sha256"]
