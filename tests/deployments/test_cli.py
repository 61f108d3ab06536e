"""The command line: exit codes, one sentence per error, and options that are checked before anything loads."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alignhmr.core.errors import AcceleratorError, AlignhmrError, ImageError
from alignhmr.deployments import cli

RUNNER = CliRunner()
COMMANDS = [
    "label", "synth", "prepare", "serve", "predict", "demo", "assets", "improve", "find", "caption", "train base",
    "train scorer", "train text-pose", "train captioner", "train dpo", "train group", "train sft", "body import",
    "body export", "rows count", "rows show", "rows disagreements", "rows export",
]  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the program with these words; answers exit code, standard output and standard error."""
    monkeypatch.delenv("ALIGNHMR_DEBUG", raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["alignhmr", *words])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        code = exit_.value.code
        captured = capsys.readouterr()
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return call


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Makes ``alignhmr assets`` raise what it is given."""

    def arrange(error: BaseException) -> None:
        def run(*_: object) -> None:
            raise error

        monkeypatch.setattr("alignhmr.deployments.assets_command.run", run)

    return arrange


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = RUNNER.invoke(cli.app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "Usage: " in result.output


@pytest.mark.parametrize(
    ("error", "code"), [(ImageError("bad picture"), 3), (AcceleratorError("no GPU here"), 4), (AlignhmrError("x"), 1)]
)  # fmt: skip
def test_errors_on_purpose_are_one_sentence_and_their_exit_code(run, failing, error, code) -> None:
    failing(error)
    assert run("assets") == (code, "", f"alignhmr: error: {error}\n")


def test_a_long_message_stays_one_line(run, failing) -> None:
    failing(ImageError("first line\n  second line"))
    assert run("assets")[2] == "alignhmr: error: first line second line\n"


def test_a_defect_is_named_with_the_way_to_its_traceback(run, failing) -> None:
    failing(ZeroDivisionError("division by zero\nand more"))
    code, out, err = run("assets")
    assert (code, out) == (1, "")
    assert err == (
        "alignhmr: error: unexpected ZeroDivisionError: division by zero; "
        "run it again with --debug for the traceback\n"
    )


def test_a_file_that_refuses_is_named(run, failing) -> None:
    failing(PermissionError(13, "Permission denied", "/some/place"))
    assert run("assets") == (4, "", "alignhmr: error: /some/place: Permission denied\n")


def test_ctrl_c_is_130_without_a_word_of_ours(run, failing) -> None:
    failing(KeyboardInterrupt())
    code, _, err = run("assets")
    assert code == 130
    assert "error" not in err


@pytest.mark.parametrize("words", [("--debug", "assets"), ("assets", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(run, failing, monkeypatch, words) -> None:
    monkeypatch.setenv("ALIGNHMR_DEBUG", "")  # restored afterwards: --debug sets it
    failing(ImageError("bad picture"))
    code, _, err = run(*words)
    assert code == 3
    assert "Traceback" in err and err.endswith("alignhmr: error: bad picture\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict"], "Missing argument"),
        (["predict", "a.jpg"], "--out"),
        (["predict", "a.jpg", "-o", "out", "--hypotheses", "0"], "Input should be"),
        (["predict", "a.jpg", "-o", "out", "--hypotheses", "many"], "valid integer"),
        (["predict", "a.jpg", "-o", "out", "--format", "json,stl"], "json, overlay, glb, obj, npz, bvh"),
        (["predict", "a.jpg", "-o", "out", "--format", ","], "json, overlay, glb, obj, npz, bvh"),
        (["predict", "a.jpg", "-o", "out", "--box", "1,2,3"], "x0,y0,x1,y1"),
        (["predict", "a.jpg", "-o", "out", "--box", "9,9,1,1"], "no area"),
        (["predict", "a.jpg", "-o", "out", "--box", "nan,0,1,1"], "no area"),
        (["predict", "a.jpg", "-o", "out", "--resolution", "huge"], "'full', 'small'"),
        (["predict", "a.jpg", "-o", "out", "--detector", "yolo"], "rtdetr-vitpose:DETECTOR,POSE"),
        (["predict", "a.jpg", "-o", "out", "--device", "gpu"], "auto, cpu, cuda or cuda:N"),
        (["predict", "a.jpg", "-o", "out", "--focal", "-5"], "Input should be"),
        (["predict", "a.jpg", "-o", "out", "--threads", "0"], "Input should be"),
        (["predict", "a.jpg", "-o", "out", "--text"], "requires an argument"),
        (["caption"], "Missing argument"),
        (["caption", "a.jpg", "--max-tokens", "0"], "Input should be"),
        (["caption", "a.jpg", "--detector", "yolo"], "rtdetr-vitpose:DETECTOR,POSE"),
        (["label", "photos"], "--out"),
        (["label", "photos", "--out", "rows", "--limit", "0"], "Input should be"),
        (["label", "photos", "--out", "rows", "--device", "tpu"], "auto, cpu, cuda or cuda:N"),
        (["train", "dpo", "--out", "x"], "--data"),
        (["train", "dpo", "--data", "rows", "--out", "x", "--workers", "0"], "Input should be"),
        (["train", "base", "--out", "x", "--minutes", "-1"], "Input should be"),
        (["serve", "--port", "70000"], "Input should be"),
        (["serve", "--port", "http"], "valid integer"),
        (["serve", "--threads", "two"], "valid integer"),
        (["demo", "--frames", "1"], "Input should be"),
        (["train", "everything"], "No such command"),
        (["fly"], "No such command"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wanted(run, monkeypatch, words, said) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_train_base_passes_everything_on(run, monkeypatch) -> None:
    told: list[tuple] = []
    monkeypatch.setattr(
        "alignhmr.deployments.model_training.run_base", lambda *given, **named: told.append((given, named))
    )
    words = (
        "train base --out o --data a=2 --data s3://b/c --held-out t --workers 2 --init starter --preset full"
    )
    code, _, _ = run(
        *words.split(), *"--minutes 3 --seed 4 --resume --overwrite --mlflow file:m --device cpu".split()
    )
    [((launch,), named)] = told
    assert code == 0 and named == {"init": "starter"}
    assert vars(launch) == {
        "preset": "full", "out": Path("o"), "data": ["a=2", "s3://b/c"], "held_out": "t", "workers": 2, "minutes": 3.0,
        "seed": 4, "resume": True, "overwrite": True, "mlflow": "file:m", "device": "cpu", "body": "open",
        "config": None, "looks": None, "makers": None,
    }  # fmt: skip


def test_train_captioner_passes_everything_on(run, monkeypatch) -> None:
    told: list[tuple] = []
    monkeypatch.setattr(
        "alignhmr.deployments.model_training.run_captioner",
        lambda *given, **named: told.append((given, named)),
    )
    words = "train captioner --out o --data a=2 --held-out t --workers 2 --init m --preset full --makers 3"
    code, _, _ = run(
        *words.split(), *"--minutes 3 --seed 4 --resume --overwrite --mlflow file:m --device cpu".split()
    )
    [((launch,), named)] = told
    assert code == 0 and named == {"init": "m"}
    assert vars(launch) == {
        "preset": "full", "out": Path("o"), "data": ["a=2"], "held_out": "t", "workers": 2, "minutes": 3.0,
        "seed": 4, "resume": True, "overwrite": True, "mlflow": "file:m", "device": "cpu", "body": "open",
        "config": None, "looks": None, "makers": 3,
    }  # fmt: skip


def test_caption_passes_everything_on(run, monkeypatch) -> None:
    told: list[tuple] = []
    monkeypatch.setattr(
        "alignhmr.deployments.caption_one.run", lambda *given, **named: told.append((given, named))
    )
    code, _, _ = run(*"caption a.jpg b.jpg --model m --device cpu --max-tokens 9 --keep k --json".split())
    assert code == 0 and told == [
        (
            ([Path("a.jpg"), Path("b.jpg")],),
            {
                "model": "m", "detector": "blazepose", "device": "cpu", "max_tokens": 9, "keep": Path("k"),
                "as_json": True,
            },
        )
    ]  # fmt: skip


def test_sigterm_is_as_ctrl_c_and_afterwards_is_whose_it_was(run, monkeypatch) -> None:
    closed = []

    def works(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            closed.append(True)

    monkeypatch.setattr("alignhmr.deployments.assets_command.run", works)
    before = signal.getsignal(signal.SIGTERM)
    assert run("assets") == (143, "", "")
    assert closed == [True] and signal.getsignal(signal.SIGTERM) is before


def test_help_loads_nothing_heavy() -> None:
    code = "import sys\nimport alignhmr.deployments.cli as cli\n" + (
        "try:\n    cli.app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'numpy', 'pydantic', 'transformers', 'pyarrow', 'cv2', 'fastapi'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported by --help: {done.stderr}"


def test_the_installed_command_is_this_one() -> None:
    program = Path(sys.executable).with_name("alignhmr")
    done = subprocess.run([program, "predict", "no-such.jpg"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--out" in done.stderr
