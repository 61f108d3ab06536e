"""How the base model learns: regression and residual diffusion together, on people whose truth is known.

The step is pure: a batch of ``Observations`` in, a loss out. The regressor is trained on parameters, joints
and reprojection; the denoiser on the residual to the regressor's (detached) answer, so that its targets
are what distribution adaptation will meet; the image encoder on all that and on where joints are in the picture.
Evidence is dropped at random, so that any subset of it is enough afterwards.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.condition import Condition, to_crop
from alignhmr.core.diffusion.image_tokens import ImageTokens, heat_loss
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import BodyParameters, pack, unpack
from alignhmr.core.geometry.cameras import lift_crop_camera, project
from alignhmr.core.metrics.hypotheses import four_figures
from alignhmr.core.metrics.positions import mpjpe_mm, pa_mpjpe_mm
from alignhmr.core.perception.assets import fetch
from alignhmr.core.synthetic.observations import Observations, ObservationSampler


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
    image_points: float = 5.0
    image_depth: float = 3.0
    image_heat: float = 0.5


@dataclass(frozen=True)
class DropRates:
    """Probabilities that a kind of evidence is hidden from a person who has it; one of pixels and keypoints stays."""

    image: float = 0.2
    keypoints: float = 0.2
    look: float = 0.05


def drop(condition: Condition, rates: DropRates, generator: torch.Generator) -> Condition:
    """Evidence as it might be: some of it missing, never all."""
    draw = torch.rand(len(condition), generator=generator)
    image = draw >= rates.image
    keypoints = (draw < rates.image) | (draw >= rates.image + rates.keypoints) | ~condition.has_image
    look = torch.rand(len(condition), generator=generator) >= rates.look
    # Who has no keypoints keeps the picture.
    return condition.keep(image | ~condition.has_keypoints, keypoints, look)


def true_packed(batch: Observations) -> Tensor:
    return pack(BodyParameters(batch.rotations, batch.betas, batch.camera))


class BaseStep:
    """(batch, step number) -> loss and its parts."""

    def __init__(
        self, model: BaseModel, body: BodyModel, seed: int, weights: BaseLossWeights | None = None,
        rates: DropRates | None = None,
    ) -> None:  # fmt: skip
        self.model, self.body, self.seed = model, body, seed
        self.weights, self.rates = weights or BaseLossWeights(), rates or DropRates()

    def __call__(self, batch: Observations, step: int) -> tuple[Tensor, dict[str, float]]:
        w = self.weights
        generator = torch.Generator().manual_seed(self.seed * 7_919 + step)
        target = true_packed(batch)
        condition = drop(batch.condition(), self.rates, generator)
        encoded = self.model.encode(condition)
        initial = self.model.regress(encoded)
        self._track_residual(target, initial)
        parts = self._body_losses(initial, target, batch)

        t = torch.randint(schedule.STEPS, (len(target),), generator=generator)
        noise = torch.randn(target.shape, generator=generator)
        x0 = self.model.residual(target, initial.detach())
        noised = schedule.add_noise(x0, noise, t)
        predicted = self.model.denoise(noised[:, None], t[:, None], encoded)[:, 0]
        parts["diffusion"] = w.diffusion * (predicted - x0).square().clamp(max=25).mean()
        refined = unpack(initial.detach() + predicted * self.model.residual_std)
        joints = self.body.kinematics(refined.rotations, refined.betas).joints
        parts["diffusion_joints"] = w.diffusion_joints * _root_relative(joints, batch.joints_m).mean()
        if encoded.image is not None:
            parts |= self._image_losses(encoded.image, batch, condition.has_image)
        return torch.stack(list(parts.values())).sum(), {k: float(v.detach()) for k, v in parts.items()}

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

    def _image_losses(self, image: ImageTokens, batch: Observations, has: Tensor) -> dict[str, Tensor]:
        """Of the encoder's own idea of each joint; a joint beside the crop can't be pointed at."""
        root = batch.joints_m[:, :1]
        true_m = torch.cat([batch.joints_m, batch.body_keypoints_m], 1)
        pixels = project(true_m + batch.transl_cam_m[:, None], batch.focal_px, batch.center_px)
        places = to_crop(pixels, batch.crop_px)[has]
        inside = (places.abs() < 1).all(-1).float()
        off = (image.points[..., :2] - places).abs().sum(-1) * inside
        deep = (true_m - root)[has][..., 2]
        return {
            "image_points": self.weights.image_points * off.sum() / inside.sum().clamp_min(1),
            "image_heat": self.weights.image_heat
            * (heat_loss(image.heat, places) * inside).sum()
            / inside.sum().clamp_min(1),
            "image_depth": self.weights.image_depth * (image.points[..., 2] - deep).abs().mean(),
        }

    @torch.no_grad()
    def _track_residual(self, target: Tensor, initial: Tensor) -> None:
        """Running spread of the residual: the unit in which the denoiser works."""
        std = (target - initial).square().mean(0).sqrt().clamp_min(1e-3)
        self.model.residual_std.lerp_(std, 0.01)


@torch.no_grad()
def initialise(model: BaseModel, sampler: ObservationSampler, seed: int) -> None:
    """Where training starts: mean and spread of the parameters over a first draw, and ImageNet's features."""
    if (image := model.encoder.image) is not None:
        image.backbone.read(fetch("backbone") / "efficientnet-lite0.pth")
        for parameter in image.frozen():
            parameter.requires_grad_(False)
    packed = true_packed(sampler.sample(2048, torch.Generator().manual_seed(seed)))
    model.mean.copy_(packed.mean(0))
    model.residual_std.copy_(packed.std(0).clamp_min(1e-2))


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
    batch = sampler.sample(people, torch.Generator().manual_seed(seed))
    noise = hypothesis_noise(hyps, torch.Generator().manual_seed(seed)).expand(people, -1, -1)
    started = time.perf_counter()
    parameters = unpack(model.sample(batch.condition(), noise))
    seconds = time.perf_counter() - started
    points = body.kinematics(parameters.rotations, parameters.betas)
    result = {"sampling_ms_per_person": 1000 * seconds / people}
    for name, metric in (("mpjpe", mpjpe_mm), ("pa_mpjpe", pa_mpjpe_mm)):
        errors = metric(points.joints, batch.joints_m[:, None].expand_as(points.joints)).numpy()
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


assert len(KEYPOINTS) == 23, "the reprojection slice 5:17 is the 12 limb keypoints of the 23"
