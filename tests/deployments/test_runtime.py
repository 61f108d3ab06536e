"""Starting and leaving Ray, what every worker is given, and the shim for a CUDA-linked torchvision."""

import importlib.util
import os
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec

import pytest

from alignhmr.core.errors import AcceleratorError, InputError
from alignhmr.deployments import runtime, torchvision_shim


def test_a_small_machine_gets_more_slots_than_cores(monkeypatch):
    for cores, slots in ((1, 5), (2, 6), (8, 12), (9, 9), (64, 64)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert runtime.logical_cpus() == slots


def test_workers_get_one_thread_each_and_what_the_user_set(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    variables = runtime.worker_environment()["env_vars"]
    assert variables["HF_HUB_OFFLINE"] == "1" and variables["OMP_NUM_THREADS"] == "3"
    assert variables["MKL_NUM_THREADS"] == "1" and variables["PYTHONDONTWRITEBYTECODE"] == ""


def test_devices(monkeypatch):
    import torch

    assert runtime.resolve_device("cpu") == "cpu"
    with pytest.raises(InputError, match="quantum"):
        runtime.resolve_device("quantum")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.resolve_device("auto") == "cpu"
    with pytest.raises(AcceleratorError, match="--device cpu or auto"):
        runtime.resolve_device("cuda")


@pytest.mark.ray
def test_a_ray_that_was_there_before_stays(ray_session):
    import ray

    runtime.start_ray()
    assert ray.is_initialized()
    if not runtime._started_here:  # another fixture started it: leaving must not stop it
        runtime.shutdown()
        assert ray.is_initialized()


@pytest.mark.ray
def test_errors_of_tasks_are_logged_and_not_printed(ray_session, capfd, caplog):
    from ray._private import worker
    from ray._private.utils import publish_error_to_driver

    caplog.set_level("INFO", "alignhmr.deployments.runtime")
    gcs = getattr(worker.global_worker, "gcs_client")  # noqa: B009 - Ray sets it when it connects
    publish_error_to_driver("test", "a task of somebody failed", gcs_client=gcs)
    deadline = time.monotonic() + 20
    while "a task of somebody failed" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "a task of somebody failed" in caplog.text
    assert "a task of somebody" not in capfd.readouterr().out


def test_workers_and_their_children_import_torchvision(ray_session):
    import ray

    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")

    @ray.remote(num_cpus=0.1)
    def look() -> tuple[str, int]:
        import subprocess
        import sys

        from torchvision.transforms import v2

        child = subprocess.run([sys.executable, "-c", "import torchvision.transforms"], check=False)
        return v2.__name__, child.returncode

    assert ray.get(look.remote(), timeout=120) == ("torchvision.transforms.v2", 0)


def test_the_shim_touches_nothing_where_the_builds_match(monkeypatch, tmp_path):
    for torch_cuda, vision, wanted in (
        ("None", "0.28.0+cu130", True),
        ("None", "0.28.0+cpu", False),
        ("'13.0'", "0.28.0+cu130", False),
    ):
        for name, text in (
            ("torch", f"__all__ = ['cuda']\ncuda: Optional[str] = {torch_cuda}\nhip: Optional[str] = None\n"),
            ("torchvision", f"__version__ = {vision!r}\n"),
        ):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "version.py").write_text(text)
        monkeypatch.setattr(
            torchvision_shim.importlib.util,
            "find_spec",
            lambda name: ModuleSpec(name, None, origin=str(tmp_path / name / "__init__.py")),
        )
        assert torchvision_shim.mismatched() is wanted, (torch_cuda, vision)


def test_a_hidden_sitecustomize_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('theirs')")
    ours = os.path.join(os.path.dirname(runtime.__file__), "child_python")
    paths = [ours, str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    done = subprocess.run(
        [sys.executable, "-c", ""], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "theirs"
