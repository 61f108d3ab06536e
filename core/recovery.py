"""Image -> people -> hypotheses -> refined where asked -> ranked. Labelling, serving and ``predict`` all call this.

A person is answered by one encoding of the condition, M hypotheses in one batch, a translation fitted to
the keypoints in closed form, and a score for each. People are computed one after another on purpose: a
matrix product's last bits depend on the batch it runs in, and the same request must give the same answer
alone or among others.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.checkpoints import file_digest, load_checkpoint, resolve
from alignhmr.core.conditions import check_claims, check_count, check_evidence
from alignhmr.core.diffusion.condition import (
    Condition,
    make_condition,
    person_square,
)
from alignhmr.core.diffusion.image_tokens import ImageTokens
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.diffusion.pose_tokens import features_of
from alignhmr.core.errors import AcceleratorError, InputError
from alignhmr.core.geometry.cameras import intrinsics_for
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.geometry.rotations import matrix_to_axis_angle
from alignhmr.core.perception.detector import Detector, load_detector
from alignhmr.core.perception.silhouettes import SILHOUETTE_PX, distance_outside, silhouette_over
from alignhmr.core.perception.views import shrunk, with_views
from alignhmr.core.placement import Bodies, place, together
from alignhmr.core.records import Hypotheses, Intrinsics, Person, Picture, Recovery, number_made
from alignhmr.core.refinement import Prompt, Refiner, denoised_again
from alignhmr.core.scoring.confidence import ErrorConfidence, JointConfidence
from alignhmr.core.scoring.evidence import Claim, Evidence
from alignhmr.core.scoring.scorer import HMRScorer, Rating, Seen
from alignhmr.core.scoring.selection import BEST, mean_of_best
from alignhmr.core.scoring.vetoes import vetoes
from alignhmr.core.synthetic.contact import radii_of


@dataclass(frozen=True)
class RecoveryRequest:
    """One person to be answered; everything the answer depends on, besides the models."""

    person: Person
    intrinsics: Intrinsics
    seed: int
    hypotheses: int = 20
    prompt: Prompt | None = None
    """That the answer shall be drawn to its evidence, and what is said of the body; None leaves it as it was drawn."""


@dataclass(frozen=True)
class Sight:
    """One person, as a batch of one."""

    keypoints_px: Tensor
    crop_px: Tensor
    focal_px: Tensor
    center_px: Tensor


class Recoverer:
    """Holds the models of one process. Not for use by two threads at once."""

    def __init__(
        self, base: BaseModel, scorer: HMRScorer, body: BodyModel, detector: Detector, *,
        device: str = "cpu", steps: int = 4, digests: dict[str, str] | None = None,
        confidence: JointConfidence | None = None, error_confidence: ErrorConfidence | None = None,
        threads: int = 1,
    ) -> None:  # fmt: skip
        self.base, self.scorer, self.body = base.to(device), scorer.to(device), body.to(device)
        self.detector, self.device, self.steps = detector, device, steps
        self.confidence, self.error_confidence = confidence, error_confidence
        self.threads = threads
        self._radii_m: np.ndarray | None = None
        self._looked_at: tuple[np.ndarray, Tensor] | None = None
        self._one_pair_of_eyes = _same_eyes(base, scorer)
        self._seen: tuple[Person, ImageTokens | None] | None = None
        self.models = {
            "body": f"{body.name}:{body.digest[:16]}",
            "detector": detector.name,
            **(digests or {}),
        }

    @classmethod
    def load(
        cls, *, base: str | Path = "starter", scorer: str | Path = "starter", body: str | Path = "open",
        detector: str | Detector = "blazepose", device: str = "auto", threads: int = 1,
    ) -> "Recoverer":  # fmt: skip
        """From names of shipped presets or paths; refuses models that don't belong together.

        `threads` find people and look at them, on the CPU; the answers don't depend on their number.
        """
        device = resolve_device(device)
        body_model = BodyModel.load(body)
        base_path, scorer_path = resolve(base, "base"), resolve(scorer, "scorer")
        base_model, info = load_checkpoint(base_path, "base", body_digest=body_model.digest)
        scorer_model, scorer_info = load_checkpoint(scorer_path, "scorer", body_digest=body_model.digest)
        assert isinstance(base_model, BaseModel) and isinstance(scorer_model, HMRScorer)
        found = load_detector(detector, device, threads=threads) if isinstance(detector, str) else detector
        digests = {
            "detector": f"{found.name}:{found.digest[:16]}",
            "base": f"{base_path.stem}:{file_digest(base_path)[:16]}",
            "scorer": f"{scorer_path.stem}:{file_digest(scorer_path)[:16]}",
        }
        confidence = JointConfidence.from_dict(info.confidence) if info.confidence else None
        told = ErrorConfidence.from_dict(scorer_info.confidence) if scorer_info.confidence else None
        return cls(
            base_model, scorer_model, body_model, found, device=device, digests=digests, confidence=confidence,
            error_confidence=told, threads=threads,
        )  # fmt: skip

    def find(self, picture: Picture) -> list[Person]:
        """People in the picture, most confident first, with views of them."""
        return with_views(picture, self.detector.find(picture))

    def from_boxes(self, picture: Picture, boxes_px: Float[np.ndarray, "people 4"]) -> list[Person]:
        """One person for each given box, with views of them."""
        return with_views(picture, self.detector.from_boxes(picture, boxes_px))

    def recover(
        self, picture: Picture, people: list[Person], *, hypotheses: int = 20, seed: int = 0,
        intrinsics: Intrinsics | None = None, prompt: Prompt | None = None,
    ) -> list[Recovery]:  # fmt: skip
        """One answer per person, in their order. The same picture and seed give the same answers."""
        width, height = picture.size
        camera = intrinsics or intrinsics_for(width, height, exif_focal_px=picture.exif_focal_px)
        return self.recover_batch(
            [RecoveryRequest(p, camera, seed + i, hypotheses, prompt) for i, p in enumerate(people)]
        )

    def recover_batch(self, requests: list[RecoveryRequest]) -> list[Recovery]:
        """One answer per request, each as if it were alone."""
        return [self._recover_one(request) for request in requests]

    def vertices(
        self, recovery: Recovery, index: int | None = None, *, body: BodyModel | None = None
    ) -> np.ndarray:
        """Mesh of a hypothesis (the selected one by default), camera frame, metres, (vertices, 3).

        ``body`` may be another resolution of the same body model.
        """
        from alignhmr.core.geometry.rotations import axis_angle_to_matrix

        hyps = recovery.hypotheses
        index = recovery.selected if index is None else index
        rotations = axis_angle_to_matrix(torch.from_numpy(hyps.pose_aa[index]))
        model = body or self.body
        with torch.no_grad():
            vertices = model.vertices(rotations[None], torch.from_numpy(hyps.betas[index])[None])[0]
        return vertices.cpu().numpy() + hyps.transl_cam_m[index]

    @torch.no_grad()
    def hypothesise(self, request: RecoveryRequest) -> tuple[Sight, Bodies]:
        """How the person was seen, and the hypotheses where they stand. InputError for evidence that can't be used."""
        person, camera, hyps = request.person, request.intrinsics, request.hypotheses
        check_count(hyps)
        check_claims(person, camera)
        keypoints, box = self._tensor(person.keypoints_px), self._tensor(person.box_px)
        crop = person_square(box[None])
        check_evidence(keypoints, box, crop, self.base.sees_pixels and person.view is not None)
        focal, center = self._tensor(camera.focal_px).expand(1), self._tensor(camera.center_px)[None]
        sight = Sight(keypoints[None], crop, focal, center)
        noise = hypothesis_noise(hyps, torch.Generator().manual_seed(request.seed % 2**63)).to(self.device)
        views = self.base.views(self._condition(person, sight, self.base))
        self._seen = (person, views[0][1].image)
        drawn = self.base.sample(views, noise[None], self.steps)
        return sight, place(unpack(drawn), self.body, sight)

    @torch.no_grad()
    def rate(self, person: Person, sight: Sight, bodies: Bodies, drawn: Bodies) -> Rating:
        """What the scorer makes of bodies that are claimed to be the person, of whom the base has drawn others."""
        evidence = self._evidence(person, sight, Claim.of(drawn, sight.crop_px))
        return self.scorer.rate(self._look(person, evidence), Claim.of(bodies, sight.crop_px))

    def vetoes(self, recovery: Recovery) -> dict[str, Bool[np.ndarray, "hyps"]]:
        """Which hypotheses are out of the question, and why (``scoring/vetoes.py``)."""
        hyps = recovery.hypotheses
        return vetoes(
            hyps.pose_aa, hyps.joints_cam_m, self.radii_m, hyps.keypoints_px, recovery.person.keypoints_px,
            recovery.crop_px,
        )  # fmt: skip

    @property
    def radii_m(self) -> Float[np.ndarray, "capsules"]:
        """Of the body's capsules."""
        if self._radii_m is None:
            self._radii_m = radii_of(self.body)
        return self._radii_m

    def _recover_one(self, request: RecoveryRequest) -> Recovery:
        sight, bodies = self.proposed(request)
        if request.prompt is None:
            return self.judged(request, sight, bodies)
        refiner = self.refiner(request.person, request.prompt, sight, bodies)
        return self.judged(request, sight, bodies, refiner)

    def refiner(self, person: Person, prompt: Prompt, sight: Sight, bodies: Bodies) -> Refiner:
        """What draws bodies of that person to the evidence; InputError for a text of which nothing is understood."""
        views = None

        def again(some: Bodies, level: int) -> Bodies:
            nonlocal views
            views = views or self.base.views(self._condition(person, sight, self.base))
            return denoised_again(self.base, views, self.body, sight, some, level)

        outside = None
        if prompt.config is not None and prompt.config.silhouette > 0:
            outside = self._outside(person, sight)
        return Refiner(prompt, self.body, self.radii_m, sight, bodies, outside=outside, again=again)

    def proposed(self, request: RecoveryRequest) -> tuple[Sight, Bodies]:
        """What ``judged`` takes: as many hypotheses as leave room for their mean."""
        hyps = request.hypotheses
        check_count(hyps)
        return self.hypothesise(replace(request, hypotheses=number_made(hyps)))

    @torch.no_grad()
    def judged(
        self, request: RecoveryRequest, sight: Sight, bodies: Bodies, refiner: Refiner | None = None
    ) -> Recovery:
        """The answer that hypotheses make once the scorer has rated them; they may have been made elsewhere.

        Where there are fewer than were asked for, the mean of the best is added, and chosen. Where all are given, as
        rows of labels hold them, they get the scores that they had when they were made. With a ``refiner`` the bodies
        are refined before they are rated, and so is their mean.
        """
        person, camera, hyps = request.person, request.intrinsics, request.hypotheses
        drawn = bodies.transl_cam_m.shape[1]
        refined = answer = None if refiner is None else refiner(bodies)
        bodies = bodies if refined is None else refined.bodies
        claim = Claim.of(bodies, sight.crop_px)
        seen = self._look(person, self._evidence(person, sight, claim.take(slice(number_made(hyps)))))
        rating = self.scorer.rate(seen, claim)
        score, error_mm = rating.score, rating.error_mm
        selected, interval = int(score[0].argmax()), None
        if drawn < hyps:
            mean = place(mean_of_best(score, bodies.parameters, BEST), self.body, sight)
            if refiner is not None:
                answer = refiner(mean)
                mean = answer.bodies
            bodies = together([bodies, mean])
            rating = self.scorer.rate(seen, Claim.of(mean, sight.crop_px))
            score, error_mm = torch.cat([score, rating.score], 1), torch.cat([error_mm, rating.error_mm], 1)
            selected = drawn
        report = None
        if refiner is not None and refined is not None and answer is not None:
            report = refiner.report(refined, answer, 0 if answer is not refined else selected)
        scores, expected_mm = _array(score[0]), _array(error_mm[0])
        if self.error_confidence is not None:
            told = self.error_confidence.of(expected_mm)
            expected_mm, interval = told[:, 0], told[selected, 1:]
        parameters = bodies.parameters
        transl = bodies.transl_cam_m[0]
        joints_cam, keypoints_cam = (
            points[0] + transl[:, None] for points in (bodies.joints_m, bodies.keypoints_m)
        )
        relative = joints_cam - joints_cam[:, :1]
        spread = (
            relative.std(0, correction=0).square().sum(-1).sqrt() * 1000
            if hyps > 1
            else relative[0, :, 0] * 0
        )
        errors = None
        if self.confidence is not None:
            errors = self.confidence.of(_array(spread) if hyps > 1 else None)
        return Recovery(
            person=person,
            intrinsics=camera,
            crop_px=_array(sight.crop_px[0]),
            hypotheses=Hypotheses(
                pose_aa=_array(matrix_to_axis_angle(parameters.rotations[0])),
                betas=_array(parameters.betas[0]),
                transl_cam_m=_array(transl),
                joints_cam_m=_array(joints_cam),
                keypoints_cam_m=_array(keypoints_cam),
                keypoints_px=_array(bodies.keypoints_px[0]),
                scores=scores,
                expected_error_mm=expected_mm,
            ),
            selected=selected,
            joint_spread_mm=_array(spread),
            seed=request.seed,
            models=self.models,
            error_interval_mm=interval,
            joint_error_mm=errors,
            refinement=report,
        )

    def _condition(self, person: Person, sight: Sight, model: BaseModel | HMRScorer) -> Condition:
        """What the model is told; each looks at crops of its own size."""
        crops = None
        if person.view is not None and model.sees_pixels:
            crops = self._tensor(shrunk(person.view, model.config.crop_px)).permute(2, 0, 1)[None]
            if model.reads_features:
                crops = self._features(person.view, crops)
        return make_condition(sight.keypoints_px, sight.crop_px, sight.focal_px, sight.center_px, crops)

    def _look(self, person: Person, evidence: Evidence) -> Seen:
        """What the base's eyes saw of the same person is seen by the scorer's if they are alike: once is enough."""
        tokens = None
        if self._one_pair_of_eyes and self._seen is not None and self._seen[0] is person:
            tokens = self._seen[1]
        return self.scorer.look(evidence, tokens)

    def _features(self, view: np.ndarray, crops: Tensor) -> Tensor:
        """Of a view, worked out once for both models."""
        if self._looked_at is None or self._looked_at[0] is not view:
            self._looked_at = (view, features_of(crops, self.threads))
        return self._looked_at[1]

    def _outside(self, person: Person, sight: Sight) -> Tensor | None:
        """Distance from the person's silhouette over the crop, in half crops; None without one."""
        silhouette = _silhouette(person, sight)
        return None if silhouette is None else self._tensor(distance_outside(silhouette))[None]

    def _evidence(self, person: Person, sight: Sight, drawn: Claim) -> Evidence:
        silhouette = _silhouette(person, sight)
        if silhouette is None:
            silhouette = np.zeros((SILHOUETTE_PX, SILHOUETTE_PX))
        detector_3d = person.keypoints_3d_m
        if detector_3d is None:
            detector_3d = np.zeros((len(KEYPOINTS), 3))

        def told(value: np.ndarray | None) -> Tensor:
            return torch.tensor([value is not None], device=self.device)

        observed = Evidence.observed(
            self._condition(person, sight, self.scorer),
            sight.crop_px,
            self._tensor(detector_3d)[None],
            told(person.keypoints_3d_m),
            self._tensor(silhouette)[None] / 255,
            told(person.mask),
        )
        return observed.with_proposals(drawn)

    def _tensor(self, value) -> Tensor:
        return torch.as_tensor(np.asarray(value), dtype=torch.float32, device=self.device)


def _silhouette(person: Person, sight: Sight) -> UInt8[np.ndarray, "side side"] | None:
    """Over the crop; None where the detector gave none."""
    x, y, side = sight.crop_px[0].tolist()
    return silhouette_over(person, SquareCrop((x, y), side), SILHOUETTE_PX)


def _same_eyes(base: BaseModel, scorer: HMRScorer) -> bool:
    """Whether both look at pictures of one size with the same weights, as a scorer with held eyes does."""
    one, other = base.encoder.image, scorer.image
    if one is None or type(one) is not type(other) or base.config.crop_px != scorer.config.crop_px:
        return False
    assert other is not None
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def resolve_device(name: str) -> str:
    """``auto`` to what there is; a GPU that was asked for and isn't there is an error."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise AcceleratorError(
            f"device {name!r} was asked for, but torch sees no CUDA GPU here; use --device cpu or auto"
        )
    if name != "cpu" and not name.startswith("cuda"):
        raise InputError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    return name


def _array(tensor: Float[Tensor, "..."]) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float32)
