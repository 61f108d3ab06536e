"""Fakes that stand in for the models of a labelling run, and pictures that tell them what to do.

The red value of a picture's first pixel is a request to the fake detector: ``PERSON`` times the number of
people, or one of the failures below. Everything a fake answers follows from the picture and the seed.
"""

import dataclasses
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray import cloudpickle

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.records import Hypotheses, Person, Picture, Recovery
from alignhmr.deployments.labeling.books import BOOKS, Books
from alignhmr.deployments.labeling.captioning import make_captioner
from alignhmr.deployments.labeling.config import LabelConfig, load_config
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.plan import PLAN, write_plan
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.sources import list_pictures

PERSON = 20
DETECTOR_RAISES, RECOVERY_RAISES, RECOVERY_IS_NAN = 255, 250, 245
DETECTOR_DIES, DETECTOR_HANGS, RECOVERY_DIES, SCORER_DIES, SCORER_RAISES = 240, 235, 232, 225, 223
_ONE_PERSON = (RECOVERY_RAISES, RECOVERY_IS_NAN, RECOVERY_DIES, SCORER_DIES, SCORER_RAISES)


class FakeDetector:
    name = "fake"
    digest = "0" * 64

    def __init__(self, slow_s: float = 0.0) -> None:
        self.slow_s = slow_s

    def find(self, picture: Picture) -> list[Person]:
        time.sleep(self.slow_s)
        order = int(picture.pixels[0, 0, 0])
        if order == DETECTOR_RAISES:
            raise RuntimeError("the detector chokes on this one")
        if order == DETECTOR_DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if order == DETECTOR_HANGS:
            time.sleep(600)
        count = 1 if order in _ONE_PERSON else order // PERSON
        width, height = picture.size
        seed = int(picture.sha256[:8], 16)
        people = []
        for index in range(count):
            rng = np.random.default_rng(seed + index)
            points = rng.uniform((0, 0, 0.5), (width, height, 1), (len(KEYPOINTS), 3))
            people.append(
                Person(
                    box_px=np.array([0, 0, width, height], np.float32),
                    score=order / 255,
                    keypoints_px=points.astype(np.float32),
                    keypoints_3d_m=rng.normal(size=(len(KEYPOINTS), 3)).astype(np.float32) if index else None,
                    mask=rng.integers(0, 255, (6, 4), np.uint8),
                    mask_box_px=np.array([0, 0, width, height], np.float32),
                    detector=self.name,
                )
            )
        return people


class FakeRecoverer:
    """Hypotheses drawn from the seed alone, as a real one's are from the seed and the person."""

    models = {"body": "fake-body:0123", "detector": "fake:0000", "base": "fake:1", "scorer": "fake:2"}  # noqa: RUF012

    device = "cpu"

    def recover_batch(self, requests: list) -> list[Recovery]:
        return [self.judged(request, *self.proposed(request)) for request in requests]

    def vetoes(self, recovery: Recovery) -> dict[str, np.ndarray]:
        """The last hypothesis is out of the question."""
        hit = np.zeros(len(recovery.hypotheses), bool)
        hit[-1] = True
        return {"joint_limits": hit, "keypoints": ~np.ones_like(hit)}

    def proposed(self, request):
        import torch

        from alignhmr.core.diffusion.parameters import BodyParameters
        from alignhmr.core.placement import Bodies
        from alignhmr.core.recovery import Sight

        order = round(request.person.score * 255)
        if order == RECOVERY_RAISES:
            raise RuntimeError("the recovery chokes on this one")
        if order == RECOVERY_DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        # The silhouette must arrive as it left the detector.
        shift = 0.0 if request.person.mask is None else float(request.person.mask.mean()) / 255
        rng, m = np.random.default_rng(request.seed), request.hypotheses
        joints = _standing() + rng.normal(0, 0.02, (m, len(JOINTS), 3)) + shift

        def numbers(*shape: int):
            return torch.tensor(rng.normal(0, 0.2, (1, m, *shape)), dtype=torch.float32)

        parameters = BodyParameters(numbers(24, 3, 3), numbers(10), numbers(3))
        placed = torch.tensor(joints[None], dtype=torch.float32)
        count = len(KEYPOINTS)
        bodies = Bodies(
            parameters, placed, numbers(count, 3), numbers(3), numbers(24, 2), 100 * numbers(count, 2)
        )
        points = torch.tensor(request.person.keypoints_px)[None]
        sight = Sight(points, torch.tensor([[50.0, 50.0, 100.0]]), torch.ones(1), torch.ones(1, 2))
        return sight, bodies

    def judged(self, request, sight, bodies, refiner=None) -> Recovery:
        order = round(request.person.score * 255)
        if order == SCORER_DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if order == SCORER_RAISES:
            raise RuntimeError("the scorer chokes on this one")
        rng, m = np.random.default_rng(request.seed + 1), request.hypotheses
        scores = rng.normal(size=m)
        if order == RECOVERY_IS_NAN:
            scores[0] = np.nan
        joints = bodies.joints_m[0].numpy()
        hyps = Hypotheses(
            pose_aa=bodies.parameters.rotations[0, :, :, 0].numpy(),
            betas=bodies.parameters.betas[0].numpy(),
            transl_cam_m=bodies.transl_cam_m[0].numpy(),
            joints_cam_m=joints,
            keypoints_cam_m=bodies.keypoints_m[0].numpy(),
            keypoints_px=bodies.keypoints_px[0].numpy(),
            scores=scores.astype(np.float32),
            expected_error_mm=rng.uniform(40, 90, m).astype(np.float32),
        )
        return Recovery(
            person=request.person,
            intrinsics=request.intrinsics,
            crop_px=sight.crop_px[0].numpy(),
            hypotheses=hyps,
            selected=int(np.nanargmax(scores)),
            joint_spread_mm=joints.std(0).mean(-1).astype(np.float32) * 1000,
            seed=request.seed,
            models=dict(self.models),
        )


def _standing() -> np.ndarray:
    """Joints of an upright body: left is +x, up is -y."""
    joints = np.zeros((len(JOINTS), 3))
    heights = {"pelvis": 0.0, "hip": 0.05, "knee": 0.45, "ankle": 0.85, "foot": 0.9, "neck": -0.5,
               "head": -0.65, "shoulder": -0.45, "elbow": -0.2, "wrist": 0.05,
               "hand": 0.1, "collar": -0.45}  # fmt: skip
    for index, name in enumerate(JOINTS):
        side, _, part = name.rpartition("_")
        joints[index, 1] = heights.get(part, -0.1 * int(part[-1]) if part.startswith("spine") else 0.0)
        joints[index, 0] = {"left": 0.15, "right": -0.15}.get(side, 0.0)
    return joints


@dataclasses.dataclass(frozen=True)
class FakeModels:
    """As ``Models``, but fakes; ``broken`` is raised where a real one would fail to load."""

    device: str = "cpu"
    detector: str = "blazepose"
    base: str = "fake"
    scorer: str = "fake"
    broken: Exception | None = None
    slow_s: float = 0.0
    """That each picture takes the detector."""
    notes: str | None = None
    """Folder in which a worker notes the node that it loads its models on."""

    def load_detector(self) -> FakeDetector:
        self._note("detector")
        return FakeDetector(self.slow_s)

    def load_recoverer(self, *, whole: bool = False) -> FakeRecoverer:
        if self.broken is not None:
            raise self.broken
        if not whole:
            self._note("recoverer")
        return FakeRecoverer()

    def _note(self, what: str) -> None:
        if self.notes is not None:
            import ray

            (Path(self.notes) / f"{what} {ray.get_runtime_context().get_node_id()}").touch()


# Workers don't have this folder on their path: the fakes travel whole.
cloudpickle.register_pickle_by_value(sys.modules[FakeModels.__module__])


@pytest.fixture(scope="session")
def fake_models() -> FakeModels:
    return FakeModels()


def write_picture(path: Path, order: int, *, number: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """A lossless picture with this order to the fake detector; ``number`` makes its bytes its own."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[0, 0] = order, number % 256, number // 256
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., Path]:
    return write_picture


SMALL = {
    "hypotheses": 6, "resources.images_per_block": 5, "resources.people.batch_size": 3,
    "resources.recover.batch_size": 4, "resources.score.batch_size": 3, "resources.people.num_cpus": 0.5,
    "resources.recover.num_cpus": 0.5, "resources.score.num_cpus": 0.5,
}  # fmt: skip


@pytest.fixture(scope="session")
def small_config() -> Callable[..., LabelConfig]:
    """The laptop preset, smaller, with the given keys over it."""
    return lambda **over: load_config(
        "laptop", None, SMALL | {k.replace("__", "."): v for k, v in over.items()}
    )


@pytest.fixture(scope="session")
def run_label_with(ray_session, small_config):
    """Runs the pipeline with the given models; returns all rows, sorted, and the parts' summaries."""

    def run(models, source, out, **over) -> tuple[list[dict], list[dict]]:
        parts = label_into(models, small_config(**over), source, Output.at(str(out)))
        return read_rows(Path(out)), parts

    return run


@pytest.fixture(scope="session")
def run_label(run_label_with, fake_models):
    """As ``run_label_with``, with the fakes."""
    return partial(run_label_with, fake_models)


@pytest.fixture(scope="session")
def run_label_into(ray_session, small_config, fake_models):
    """As ``run_label`` into any ``Output``; returns the parts' summaries."""
    return lambda source, output, **over: label_into(fake_models, small_config(**over), source, output)


def label_into(models, config: LabelConfig, source, output: Output) -> list[dict]:
    """The pipeline alone, without what surrounds it in the command."""
    import ray

    from alignhmr.deployments.labeling.ledger import open_ledger
    from alignhmr.deployments.labeling.pipeline import Job, label

    output.make_folders()
    captioner = make_captioner(config, models.device)
    captioner.check()
    listing = list_pictures(source, remote=config.fetch.enabled)
    reader = Reader.for_sources(listing.sources, config.images.max_bytes, config.fetch.fetcher())
    with tempfile.TemporaryDirectory() as folder:
        books = Books(Path(folder) / BOOKS)
        planned = write_plan(listing.entries(), books, Path(folder) / PLAN, config.resources.images_per_block)
        books.close()
        ledger = open_ledger(folder, config.guard.tries)
        try:
            return list(label(Job(config, models, captioner, reader, output, "0.test"), planned, ledger))
        finally:
            ray.kill(ledger)


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Path], list[dict]]:
    return read_rows


def read_rows(out: Path) -> list[dict]:
    """All rows of a run's folder, in the order of their identity."""
    import pyarrow.parquet as pq

    from alignhmr.deployments.labeling.schema import rows_from_table

    rows = [
        row
        for path in sorted((out / "rows").glob("*.parquet"))
        for row in rows_from_table(pq.read_table(path))
    ]
    return sorted(
        rows, key=lambda row: (row["uri"], -1 if row["person_index"] is None else row["person_index"])
    )


def assert_same_rows(first, second):
    """Equal in everything but which of two identical files gave the row its name."""

    def key(row):
        return row["error_code"] == "duplicate", row["image_sha256"] or row["uri"], row["person_index"] or 0

    assert len(first) == len(second)
    for a, b in zip(sorted(first, key=key), sorted(second, key=key), strict=True):
        for name in a:
            if name in ("uri", "error_message") and (
                a["error_code"] == "duplicate" or a["person_index"] == 0
            ):
                continue
            np.testing.assert_array_equal(a[name], b[name], err_msg=f"{name} of {a['uri']}")


@pytest.fixture(scope="session")
def same_rows() -> Callable[[list[dict], list[dict]], None]:
    return assert_same_rows
