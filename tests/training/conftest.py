"""Made people, tiny models and label rows: what `alignhmr label` would write, with the truth as the scorer."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo, file_digest, load_checkpoint, save_checkpoint
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.geometry.cameras import fit_translation, lift_crop_camera
from alignhmr.core.geometry.rotations import matrix_to_axis_angle
from alignhmr.core.metrics.positions import mpjpe_mm
from alignhmr.core.scoring.preference import Abstention, MiningRule, mine_pairs
from alignhmr.core.scoring.scorer import HMRScorer, ScorerConfig
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import PoseSampler
from alignhmr.deployments.labeling.schema import row_schema, table_from_rows
from alignhmr.training.alignment import PreferencePlan
from alignhmr.training.base import true_packed
from alignhmr.training.preference import PreferenceConfig
from alignhmr.training.sightings import Sighting

torch.set_num_threads(1)

TINY = BaseModelConfig("none", width=48, encoder_blocks=1, denoiser_width=48, denoiser_blocks=1)


def tiny_base(path: Path, body: BodyModel, batch: Observations) -> Path:
    """A checkpoint of an untrained model whose hypotheses differ visibly from each other."""
    torch.manual_seed(0)
    model = BaseModel(TINY)
    model.mean.copy_(true_packed(batch).mean(0))
    model.residual_std.fill_(0.2)
    save_checkpoint(path, model, CheckpointInfo("base", TINY.__dict__, body.name, body.digest))
    return path


def tiny_scorer(path: Path, body: BodyModel) -> Path:
    torch.manual_seed(0)
    config = ScorerConfig("none", token_width=8, heads=2, hops=[2], width=32, blocks=1)
    save_checkpoint(
        path, HMRScorer(config), CheckpointInfo("scorer", config.__dict__, body.name, body.digest)
    )
    return path


@torch.no_grad()
def label_rows(
    model: BaseModel,
    base: Path,
    body: BodyModel,
    batch: Observations,
    *,
    hypotheses: int = 6,
    noise: float = 0.0,
) -> list[dict]:
    """One row per made person; scores are minus the true error in decimetres, plus noise."""
    rows = []
    generator = torch.Generator().manual_seed(3)
    models = {"body": f"{body.name}:{body.digest[:16]}", "base": f"{base.stem}:{file_digest(base)[:16]}"}
    for i in range(len(batch.betas)):
        one = {
            name: getattr(batch, name)[i : i + 1]
            for name in ("crop_px", "focal_px", "center_px", "keypoints_px")
        }
        drawn = unpack(
            model.sample(
                batch.condition().take(slice(i, i + 1)), hypothesis_noise(hypotheses, generator)[None]
            )
        )
        points = body.kinematics(drawn.rotations[0], drawn.betas[0])
        wide = {name: value.expand(hypotheses, *value.shape[1:]) for name, value in one.items()}
        prior = lift_crop_camera(drawn.camera[0], wide["crop_px"], wide["focal_px"], wide["center_px"])
        keypoints = wide["keypoints_px"]
        transl = fit_translation(
            points.keypoints, keypoints[..., :2], keypoints[..., 2], wide["focal_px"], wide["center_px"],
            prior - points.joints[:, 0],
        )  # fmt: skip
        error = mpjpe_mm(points.joints, batch.joints_m[i].expand_as(points.joints)).numpy()
        scores = -error / 100 + noise * np.random.default_rng(i).normal(size=hypotheses)
        pairs = mine_pairs(scores, error, MiningRule(margin=0.05, max_expected_error_mm=1e9))
        rows.append(
            {
                "image_sha256": hashlib.sha256(str(i).encode()).hexdigest(),
                "person_index": 0, "uri": f"made/{i}.jpg", "keypoints_px": one["keypoints_px"][0].numpy(),
                "keypoints_3d_m": batch.detector_3d_m[i].numpy() if i % 3 else None,
                "crop_px": one["crop_px"][0].numpy(), "focal_px": float(one["focal_px"]),
                "center_px": one["center_px"][0].numpy(),
                "pose_aa": matrix_to_axis_angle(drawn.rotations[0]).numpy(), "betas": drawn.betas[0].numpy(),
                "transl_cam_m": transl.numpy(), "scores": scores, "expected_error_mm": error,
                "selected": int(scores.argmax()), "models": models,
                "pairs": None if isinstance(pairs, Abstention) else [vars(pair) for pair in pairs],
                "abstained": pairs.reason if isinstance(pairs, Abstention) else None,
            }
        )  # fmt: skip
    return rows


def write_rows(folder: Path, rows: list[dict], *, parts: int = 2, hypotheses: int = 6) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        table = table_from_rows(rows[part::parts], row_schema(hypotheses))
        pq.write_table(table, folder / f"part-{part}.parquet")
    return folder


def workers_of_this_process() -> list[int]:
    """Train workers of the Ray that this process started; another Ray on the machine is left alone."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            titles[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile

    def is_ours(pid: int) -> bool:
        while pid > 1 and pid != os.getpid():
            pid = parents.get(pid, 0)
        return pid == os.getpid()

    return [pid for pid, title in titles.items() if b"RayTrainWorker" in title and is_ours(pid)]


@dataclass(frozen=True)
class Workbench:
    """A tiny base and scorer, 24 made people and their label rows."""

    body: BodyModel
    people: Observations
    base: Path
    scorer: Path
    rows: list[dict]
    folder: Path

    @property
    def digest(self) -> str:
        return file_digest(self.base)

    def model(self) -> BaseModel:
        model, _ = load_checkpoint(self.base, "base")
        assert isinstance(model, BaseModel)
        return model

    def plan(self, **changes) -> PreferencePlan:
        """A short alignment of the base to the rows."""
        options = {
            "data": str(self.folder), "base": str(self.base), "steps": 8, "batch_size": 8, "report_every": 2,
            "save_every": 4, "learning_rate": 1e-3, "objective": PreferenceConfig(beta=200.0), **changes,
        }  # fmt: skip
        return PreferencePlan(**options)


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, body: BodyModel, clips: Path) -> Workbench:
    folder = tmp_path_factory.mktemp("bench")
    sampler = ObservationSampler(body, PoseSampler(load_clips(clips)))
    people = sampler.sample(24, torch.Generator().manual_seed(5))
    base = tiny_base(folder / "base.safetensors", body, people)
    scorer = tiny_scorer(folder / "scorer.safetensors", body)
    model, _ = load_checkpoint(base, "base")
    assert isinstance(model, BaseModel)
    rows = label_rows(model, base, body, people)
    write_rows(folder / "labels" / "rows", rows)
    return Workbench(body, people, base, scorer, rows, folder / "labels")


@pytest.fixture(scope="session")
def made(prepared_people: ModuleType) -> SimpleNamespace:
    """The functions above, for tests that need rows of their own."""
    return SimpleNamespace(
        label_rows=label_rows,
        write_rows=write_rows,
        tiny_base=tiny_base,
        tiny_config=TINY,
        seen_people=prepared_people.seen_people,
        write_people=prepared_people.write_people,
        workers_of_this_process=workers_of_this_process,
    )


@pytest.fixture(scope="session")
def sightings() -> Callable[..., list[Sighting]]:
    """``count`` people who were prepared for training, of random numbers; pictures are flat."""

    def some(
        count: int, *, seed: int = 0, name: str = "made", body: str = "open-body-v1:0"
    ) -> list[Sighting]:
        random = np.random.default_rng(seed)

        def numbers(*shape: int) -> np.ndarray:
            return random.normal(size=shape).astype(np.float32)

        return [
            Sighting(
                id=f"{name}-{index:04d}#0", group=f"clip/{index % 3}", domain=name,
                crop_jpeg=cv2.imencode(".jpg", np.full((256, 256, 3), index % 256, np.uint8))[1].tobytes(),
                window_px=numbers(3), picture_px=(320, 240), box_px=numbers(4), focal_px=float(random.random()),
                center_px=(160.25, 120.75), keypoints_px=numbers(23, 3),
                keypoints_3d_m=numbers(23, 3) if index % 3 else None, score=float(random.random()),
                mask=random.integers(0, 256, (64, 64), np.uint8) if index % 4 else None,
                true_mask=random.integers(0, 256, (64, 64), np.uint8) if index % 5 else None, body=body,
                pose_aa=numbers(24, 3), betas=numbers(10), transl_cam_m=numbers(3), smpl24_cam_m=numbers(24, 3),
                coco23_cam_m=numbers(23, 3), smpl24_visible=random.random(24) < 0.5 if index % 2 else None,
                coco23_visible=random.random(23) < 0.5 if index % 2 else None,
                facts={"clip": "walk", "dark": bool(index % 2), "occlusion": 0.25},
            )
            for index in range(count)
        ]  # fmt: skip

    return some
