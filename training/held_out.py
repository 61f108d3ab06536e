"""Prepared people whom a run doesn't learn from, and what the evaluator says of a model's answers about them.

The figures are those of `alignhmr eval` (``core/truth``): true boxes and cameras, 12 limb joints, no selection. They
are near to its figures on the same pictures, not equal: the crops come out of the kept windows. Evidence is taken
away, too, since a model may live off one kind of it alone.
"""

import copy
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.perception.views import from_jpeg
from alignhmr.core.placement import place
from alignhmr.core.records import Intrinsics, Picture
from alignhmr.core.synthetic.observations import Observations
from alignhmr.core.synthetic.overlay import draw_keypoints
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.frames import project_px
from alignhmr.core.truth.predictions import SystemInfo, body_key, same_body
from alignhmr.core.truth.records import Points, Prediction, Sample, TrueBody, Truth
from alignhmr.core.truth.results import IN_SPACE, result_of
from alignhmr.training.augmentation import AS_IT_IS, observe
from alignhmr.training.course import Judged
from alignhmr.training.mixture import Mixture
from alignhmr.training.sightings import Sighting

JOINTS = "limbs12"
TOLD: tuple[str, ...] = ("zero_noise", "mean", "best_of_m")
"""Of the four figures: nothing is selected here."""
_AT_ONCE = 32
"""Pictures in memory."""
_SHOWN = 6
_SHOWN_PX = 192
_BLIND_PX = 32
"""Side of the crops that are made for a model which doesn't look at them."""


class HeldOut:
    """The same people, in the same order, with the same noise, whoever answers."""

    def __init__(self, mixture: Mixture, body: BodyModel, people: int) -> None:
        """``people`` of one folder at most.

        CompatibilityError where they have another body than ``body``, InputError where nobody can be judged.
        """
        check_body(mixture, body)
        [source] = mixture.sources
        self.sightings = mixture.rows(0, min(people, source.rows))
        self.digest, self.about = mixture.digest, mixture.about
        self._body = body
        self._samples = [sample_of(sighting) for sighting in self.sightings]
        everyone = self._evaluation()
        for sample in self._samples:
            everyone.add(sample, [])
        if not everyone.people:
            raise InputError(
                f"nobody of the {len(self.sightings)} held-out people of {source.location} can be judged:"
                f" {'; '.join(everyone.not_judged)}; hold others out"
            )

    def judged(self, model: nn.Module, people: int, hypotheses: int) -> Judged:
        """Figures in mm: ``pa_mpjpe_zero_noise_mm`` and the like, and the same ``without_image_`` and
        ``without_keypoints_`` for a model that sees pixels; ``error_box_pct`` is the error in the picture.

        Ends of 95 % intervals, which draw whole clips, are there where the clips are enough. InputError where none of
        the people can be judged.
        """
        assert isinstance(model, BaseModel)
        model.eval()
        device = model.mean.device
        body = copy.deepcopy(self._body).to(device)
        kept_from: dict[str, tuple[str, ...]] = {"": ()}
        if model.sees_pixels:
            kept_from |= {"without_image_": ("image",), "without_keypoints_": ("keypoints",)}
        evaluations = {prefix: self._evaluation() for prefix in kept_from}
        shown: list[Prediction] = []
        count = min(people, len(self.sightings))
        for start in range(0, count, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, count))
            batch = self._observed(self.sightings[part], model).to(device)
            for prefix, kinds in kept_from.items():
                answers = _answers(model, body, batch, kinds, self._samples[part], hypotheses, start)
                for sample, answer in zip(self._samples[part], answers, strict=True):
                    evaluations[prefix].add(sample, [answer])
                if not prefix:
                    shown += answers[: _SHOWN - len(shown)]
        figures: dict[str, float] = {}
        for prefix, evaluation in evaluations.items():
            figures |= _figures(evaluation, prefix)
        return Judged(figures, {"truth_above_answer_below": _picture(self.sightings, shown)})

    def _evaluation(self) -> Evaluation:
        return Evaluation(SystemInfo("base", "", "given", "given", {}, body_key(self._body)), JOINTS)

    def _observed(self, sightings: Sequence[Sighting], model: BaseModel) -> Observations:
        side = model.config.crop_px if model.sees_pixels else _BLIND_PX
        return observe(sightings, self._body, side, torch.Generator(), AS_IT_IS)


def check_body(mixture: Mixture, body: BodyModel) -> None:
    """CompatibilityError where the people's parameters are of another body."""
    if not same_body(mixture.body, body_key(body)):
        raise CompatibilityError(
            f"{mixture.sources[0].location} holds people of the body model {mixture.body}, the one loaded is"
            f" {body_key(body)}; prepare people of that body, or give theirs with --body"
        )


def sample_of(sighting: Sighting) -> Sample:
    """As the evaluator wants it: the person alone, in pixels of the whole picture, of which no pixel is kept."""
    return Sample(
        id=sighting.id,
        group=sighting.group,
        domain=sighting.domain,
        picture=Picture(np.zeros((0, 0, 3), np.uint8), ""),
        intrinsics=Intrinsics(sighting.focal_px, sighting.center_px, "given"),
        people=[
            Truth(
                sighting.box_px,
                {
                    "smpl24": Points(sighting.smpl24_cam_m, None, sighting.smpl24_visible),
                    "coco23": Points(sighting.coco23_cam_m, None, sighting.coco23_visible),
                },
                TrueBody(sighting.body, sighting.pose_aa, sighting.betas, sighting.transl_cam_m),
                facts=sighting.facts,
            )
        ],
    )


@torch.no_grad()
def _answers(
    model: BaseModel, body: BodyModel, batch: Observations, kept_from: tuple[str, ...],
    samples: Sequence[Sample], hyps: int, first: int,
) -> list[Prediction]:  # fmt: skip
    """Hypotheses with the translation fitted to the keypoints, as recovery makes them."""
    condition = batch.condition().without(*kept_from)
    noise = torch.stack(
        [hypothesis_noise(hyps, torch.Generator().manual_seed(first + index)) for index in range(len(batch))]
    )
    parameters = unpack(model.sample(condition, noise.to(model.mean.device)))
    sure = batch.keypoints_px[..., 2] * condition.has_keypoints[:, None]
    bodies = place(parameters, body, batch, sure)
    keypoints_m = bodies.keypoints_m + bodies.transl_cam_m[..., None, :]
    if not torch.isfinite(keypoints_m).all():
        raise InputError(
            "the model's answers about held-out people are no finite numbers; lower the learning rate"
        )
    return [
        Prediction(sample.id, 0, {"coco23": points_m}, {"coco23": points_px})
        for sample, points_m, points_px in zip(
            samples, keypoints_m.cpu().numpy(), bodies.keypoints_px.cpu().numpy(), strict=True
        )
    ]


def _figures(evaluation: Evaluation, prefix: str) -> dict[str, float]:
    result = result_of(evaluation, "the held-out people", asked={}, made_by={})
    figures: dict[str, float] = {}
    for metric in IN_SPACE:
        name = f"{prefix}{metric.removesuffix('_mm')}"
        figures |= {f"{name}_{told}_mm": result.figures[metric][told]["value"] for told in TOLD}
        if not prefix and result.figures[metric]["zero_noise"]["low"] is not None:
            ends = {end: result.figures[metric]["zero_noise"][end] for end in ("low", "high")}
            figures |= {f"{name}_zero_noise_{end}_mm": value for end, value in ends.items()}
    if not prefix:
        figures["error_box_pct"] = result.figures["error_box_pct"]["value"]
        figures["spread_mm"] = result.hypotheses.get("spread_mm", 0.0)
        figures["people"] = result.answers["people"]
    return figures


def _picture(
    sightings: Sequence[Sighting], answers: Sequence[Prediction]
) -> UInt8[np.ndarray, "height width 3"]:
    """The first people, a column each, with the true limbs above and the zero-noise answer's below."""
    columns = []
    for sighting, answer in zip(sightings, answers, strict=False):
        window = cv2.resize(
            from_jpeg(sighting.crop_jpeg), (_SHOWN_PX, _SHOWN_PX), interpolation=cv2.INTER_AREA
        )
        camera = Intrinsics(sighting.focal_px, sighting.center_px, "given")
        true_px = project_px(sighting.coco23_cam_m.astype(np.float64), camera)
        both = [true_px, answer.points_px["coco23"][0].astype(np.float64)]
        columns.append(np.concatenate([draw_keypoints(window, _on(sighting, points)) for points in both]))
    return np.concatenate(columns, 1)


def _on(sighting: Sighting, points_px: np.ndarray) -> np.ndarray:
    return sighting.window.to_crop(points_px, _SHOWN_PX)
