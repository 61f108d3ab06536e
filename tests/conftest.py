"""Fixtures for every test: the one Ray of the session, quiet threads, and jaxtyping's shapes checked at run time."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# One thread each: results don't hang on the number of cores, and tests side by side don't fight for them.
# Set before anything imports torch or numba; Ray's workers inherit it.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Shapes in signatures are checked here and nowhere else: in production they cost time, here they are a test.
# Only where signatures are of arrays: the hook can't wrap numba's functions and Ray's actors.
SHAPED = (
    "body.model", "diffusion", "geometry", "language", "metrics", "scoring", "synthetic.poses",
    "truth.association", "truth.bundle", "truth.frames", "truth.multiview", "truth.smpl_labels",
)  # fmt: skip
sys.modules["shape_checker"] = checker = ModuleType("shape_checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
install_import_hook([f"alignhmr.core.{name}" for name in SHAPED], "shape_checker.check")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the Ray of the session is a Ray test, marked or not."""
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")


def _module_beside(name: str) -> ModuleType:
    """A module of this folder, by path: the tests are not a package that can be imported from everywhere."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def prepared_people() -> ModuleType:
    """The functions of ``prepared_people.py``."""
    return _module_beside("prepared_people")


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a vision-language model with random weights, as somebody else's. Whoever changes it, changes a copy."""
    from alignhmr.deployments import torchvision_shim

    torchvision_shim.install()
    folder = tmp_path_factory.mktemp("models") / "tiny-qwen2-vl"
    return _module_beside("tiny_vlm").make_tiny_vlm(folder)


@pytest.fixture(scope="session")
def clips(prepared_people: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of motion clips."""
    return prepared_people.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """The session's only Ray, as the program starts it. Two on one host would confuse each other's clean-up."""
    from alignhmr.deployments import runtime

    os.environ.pop("RAY_ADDRESS", None)  # a cluster of the developer's own is not the place for tests
    runtime.start_ray(num_cpus=6)
    yield
    runtime.shutdown()
