"""A base model's run: its data opened, its first weights, and the course that it follows.

A plan names everything by place and value, so that it can be sent to workers; each opens the data for itself.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import file_digest, load_checkpoint, read_info, resolve
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.synthetic.motion import Clip, split_clips
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler
from alignhmr.training import base as base_training
from alignhmr.training.base_batches import (
    SMALLEST_PX,
    MixedBatches,
    ObservationBatches,
    PictureBatches,
    Rows,
)
from alignhmr.training.captioner_recipe import CaptionerRecipe
from alignhmr.training.course import Course, Judged
from alignhmr.training.held_out import HeldOut, check_body
from alignhmr.training.looks import looks_for
from alignhmr.training.loop import Step, Trainer
from alignhmr.training.mixture import Mixture, OpenLocation, local_folder
from alignhmr.training.prefetch import made_ahead
from alignhmr.training.recipe import BaseRecipe, ScorerRecipe, clips_digest
from alignhmr.training.workplace import Workplace

CHOSEN_BY = "pa_mpjpe_zero_noise_mm"


@dataclass(frozen=True)
class BasePlan:
    """Everything that a run depends on."""

    recipe: BaseRecipe
    clips: tuple[Clip, ...]
    """All of them: which are held out is decided by name."""
    data: tuple[tuple[str, float], ...] = ()
    """Folders of prepared people, and their weights."""
    held_out: str | None = None
    """Folder of prepared people to be judged by; without, it is simulated detections of held-out motion."""
    open_location: OpenLocation = local_folder
    body: str = "open"
    init: str | None = None
    """A base checkpoint to begin with."""
    seed: int = 0
    minutes: float | None = None
    preset: str = ""
    threads: int = 1
    """Of each worker."""
    looks: str | None = None
    """Folder for features of eyes that never learn; None works them out each time."""
    makers: int = 0
    """Processes of each worker that make its batches; 0 leaves them to a thread."""

    def open(self) -> "BaseRun":
        """InputError or CompatibilityError where the data can't be used, or not together."""
        body, mixture, judges = opened(self)
        return BaseRun.with_data(
            self.recipe, self.clips, body, mixture, judges, init=self.init, seed=self.seed, minutes=self.minutes,
            preset=self.preset, looks=self.looks, makers=self.makers,
        )  # fmt: skip


@dataclass(frozen=True)
class BaseRun:
    """A plan whose data are open and belong together."""

    recipe: BaseRecipe
    body: BodyModel
    training: ObservationSampler
    held_out: ObservationSampler
    mixture: Mixture | None
    judges: HeldOut | None
    init: str | None
    seed: int
    minutes: float | None
    about: dict[str, Any]
    looks: str | None = None
    makers: int = 0

    kind = "base"

    @classmethod
    def with_data(
        cls, recipe: BaseRecipe, clips: tuple[Clip, ...], body: BodyModel, mixture: Mixture | None,
        judges: HeldOut | None, *, init: str | None = None, seed: int = 0, minutes: float | None = None,
        preset: str = "", looks: str | None = None, makers: int = 0,
    ) -> "BaseRun":  # fmt: skip
        """Without a mixture the model sees no pixels, whatever the recipe says: nothing would teach it to."""
        training, held_out, about = samplers(body, clips, recipe.poses)
        about |= {"seed": seed, "preset": preset, **data_of(mixture, judges, body)}
        if mixture is None:
            recipe = replace(recipe, model=replace(recipe.model, image="none"))
        recipe = replace(recipe, model=recipe.model.described())
        if init is None and recipe.learns != "all":
            raise InputError(
                f"only the {recipe.learns} is to learn, on top of nothing; name the base to begin with by --init, or"
                " set base: learns: all"
            )
        if init is not None:
            path = resolve(init, "base")
            read_info(path)  # which says what is wrong with a file that is none
            about |= {"init": f"{path.stem}:{file_digest(path)}"}
        return cls(
            recipe, body, training, held_out, mixture, judges, init, seed, minutes, about, looks, makers
        )  # fmt: skip

    def first_model(self) -> BaseModel:
        """The weights of step 0: the user's checkpoint, or new ones with pretrained features of pictures."""
        if self.init is not None:
            return self._initial_of_user(self.init)
        torch.manual_seed(self.seed)
        model = BaseModel(self.recipe.model)
        base_training.initialise(model, self.training, self.seed)
        return model

    def course(self, place: Workplace, first: Callable[[], nn.Module]) -> Course:
        """What this worker does; ``first`` gives the weights of step 0, the same to all."""
        recipe, device = self.recipe, place.device
        people = recipe.sightings if self.mixture is not None else 0
        rows = Rows.shared(people, recipe.batch_size, place.rank, place.world)

        def build() -> tuple[Trainer, Step]:
            model = first().to(device)
            assert isinstance(model, BaseModel)
            base_training.learnable(model, recipe.learns)
            model.recompute(recipe.recompute)
            slow = model.encoder.image.pretrained() if model.encoder.image is not None else ()
            trainer = Trainer(model, model.parameters(), recipe.loop, slow)
            body = copy.deepcopy(self.body).to(device)
            step = base_training.BaseStep(
                model, body, self.seed, recipe.losses, recipe.drop, rows, recipe.precision, recipe.learns
            )
            return trainer, step

        def judge(model: nn.Module, people: int, hypotheses: int) -> Judged:
            assert isinstance(model, BaseModel)
            if self.judges is not None:
                return self.judges.judged(model, people, hypotheses)
            body = copy.deepcopy(self.body).to(device)
            figures = base_training.evaluate(model, body, self.held_out, people=people, hyps=hypotheses)
            return Judged(figures)

        return Course(
            self.kind, recipe, build, lambda start: self._batches(start, place), judge, self.body, self.about,
            minutes=self.minutes, people=people + recipe.batch_size,
            pictures=people if recipe.model.image != "none" else 0, chosen_by=CHOSEN_BY,
        )  # fmt: skip

    def _batches(self, start: int, place: Workplace) -> Iterator[Observations]:
        recipe = self.recipe
        simulated = ObservationBatches(
            self.training, recipe.batch_size, self.seed, place.rank, place.world
        )  # fmt: skip
        if self.mixture is None:
            return made_ahead(simulated, start, self.makers)
        crop_px = recipe.model.crop_px if recipe.model.image != "none" else SMALLEST_PX
        pictures = PictureBatches(
            self.mixture, self.body, recipe.sightings, crop_px, recipe.augmentation,
            looks_for(recipe.model.image, self.looks, self.mixture),
        )  # fmt: skip
        return made_ahead(MixedBatches(simulated, pictures), start, self.makers)

    def _initial_of_user(self, init: str) -> BaseModel:
        path = resolve(init, "base")
        model, _ = load_checkpoint(path, "base", body_digest=self.body.digest)
        assert isinstance(model, BaseModel)
        if model.sees_pixels and self.mixture is None:
            raise CompatibilityError(
                f"{path} sees pixels, and without --data there are none to learn from; name prepared people with --data"
            )
        theirs, ours = vars(model.config), vars(self.recipe.model)
        free = {"temperature", "guidance", "correction", "train_image"}
        if theirs["backbone"] is not None and theirs["backbone"] == ours["backbone"]:
            free.add("image")  # where its vision model lay is no matter
        other = [name for name in ours if ours[name] != theirs[name] and name not in free]
        if other:
            name = other[0]
            raise CompatibilityError(
                f"{path} has {name} {theirs[name]}, the preset {ours[name]}; begin from a checkpoint of the same sizes,"
                f" or give its sizes with --config (base: model: {name}: {theirs[name]})"
            )
        begun = BaseModel(self.recipe.model)
        begun.load_state_dict(model.state_dict())
        return begun


class DataPlan(Protocol):
    """What plans of all runs say of their data."""

    @property
    def recipe(self) -> BaseRecipe | ScorerRecipe | CaptionerRecipe: ...
    @property
    def data(self) -> tuple[tuple[str, float], ...]: ...
    @property
    def held_out(self) -> str | None: ...
    @property
    def open_location(self) -> OpenLocation: ...
    @property
    def body(self) -> str: ...
    @property
    def seed(self) -> int: ...


def opened(plan: DataPlan) -> tuple[BodyModel, Mixture | None, HeldOut | None]:
    """Body, people to learn from and people to be judged by; InputError or CompatibilityError as ``Plan.open``."""
    body = BodyModel.load(plan.body)
    mixture = judges = None
    if plan.data:
        mixture = Mixture(plan.data, seed=plan.seed, open_location=plan.open_location)
    if plan.held_out is not None:
        people = Mixture([(plan.held_out, 1.0)], open_location=plan.open_location)
        check_apart(mixture, people, plan.held_out)
        judges = HeldOut(people, body, plan.recipe.evaluation.people)
    return body, mixture, judges


def data_of(mixture: Mixture | None, judges: HeldOut | None, body: BodyModel) -> dict[str, Any]:
    """What a checkpoint tells of them. CompatibilityError where the people have another body."""
    about: dict[str, Any] = {}
    if mixture is not None:
        check_body(mixture, body)
        about |= {"mixture": mixture.digest, "data": mixture.about}
    if judges is not None:
        about["judged_by"] = {
            "digest": judges.digest,
            "people": len(judges.sightings),
            "data": judges.about,
        }
    return about


def samplers(
    body: BodyModel, clips: tuple[Clip, ...] | list[Clip], mix: PoseMix
) -> tuple[ObservationSampler, ObservationSampler, dict[str, Any]]:
    """People to learn from, people to be judged on, and what the motion was."""
    training, held_out = split_clips(list(clips))
    about = {
        "clips": [clip.name for clip in training],
        "held_out_clips": [clip.name for clip in held_out],
        "data_digest": clips_digest(training + held_out),
    }
    return (
        ObservationSampler(body, PoseSampler(training, mix)),
        # Judged on motion as it was captured, with a little jitter: no procedural or recombined poses.
        ObservationSampler(body, PoseSampler(held_out, replace(mix, mocap=1.0, recombined=0.0, jitter=0.3))),
        about,
    )


def check_apart(mixture: Mixture | None, people: Mixture, location: str) -> None:
    """InputError where someone would be learned from and judged by."""
    theirs = {file.identity for source in people.sources for file in source.files}
    for source in mixture.sources if mixture is not None else []:
        if theirs & {file.identity for file in source.files}:
            raise InputError(
                f"{location} and {source.location} hold the same people, who can't both teach and judge; prepare others"
                " to be held out (`alignhmr prepare ... --split test`)"
            )
    if any(json.loads(plan).get("split") == "train" for plan in theirs):
        raise InputError(
            f"{location} holds made people of the training split, whose motion and scenes are learned from; prepare the"
            " held-out ones with --split test"
        )
