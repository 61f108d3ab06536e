"""Answers drawn to their evidence on request: what a user may say and put right, and what became of it.

``recovery.py`` asks for it between making hypotheses and rating them. The steps themselves are in
``diffusion/guidance.py``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.guidance import Refined, precision_of, refine
from alignhmr.core.diffusion.guidance_terms import GuidanceConfig, Guide
from alignhmr.core.diffusion.model import BaseModel, View
from alignhmr.core.diffusion.parameters import pack, unpack
from alignhmr.core.diffusion.told import Told
from alignhmr.core.errors import InputError
from alignhmr.core.language.reading import read
from alignhmr.core.language.text_pose import TextPose
from alignhmr.core.placement import Bodies, Sight, place
from alignhmr.core.records import RefinementReport

INSISTED = 6.0
"""Weight of words that somebody took the trouble to say of one picture; captions of many have ``GuidanceConfig``'s.
"the left arm is raised straight up": 20 of 24 made people follow at 4, 22 at 6, 23 at 9, where more fall back."""


@dataclass(frozen=True)
class Prompt:
    """That an answer shall be refined, and what is added to what the detector saw."""

    text: str = ""
    """What is true of the body: "the left leg is in front"."""
    codes: dict[str, str] = field(default_factory=dict)
    """Posecodes that were read already, fact -> category."""
    given_keypoints: bool = False
    """Whether somebody has put the keypoints right."""
    config: GuidanceConfig | None = None
    """None: what was measured to be best for what is given."""

    def chosen(self, told: bool) -> GuidanceConfig:
        """The settings, where ``told`` says whether anything was understood."""
        if self.config is not None:
            return self.config
        config = GuidanceConfig()
        config = config.with_words() if told else config
        if self.text.strip():
            config = replace(config, text=INSISTED)
        return config.with_given_keypoints() if self.given_keypoints else config


@dataclass(frozen=True)
class Reading:
    """What was understood of a prompt."""

    codes: dict[str, str]
    unread: tuple[str, ...]
    contradictions: tuple[str, ...]

    @classmethod
    def of(cls, prompt: Prompt) -> "Reading":
        """InputError where there is a text and nothing can be made of it."""
        said = read(prompt.text)
        codes = {**said.codes, **prompt.codes}
        if prompt.text.strip() and not codes:
            raise InputError(
                f"nothing was understood of {prompt.text!r}; say where limbs point, what is bent or what touches, such"
                " as 'the left arm is raised, the right knee is bent'"
            )
        return cls(codes, said.unread, said.contradictions)


class Refiner:
    """Refines bodies of one person; how far they may go is settled by the hypotheses it is made with."""

    def __init__(
        self, prompt: Prompt, body: BodyModel, radii_m: Float[np.ndarray, "capsules"], sight: Sight, drawn: Bodies,
        *, outside: Tensor | None = None, space: TextPose | None = None,
        again: Callable[[Bodies, int], Bodies] | None = None,
    ) -> None:  # fmt: skip
        """``again`` noises bodies to a step and denoises them (``denoised_again``); ``outside`` is ``Guide``'s."""
        self.prompt, self.body, self.drawn = prompt, body, drawn
        self.reading = Reading.of(prompt)
        self.config = prompt.chosen(bool(self.reading.codes))
        like = drawn.transl_cam_m
        self.radii_m = torch.as_tensor(radii_m).to(like)
        place_of_text = None
        if space is not None and prompt.text.strip():
            place_of_text = space.place_of_text([prompt.text])
        self.guide = Guide(
            sight.keypoints_px, sight.crop_px, sight.focal_px, sight.center_px,
            told=Told.of([self.reading.codes]).to(like) if self.reading.codes else None,
            space=space, place=place_of_text, outside=outside,
        )  # fmt: skip
        self.precision = precision_of(drawn, self.config)
        self.again = again

    def __call__(self, bodies: Bodies) -> Refined:
        """As many bodies, in their order."""
        for level in self.config.levels:
            assert self.again is not None, "levels need a model that denoises"
            bodies = self.again(self._once(bodies).bodies, level)
        return self._once(bodies)

    def _once(self, bodies: Bodies) -> Refined:
        return refine(self.body, bodies, self.guide, self.radii_m, self.config, self.precision)

    def report(self, refined: Refined, answer: Refined, chosen: int) -> RefinementReport:
        """Of the hypotheses that were drawn, and of the answer: the ``chosen`` one of what was refined last."""
        before, after = (
            1000 * (bodies.joints_m - bodies.joints_m[..., :1, :]) for bodies in (self.drawn, refined.bodies)
        )
        told_before, told_after = refined.told_before, answer.told_after
        return RefinementReport(
            off_before=float(refined.off_before[0, 0]),
            off_after=float(answer.off_after[0, chosen]),
            moved_mm=float((after - before).norm(dim=-1).mean()),
            fell_back={reason: int(which.sum()) for reason, which in refined.fell_back.items()},
            hypotheses=before.shape[1],
            told=dict(self.reading.codes),
            told_before=None if told_before is None else float(told_before[0, 0]),
            told_after=None if told_after is None else float(told_after[0, chosen]),
            unread=self.reading.unread,
            contradictions=self.reading.contradictions,
            given_keypoints=self.prompt.given_keypoints,
        )


@torch.no_grad()
def denoised_again(
    base: BaseModel, views: list[View], body: BodyModel, sight: Sight, bodies: Bodies, level: int
) -> Bodies:
    """Bodies noised to a step of the schedule, with no noise, and denoised in one go."""
    packed = pack(bodies.parameters)
    initial = base.initial_of(views)[:, None].expand_as(packed)
    x0 = base.residual(packed, initial)
    share = math.sqrt(schedule.alpha_bar(torch.tensor(level)).item())
    found = base.answer(views, share * x0, level)
    return place(unpack(initial + found * base.residual_std), body, sight)
