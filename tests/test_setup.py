"""``make setup``: which environment a machine gets, when it is built again, and what is said where it can't be."""

import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "setup_env.py"


@pytest.fixture
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program of this name and these words of shell first on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing but pip's name in it."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=False)
    package = next((folder / "lib").glob("python*")) / "site-packages" / "pip"
    package.mkdir()
    (package / "__init__.py").touch()
    return folder


def test_a_gpu_that_answers_chooses_vllm(setup, program, monkeypatch) -> None:
    monkeypatch.delenv("ALIGNHMR_VLM", raising=False)
    program("nvidia-smi", "echo 'GPU 0: NVIDIA (UUID: GPU-0)'")
    assert setup.nvidia_answers()
    assert setup.which_vlm(gpu=True) == "gpu"


def test_a_driver_without_a_gpu_chooses_the_cpu(setup, program, monkeypatch) -> None:
    monkeypatch.delenv("ALIGNHMR_VLM", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    program("nvidia-smi", "echo 'No devices were found'; exit 6")
    assert not setup.nvidia_answers()
    assert setup.which_vlm(gpu=False) == "cpu"


def test_elsewhere_there_is_no_vllm(setup, monkeypatch) -> None:
    monkeypatch.delenv("ALIGNHMR_VLM", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert setup.which_vlm(gpu=False) == "none"


def test_the_choice_can_be_given_and_a_wrong_one_is_refused(setup, monkeypatch) -> None:
    monkeypatch.setenv("ALIGNHMR_VLM", "none")
    assert setup.which_vlm(gpu=True) == "none"
    monkeypatch.setenv("ALIGNHMR_VLM", "tpu")
    with pytest.raises(setup.Failure, match="gpu, cpu or none"):
        setup.which_vlm(gpu=True)


def test_an_unsupported_python_is_named(setup, program, monkeypatch) -> None:
    old = program("python-old", "echo 3 8")
    monkeypatch.setenv("SETUP_PYTHON", str(old))
    with pytest.raises(setup.Failure, match=r"python-old is not supported; install Python 3\.11 or 3\.12"):
        setup.find_python()


def test_a_supported_python_beside_an_unsupported_one_is_found(setup, program, monkeypatch) -> None:
    monkeypatch.delenv("SETUP_PYTHON", raising=False)
    monkeypatch.setattr(sys, "executable", str(program("python-new", "echo 3 14")))
    fitting = program("python3.11", "echo 3 11")
    assert setup.find_python() == str(fitting)


def test_a_full_disk_is_told_before_anything_is_made(setup, tmp_path) -> None:
    with pytest.raises(setup.Failure, match="about 1000000000 GB are wanted"):
        setup.make_venv(str(tmp_path / "venv"), 10**9)
    assert not (tmp_path / "venv").exists()


def test_pips_settings_become_uvs(setup, bare, monkeypatch) -> None:
    pip = next((bare / "lib").glob("python*")) / "site-packages" / "pip" / "__main__.py"
    listed = [
        ":env:.find-links='/mine'", ":env:.no-index='0'", "global.cert='/some/cert.pem'",
        "global.extra-index-url='file:///one file:///two'", "global.find-links='/other'",
        "global.index-url='file:///first'",
    ]  # fmt: skip
    pip.write_text(f"print({chr(10).join(listed)!r})")
    options = setup.pip_settings(str(bare))
    assert options == [
        "--default-index", "file:///first", "--index", "file:///one", "--index", "file:///two",
        "--find-links", "/mine", "--index-strategy", "unsafe-best-match",
    ]  # fmt: skip


def test_a_cpu_build_of_torch_is_tried_where_pip_looks_then_at_its_index_then_any(setup, tmp_path) -> None:
    first, second, third = setup.torch_sources(True, str(tmp_path))
    torch = setup.pin("torch")
    assert Path(first[1]).read_text().splitlines()[-1] == f"{torch}+cpu"
    assert second[:2] == first and second[2:] == ["--torch-backend", "cpu"]
    assert Path(third[1]).read_text().splitlines()[-1] == torch
    assert list(setup.torch_sources(False, str(tmp_path))) == [[]]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("error: failed to lookup address information: Name or service not known", "can't be reached"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("\nsomething else\n\n", "no uv: something else"),
        ("", "no uv: it said nothing"),
    ],
)
def test_failures_are_one_sentence(setup, output, said) -> None:
    sentence = setup.explain("no uv", output)
    assert said in sentence and "\n" not in sentence


def test_an_environment_is_fresh_as_long_as_nothing_it_was_built_from_changes(setup, monkeypatch) -> None:
    monkeypatch.delenv("ALIGNHMR_VLM", raising=False)
    stamp = setup.fingerprint("/here", None)
    assert stamp == setup.fingerprint("/here", None)
    assert stamp != setup.fingerprint("/there", None)
    assert stamp != setup.fingerprint("/here", str(SCRIPT))
    monkeypatch.setenv("ALIGNHMR_VLM", "none")
    assert stamp != setup.fingerprint("/here", None)


def test_a_moved_environment_is_built_again(setup, bare) -> None:
    stamp = bare / setup.STAMP
    assert setup.works(str(bare))
    stamp.write_text(setup.fingerprint(str(bare), None))
    assert setup.works(str(bare))
    stamp.write_text(setup.fingerprint("/elsewhere", None))
    assert not setup.works(str(bare))


@pytest.mark.slow
def test_without_a_network_one_line_says_so(tmp_path) -> None:
    environment = {
        **os.environ, "PIP_NO_INDEX": "0", "PIP_INDEX_URL": "https://127.0.0.1:9/simple", "PIP_RETRIES": "1",
        "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, SCRIPT, "--venv", tmp_path / "venv"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("setup: error: the package index can't be reached; ")
    assert not (tmp_path / "venv" / "alignhmr-setup").exists()
