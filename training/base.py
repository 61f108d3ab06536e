"""How the base model learns: regression and residual diffusion together, on people whose truth is known.

The step is pure: a batch of ``Observations`` in, a loss out. The regressor is trained on parameters, joints
and reprojection; the denoiser on the residual to the regressor's (detached) answer, so that its targets
are what distribution adaptation will meet; the image encoder on all that and on where joints are in the picture.
Evidence is dropped at random, so that any subset of it is enough afterwards. Workers that share a batch compute
the loss of the whole: what is drawn for a person depends on the person's row in it, and means are over all rows.
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.condition import Condition, to_crop
from alignhmr.core.diffusion.image_tokens import ImageTokens, PointTokens, heat_loss
from alignhmr.core.diffusion.model import TRANSFORMERS, BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import BodyParameters, pack, unpack
from alignhmr.core.diffusion.patch_tokens import PatchTokens
from alignhmr.core.geometry.alignment import similarity_align
from alignhmr.core.geometry.cameras import lift_crop_camera, project
from alignhmr.core.metrics.hypotheses import four_figures
from alignhmr.core.metrics.positions import mpjpe_mm, pa_mpjpe_mm
from alignhmr.core.perception.assets import fetch
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.training.base_batches import Rows
from alignhmr.training.workers import mean_over_workers

Precision = Literal["fp32", "bf16"]
Learns = Literal["all", "denoiser"]
"""What of a model a run changes: all of it, or the denoiser alone, while encoder and regressor are held."""
_AT_ONCE = 64
"""People sampled at once in ``evaluate``: the tokens of all would not fit."""


@dataclass(frozen=True)
class BaseLossWeights:
    """Weights chosen so that each term is of order one after a minute of training."""

    rotation: float = 2.0
    root_rotation: float = 6.0
    betas: float = 0.05
    camera: float = 3.0
    joints: float = 12.0
    reprojection: float = 10.0
    diffusion: float = 0.5
    diffusion_joints: float = 4.0
    quiet_pose: float = 0.8
    image_points: float = 5.0
    image_depth: float = 3.0
    image_heat: float = 0.5


QUIET = 0.15
"""Share of bodies that the denoiser meets without noise, at the first step: the zero-noise answer starts where no draw
of 157 Gaussians ever lies. They are taught by joints alone, as they lie and after alignment."""


HIDDEN = 0.3
"""Weight of a joint that the picture doesn't show, in the losses of heat maps: it can only be guessed, and guesses are
the body's business."""


@dataclass(frozen=True)
class DropRates:
    """Probabilities that a kind of evidence is hidden from a person who has it; one of pixels and keypoints stays."""

    image: float = 0.2
    keypoints: float = 0.2
    look: float = 0.05


def drop(
    condition: Condition, rates: DropRates, generator: torch.Generator, rows: Rows | None = None
) -> Condition:
    """Evidence as it might be: some of it missing, never all."""
    rows = rows or Rows.whole(len(condition))
    draw, again = (torch.rand(rows.of, generator=generator)[rows.index] for _ in range(2))
    draw, again = draw.to(condition.look.device), again.to(condition.look.device)
    image = draw >= rates.image
    keypoints = (draw < rates.image) | (draw >= rates.image + rates.keypoints) | ~condition.has_image
    # Who has no keypoints keeps the picture.
    return condition.keep(image | ~condition.has_keypoints, keypoints, again >= rates.look)


def image_losses(
    w: BaseLossWeights, image: ImageTokens | None, truth: "ImageTruth", inside: Tensor, images: Tensor
) -> dict[str, Tensor]:
    """Of the encoder's own idea of each joint; a joint beside the crop can't be pointed at.

    Sums over this worker's joints, by the mean number of a worker: their mean over workers is the mean of all.
    """
    nothing = inside.new_zeros(())
    if image is None:
        return {"image_points": nothing, "image_heat": nothing, "image_depth": nothing}
    off = (image.points[..., :2] - truth.places).abs().sum(-1) * truth.inside
    heat = heat_loss(image.heat, truth.places) * truth.inside
    deep = (image.points[..., 2] - truth.depth_m).abs().mean(-1)
    return {
        "image_points": w.image_points * off.sum() / inside.clamp_min(1),
        "image_heat": w.image_heat * heat.sum() / inside.clamp_min(1),
        "image_depth": w.image_depth * deep.sum() / images.clamp_min(1e-3),
    }


def true_packed(batch: Observations) -> Tensor:
    return pack(BodyParameters(batch.rotations, batch.betas, batch.camera))


class BaseStep(nn.Module):
    """(batch, step number) -> loss and its parts. What it learns is the model; the body is a part of the loss."""

    def __init__(
        self, model: BaseModel, body: BodyModel, seed: int, weights: BaseLossWeights | None = None,
        rates: DropRates | None = None, rows: Rows | None = None, precision: Precision = "fp32",
        learns: Learns = "all",
    ) -> None:  # fmt: skip
        """``rows`` says which people of the global batch its batches hold; all of them by default.

        With ``precision`` bf16 the networks multiply in it; weights, their answers, losses and what the optimiser
        adds up stay in float32.
        """
        super().__init__()
        self.precision, self.learns = precision, learns
        self.model, self.body, self.seed, self.rows = model, body, seed, rows
        self.weights, self.rates = weights or BaseLossWeights(), rates or DropRates()

    def forward(self, batch: Observations, step: int) -> tuple[Tensor, dict[str, float]]:
        w = self.weights
        rows = self.rows or Rows.whole(len(batch))
        assert len(rows.index) == len(batch), f"{len(batch)} people for {len(rows.index)} rows"
        generator = torch.Generator().manual_seed(self.seed * 7_919 + step)
        target = true_packed(batch)
        condition = drop(batch.condition(), self.rates, generator, rows)
        whole = self.learns == "all"
        with torch.set_grad_enabled(whole and torch.is_grad_enabled()):
            with self._networks(target.device):
                encoded = self.model.encode(condition)
            initial = self.model.regress(encoded)
        image = ImageTruth.of(batch, condition.has_image)
        square, inside, images = self._over_all(target - initial, image)
        self._track_residual(square)
        parts = self._body_losses(initial, target, batch) if whole else {}

        t = torch.randint(schedule.STEPS, (rows.of,), generator=generator)[rows.index].to(target.device)
        noise = torch.randn(rows.of, target.shape[1], generator=generator)[rows.index].to(target.device)
        quiet = (torch.rand(rows.of, generator=generator) < QUIET)[rows.index].to(target.device)
        x0 = self.model.residual(target, initial.detach())
        t = torch.where(quiet, schedule.STEPS - 1, t)
        noised = schedule.add_noise(x0, noise, t).masked_fill(quiet[:, None], 0.0)
        with self._networks(target.device):
            predicted = self.model.denoise(noised[:, None], t[:, None], encoded)[:, 0].float()
        # Without noise there is one answer, and it is to have good joints: the mean of parameters has others.
        off = (predicted - x0).square().clamp(max=25) * ~quiet[:, None]
        parts["diffusion"] = w.diffusion * off.mean()
        refined = unpack(initial.detach() + predicted * self.model.residual_std)
        joints = self.body.kinematics(refined.rotations, refined.betas).joints
        parts["diffusion_joints"] = w.diffusion_joints * _root_relative(joints, batch.joints_m).mean()
        shape = _aligned(joints, batch.joints_m).mean(-1) * quiet
        parts["quiet_pose"] = w.quiet_pose * shape.mean() / QUIET
        if self.model.sees_pixels and whole:
            parts |= image_losses(w, encoded.image, image, inside, images)
        return torch.stack(list(parts.values())).sum(), {k: float(v.detach()) for k, v in parts.items()}

    def _networks(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _body_losses(self, packed: Tensor, target: Tensor, batch: Observations) -> dict[str, Tensor]:
        w = self.weights
        predicted, true = unpack(packed), unpack(target)
        points = self.body.kinematics(predicted.rotations, predicted.betas)
        rotation = (predicted.rotations - true.rotations).square().mean((-1, -2))
        root = points.joints[:, :1]
        transl = lift_crop_camera(predicted.camera, batch.crop_px, batch.focal_px, batch.center_px)
        pixels = project(points.keypoints - root + transl[:, None], batch.focal_px, batch.center_px)
        true_px = project(
            batch.body_keypoints_m + batch.transl_cam_m[:, None], batch.focal_px, batch.center_px
        )
        reprojection = (to_crop(pixels, batch.crop_px) - to_crop(true_px, batch.crop_px)).clamp(-2, 2).abs()
        return {
            "rotation": w.rotation * rotation[:, 1:].mean() + w.root_rotation * rotation[:, 0].mean(),
            "betas": w.betas * (predicted.betas - true.betas).square().mean(),
            "camera": w.camera * (packed[:, 154:] - target[:, 154:]).abs().clamp(max=2).mean(),
            "joints": w.joints * _root_relative(points.joints, batch.joints_m).mean(),
            "reprojection": w.reprojection * reprojection.mean(),
        }

    def _over_all(self, residual: Tensor, image: "ImageTruth") -> tuple[Tensor, Tensor, Tensor]:
        """The residual's mean square, and how many joints and pictures a worker has: means over workers."""
        counts = torch.stack([image.inside.sum(), image.inside.new_tensor(len(image.inside))])
        told = mean_over_workers(torch.cat([residual.detach().square().mean(0), counts]))
        return told[:-2], told[-2], told[-1]

    @torch.no_grad()
    def _track_residual(self, square: Tensor) -> None:
        """Running spread of the residual: the unit in which the denoiser works."""
        std = square.sqrt().clamp_min(1e-3)
        # One batch that isn't finite would spoil it for good.
        if torch.isfinite(std).all():
            self.model.residual_std.lerp_(std, 0.01)


@dataclass(frozen=True)
class ImageTruth:
    """Where joints and keypoints are in the pictures that are shown."""

    places: Tensor
    """[images, points, 2], over the crop in [-1, 1]."""
    inside: Tensor
    """[images, points], 1 where the crop holds it, less where it is hidden there."""
    depth_m: Tensor
    """[images, points], behind the root joint."""

    @classmethod
    def of(cls, batch: Observations, has: Tensor) -> "ImageTruth":
        true_m = torch.cat([batch.joints_m, batch.body_keypoints_m], 1)[has]
        pixels = project(true_m + batch.transl_cam_m[has][:, None], batch.focal_px[has], batch.center_px[has])
        places = to_crop(pixels, batch.crop_px[has])
        depth_m = true_m[..., 2] - true_m[:, :1, 2]
        weight = torch.where(batch.visible[has], 1.0, HIDDEN)
        return cls(places, (places.abs() < 1).all(-1) * weight, depth_m)


@torch.no_grad()
def initialise(model: BaseModel, sampler: ObservationSampler, seed: int) -> None:
    """Where training starts: mean and spread of the parameters over a first draw, and pretrained features."""
    if isinstance(image := model.encoder.image, PatchTokens):
        image.backbone.read(model.config.image.removeprefix(TRANSFORMERS))
    elif isinstance(image, PointTokens):
        image.backbone.read(fetch("backbone") / "efficientnet-lite0.pth")
    learnable(model)
    packed = true_packed(sampler.sample(2048, torch.Generator().manual_seed(seed)))
    model.mean.copy_(packed.mean(0))
    model.residual_std.copy_(packed.std(0).clamp_min(1e-2))


def learnable(model: BaseModel, learns: Learns = "all") -> None:
    """Puts it into training, but for those layers of the image encoder that are never trained."""
    model.train().requires_grad_(learns == "all")
    model.denoiser.requires_grad_(True)
    if (image := model.encoder.image) is not None:
        for parameter in image.frozen():
            parameter.requires_grad_(False)


@torch.no_grad()
def evaluate(
    model: BaseModel,
    body: BodyModel,
    sampler: ObservationSampler,
    *,
    people: int = 512,
    hyps: int = 20,
    seed: int = 99,
) -> dict[str, float]:
    """MPJPE and PA-MPJPE in mm over the 24 joints, and 2D error as a share of the crop, on made people.

    ``selected`` needs a scorer and is told by ``training.scorer``.
    """
    model.eval()
    device = model.mean.device
    batch = sampler.sample(people, torch.Generator().manual_seed(seed)).to(device)
    noise = hypothesis_noise(hyps, torch.Generator().manual_seed(seed)).expand(people, -1, -1).to(device)
    started = time.perf_counter()
    condition = batch.condition()
    parts = [slice(start, start + _AT_ONCE) for start in range(0, people, _AT_ONCE)]
    parameters = unpack(torch.cat([model.sample(condition.take(part), noise[part]) for part in parts]))
    seconds = time.perf_counter() - started
    points = body.kinematics(parameters.rotations, parameters.betas)
    result = {"sampling_ms_per_person": 1000 * seconds / people}
    for name, metric in (("mpjpe", mpjpe_mm), ("pa_mpjpe", pa_mpjpe_mm)):
        errors = metric(points.joints, batch.joints_m[:, None].expand_as(points.joints)).cpu().numpy()
        figures = four_figures(errors, np.zeros(people, int))
        result |= {f"{name}_{key}_mm": getattr(figures, key) for key in ("zero_noise", "mean", "best_of_m")}
    transl = lift_crop_camera(parameters.camera[:, 0], batch.crop_px, batch.focal_px, batch.center_px)
    rooted = points.keypoints[:, 0] - points.joints[:, 0, :1] + transl[:, None]
    pixels = project(rooted, batch.focal_px, batch.center_px)
    true_px = project(batch.body_keypoints_m + batch.transl_cam_m[:, None], batch.focal_px, batch.center_px)
    off = (pixels - true_px).norm(dim=-1)[:, 5:17] / batch.crop_px[:, 2:]
    result["error_2d_of_crop"] = float(off.mean())
    return result


def _root_relative(joints: Tensor, true: Tensor) -> Tensor:
    """Distance in metres of each joint, roots aligned."""
    difference = (joints - joints[:, :1]) - (true - true[:, :1])
    return (difference.square().sum(-1) + 1e-6).sqrt()


def _aligned(joints: Tensor, true: Tensor) -> Tensor:
    """Distance in metres of each joint after similarity alignment."""
    difference = similarity_align(joints, true) - true
    return (difference.square().sum(-1) + 1e-6).sqrt()


assert len(KEYPOINTS) == 23, "the reprojection slice 5:17 is the 12 limb keypoints of the 23"
