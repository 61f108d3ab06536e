"""The captioner's run: its people, its first weights, its course, and the folder that comes of it.

Without a model to begin with, it is the starter's architecture with new weights; with one, that model is tuned, all of
it or by a change of low rank.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.core.language.starter_vlm import CELL_PX, starter_processor, starter_vlm
from alignhmr.core.language.vlm_folder import (
    KIND,
    kept_dtype,
    load_vlm,
    read_folder_info,
    resolve_vlm,
    save_vlm,
    weights_digest,
)
from alignhmr.core.synthetic.motion import Clip
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.training.augmentation import AS_IT_IS, observe
from alignhmr.training.base_batches import MixedBatches, ObservationBatches, PictureBatches
from alignhmr.training.base_run import data_of, opened, samplers
from alignhmr.training.captioner import CaptionBatch, CaptionBatches, CaptionStep, Taught, evaluate
from alignhmr.training.captioner_recipe import CaptionerRecipe
from alignhmr.training.course import Course, Judged
from alignhmr.training.forms import rounded
from alignhmr.training.held_out import HeldOut
from alignhmr.training.loop import Step, Trainer
from alignhmr.training.low_rank import adapt, merged
from alignhmr.training.mixture import Mixture, OpenLocation, local_folder
from alignhmr.training.prefetch import made_ahead
from alignhmr.training.workplace import Workplace

_JUDGED_SEED = 99


@dataclass(frozen=True)
class CaptionerPlan:
    """Everything that a run depends on."""

    recipe: CaptionerRecipe
    clips: tuple[Clip, ...]
    data: tuple[tuple[str, float], ...] = ()
    held_out: str | None = None
    """Folder of prepared people to be judged by; without, it is simulated detections of held-out motion."""
    open_location: OpenLocation = local_folder
    body: str = "open"
    init: str | None = None
    """Folder of a model to begin with, or the name of what ships."""
    seed: int = 0
    minutes: float | None = None
    preset: str = ""
    threads: int = 1
    looks: str | None = None
    """Always unused: a vision-language model looks for itself."""
    makers: int = 0
    """Processes of each worker that make its batches; 0 leaves them to a thread."""

    def open(self) -> "CaptionerRun":
        body, mixture, judges = opened(self)
        return CaptionerRun.with_data(
            self.recipe, self.clips, body, mixture, judges, init=self.init, seed=self.seed, minutes=self.minutes,
            preset=self.preset, makers=self.makers,
        )  # fmt: skip


@dataclass(frozen=True)
class CaptionerRun:
    """A plan whose data are open and belong together."""

    recipe: CaptionerRecipe
    body: BodyModel
    training: ObservationSampler
    held_out: ObservationSampler
    mixture: Mixture | None
    judges: HeldOut | None
    init: str | None
    seed: int
    minutes: float | None
    about: dict[str, Any]
    makers: int = 0

    kind = KIND

    @classmethod
    def with_data(
        cls, recipe: CaptionerRecipe, clips: tuple[Clip, ...], body: BodyModel, mixture: Mixture | None,
        judges: HeldOut | None, *, init: str | None = None, seed: int = 0, minutes: float | None = None,
        preset: str = "", makers: int = 0,
    ) -> "CaptionerRun":  # fmt: skip
        """Without a mixture all pictures are black but for the keypoints drawn in."""
        training, held_out, about = samplers(body, clips, recipe.poses)
        about |= {"seed": seed, "preset": preset, **data_of(mixture, judges, body)}
        if init is not None:
            about["init"] = f"{resolve_vlm(init).name}:{weights_digest(resolve_vlm(init))}"
        return cls(recipe, body, training, held_out, mixture, judges, init, seed, minutes, about, makers)

    @property
    def processor(self) -> Any:
        if self.init is None:
            return starter_processor(self.recipe.model.picture_px)
        return load_vlm(resolve_vlm(self.init))[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of what is shipped: float16, or what the model to begin with came in."""
        return torch.float16 if self.init is None else kept_dtype(resolve_vlm(self.init))

    @property
    def config(self) -> dict[str, Any]:
        """Of the checkpoint: how people are shown, and what the starter's sizes are."""
        sizes = vars(self.recipe.model) if self.init is None else {}
        return {"drawn": self.recipe.drawn, **sizes, "picture_px": self.recipe.model.picture_px}

    def first_model(self) -> nn.Module:
        """New weights, or those of the model to begin with."""
        return (
            starter_vlm(self.recipe.model, self.seed)
            if self.init is None
            else load_vlm(resolve_vlm(self.init))[0]
        )

    def course(self, place: Workplace, first: Callable[[], nn.Module]) -> Course:
        recipe, processor = self.recipe, self.processor
        people = recipe.sightings if self.mixture is not None else 0

        def build() -> tuple[Trainer, Step]:
            model = first().to(place.device).train().requires_grad_(True)
            if recipe.low_rank is not None:
                # What follows the last layer stays: it may share its weights with the first.
                adapt(model.model, recipe.low_rank, self.seed)  # pyright: ignore[reportArgumentType]
            elif self.init is None and recipe.seen:
                torch.manual_seed(self.seed)
                model = Taught(model, (recipe.model.picture_px // CELL_PX) ** 2).to(place.device)
            return Trainer(model, model.parameters(), recipe.loop), CaptionStep(
                model, recipe.precision, recipe.seen
            )

        def judge(model: nn.Module, people: int, hypotheses: int) -> Judged:
            del hypotheses  # one answer for each
            side = recipe.model.picture_px
            return Judged(evaluate(model, processor, self._judged(people), side, draw=recipe.drawn))

        return Course(
            self.kind, recipe, build, lambda start: self._batches(processor, start, place), judge, self.body,
            self.about, minutes=self.minutes, people=people + recipe.batch_size, pictures=people,
            form=VlmFolder(processor, self.dtype), config=self.config,
        )  # fmt: skip

    def _batches(self, processor: Any, start: int, place: Workplace) -> Iterator[CaptionBatch]:
        recipe, side = self.recipe, self.recipe.model.picture_px
        people: ObservationBatches | MixedBatches
        people = ObservationBatches(self.training, recipe.batch_size, self.seed, place.rank, place.world)
        if self.mixture is not None:
            pictures = PictureBatches(self.mixture, self.body, recipe.sightings, side, recipe.augmentation)
            people = MixedBatches(people, pictures)
        return made_ahead(
            CaptionBatches(people, processor, side, recipe.drawn, recipe.texts), start, self.makers
        )

    def _judged(self, people: int) -> Observations:
        if self.judges is None:
            return self.held_out.sample(people, torch.Generator().manual_seed(_JUDGED_SEED))
        side = self.recipe.model.picture_px
        return observe(self.judges.sightings[:people], self.body, side, torch.Generator(), AS_IT_IS)


@dataclass(frozen=True)
class VlmFolder:
    """A folder in Hugging Face's format (``language/vlm_folder.py``)."""

    processor: Any
    dtype: torch.dtype
    """In which weights are shipped."""

    suffix = ""

    def shipped(self, module: nn.Module) -> nn.Module:
        module = module.model if isinstance(module, Taught) else module
        model = type(module)(module.config)  # pyright: ignore[reportCallIssue]
        state = merged(module)
        model.load_state_dict(rounded(state, self.dtype))
        return model.eval().requires_grad_(False)

    def write(self, path: Path, model: nn.Module, info: CheckpointInfo, *, half: bool) -> str:
        return save_vlm(path, model, self.processor, info, self.dtype if half else torch.float32)

    def read(self, path: Path) -> tuple[nn.Module, CheckpointInfo]:
        return load_vlm(path)[0], read_folder_info(path)

    def card(self, path: Path) -> Path:
        return path / "README.md"
