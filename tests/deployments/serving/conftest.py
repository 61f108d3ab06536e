"""The service around a fake recoverer, on loopback, and pictures that tell the fake what to do."""

import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from ray import cloudpickle


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The module of the fake, which travels to Ray's workers by value: they can't import a test folder."""
    module = _module("fake_recoverer")
    cloudpickle.register_pickle_by_value(module)
    return module


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """The running ``Browser`` of ``browser.py``."""
    module = _module("browser")
    if module.chromium() is None:
        pytest.skip("there is no Chromium here; install it, on Debian with `apt-get install chromium`")
    running = module.Browser(tmp_path_factory.mktemp("chromium"))
    yield running
    running.close()


def _module(name: str) -> ModuleType:
    """A file beside this one: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(
        f"alignhmr_tests_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def picture(fake: ModuleType) -> Callable[..., bytes]:
    """Makes the PNG of a picture that shows so many people, takes so long, and fails in this way."""

    def make(people: int = 1, *, size: tuple[int, int] = (64, 48), **told: int) -> bytes:
        pixels = np.full((size[1], size[0], 3), 90, np.uint8)
        pixels[0, 0] = fake.instructions(people, **told)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture(scope="module")
def service(ray_session: None, fake: ModuleType) -> Iterator:
    """One running service with small limits."""
    from alignhmr.deployments.serving.command import start
    from alignhmr.deployments.serving.intake import Limits
    from alignhmr.deployments.serving.settings import Pool, ServeSettings

    limits = Limits(
        max_body_bytes=1_000_000, max_image_bytes=200_000, max_pixels=250_000, max_images=4, deadline_s=20
    )
    pool = Pool(max_ongoing=4, max_queued=4, cpus_per_replica=0)
    settings = ServeSettings(limits=limits, perception=pool, recovery=pool)
    running = start(port=0, load=fake.FakeRecoverer, settings=settings)
    yield running
    running.stop()
